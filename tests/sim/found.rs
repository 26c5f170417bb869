//! What the simulator found in the broker, shrunk, beside the seed it came from; it stays fixed.

use crate::actions::*;
use crate::support::Version;
use crate::verdict::verdict;

fn case(versions: Version, shards: usize, actions: Vec<Action>) -> Case {
    Case {
        seed: 0,
        shards,
        inflight_max: 20,
        read_bytes_max: 16 * 1024,
        lane_high: 4096,
        session_queue_bytes_max: None,
        shard_queue_bytes_max: None,
        passwords: false,
        share_qos: 1,
        shutdown: false,
        versions: [versions; IDENTITIES],
        actions,
    }
}

fn comes(who: usize) -> Action {
    Action::Connect(ConnectAs {
        who,
        shard: 1,
        clean: true,
        keep_alive_s: 0,
        will: None,
        eager: true,
        slow: false,
        expiry_s: 0,
        receive_maximum: None,
        packet_bytes_max: None,
        topic_alias_maximum: 0,
        early: None,
        wrong_password: false,
    })
}

const EVERYTHING: Action = Action::Lanes {
    pick: 0,
    count: 1_000,
};

/// Publishes to `a/b` a message that lives for 5 s, and lets it lie between the shards for 20 s.
fn too_late(subscriber: Action) -> Vec<Action> {
    let mut actions: Vec<Action> = (0..IDENTITIES).map(comes).collect();
    actions.extend(std::iter::repeat_n(EVERYTHING, 6));
    actions.push(subscriber);
    actions.extend(std::iter::repeat_n(EVERYTHING, 6));
    for who in 0..IDENTITIES {
        actions.push(Action::Publish {
            who,
            topic: 1,
            qos: 1,
            retain: false,
            empty: false,
            padding: 0,
            count: 1,
            cut: 0,
            expiry_s: Some(5),
            alias: None,
        });
    }
    actions.push(Action::Clock { ms: 20_000 });
    actions
}

/// A shard that was busy for long delivered what had expired in its lane. [v5 MQTT-3.3.2-5] (Seed 80 of the time.)
pub fn expires_between_shards(shards: usize) -> Case {
    let options = SubscribeAs {
        qos: 1,
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
        identifier: None,
    };
    let subscriber = Action::Subscribe {
        who: 2,
        filter: 3,
        options,
        cut: 0,
    };
    case(Version::V5, shards, too_late(subscriber))
}

/// The same for a member of a group.
pub fn expires_on_its_way_to_a_member(shards: usize) -> Case {
    let subscriber = Action::Join {
        who: 2,
        share: 0,
        retain_as_published: false,
        identifier: None,
    };
    case(Version::V5, shards, too_late(subscriber))
}

#[test]
fn what_expires_between_shards_is_not_delivered() {
    for shards in 1..=4 {
        verdict(&expires_between_shards(shards)).expect("nothing late");
    }
}

#[test]
fn what_expires_on_its_way_to_a_member_is_not_delivered() {
    for shards in 1..=4 {
        verdict(&expires_on_its_way_to_a_member(shards)).expect("nothing late");
    }
}
