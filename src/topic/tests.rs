//! Both trees by example, with the specification's own names, and at their bounds.

use super::{FilterTrie, Matches, NodeId, RetainCursor, RetainStep, RetainTree};
use crate::ids::ShardId;
use crate::limits::TOPIC_LEVELS_MAX;
use crate::wire::topic::{self, TopicFilter, TopicName};

fn filter(text: &str) -> TopicFilter<'_> {
    TopicFilter::new(text).expect("a valid filter")
}

fn name(text: &str) -> TopicName<'_> {
    TopicName::new(text).expect("a valid name")
}

/// A trie of these filters, each of the subscriber that counts it.
fn trie_of(filters: &[&str]) -> FilterTrie<usize, ()> {
    let mut trie = FilterTrie::new();
    for (subscriber, text) in filters.iter().enumerate() {
        trie.subscribe(filter(text), subscriber, ());
        trie.check_invariants();
    }
    trie
}

/// The subscribers that `topic` finds, ascending.
fn found(trie: &FilterTrie<usize, ()>, topic: &str) -> Vec<usize> {
    let mut matches = Matches::new();
    trie.matches(name(topic), &mut matches);
    let mut found: Vec<_> = matches
        .local
        .iter()
        .map(|&(subscriber, ())| subscriber)
        .collect();
    found.sort_unstable();
    found
}

/// A tree in which each topic's value is its own name.
fn retained(topics: &[&str]) -> RetainTree<String> {
    let mut tree = RetainTree::new();
    for text in topics {
        assert_eq!(tree.set(name(text), text.to_string()), None);
        tree.check_invariants();
    }
    tree
}

/// The rest of a replay, in its order.
fn rest(tree: &RetainTree<String>, cursor: &mut RetainCursor) -> Vec<String> {
    let mut topics = Vec::new();
    let mut topic = String::new();
    while let Some(value) = tree.next(cursor, &mut topic) {
        assert_eq!(&topic, value);
        topics.push(std::mem::take(&mut topic));
    }
    topics
}

fn replayed(tree: &RetainTree<String>, text: &str) -> Vec<String> {
    let mut topics = rest(tree, &mut RetainTree::<String>::cursor(filter(text)));
    topics.sort_unstable();
    topics
}

#[test]
fn hash_matches_the_parent_and_any_number_of_levels() {
    let trie = trie_of(&["sport/tennis/player1/#", "sport/#", "#"]);
    assert_eq!(found(&trie, "sport/tennis/player1"), [0, 1, 2]);
    assert_eq!(found(&trie, "sport/tennis/player1/ranking"), [0, 1, 2]);
    assert_eq!(
        found(&trie, "sport/tennis/player1/score/wimbledon"),
        [0, 1, 2]
    );
    assert_eq!(found(&trie, "sport"), [1, 2]);
    assert_eq!(found(&trie, "sports"), [2]);
}

#[test]
fn plus_matches_one_level_and_an_empty_one() {
    let trie = trie_of(&["sport/tennis/+", "sport/+", "+/+", "/+", "+", "+/tennis/#"]);
    assert_eq!(found(&trie, "sport/tennis/player1"), [0, 5]);
    assert_eq!(found(&trie, "sport/tennis/player1/ranking"), [5]);
    assert_eq!(found(&trie, "sport"), [4]);
    assert_eq!(found(&trie, "sport/"), [1, 2]);
    assert_eq!(found(&trie, "/finance"), [2, 3]);
    assert_eq!(found(&trie, "/"), [2, 3]);
}

#[test]
fn wildcards_at_the_beginning_do_not_see_a_dollar() {
    let trie = trie_of(&[
        "#",
        "+/monitor/Clients",
        "$SYS/#",
        "$SYS/monitor/+",
        "+/$x",
        "a/#",
    ]);
    assert_eq!(found(&trie, "$SYS/monitor/Clients"), [2, 3]);
    assert_eq!(found(&trie, "$SYS"), [2]);
    assert_eq!(found(&trie, "$"), [0; 0]);
    assert_eq!(
        found(&trie, "a/$x"),
        [0, 4, 5],
        "only the first level is special"
    );
}

#[test]
fn empty_levels_and_capitals_are_levels_of_their_own() {
    let trie = trie_of(&[
        "a//b",
        "a/b",
        "/a/b",
        "a/b/",
        "/",
        "//",
        "A/B",
        "größe/日本",
    ]);
    for (subscriber, text) in [
        "a//b",
        "a/b",
        "/a/b",
        "a/b/",
        "/",
        "//",
        "A/B",
        "größe/日本",
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(found(&trie, text), [subscriber]);
    }
}

#[test]
fn overlapping_filters_of_one_subscriber_all_come() {
    let mut trie = FilterTrie::new();
    for (options, text) in ["a/b", "a/+", "a/#", "#"].iter().enumerate() {
        assert!(trie.subscribe(filter(text), "subscriber", options).first);
    }
    let mut matches = Matches::new();
    trie.matches(name("a/b"), &mut matches);
    let mut options: Vec<_> = matches.local.iter().map(|&(_, options)| options).collect();
    options.sort_unstable();
    assert_eq!(options, [0, 1, 2, 3]);
}

#[test]
fn a_subscription_made_again_changes_its_options() {
    let mut trie = FilterTrie::new();
    let first = trie.subscribe(filter("a/+"), 7, "old");
    assert_eq!((first.first, first.replaced), (true, None));
    let second = trie.subscribe(filter("a/+"), 7, "new");
    assert_eq!(
        (second.node, second.first, second.replaced),
        (first.node, false, Some("old"))
    );
    assert_eq!(
        (trie.subscriptions(), trie.options("a/+", 7)),
        (1, Some("new"))
    );
    assert_eq!(
        (
            trie.options("a/+", 8),
            trie.options("a", 7),
            trie.options("a/#", 7)
        ),
        (None, None, None)
    );
}

#[test]
fn what_is_not_there_cannot_be_taken_away() {
    let mut trie = trie_of(&["a/b/c", "a/+"]);
    let generation = trie.generation();
    for (text, subscriber) in [
        ("a/b", 0),
        ("a/b/c", 1),
        ("a/b/c/d", 0),
        ("x", 0),
        ("#", 0),
        ("", 0),
    ] {
        assert_eq!(trie.unsubscribe(text, subscriber), None);
        trie.remove_shard(text, ShardId(1));
    }
    for node in [0, 1, 2, 100, u32::MAX] {
        assert_eq!(trie.unsubscribe_node(NodeId(node), 9), None);
    }
    assert_eq!(trie.generation(), generation);
    trie.check_invariants();
}

#[test]
fn the_last_local_subscriber_leaves_a_node_that_another_shard_wants() {
    let mut trie = trie_of(&["a/#"]);
    trie.add_shard(filter("a/#"), ShardId(63));
    let mut matches = Matches::new();
    trie.matches(name("a"), &mut matches);
    assert_eq!(
        (matches.local.as_slice(), matches.shards),
        ([(0, ())].as_slice(), 1 << 63)
    );

    let done = trie.unsubscribe("a/#", 0).expect("it is there");
    assert!(done.last);
    let mut text = String::from("kept: ");
    trie.filter_text(done.node, &mut text);
    assert_eq!(text, "kept: a/#");
    trie.matches(name("a/b"), &mut matches);
    assert_eq!((matches.local.len(), matches.shards), (0, 1 << 63));
    assert!(trie.subscribe(filter("a/#"), 1, ()).first);

    trie.unsubscribe("a/#", 1);
    trie.remove_shard("a/#", ShardId(63));
    trie.matches(name("a/b"), &mut matches);
    assert!(matches.is_empty());
    trie.check_invariants();
}

#[test]
fn the_generation_changes_with_every_change_alone() {
    let mut trie = FilterTrie::new();
    let mut last = trie.generation();
    let mut changed = |trie: &FilterTrie<u8, u8>| {
        std::mem::replace(&mut last, trie.generation()) != trie.generation()
    };
    trie.subscribe(filter("a"), 1, 0);
    assert!(changed(&trie));
    trie.subscribe(filter("a"), 1, 1);
    assert!(changed(&trie));
    trie.add_shard(filter("a"), ShardId(1));
    assert!(changed(&trie));
    trie.add_shard(filter("a"), ShardId(1));
    assert!(!changed(&trie));
    trie.unsubscribe("a", 2);
    trie.remove_shard("a", ShardId(2));
    assert!(!changed(&trie));
    trie.unsubscribe("a", 1);
    assert!(changed(&trie));
    trie.remove_shard("a", ShardId(1));
    assert!(changed(&trie));
}

/// CVE-2019-11779: deep names overflow the stack of a broker that recurses.
#[test]
fn names_of_all_levels_allowed_are_matched_and_retained() {
    let deep = vec!["a"; TOPIC_LEVELS_MAX].join("/");
    let slashes = "/".repeat(TOPIC_LEVELS_MAX - 1);
    let pluses = vec!["+"; TOPIC_LEVELS_MAX].join("/");
    let trie = trie_of(&[&deep, &slashes, &pluses, "#", "a/#"]);
    assert_eq!(found(&trie, &deep), [0, 2, 3, 4]);
    assert_eq!(found(&trie, &slashes), [1, 2, 3]);

    let mut tree = retained(&[&deep, &slashes]);
    assert_eq!(replayed(&tree, "a/#"), [deep.as_str()]);
    assert_eq!(replayed(&tree, &pluses), [slashes.as_str(), deep.as_str()]);
    assert_eq!(
        (tree.remove(&deep), tree.remove(&slashes)),
        (Some(deep), Some(slashes))
    );
    tree.check_invariants();
}

/// Case 53 of the threats: `+/+/+/…` against deep topics. Matching level by level without a tree, or with
/// backtracking, would take 2^levels steps.
#[test]
fn a_match_visits_each_node_once_at_most() {
    let mut matches = Matches::new();
    let deep = vec!["a"; TOPIC_LEVELS_MAX].join("/");

    // 100 filters `+/+/…` of 1 to 100 levels, and as many with `#` behind: a line of nodes.
    let mut line = FilterTrie::new();
    for levels in 1..=100 {
        let pluses = vec!["+"; levels].join("/");
        line.subscribe(filter(&pluses), 0, ());
        line.subscribe(filter(&format!("{pluses}/#")), 0, ());
    }
    line.matches(name(&deep), &mut matches);
    assert_eq!((matches.local.len(), matches.visited), (100, 101));

    // All 2^10 combinations of `a` and `+`, then a level that does not come: every node, and each once.
    let mut full = FilterTrie::new();
    for combination in 0..1 << 10 {
        let levels = (0..10).map(|depth| {
            if combination >> depth & 1 == 1 {
                "+"
            } else {
                "a"
            }
        });
        let text = levels.chain(["z"]).collect::<Vec<_>>().join("/");
        full.subscribe(filter(&text), 0, ());
    }
    full.matches(name(&deep), &mut matches);
    assert_eq!((matches.local.len(), matches.visited), (0, (1 << 11) - 1));
}

#[test]
fn filters_that_differ_above_cost_nothing() {
    let mut trie = FilterTrie::new();
    for i in 0..1000 {
        trie.subscribe(filter(&format!("house/{i}/+/temperature")), i, ());
    }
    let mut matches = Matches::new();
    trie.matches(name("house/500/room/temperature"), &mut matches);
    assert_eq!(
        (matches.local.as_slice(), matches.visited),
        ([(500, ())].as_slice(), 5)
    );
    trie.matches(name("garden/500/room/temperature"), &mut matches);
    assert_eq!(matches.visited, 1);
}

#[test]
fn one_filter_of_many_subscribers_gives_them_ascending() {
    let mut trie = FilterTrie::new();
    for subscriber in (0..2000u32).rev() {
        trie.subscribe(filter("fan/out"), subscriber, subscriber);
    }
    let mut matches = Matches::new();
    trie.matches(name("fan/out"), &mut matches);
    assert!(matches.local.iter().copied().eq((0..2000).map(|s| (s, s))));
    let node = trie.subscribe(filter("fan/out"), 0, 0).node;
    for subscriber in 0..2000 {
        let done = trie
            .unsubscribe_node(node, subscriber)
            .expect("it is there");
        assert_eq!((done.node, done.last), (node, subscriber == 1999));
    }
    trie.check_invariants();
}

#[test]
fn retained_messages_are_set_replaced_and_removed() {
    let mut tree = RetainTree::new();
    assert_eq!(
        (tree.set(name("a/b"), 1), tree.set(name("a"), 2)),
        (None, None)
    );
    assert_eq!((tree.set(name("a/b"), 3), tree.len()), (Some(1), 2));
    assert_eq!(
        (tree.get("a/b"), tree.get("a"), tree.get("a/"), tree.get("")),
        (Some(&3), Some(&2), None, None)
    );
    assert_eq!(
        (tree.remove("a"), tree.remove("a"), tree.remove("a/b/c")),
        (Some(2), None, None)
    );
    assert_eq!((tree.remove("a/b"), tree.is_empty()), (Some(3), true));
    tree.check_invariants();
}

#[test]
fn a_replay_brings_what_the_filter_matches() {
    let topics = [
        "sport", "sport/", "/", "a/b", "a/c/d", "$SYS/a", "$SYS", "größe", "a/$x", "/$x",
    ];
    let tree = retained(&topics);
    let filters = [
        "#",
        "+",
        "+/+",
        "sport/#",
        "sport/+",
        "/+",
        "$SYS/#",
        "$SYS/+",
        "$SYS",
        "+/a",
        "a/#",
        "a/+/d",
        "größe/#",
        "a/b",
        "a",
        "+/#",
        "a/b/#",
        "a/b/c",
        "+/$x",
    ];
    for text in filters {
        let mut expected: Vec<_> = topics
            .iter()
            .filter(|name| topic::matches(text, name))
            .collect();
        expected.sort_unstable();
        assert!(replayed(&tree, text).iter().eq(expected), "{text}");
    }
    assert_eq!(replayed(&retained(&[]), "#"), [""; 0]);
}

#[test]
fn a_replay_goes_on_past_what_is_removed_under_it() {
    let mut tree = retained(&["a/t", "b/t", "c/t", "d/t"]);
    let mut cursor = RetainTree::<String>::cursor(filter("+/t"));
    let mut topic = String::new();
    assert_eq!(
        tree.next(&mut cursor, &mut topic).map(String::as_str),
        Some("a/t")
    );
    // Where it stands, where it goes next, and a new topic in the freed place.
    tree.remove("a/t");
    tree.remove("b/t");
    tree.set(name("e/t"), "e/t".into());
    let mut rest = rest(&tree, &mut cursor);
    rest.retain(|topic| topic != "e/t");
    assert_eq!(rest, ["c/t", "d/t"]);
    assert!(cursor.is_at_end());
}

#[test]
fn a_replay_does_not_take_a_slot_used_again_for_its_own() {
    let mut tree = retained(&["x/1/a", "x/1/b", "x/2/a", "x/2/b"]);
    let mut cursor = RetainTree::<String>::cursor(filter("x/+/+"));
    let mut topic = String::new();
    assert_eq!(
        tree.next(&mut cursor, &mut topic).map(String::as_str),
        Some("x/1/a")
    );
    // The nodes under the cursor go, and their slots are taken by topics that do not match.
    tree.remove("x/1/a");
    tree.remove("x/1/b");
    for text in ["y/1/a", "y/1/b", "y/1/c"] {
        tree.set(name(text), text.into());
    }
    assert_eq!(rest(&tree, &mut cursor), ["x/2/a", "x/2/b"]);
}

#[test]
fn a_cursor_outlives_the_tree_it_began_in() {
    let mut tree = retained(&["a/b", "a/c"]);
    let mut cursor = RetainTree::<String>::cursor(filter("a/#"));
    assert!(tree.next(&mut cursor, &mut String::new()).is_some());
    tree.remove("a/b");
    tree.remove("a/c");
    assert_eq!(tree.next(&mut cursor, &mut String::new()), None);
    assert_eq!(tree.next(&mut cursor, &mut String::new()), None);
}

#[test]
fn a_replay_pauses_when_its_work_is_used_up() {
    let topics: Vec<_> = (0..1000).map(|i| format!("{i}/x")).collect();
    let mut tree = retained(&topics.iter().map(String::as_str).collect::<Vec<_>>());
    tree.set(name("last/y"), "last/y".into());
    let mut cursor = RetainTree::<String>::cursor(filter("+/y"));
    let (mut pauses, mut topic) = (0, String::new());
    loop {
        let mut work = 100;
        match tree.step(&mut cursor, &mut topic, &mut work) {
            RetainStep::Message(value) => assert_eq!(value, "last/y"),
            RetainStep::Pause => pauses += 1,
            RetainStep::End => break,
        }
    }
    assert_eq!(topic, "last/y");
    // Each of 1001 first levels is come to, looked at, and left.
    assert!((10..=50).contains(&pauses), "{pauses}");
}

#[test]
fn an_idle_replay_is_small() {
    assert!(
        size_of::<RetainCursor>() <= 176,
        "{}",
        size_of::<RetainCursor>()
    );
}

/// `a/b` is on the way to `a/b/c`, and nobody's.
#[test]
fn a_node_on_the_way_is_no_subscription() {
    let mut trie = trie_of(&["a/b/c"]);
    assert_eq!(trie.options("a/b", 0), None);
    assert_eq!(trie.options("a/b/c", 0), Some(()));
    assert!(trie.unsubscribe("a/b", 0).is_none());
    trie.check_invariants();
    let other = trie.subscribe(filter("a/b"), 1, ()).node;
    assert_eq!(trie.options_at(other, 1), Some(()));
    assert!(trie.unsubscribe("a/b", 1).is_some());
    // The node is still there, and is nobody's again.
    assert_eq!(trie.options_at(other, 1), None);
    assert!(trie.unsubscribe_node(other, 1).is_none());
    assert_eq!(found(&trie, "a/b/c"), [0]);
}
