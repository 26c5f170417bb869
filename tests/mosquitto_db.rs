//! What a running Mosquitto has kept comes into a new store at the first start, once.

use mqttfast_rig::process as support;

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::packet::{PUBREC, acknowledgement, publish};
use support::{Answer, Broker, Client, Connect, DEADLINE, Folder, Options, Published};

/// Debian's Mosquitto with a store in `folder`, ended at drop.
struct Mosquitto {
    child: Child,
    port: u16,
}

impl Mosquitto {
    fn start(folder: &Path) -> Mosquitto {
        let port = support::free_port();
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\nuser root\n",
            folder.display()
        );
        let path = folder.join("mosquitto.conf");
        fs::write(&path, text).expect("a configuration");
        let child = Command::new("mosquitto")
            .arg("-c")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto was not started");
        let end = Instant::now() + DEADLINE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < end, "mosquitto does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Mosquitto { child, port }
    }

    /// A Session of it that outlives its connection.
    fn connect(&self, client_id: &str) -> Client {
        let connect = Connect {
            client_id: client_id.as_bytes(),
            clean_session: false,
            ..Connect::default()
        };
        Client::connect_at(self.port, &connect)
    }

    /// It writes its file and ends.
    fn stop(mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("signalled");
        self.child.wait().expect("ended");
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn come_back(broker: &Broker, client_id: &str) -> Client {
    let connect = Connect {
        client_id: client_id.as_bytes(),
        clean_session: false,
        ..Connect::default()
    };
    let (client, present) = Client::connect_with(broker, &connect);
    assert!(present, "{client_id}");
    client
}

/// The next message, which is not acknowledged.
fn unanswered(client: &mut Client) -> Published {
    Published::read(&client.packet()).expect("a PUBLISH")
}

#[test]
fn sessions_queues_and_retained_messages_of_mosquitto_are_taken_over() {
    if support::reference() {
        return;
    }
    let folder = Folder::new();
    let place = folder.path("mosquitto");
    fs::create_dir(&place).expect("a folder");
    let mosquitto = Mosquitto::start(&place);
    let mut one = mosquitto.connect("one");
    one.subscribe("t/#", 1);
    one.disconnect();
    // It gets a message and does not acknowledge it, and gets PUBREC's turn in another.
    let mut two = mosquitto.connect("two");
    two.subscribe("in/+", 2);
    let mut publisher = mosquitto.connect("publisher");
    for number in 1..=3 {
        publisher.publish("t/1", format!("queued {number}").as_bytes(), 1, false);
    }
    publisher.publish("retained/1", b"kept", 1, true);
    publisher.publish("in/1", b"first", 2, false);
    let first = unanswered(&mut two);
    publisher.publish("in/2", b"second", 1, false);
    let second = unanswered(&mut two);
    assert_eq!((first.qos, second.qos), (2, 1));
    two.send(&acknowledgement(PUBREC, first.packet_id));
    assert_eq!(two.packet(), acknowledgement(0x62, first.packet_id));
    // A QoS 2 message that waits for its PUBREL: Mosquitto has not routed it.
    publisher.send(&publish(b"t/late", b"routed", 2, 77, false));
    assert_eq!(publisher.packet(), acknowledgement(PUBREC, 77));
    mosquitto.stop();

    let store = folder.path("store");
    fs::create_dir(&store).expect("a folder");
    fs::copy(place.join("mosquitto.db"), store.join("mosquitto.db")).expect("a copy");
    let text = format!(
        "listener {{port}} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\n",
        store.display()
    );
    let start = || {
        Broker::start_with(Options {
            configuration: Some(text.clone()),
            ..Options::default()
        })
    };
    let mut broker = start();
    let line = broker.logged(&["mosquitto.db was imported, version 6: "]);
    assert!(
        line.contains("3 sessions, 2 subscriptions, 6 messages under way"),
        "{line}"
    );
    assert!(
        line.contains("1 retained; 0 had expired, 0 parts"),
        "{line}"
    );
    assert!(broker.end_by(nix::sys::signal::Signal::SIGTERM).0.success());
    // Once: what was taken and deleted does not come again.
    let broker = start();
    assert!(broker.log().iter().all(|line| !line.contains("imported")));

    let mut one = come_back(&broker, "one");
    for number in 1..=3 {
        one.expect_message("t/1", format!("queued {number}").as_bytes(), 1);
    }
    one.expect_message("t/late", b"routed", 1);
    let mut two = come_back(&broker, "two");
    let resent = [two.packet(), two.packet()];
    assert!(
        resent.contains(&acknowledgement(0x62, first.packet_id)),
        "{resent:?}"
    );
    let again = resent.iter().find_map(|packet| Published::read(packet));
    let again = again.expect("the message that was not acknowledged");
    assert_eq!((again.packet_id, again.dup), (second.packet_id, true));
    assert_eq!(again.payload, b"second");
    // Its PUBLISH again is a repeat, its PUBREL ends it, and nobody gets the message a second time.
    let mut publisher = come_back(&broker, "publisher");
    publisher.send(&publish(b"t/late", b"routed", 2, 77, false));
    assert_eq!(publisher.packet(), acknowledgement(PUBREC, 77));
    publisher.send(&acknowledgement(0x62, 77));
    assert_eq!(publisher.packet(), acknowledgement(0x70, 77));
    assert_eq!(one.answer(Duration::from_millis(200)), Answer::Silence);
    let mut reader = Client::connect(&broker, "reader");
    reader.subscribe("retained/#", 1);
    assert_eq!(reader.receive().payload, b"kept");
}
