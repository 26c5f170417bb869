//! Limits of ours that a Client can meet: what is served at the limit, and what one more is told, in a sentence that
//! names the limit.

use super::peer::*;
use super::support_shard::*;
use mqttfast::limits::{FILTERS_PER_SESSION_MAX, SHARED_FILTERS_PER_SESSION_MAX, TOPIC_LEVELS_MAX};
use mqttfast::wire;

/// Subscribes to `filters` in packets of several thousand; the codes, and the Reason String of the last SUBACK.
fn grants(world: &mut World, client: Client, filters: &[String]) -> (Vec<u8>, Option<String>) {
    let version = world.version(client);
    for part in filters.chunks(10_000) {
        let part: Vec<(&str, u8)> = part.iter().map(|filter| (&filter[..], 1)).collect();
        world.send(client, subscribe(version, 7, &part));
    }
    let bytes = world.raw(client);
    let mut rest = &bytes[..];
    let (mut codes, mut why) = (Vec::new(), None);
    let decoded = match version {
        Version::V5 => wire::Version::V5,
        Version::V31 | Version::V311 => wire::Version::V311,
    };
    while let Some(frame) = wire::next_frame(rest, u32::MAX).expect("a frame") {
        rest = &rest[frame.bytes.len()..];
        if let Ok(wire::Packet::SubAck(suback)) = wire::decode(Some(decoded), &frame) {
            codes.extend(suback.codes);
            why = suback.reason_string.map(str::to_owned);
        }
    }
    (codes, why)
}

/// One filter more than the limit, then one that is there already, in these versions.
fn one_more(versions: &[Version], most: usize, filter: impl Fn(usize) -> String, sentence: &str) {
    let filters: Vec<String> = (0..most).map(&filter).collect();
    for &version in versions {
        let mut world = World::new(1);
        world.unchecked = true;
        let client = world.connect(&connect(version, "many"));
        world.raw(client);
        let (codes, why) = grants(&mut world, client, &filters);
        assert!(codes.len() == most && codes.iter().all(|code| *code == 1));
        assert_eq!(why, None);
        // What is there already is replaced, and takes no room. [v5 MQTT-3.8.4-3]
        assert_eq!(grants(&mut world, client, &filters[..1]).0, [1]);
        let more = grants(&mut world, client, &[filter(most)]);
        match version {
            Version::V31 => assert!(world.is_closed(client), "its SUBACK has no code for that"),
            Version::V311 => assert_eq!(more, (vec![0x80], None)),
            Version::V5 => assert_eq!(more, (vec![0x97], Some(sentence.to_owned()))),
        }
        if version != Version::V31 {
            let line = format!("refused 1 subscriptions of many: {sentence}");
            assert_eq!(world.log().last(), Some(&line));
            // Room is made by who gives some up.
            world.unsubscribe(client, &filters[0]);
            world.raw(client);
            assert_eq!(grants(&mut world, client, &[filter(most)]).0, [1]);
        }
    }
}

#[test]
fn subscriptions_of_a_session() {
    // The same in every version, as the other limit shows; this many take a while.
    one_more(
        &[Version::V5],
        FILTERS_PER_SESSION_MAX,
        |number| format!("limit/{number}"),
        &format!("The session has reached its limit of {FILTERS_PER_SESSION_MAX} subscriptions."),
    );
}

#[test]
fn shared_subscriptions_of_a_session() {
    one_more(
        &[Version::V31, Version::V311, Version::V5],
        SHARED_FILTERS_PER_SESSION_MAX,
        |number| format!("$share/limit/{number}"),
        &format!(
            "The session has reached its limit of {SHARED_FILTERS_PER_SESSION_MAX} shared subscriptions."
        ),
    );
}

/// A Topic Name and a filter with this many levels.
fn deep(levels: usize) -> String {
    vec!["x"; levels].join("/")
}

#[test]
fn levels_of_a_topic() {
    let (most, more) = (deep(TOPIC_LEVELS_MAX), deep(TOPIC_LEVELS_MAX + 1));
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut world = World::new(2);
        let client = world.connect(&connect(version, "client").will(&most, "x", 0, false));
        world.acknowledge_at_once(client);
        world.raw(client);
        // Behind a ShareName there may be as many, so that whatever is published can be shared.
        let filters = [
            most.clone(),
            "+/".repeat(TOPIC_LEVELS_MAX - 1) + "#",
            format!("$share/g/{most}"),
        ];
        assert_eq!(grants(&mut world, client, &filters).0, [1, 1, 1]);
        world.publish(client, &publish(&most, "x").qos(1, 0));
        assert_eq!(world.messages(client).len(), 2, "as itself and as a member");
        world.raw(client);

        let filters = [
            more.clone(),
            "+/".repeat(TOPIC_LEVELS_MAX) + "#",
            format!("$share/g/{more}"),
        ];
        for filter in filters {
            let told = grants(&mut world, client, &[filter]);
            let sentence =
                "The Topic Filter has more than 201 levels, the most this Server serves.";
            match version {
                Version::V31 => {
                    assert!(world.is_closed(client));
                    break;
                }
                Version::V311 => assert_eq!(told, (vec![0x80], None)),
                Version::V5 => assert_eq!(told, (vec![0x8f], Some(sentence.to_owned()))),
            }
            let line = format!("refused 1 subscriptions of client: {sentence}");
            assert_eq!(world.log().last(), Some(&line));
        }

        let client = world.connect(&connect(version, "publisher"));
        world.raw(client);
        world.send(client, publish(&more, "x").bytes(version));
        assert!(world.is_closed(client));
        if version == Version::V5 {
            assert_eq!(ended_with(&mut world, client), (0x90, true));
        }
        let line = world.log().last().cloned().unwrap_or_default();
        assert!(line.contains("more than 201 levels"), "{line}");

        let refused = connect(version, "will").will(&more, "x", 0, false);
        let client = world.open(version);
        world.send(client, refused.bytes());
        assert!(world.is_closed(client));
        let answer = world.received(client);
        match (version, &answer[..]) {
            (Version::V5, [Packet::ConnAck { code: 0x90, .. }]) => {}
            (Version::V31 | Version::V311, []) => {}
            _ => panic!("{answer:?}"),
        }
    }
}
