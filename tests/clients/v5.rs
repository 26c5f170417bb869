//! What only MQTT 5.0 has, by the clients that speak it: Debian's command lines with `-D`, `mosquitto_rr`, paho-mqtt
//! and MQTT.js.

use crate::support::{Broker, Tool};
use crate::{Commands, installed, message, run_script};
use std::time::Duration;

crate::on_1_and_2_shards!(
    properties_of_a_message,
    properties_of_a_will,
    message_expiry,
    session_expiry,
    topic_alias_of_a_publisher,
    subscription_identifiers,
    retain_as_published,
    limits_of_a_subscriber,
    request_and_response,
    shared_subscriptions,
    a_member_that_leaves,
    paho,
    mqtt_js,
);

/// How `mosquitto_sub` prints a message with all that it knows of it, but the expiry.
const ALL: &str = "%t q%q r%r %p: type=%C reply=%R data=%D format=%F %P";

fn commands(shards: usize) -> Commands {
    Commands {
        broker: Broker::start(shards),
        version: "mqttv5",
    }
}

fn properties_of_a_message(shards: usize) {
    let commands = commands(shards);
    let send = |more: &[&str]| {
        let mut arguments = vec!["-q", "1", "-t", "maison/salon", "-m", "21 °C"];
        for property in [
            &["content-type", "text/plain"][..],
            &["response-topic", "maison/réponse"],
            &["correlation-data", "n° 7"],
            &["payload-format-indicator", "1"],
            &["user-property", "capteur", "été"],
            &["user-property", "capteur", "hiver"],
        ] {
            arguments.extend(["-D", "publish"]);
            arguments.extend(property);
        }
        arguments.extend(more);
        commands.publish(&arguments);
    };
    let expected = |qos: u8, retain: u8| {
        format!(
            "maison/salon q{qos} r{retain} 21 °C: type=text/plain reply=maison/réponse data=n° 7 format=1 \
             capteur:été capteur:hiver"
        )
    };
    let mut live = commands.subscribe(&["-q", "1", "-t", "maison/+", "-F", ALL]);
    let mut at_most_once = commands.subscribe(&["-t", "#", "-F", ALL]);
    send(&[]);
    assert_eq!(message(&mut live), expected(1, 0));
    assert_eq!(message(&mut at_most_once), expected(0, 0));
    send(&["-r"]);
    assert_eq!(message(&mut live), expected(1, 0));
    let mut late = commands.subscribe(&["-q", "2", "-t", "maison/#", "-F", ALL]);
    assert_eq!(message(&mut late), expected(1, 1));
    // Without any, nothing is made up.
    commands.publish(&["-t", "maison/salon", "-m", "bare"]);
    let bare = "maison/salon q0 r0 bare: type= reply= data= format= ";
    assert_eq!(message(&mut late), bare);
    assert_eq!(message(&mut live), bare);
}

fn properties_of_a_will(shards: usize) {
    let commands = commands(shards);
    let mut watcher = commands.subscribe(&["-q", "2", "-t", "will/+", "-F", ALL]);
    let mortal = |delay: &str, topic: &str| {
        commands.subscribe(&[
            "-t",
            "unused",
            "-x",
            "60",
            "-i",
            topic,
            "--will-topic",
            topic,
            "--will-payload",
            "gone",
            "--will-qos",
            "2",
            "-D",
            "will",
            "content-type",
            "text",
            "-D",
            "will",
            "user-property",
            "k",
            "v",
            "-D",
            "will",
            "will-delay-interval",
            delay,
        ])
    };
    let of = |topic: &str| format!("{topic} q2 r0 gone: type=text reply= data= format= k:v");
    let delayed = mortal("2", "will/delayed");
    let patient = mortal("60", "will/patient");
    let prompt = mortal("0", "will/prompt");
    for client in [delayed, patient, prompt] {
        client.signal(nix::sys::signal::Signal::SIGKILL);
        client.end();
    }
    assert_eq!(message(&mut watcher), of("will/prompt"));
    // Back in its session before the delay is over: no will.
    let back = ["-c", "-x", "60", "-t", "unused", "-i", "will/patient", "-E"];
    commands.subscribe(&back).succeed();
    // A clean start ends the session, and the delay with it.
    let clean = mortal("60", "will/clean");
    clean.signal(nix::sys::signal::Signal::SIGKILL);
    clean.end();
    commands
        .subscribe(&["-t", "unused", "-i", "will/clean", "-E"])
        .succeed();
    let mut both = [message(&mut watcher), message(&mut watcher)];
    both.sort();
    assert_eq!(both, [of("will/clean"), of("will/delayed")]);
}

fn message_expiry(shards: usize) {
    let commands = commands(shards);
    let away = ["-c", "-i", "away", "-q", "1", "-t", "news/+", "-F", "%E %p"];
    commands.subscribe(&away).interrupt();
    for (topic, expiry) in [("news/long", "1000"), ("news/short", "1")] {
        commands.publish(&[
            "-q",
            "1",
            "-r",
            "-t",
            topic,
            "-m",
            topic,
            "-D",
            "publish",
            "message-expiry-interval",
            expiry,
        ]);
    }
    commands.publish(&["-q", "1", "-t", "news/never", "-m", "news/never"]);
    std::thread::sleep(Duration::from_millis(2200));
    let left = |line: &str| {
        let (seconds, rest) = line.split_once(' ').expect("a time and a message");
        assert_eq!(rest, "news/long");
        let seconds: u32 = seconds.parse().expect("the time left");
        assert!((900..=998).contains(&seconds), "{seconds} s left of 1000");
    };
    // Queued: the time left is told, what has expired is not there.
    let mut back = commands.subscribe_unasked(&away);
    left(&message(&mut back));
    assert_eq!(message(&mut back), " news/never");
    // Retained.
    let mut late = commands.subscribe(&["-q", "1", "-t", "news/+", "-F", "%E %p"]);
    left(&message(&mut late));
    commands.publish(&["-t", "news/now", "-m", "news/now"]);
    assert_eq!(message(&mut late), " news/now");
}

fn session_expiry(shards: usize) {
    let commands = commands(shards);
    let away = |seconds: &'static str| {
        [
            "-c",
            "-x",
            seconds,
            "-i",
            seconds,
            "-q",
            "1",
            "-v",
            "-t",
            "courses/#",
        ]
    };
    for seconds in ["1", "1000", "∞"] {
        commands.subscribe(&away(seconds)).interrupt();
    }
    commands.publish(&["-q", "1", "-t", "courses/lait", "-m", "2 l"]);
    std::thread::sleep(Duration::from_millis(2500));
    for seconds in ["1000", "∞"] {
        let mut back = commands.subscribe_unasked(&away(seconds));
        assert_eq!(message(&mut back), "courses/lait 2 l");
    }
    // The session of one second has ended, with what waited in it.
    let mut back = commands.subscribe(&away("1"));
    commands.publish(&["-q", "1", "-t", "courses/pain", "-m", "1"]);
    assert_eq!(message(&mut back), "courses/pain 1");
}

fn topic_alias_of_a_publisher(shards: usize) {
    let commands = commands(shards);
    let mut reader = commands.subscribe(&["-q", "1", "-v", "-t", "capteur/#"]);
    let port = commands.broker.port().to_string();
    let arguments = [
        "-q",
        "1",
        "-t",
        "capteur/long/name",
        "-l",
        "-d",
        "-D",
        "publish",
        "topic-alias",
        "1",
    ];
    let mut writer = Tool::start("mosquitto_pub", &commands.arguments(&port, &arguments));
    writer.input("1\n2\n3\n");
    let sent = writer.succeed();
    // The topic itself is sent once.
    let named = sent
        .iter()
        .filter(|line| line.contains("sending PUBLISH") && line.contains("'capteur/long/name'"));
    assert_eq!(named.count(), 1, "{sent:?}");
    for value in 1..=3 {
        assert_eq!(message(&mut reader), format!("capteur/long/name {value}"));
    }
    // Each connection has aliases of its own.
    commands.publish(&[
        "-q",
        "1",
        "-t",
        "capteur/other",
        "-m",
        "4",
        "--repeat",
        "2",
        "-D",
        "publish",
        "topic-alias",
        "1",
    ]);
    for _ in 0..2 {
        assert_eq!(message(&mut reader), "capteur/other 4");
    }
}

fn subscription_identifiers(shards: usize) {
    let commands = commands(shards);
    let subscriber = |identifier: &'static str, filter: &'static str| {
        commands.subscribe(&[
            "-q",
            "1",
            "-t",
            filter,
            "-D",
            "subscribe",
            "subscription-identifier",
            identifier,
            "-F",
            "%S %t %p",
        ])
    };
    let mut least = subscriber("1", "id/+");
    let mut most = subscriber("268435455", "id/#");
    let mut none = commands.subscribe(&["-q", "1", "-t", "id/+", "-F", "%S %t %p"]);
    commands.publish(&["-q", "1", "-t", "id/x", "-m", "y", "-r"]);
    assert_eq!(message(&mut least), "1 id/x y");
    assert_eq!(message(&mut most), "268435455 id/x y");
    assert_eq!(message(&mut none), " id/x y");
    assert_eq!(message(&mut subscriber("300", "id/x")), "300 id/x y");
}

fn retain_as_published(shards: usize) {
    let commands = commands(shards);
    let mut plain = commands.subscribe(&["-t", "rap/+", "-F", "%r %p"]);
    let mut told = commands.subscribe(&["-t", "rap/+", "-F", "%r %p", "--retain-as-published"]);
    commands.publish(&["-r", "-q", "1", "-t", "rap/x", "-m", "kept"]);
    commands.publish(&["-q", "1", "-t", "rap/x", "-m", "passing"]);
    assert_eq!(message(&mut plain), "0 kept");
    assert_eq!(message(&mut plain), "0 passing");
    assert_eq!(message(&mut told), "1 kept");
    assert_eq!(message(&mut told), "0 passing");
}

fn limits_of_a_subscriber(shards: usize) {
    let commands = commands(shards);
    let mut one_by_one = commands.subscribe(&[
        "-q",
        "2",
        "-t",
        "limit",
        "-F",
        "%l",
        "-D",
        "connect",
        "receive-maximum",
        "1",
    ]);
    let mut small = commands.subscribe(&[
        "-q",
        "2",
        "-t",
        "limit",
        "-F",
        "%l",
        "-D",
        "connect",
        "maximum-packet-size",
        "100",
    ]);
    let (fits, too_large) = ("x".repeat(50), "x".repeat(500));
    for qos in ["0", "1", "2", "1", "2"] {
        commands.publish(&["-q", qos, "-t", "limit", "-m", &too_large]);
        commands.publish(&[
            "-q",
            if qos == "0" { "1" } else { qos },
            "-t",
            "limit",
            "-m",
            &fits,
        ]);
    }
    // What is too large for it is as good as sent, and stalls nothing.
    for _ in 0..5 {
        assert_eq!(message(&mut small), "50");
    }
    let mut received: Vec<String> = (0..10).map(|_| message(&mut one_by_one)).collect();
    received.sort();
    assert_eq!(received[..5], ["50"; 5]);
    assert_eq!(received[5..], ["500"; 5]);
}

fn request_and_response(shards: usize) {
    let commands = commands(shards);
    let port = commands.broker.port().to_string();
    let mut server = commands.subscribe(&["-q", "1", "-t", "ask/+", "-F", "%R|%D|%p"]);
    for (number, qos) in ["0", "1", "2"].into_iter().enumerate() {
        let answer_to = format!("answer/{number}");
        let asking = [
            "-q",
            qos,
            "-t",
            "ask/time",
            "-e",
            &answer_to,
            "-m",
            "what time?",
            "-D",
            "publish",
            "correlation-data",
            "first",
        ];
        let asker = Tool::start("mosquitto_rr", &commands.arguments(&port, &asking));
        let request = message(&mut server);
        let [topic, data, text] = request.split('|').collect::<Vec<_>>()[..] else {
            panic!("{request}");
        };
        assert_eq!((topic, data, text), (&*answer_to, "first", "what time?"));
        commands.publish(&[
            "-q",
            qos,
            "-t",
            topic,
            "-m",
            "noon",
            "-D",
            "publish",
            "correlation-data",
            data,
        ]);
        assert_eq!(asker.succeed(), ["noon"]);
    }
}

/// Members of a group: two of 5.0 and one of 3.1.1, that print "last" when it is over.
fn members(commands: &Commands, group: &str) -> Vec<Tool> {
    let filter = format!("$share/{group}/atelier/#");
    ["mqttv5", "mqttv311", "mqttv5"]
        .map(|version| commands.subscribe(&["-V", version, "-q", "1", "-t", &filter, "-t", "last"]))
        .into()
}

/// What came up to "last".
fn until_last(tool: &mut Tool) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        match message(tool) {
            line if line == "last" => return lines,
            line => lines.push(line),
        }
    }
}

fn shared_subscriptions(shards: usize) {
    let commands = commands(shards);
    let mut groups = ["one", "two"].map(|group| members(&commands, group));
    let mut alone = commands.subscribe(&["-q", "1", "-t", "atelier/+", "-t", "last"]);
    let mut expected: Vec<String> = (0..30).map(|n| n.to_string()).collect();
    for payload in &expected {
        commands.publish(&["-q", "1", "-t", "atelier/x", "-m", payload]);
    }
    // A message may take longer by way of its group than one of an ordinary subscription.
    std::thread::sleep(Duration::from_millis(500));
    commands.publish(&["-q", "1", "-t", "last", "-m", "last"]);
    assert_eq!(until_last(&mut alone), expected);
    expected.sort();
    for group in &mut groups {
        let shares: Vec<Vec<String>> = group.iter_mut().map(until_last).collect();
        assert!(shares.iter().all(|share| share.len() >= 5), "{shares:?}");
        let mut all = shares.concat();
        all.sort();
        assert_eq!(all, expected);
    }
}

fn a_member_that_leaves(shards: usize) {
    let commands = commands(shards);
    let mut group = members(&commands, "smaller");
    while group.len() > 1 {
        group.remove(0).interrupt();
        for n in 0..6 {
            let payload = n.to_string();
            commands.publish(&["-q", "1", "-t", "atelier/x", "-m", &payload]);
        }
    }
    // The last has all that came since it was alone, and its part of what came before.
    std::thread::sleep(Duration::from_millis(500));
    commands.publish(&["-q", "1", "-t", "last", "-m", "last"]);
    let received = until_last(&mut group[0]);
    assert!(received.len() > 6, "{received:?}");
    assert_eq!(
        received[received.len() - 6..],
        ["0", "1", "2", "3", "4", "5"]
    );
}

fn paho(shards: usize) {
    run_script(shards, "python3", "paho_v5.py");
}

fn mqtt_js(shards: usize) {
    installed("node");
    run_script(shards, "node", "mqttjs_v5.mjs");
}
