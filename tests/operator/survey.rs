//! Surveys: what a shard holds, a page at a time, while it goes on.

use crate::support::*;
use mqttfast::broker::{Counters, Found, Report, SessionReport, SubscriptionReport, Survey};
use mqttfast::config::{ListenerSettings, Settings};
use mqttfast::limits;
use mqttfast::time::Time;
use std::collections::{BTreeMap, BTreeSet};

const BOTH: &[Version] = &[Version::V311, Version::V5];

/// All pages of a survey of one shard; `between` is called before each page but the first.
fn pages(
    world: &mut World,
    shard: usize,
    survey: Survey,
    mut between: impl FnMut(&mut World, usize),
) -> Vec<Report> {
    let mut reports = vec![world.ask(shard, survey)];
    while let Some(next) = reports.last_mut().and_then(|report| report.next.take()) {
        between(world, reports.len());
        reports.push(world.ask(shard, next));
        assert!(reports.len() < 10_000, "the survey has no end");
    }
    for report in &reports {
        assert_eq!(report.shard.index(), shard);
    }
    reports
}

fn sessions(reports: Vec<Report>) -> Vec<SessionReport> {
    let of = |report: Report| match report.found {
        Found::Sessions(page) => page,
        other => panic!("{other:?}"),
    };
    reports.into_iter().flat_map(of).collect()
}

fn subscriptions(reports: Vec<Report>) -> Vec<SubscriptionReport> {
    let of = |report: Report| match report.found {
        Found::Subscriptions(page) => page,
        other => panic!("{other:?}"),
    };
    reports.into_iter().flat_map(of).collect()
}

fn topics(reports: Vec<Report>) -> Vec<String> {
    let of = |report: Report| match report.found {
        Found::Retained(page) => page,
        other => panic!("{other:?}"),
    };
    let name = |entry: mqttfast::broker::RetainedReport| entry.topic.into_string();
    reports.into_iter().flat_map(of).map(name).collect()
}

/// Entries by name; each comes once.
#[track_caller]
fn once<T: Ord + std::fmt::Debug>(all: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    for entry in all {
        let shown = format!("{entry:?}");
        assert!(set.insert(entry), "{shown} came twice");
    }
    set
}

fn in_all_shards(
    world: &mut World,
    mut survey: impl FnMut(&mut World, usize) -> Vec<Report>,
) -> Vec<Report> {
    (0..world.shards())
        .flat_map(|shard| survey(world, shard))
        .collect()
}

#[test]
fn sums_are_what_is_there() {
    each(BOTH, |world, version| {
        let reader = world.connect(&connect(version, "reader"));
        world.subscribe(reader, "a/+", 1);
        world.subscribe(reader, "$share/g/b", 1);
        let away = world.connect(&connect(version, "away").persistent());
        world.subscribe(away, "a/#", 1);
        world.drop_connection(away);
        let writer = world.connect(&connect(version, "writer"));
        world.publish(writer, &publish("a/x", "12345").qos(1, 1).retain());
        world.open(version);
        let shards = world.shards();
        let all = in_all_shards(world, |world, shard| vec![world.ask(shard, Survey::sums())]);
        let sums: Vec<_> = all
            .into_iter()
            .map(|report| {
                assert!(report.next.is_none());
                match report.found {
                    Found::Sums(sums) => *sums,
                    other => panic!("{other:?}"),
                }
            })
            .collect();
        let sum = |of: fn(&mqttfast::broker::Sums) -> usize| sums.iter().map(of).sum::<usize>();
        assert_eq!(sum(|sums| sums.connections), 3);
        assert_eq!(sum(|sums| sums.sessions), 3);
        assert_eq!(sum(|sums| sums.subscriptions), 3);
        assert_eq!(sum(|sums| sums.retained), shards);
        assert_eq!(sum(|sums| sums.counters.messages_received as usize), 1);
        assert_eq!(sum(|sums| sums.counters.connects as usize), 3);
        assert!(sum(|sums| sums.queued_bytes as usize) >= 5);
    });
}

/// What `$SYS` and `/metrics` tell of.
#[test]
fn messages_are_counted_as_they_come_cross_and_leave() {
    each(BOTH, |world, version| {
        let reader = world.connect(&connect(version, "reader"));
        world.subscribe(reader, "a", 1);
        let writer = world.connect(&connect(version, "writer"));
        world.publish(writer, &publish("a", "1234").qos(1, 1));
        // Alike, so they may be handled as one, and the other one is alone.
        let run = publish("a", "xyz").bytes(version).repeat(3);
        world.send(writer, run);
        world.send(writer, publish("a", "xyz").bytes(version));
        world.settle();
        assert_eq!(world.texts(reader), ["1234", "xyz", "xyz", "xyz", "xyz"]);
        let mut counters = Counters::default();
        for shard in 0..world.shards() {
            counters.add(world.shard(shard).counters());
        }
        let (count, bytes) = (5, 4 + 4 * 3);
        assert_eq!(
            (counters.messages_received, counters.payload_bytes_received),
            (count, bytes)
        );
        assert_eq!(
            (counters.messages_sent, counters.payload_bytes_sent),
            (count, bytes)
        );
        let crosses = world.place(reader) != world.place(writer);
        assert_eq!(counters.messages_crossed, u64::from(crosses) * count);
    });
}

#[test]
fn sessions_that_expire_are_counted() {
    each(&[Version::V5], |world, version| {
        let away = connect(version, "away").persistent().expiry(5);
        let away = world.connect(&away);
        world.drop_connection(away);
        let brief = world.connect(&connect(version, "brief"));
        world.drop_connection(brief);
        world.advance(20_000);
        let shards = 0..world.shards();
        let expired = shards.map(|shard| world.shard(shard).counters().expired);
        // The other one ended with its connection.
        assert_eq!(expired.sum::<u64>(), 1);
    });
}

#[test]
fn a_session_is_reported_with_its_connection_and_what_waits_for_it() {
    // A name is a user's where it is checked.
    let with_passwords = Settings::with_listener(ListenerSettings {
        passwords: true,
        ..ListenerSettings::default()
    });
    each_with(BOTH, &with_passwords, |world, version| {
        world.allow_user("alice", b"secret");
        let start = world.now();
        let here = connect(version, "here").keep_alive(60).user(b"alice");
        let here = world.connect(&here.password(b"secret"));
        world.advance(1_000);
        world.subscribe(here, "a/+", 1);
        world.subscribe(here, "$share/g/b", 0);
        let away = world.connect(&connect(version, "away").persistent());
        world.subscribe(away, "a/#", 1);
        world.drop_connection(away);
        let writer = world.connect(&connect(version, "writer"));
        world.publish(writer, &publish("a/x", "12345").qos(1, 1));
        let all = in_all_shards(world, |world, shard| {
            pages(world, shard, Survey::sessions(), |_, _| {})
        });
        let all: BTreeMap<String, SessionReport> = sessions(all)
            .into_iter()
            .map(|report| (report.client_id.to_string(), report))
            .collect();
        assert_eq!(all.len(), 3);
        let found = &all["here"];
        assert_eq!(found.user_name.as_deref(), Some("alice"));
        assert_eq!((found.subscriptions, found.ends), (2, Time::NEVER));
        assert_eq!(
            (found.queued, found.queued_bytes, found.in_flight),
            (0, 0, 1)
        );
        let connection = found.connection.expect("it is here");
        assert_eq!(format!("{:?}", connection.version), format!("{version:?}"));
        assert_eq!((connection.since, connection.keep_alive_s), (start, 60));
        assert_eq!(connection.unsent_bytes, 0);
        let sent = subscribe(version, 1, &[("a/+", 1)]).len()
            + subscribe(version, 1, &[("$share/g/b", 0)]).len();
        assert_eq!(connection.received_bytes, sent as u64);
        assert_eq!(connection.sent_bytes, world.raw(here).len() as u64);
        let found = &all["away"];
        assert_eq!((&found.user_name, found.connection), (&None, None));
        assert_eq!((found.queued, found.in_flight), (1, 0));
        assert!(found.queued_bytes >= 5);
        assert_eq!(
            (all["writer"].subscriptions, all["writer"].in_flight),
            (0, 0)
        );
    });
}

/// Sessions, subscriptions and retained messages come and go between pages of every size; what stays is reported once.
#[test]
fn what_stays_is_reported_once_whatever_changes_between_pages() {
    for (shards, seed) in [(1, 1), (1, 2), (2, 3), (2, 4)] {
        for page in [1, 2, 3, 7, limits::SURVEY_ITEMS_MAX] {
            let mut random = Random::new(seed);
            let mut world = World::new(shards);
            let version = Version::V5;
            let mut stable = BTreeSet::new();
            let (mut kept_topics, mut kept_ids) = (BTreeSet::new(), BTreeSet::new());
            let mut changing = Vec::new();
            for n in 0..24 {
                let id = format!("c{n}");
                let client = world.connect(&connect(version, &id));
                let stays = n % 3 != 0;
                for m in 0..=random.below(4) {
                    let shared = m == 1;
                    let filter = format!("{}f{n}/{m}/+", if shared { "$share/g/" } else { "" });
                    world.subscribe(client, &filter, 1);
                    if stays {
                        stable.insert((id.clone(), filter));
                    }
                }
                let topic = format!("f{}/{n}", n % 5);
                world.publish(client, &publish(&topic, "x").qos(1, 1).retain());
                if stays {
                    kept_topics.insert(topic);
                    kept_ids.insert(id);
                } else {
                    changing.push(n);
                }
            }
            let busy = world.connect(&connect(version, "busy"));
            let mut round = 0;
            // One change of each kind; the clients whose number is a multiple of 3 are replaced, their filters and
            // topics too.
            let mut change = |world: &mut World, at: usize| {
                round += 1;
                let n = changing[at % changing.len()];
                world.connect(&connect(version, &format!("c{n}")));
                let fresh = world.connect(&connect(version, &format!("new{round}")));
                world.subscribe(fresh, &format!("f{}/new", round % 24), 1);
                world.subscribe(busy, &format!("busy/{round}"), 0);
                if round > 1 {
                    world.unsubscribe(busy, &format!("busy/{}", round - 1));
                }
                let gone = publish(&format!("f{}/{n}", n % 5), "").qos(1, 1).retain();
                world.publish(busy, &gone);
                let new = publish(&format!("f{}/new{round}", round % 5), "x").qos(1, 1);
                world.publish(busy, &new.retain());
                if round % 2 == 0 {
                    world.disconnect(fresh);
                }
            };
            let survey = |world: &mut World,
                          survey: fn() -> Survey,
                          change: &mut dyn FnMut(&mut World, usize)| {
                in_all_shards(world, |world, shard| {
                    // Changes stop after a while, or each page could be followed by as much as it held.
                    let few = |world: &mut World, at: usize| {
                        if at < 60 {
                            change(world, at);
                        }
                    };
                    pages(world, shard, survey().in_pages_of(page), few)
                })
            };
            let found = once(
                sessions(survey(&mut world, Survey::sessions, &mut change))
                    .into_iter()
                    .map(|s| s.client_id.into_string()),
            );
            assert!(
                found.is_superset(&kept_ids),
                "{:?}",
                kept_ids.difference(&found)
            );
            // A filter taken away and asked for again meanwhile is another one: it may come twice, what stays may not.
            let found = subscriptions(survey(&mut world, Survey::subscriptions, &mut change));
            let found = found
                .into_iter()
                .map(|s| (s.client_id.into_string(), s.filter.into_string()));
            let found = once(found.filter(|entry| stable.contains(entry)));
            assert_eq!(found, stable);
            for shard in 0..shards {
                let few = |world: &mut World, at: usize| {
                    if at < 60 {
                        change(world, at);
                    }
                };
                let all = topics(pages(
                    &mut world,
                    shard,
                    Survey::retained().in_pages_of(page),
                    few,
                ));
                let found = once(all.into_iter().filter(|topic| kept_topics.contains(topic)));
                assert_eq!(found, kept_topics);
            }
        }
    }
}

#[test]
fn a_subscription_is_reported_with_its_options() {
    let mut world = World::new(1);
    let client = world.connect(&connect(Version::V5, "c"));
    world.send(client, subscribe(Version::V5, 1, &[("a/+", 0x2d)]));
    world.subscribe(client, "$share/g/b/#", 1);
    world.settle();
    let all = subscriptions(pages(&mut world, 0, Survey::subscriptions(), |_, _| {}));
    assert_eq!(all.len(), 2);
    let options = all[0].options.expect("a subscription of its own");
    assert_eq!((&*all[0].filter, options.qos as u8), ("a/+", 1));
    assert!(options.no_local && options.retain_as_published);
    assert_eq!((&*all[1].filter, all[1].options), ("$share/g/b/#", None));
}

#[test]
fn retained_messages_that_are_deleted_or_expired_are_not_reported() {
    for shards in [1, 2] {
        let mut world = World::new(shards);
        let client = world.connect(&connect(Version::V5, "c"));
        for (topic, payload) in [("a", "x"), ("b", "x"), ("b", ""), ("$x/y", "123")] {
            world.publish(client, &publish(topic, payload).qos(1, 1).retain());
        }
        let dying = publish("dying", "x").qos(1, 1).retain();
        world.publish(client, &dying.with(message_expiry(2)));
        for shard in 0..shards {
            let all = topics(pages(&mut world, shard, Survey::retained(), |_, _| {}));
            assert_eq!(
                once(all),
                BTreeSet::from(["$x/y", "a", "dying"].map(String::from))
            );
        }
        world.advance(2_500);
        for shard in 0..shards {
            let all = topics(pages(&mut world, shard, Survey::retained(), |_, _| {}));
            assert_eq!(once(all), BTreeSet::from(["$x/y", "a"].map(String::from)));
        }
    }
}

/// A page is bounded in entries, in slots looked at, and in bytes of names.
#[test]
fn a_page_is_bounded_whatever_the_shard_holds() {
    let mut world = World::new(1);
    world.unchecked = true;
    let count: usize = 3_000;
    let clients: Vec<Client> = (0..count)
        .map(|n| world.connect(&connect(Version::V311, &format!("c{n}"))))
        .collect();
    let reports = pages(
        &mut world,
        0,
        Survey::sessions().in_pages_of(1_000_000),
        |_, _| {},
    );
    assert_eq!(reports.len(), count.div_ceil(limits::SURVEY_ITEMS_MAX));
    assert_eq!(
        once(sessions(reports).into_iter().map(|s| s.client_id)).len(),
        count
    );
    for client in &clients[..count - 1] {
        world.disconnect(*client);
    }
    // All slots but the last are empty: the pages are, too.
    let reports = pages(&mut world, 0, Survey::sessions(), |_, _| {});
    assert_eq!(reports.len(), count.div_ceil(limits::SURVEY_STEPS_MAX));
    let all = sessions(reports);
    assert_eq!((all.len(), &*all[0].client_id), (1, "c2999"));

    let long = "x".repeat(20_000);
    let topics_of = ["a", "b", "c", "d", "e", "f"].map(|name| format!("{long}{name}"));
    for topic in &topics_of {
        let keep = publish(topic, "x").qos(1, 1).retain();
        world.publish(clients[count - 1], &keep);
    }
    let reports = pages(&mut world, 0, Survey::retained(), |_, _| {});
    for report in &reports {
        let Found::Retained(page) = &report.found else {
            panic!("{report:?}");
        };
        let bytes: usize = page.iter().map(|entry| entry.topic.len()).sum();
        assert!(bytes < limits::SURVEY_BYTES_MAX + 20_001, "{bytes}");
    }
    assert!(reports.len() >= 2);
    assert_eq!(once(topics(reports)), BTreeSet::from(topics_of));
}

/// Sums of one shard, asked for page by page; and how many pages that took.
fn statistics(world: &mut World, shard: usize) -> (mqttfast::broker::Statistics, usize) {
    let mut reports = pages(world, shard, Survey::statistics(), |_, _| {});
    let count = reports.len();
    let last = reports.pop().expect("a last page");
    for report in reports {
        assert!(matches!(report.found, Found::Counting), "{report:?}");
    }
    match last.found {
        Found::Sums(sums) => (sums.statistics.expect("they were asked for"), count),
        other => panic!("{other:?}"),
    }
}

/// However many Sessions a shard has, it looks at a bounded number of them at a time.
#[test]
fn statistics_are_counted_a_page_at_a_time() {
    let mut world = World::new(1);
    world.unchecked = true;
    let version = Version::V311;
    assert_eq!(statistics(&mut world, 0).1, 1);
    let away = limits::SURVEY_STEPS_MAX + 3;
    for index in 0..away {
        let name = format!("away-{index}");
        let client = world.connect(&connect(version, &name).persistent());
        world.subscribe(client, "a", 1);
        world.drop_connection(client);
    }
    let writer = world.connect(&connect(version, "writer"));
    let slow = world.connect(&connect(version, "slow"));
    world.subscribe(slow, "a", 0);
    world.read_slowly(slow);
    for packet_id in 1..=2 {
        world.publish(writer, &publish("a", "12345").qos(1, packet_id));
    }
    let (found, count) = statistics(&mut world, 0);
    assert_eq!(count, 2);
    assert_eq!(found.queued, 2 * away);
    let message = publish("a", "12345").bytes(version);
    assert_eq!(found.unsent_bytes, 2 * message.len());
}

fn watched(world: &mut World, shard: usize) -> mqttfast::broker::TopicsReport {
    match world.ask(shard, Survey::topics()).found {
        Found::Topics(topics) => *topics,
        other => panic!("{other:?}"),
    }
}

/// Messages to each topic and bytes of their payloads, over all shards.
fn busy(world: &mut World) -> BTreeMap<String, (u64, u64)> {
    let mut all = BTreeMap::new();
    for shard in 0..world.shards() {
        for topic in watched(world, shard).topics {
            let count: &mut (u64, u64) = all.entry(topic.topic.into_string()).or_default();
            count.0 += topic.messages;
            count.1 += topic.payload_bytes;
        }
    }
    all
}

#[test]
fn topics_are_counted_while_somebody_asks() {
    each(BOTH, |world, version| {
        let writer = world.connect(&connect(version, "writer"));
        let send = |world: &mut World, topic: &str, times: u16| {
            for packet_id in 1..=times {
                world.publish(writer, &publish(topic, "12345").qos(1, packet_id));
            }
        };
        send(world, "before", 2);
        // The first question begins it.
        assert_eq!(busy(world), BTreeMap::new());
        world.advance(1_000);
        send(world, "a/b", 3);
        send(world, "c", 1);
        let home = (0..world.shards()).map(|shard| watched(world, shard));
        let home: Vec<_> = home.collect();
        assert!(home.iter().all(|report| report.over_ms == 1_000));
        let found: Vec<_> = home.into_iter().flat_map(|report| report.topics).collect();
        let names: Vec<&str> = found.iter().map(|topic| &*topic.topic).collect();
        assert_eq!(names, ["a/b", "c"], "the busiest first");
        assert_eq!((found[0].messages, found[0].payload_bytes), (3, 15));
        // A run of packets counts each of them.
        let one = publish("run", "xyz").bytes(version);
        world.send(writer, one.repeat(20));
        assert_eq!(busy(world), [("run".to_owned(), (20, 60))].into());
        // Nobody asks for long: what comes then is not counted, and the next question begins anew.
        world.advance(limits::WATCH_MS);
        send(world, "late", 3);
        assert_eq!(busy(world), BTreeMap::new());
        send(world, "again", 1);
        assert_eq!(busy(world).len(), 1);
    });
}

#[test]
fn what_is_counted_of_topics_is_bounded() {
    let mut world = World::new(1);
    world.unchecked = true;
    let writer = world.connect(&connect(Version::V311, "writer"));
    watched(&mut world, 0);
    let many = limits::WATCH_TOPICS_MAX + 100;
    for index in 0..many {
        world.publish(writer, &publish(&format!("t/{index}"), "12"));
    }
    let found = watched(&mut world, 0);
    assert_eq!(found.topics.len(), limits::SURVEY_ITEMS_MAX);
    let told: u64 = found.topics.iter().map(|topic| topic.messages).sum();
    assert_eq!(told + found.other_messages, many as u64);
    assert_eq!(found.other_payload_bytes, 2 * found.other_messages);
    // Long names leave room for fewer.
    for index in 0..6 {
        world.publish(
            writer,
            &publish(&format!("{}{index}", "x".repeat(60_000)), ""),
        );
    }
    let found = watched(&mut world, 0);
    assert_eq!((found.topics.len(), found.other_messages), (2, 4));
}
