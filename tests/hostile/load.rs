//! Work that one client can ask for and that others would have to wait for: cases 49, 51, 53 and 54.

use crate::attack_ours;
use crate::support::packet::{packet, publish, string, subscribe, unsubscribe};
use crate::support::{Client, Published};

crate::on_1_then_2_shards!(
    case_49_very_many_filters,
    case_51_mixed_shared_and_plain_storms,
    case_53_wildcards_against_deep_topics,
    case_54_everything_retained_at_once,
);

/// A SUBSCRIBE of these filters at QoS 0.
fn subscribe_all<'a>(filters: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut body = vec![0, 1];
    for filter in filters {
        string(&mut body, filter.as_bytes());
        body.push(0);
    }
    packet(0x82, &body)
}

/// The codes of a SUBACK.
fn codes(suback: &[u8]) -> &[u8] {
    assert_eq!(suback[0], 0x90);
    let header = 1 + suback[1..].iter().take_while(|b| **b & 0x80 != 0).count() + 1;
    &suback[header + 2..]
}

/// The limit of a Session is tested without sockets: `tests/work_budget.rs`.
fn case_49_very_many_filters(shards: usize) {
    attack_ours(shards, |broker| {
        let mut client = Client::connect(broker, "greedy");
        let names: Vec<String> = (0..30_000).map(|n| format!("{n:x}")).collect();
        client.send(&subscribe_all(names.iter().map(String::as_str)));
        let answer = client.packet();
        assert_eq!(codes(&answer), vec![0; names.len()]);
        client.send(&publish(b"0", b"the first", 0, 0, false));
        client.expect_message("0", b"the first", 0);
        client.send(&publish(b"752f", b"the last", 0, 0, false));
        client.expect_message("752f", b"the last", 0);
        client.send(&publish(b"7530", b"one more", 0, 0, false));
        client.expect_alive();
        // Out again, but for what the end of the Session takes away.
        let filters: Vec<&[u8]> = names[5_000..].iter().map(|name| name.as_bytes()).collect();
        client.send(&unsubscribe(2, &filters));
        client.expect_packet(&[0xB0, 2, 0, 2]);
    });
}

/// Shared and plain subscriptions of the same filters come and go in every order, with messages between them.
/// [CVE-2024-8376]
fn case_51_mixed_shared_and_plain_storms(shards: usize) {
    attack_ours(shards, |broker| {
        let mut clients: Vec<Client> = (0..4)
            .map(|n| Client::connect(broker, &format!("stormy-{n}")))
            .collect();
        let filters: [&[u8]; 6] = [
            b"storm/x",
            b"$share/g/storm/x",
            b"$share/h/storm/x",
            b"$share/g/storm/#",
            b"storm/#",
            b"+/x",
        ];
        let mut random = 1u32;
        let mut next = |below: usize| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 16) as usize % below
        };
        let mut subscribed = [0; 4];
        for _ in 0..300 {
            let at = next(4);
            let mut bytes = Vec::new();
            for _ in 0..10 {
                let (one, other) = (filters[next(6)], filters[next(6)]);
                bytes.extend(match next(3) {
                    0 => {
                        subscribed[at] += 1;
                        subscribe(1, &[(one, 1), (other, 2)])
                    }
                    1 => unsubscribe(2, &[one, other]),
                    _ => publish(b"storm/x", b"?", 0, 0, false),
                });
            }
            clients[at].send(&bytes);
        }
        for (client, subscribed) in clients.iter_mut().zip(subscribed) {
            // Every SUBSCRIBE is answered, though its SUBACK may come late; after the last of it and of UNSUBACK
            // nothing comes.
            client.send(&unsubscribe(9, &filters));
            let (mut subacks, mut gone) = (0, false);
            while subacks < subscribed || !gone {
                let packet = client.packet();
                subacks += usize::from(packet[0] == 0x90);
                gone |= packet == [0xB0, 2, 0, 9];
            }
        }
        let mut speaker = Client::connect(broker, "speaker");
        speaker.publish("storm/x", b"nobody wants it", 1, false);
        for client in &mut clients {
            client.expect_alive();
        }
    });
}

/// All filters of `levels` levels that are `a` or `+`.
fn combinations(levels: u32) -> Vec<String> {
    (0..1u32 << levels)
        .map(|bits| {
            let level = |n: u32| if bits >> n & 1 == 1 { "+" } else { "a" };
            let filter: Vec<&str> = (0..levels).map(level).collect();
            filter.join("/")
        })
        .collect()
}

fn case_53_wildcards_against_deep_topics(shards: usize) {
    attack_ours(shards, |broker| {
        // 100 filters of 4 to 103 levels of `+` cost a level each.
        let mut deep = Client::connect(broker, "deep");
        let plus: Vec<String> = (4..104).map(|n| vec!["+"; n].join("/")).collect();
        deep.send(&subscribe_all(plus.iter().map(String::as_str)));
        assert_eq!(codes(&deep.packet()).len(), 100);
        let topic = vec!["deep"; 100].join("/");
        let message = publish(topic.as_bytes(), b"x", 0, 0, false);
        deep.send(&message.repeat(200));
        for _ in 0..200 {
            assert!(Published::read(&deep.packet()).is_some());
        }
        // Filters that match in thousands of ways cost a node each, and are served a part at a time.
        let mut greedy = Client::connect(broker, "greedy");
        let ways = combinations(13);
        greedy.send(&subscribe_all(ways.iter().map(String::as_str)));
        assert_eq!(codes(&greedy.packet()).len(), ways.len());
        let mut speaker = Client::connect(broker, "speaker");
        let topic = ["a"; 13].join("/");
        let message = publish(topic.as_bytes(), b"x", 0, 0, false);
        let count = 300;
        speaker.send(&message.repeat(count));
        speaker.expect_alive();
        for _ in 0..count {
            assert!(Published::read(&greedy.packet()).is_some());
        }
    });
}

/// Retained messages in the tree of case 54.
const RETAINED: usize = 30_000;

fn retained_topic(n: usize) -> String {
    format!("retained/{}/{n}", n % 100)
}

fn case_54_everything_retained_at_once(shards: usize) {
    attack_ours(shards, |broker| {
        let mut speaker = Client::connect(broker, "speaker");
        publish_all(&mut speaker, b"kept");
        // Five at once, and one that reads nothing.
        let mut stuck = Client::connect(broker, "stuck");
        stuck.send(&subscribe(1, &[(b"#", 0)]));
        let mut clients: Vec<Client> = (0..5)
            .map(|n| Client::connect(broker, &format!("curious-{n}")))
            .collect();
        for client in &mut clients {
            client.send(&subscribe(1, &[(b"retained/#", 0)]));
            assert_eq!(codes(&client.packet()), [0]);
        }
        for client in &mut clients {
            for _ in 0..RETAINED {
                let message = Published::read(&client.packet()).expect("a retained message");
                assert!(message.retain);
            }
            client.expect_alive();
        }
        drop(clients);
        drop(stuck);
        publish_all(&mut speaker, b"");
        let mut after = Client::connect(broker, "after");
        after.subscribe("retained/#", 0);
        after.expect_alive();
    });
}

fn publish_all(speaker: &mut Client, payload: &[u8]) {
    for part in (0..RETAINED).collect::<Vec<_>>().chunks(1000) {
        let mut bytes = Vec::new();
        for n in part {
            let topic = retained_topic(*n);
            bytes.extend(publish(topic.as_bytes(), payload, 0, 0, true));
        }
        speaker.send(&bytes);
        speaker.expect_alive();
    }
}
