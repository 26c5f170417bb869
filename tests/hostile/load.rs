//! Work that one client can ask for and that others would have to wait for: cases 49, 51, 53 and 54.

use crate::support::packet::{publish, subscribe, unsubscribe};
use crate::support::{Answer, Broker, Client, DEADLINE, Published};
use crate::{attack_ours, violation};

crate::on_1_and_2_shards!(case_53_wildcards_against_deep_topics,);

/// All filters of `levels` levels that are `a` or `+`.
fn combinations(levels: u32) -> Vec<Vec<u8>> {
    (0..1u32 << levels)
        .map(|bits| {
            let level = |n| if bits >> n & 1 == 1 { "+" } else { "a" };
            let filter: Vec<&str> = (0..levels).map(level).collect();
            filter.join("/").into_bytes()
        })
        .collect()
}

/// Subscribes to many filters by one packet and waits for the answer.
fn subscribe_all(client: &mut Client, filters: &[Vec<u8>]) -> Vec<u8> {
    let filters: Vec<(&[u8], u8)> = filters.iter().map(|filter| (&filter[..], 0)).collect();
    client.send(&subscribe(1, &filters));
    client.packet()
}

fn case_53_wildcards_against_deep_topics(shards: usize) {
    attack_ours(shards, |broker| {
        let mut greedy = Client::connect(broker, "greedy");
        let answer = subscribe_all(&mut greedy, &combinations(14));
        assert_eq!(answer.len(), 1 + 3 + 2 + (1 << 14));
        let mut speaker = Client::connect(broker, "speaker");
        let topic = ["a"; 14].join("/");
        let flood = publish(topic.as_bytes(), b"x", 0, 0, false).repeat(1000);
        speaker.send(&flood);
        speaker.expect_alive();
        for _ in 0..1000 {
            assert!(Published::read(&greedy.packet()).is_some());
        }
    });
}
