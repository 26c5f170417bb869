use super::props::verdicts_are_the_models;
use super::*;
use crate::limits;
use crate::random::SplitMix64;

/// `user client read|write name` → is it allowed, by which line.
fn ask(acl: &Acl, user: Option<&str>, client: &str, act: Act, name: &str) -> Verdict {
    acl.may(acl.standing(user, client), user, client, act, name)
}

fn acl(text: &str) -> Acl {
    Acl::parse(text.as_bytes()).unwrap_or_else(|refused| panic!("{refused}"))
}

const RULE: fn(u32) -> Verdict = |line| Verdict::Allowed(Cause::Rule { line });
const DENIED: fn(u32) -> Verdict = |line| Verdict::Refused(Cause::Rule { line });
const NO_RULE: Verdict = Verdict::Refused(Cause::NoRule);

#[test]
fn sections_patterns_and_their_order() {
    let acl = acl("\
topic read open/#
user ann
topic readwrite #
topic deny b/#
topic readwrite b/ok
topic read $SYS/#
user bert
topic  write  cellar/+/state
topic  read   cellar/+/set
pattern write device/%c/state
pattern readwrite home/%u/#
pattern deny home/%u/safe
pattern read all
user ann
topic deny late
");
    let (ann, bert) = (Some("ann"), Some("bert"));
    for (user, client, act, name, wanted) in [
        (None, "c", Act::Read, "open/x", RULE(1)),
        (None, "c", Act::Write, "open/x", NO_RULE),
        (ann, "c", Act::Write, "open/x", RULE(3)),
        (ann, "c", Act::Read, "b", DENIED(4)),
        (ann, "c", Act::Read, "b/ok", DENIED(4)),
        (ann, "c", Act::Read, "$SYS/broker/version", RULE(6)),
        (ann, "c", Act::Read, "$other/x", NO_RULE),
        (
            ann,
            "c",
            Act::Write,
            "$SYS/broker/version",
            Verdict::Refused(Cause::SysIsTheBrokers),
        ),
        // The user's own rules come before the patterns that deny.
        (ann, "c", Act::Write, "home/ann/safe", RULE(3)),
        (ann, "c", Act::Read, "late", DENIED(15)),
        (bert, "c", Act::Read, "cellar/1/set", RULE(9)),
        (bert, "c", Act::Read, "cellar/1/state", NO_RULE),
        (bert, "c", Act::Read, "cellar/set", NO_RULE),
        (bert, "c", Act::Read, "cellar/1/2/set", NO_RULE),
        (bert, "c", Act::Write, "cellar/1/state", RULE(8)),
        (bert, "c", Act::Write, "cellar/1/set", NO_RULE),
        (bert, "c", Act::Write, "device/c/state", RULE(10)),
        (bert, "d", Act::Write, "device/c/state", NO_RULE),
        (bert, "c", Act::Write, "home/bert", RULE(11)),
        (bert, "c", Act::Write, "home/bert/a/b", RULE(11)),
        (bert, "c", Act::Read, "home/bert/safe", DENIED(12)),
        (bert, "c", Act::Read, "home/ann/a", NO_RULE),
        (bert, "c", Act::Read, "all", RULE(13)),
        (bert, "c", Act::Read, "open/x", NO_RULE),
        // %u needs a user name.
        (None, "c", Act::Read, "home//a", NO_RULE),
        (Some(""), "c", Act::Read, "home//a", RULE(11)),
        (None, "c", Act::Write, "device/c/state", RULE(10)),
        (Some("carl"), "c", Act::Read, "all", RULE(13)),
        (Some("carl"), "c", Act::Read, "open/x", NO_RULE),
        (
            bert,
            "+",
            Act::Read,
            "all",
            Verdict::Refused(Cause::WildcardInName),
        ),
        (
            Some("a#"),
            "c",
            Act::Read,
            "all",
            Verdict::Refused(Cause::WildcardInName),
        ),
        // Its own rules are asked first.
        (bert, "+", Act::Read, "cellar/1/set", RULE(9)),
        // Mosquitto puts names in as text.
        (bert, "x/y", Act::Write, "device/x/y/state", RULE(10)),
        (bert, "x/y", Act::Write, "device/x/state", NO_RULE),
        (Some("u/v"), "c", Act::Read, "home/u/v/1", RULE(11)),
        (Some("u/v"), "c", Act::Read, "home/u/1", NO_RULE),
        (
            ann,
            "c",
            Act::Read,
            "$share/g/x",
            Verdict::Refused(Cause::ShareIsNoName),
        ),
    ] {
        let verdict = ask(&acl, user, client, act, name);
        assert_eq!(verdict, wanted, "{user:?} {client} {act:?} {name}");
    }
    assert_eq!(acl.rule(4).unwrap().to_string(), "topic deny b/#");
    assert_eq!(
        acl.rule(12).unwrap().to_string(),
        "pattern deny home/%u/safe"
    );
    assert!(acl.rule(2).is_none() && acl.rule(99).is_none());
}

#[test]
fn names_that_begin_with_a_dollar() {
    let acl = acl("\
topic readwrite #
topic readwrite +/broker/#
topic readwrite $own/#
topic readwrite $CONTROL/#
pattern read $SYS/broker/%c/#
pattern write $SYS/broker/connection/%c/state
");
    let ask = |act, name| ask(&acl, None, "edge", act, name);
    assert_eq!(ask(Act::Read, "$SYS/broker/version"), NO_RULE);
    assert_eq!(ask(Act::Read, "$SYS/broker/edge/x"), RULE(5));
    assert_eq!(ask(Act::Read, "$CONTROL/x"), RULE(4));
    let closed = Verdict::Refused(Cause::ControlIsTheBrokers);
    assert_eq!(ask(Act::Write, "$CONTROL/x"), closed);
    assert_eq!(
        ask(Act::Write, "$SYS/broker/connection/edge/state"),
        RULE(6)
    );
    assert_eq!(
        ask(Act::Write, "$SYS/broker/connection/other/state"),
        NO_RULE
    );
    assert_eq!(ask(Act::Write, "$own/x"), RULE(3));
    assert_eq!(ask(Act::Write, "$other/x"), NO_RULE);
    let without = |bridge, act, name| may_without_file(bridge, act, name).is_allowed();
    for bridge in [false, true] {
        assert!(without(bridge, Act::Write, "$other/x"));
        assert!(without(bridge, Act::Write, "$CONTROLS/x"));
        assert!(without(bridge, Act::Read, "$SYS/x"));
        assert!(without(bridge, Act::Read, "$CONTROL/x"));
        assert!(!without(bridge, Act::Write, "$SYS/x"));
        assert!(!without(bridge, Act::Write, "$CONTROL/x"));
        assert!(without(bridge, Act::Write, "$SYSTEM/x"));
        let state = "$SYS/broker/connection/edge/state";
        assert_eq!(without(bridge, Act::Write, state), bridge);
    }
}

#[test]
fn what_mosquitto_takes_is_taken() {
    let fine = |text: &str| acl(text).rules().len();
    assert_eq!(fine(""), 0);
    assert_eq!(fine("\r\n\n   \n# topic #\r\n"), 0);
    assert_eq!(
        fine("  topic   read   a/b  \r\ntopic a\ntopic write a b/c d"),
        3
    );
    let names = acl("user sp ace  \r\ntopic read x\nuser ann \n \ntopic y");
    assert_eq!(ask(&names, Some("sp ace"), "c", Act::Read, "x"), RULE(2));
    assert_eq!(ask(&names, Some("ann"), "c", Act::Write, "y"), RULE(5));
    // An access word alone is a topic.
    let odd = acl("topic read\ntopic deny \ntopic read \"a/b\"");
    assert_eq!(ask(&odd, None, "c", Act::Write, "read"), RULE(1));
    assert_eq!(ask(&odd, None, "c", Act::Write, "deny"), RULE(2));
    assert_eq!(ask(&odd, None, "c", Act::Read, "a/b"), NO_RULE);
    assert_eq!(ask(&odd, None, "c", Act::Read, "\"a/b\""), RULE(3));
    // `%u` and `%c` are text in `topic`.
    let text = acl("topic %u/%c");
    assert_eq!(ask(&text, None, "c", Act::Read, "%u/%c"), RULE(1));
    // An empty file closes everything.
    assert_eq!(ask(&acl(""), Some("ann"), "c", Act::Read, "x"), NO_RULE);
}

#[test]
fn lines_with_another_effect_than_they_seem_to_have_are_told() {
    let warned = |text: &str| {
        let acl = acl(text);
        let lines: Vec<u32> = acl.warnings().iter().map(|warning| warning.line).collect();
        lines
    };
    assert_eq!(
        warned("topic read a\nuser ann\npattern read %u\n#x"),
        [0u32; 0]
    );
    assert_eq!(
        warned("topic read\ntopic read \"a\"\n  # x\npattern all"),
        [1, 2, 3, 4]
    );
    assert_eq!(warned("user ann # the boss\ntopic %u"), [1, 2]);
    let deep = format!("topic a{}", "/a".repeat(limits::TOPIC_LEVELS_MAX));
    assert_eq!(warned(&deep), [1]);
    assert_eq!(acl(&deep).rules().len(), 0);
}

/// With a `deny` or a `user` among them that matches nothing, more would be open than the file says.
#[test]
fn lines_that_are_not_utf_8_are_refused_but_for_comments() {
    for line in [
        &b"user caf\xe9"[..],
        b"topic deny \xe9",
        b"pattern read \xe9/#",
        b"\xe9",
    ] {
        let text = [b"user ann\n# caf\xe9\n  # caf\xe9\n", line].concat();
        let refused = Acl::parse(&text).unwrap_err();
        assert_eq!(refused.faults[0].line, 4);
        assert!(refused.faults[0].reason.contains("not UTF-8"));
    }
}

#[test]
fn faulty_lines_are_refused_with_the_line_to_write() {
    for (line, reason, instead) in [
        ("topic\tread a", "a TAB stands", Some("topic read a")),
        ("topic read\ta", "a TAB stands", Some("topic read a")),
        ("topic \t+", "a TAB stands", Some("topic +")),
        ("topic deny a\tb", "a TAB stands", Some("topic deny a b")),
        ("user ann\tx", "a TAB stands", Some("user ann x")),
        ("topic deny a\u{1}", "a control character", None),
        ("pattern read \u{7f}%c", "a control character", None),
        ("User ann", "must be written `user`", Some("user ann")),
        (
            "TOPIC read a",
            "must be written `topic`",
            Some("topic read a"),
        ),
        ("\u{FEFF}user ann", "byte order mark", Some("user ann")),
        ("allow ann", "begins no line", None),
        ("listener 1883", "begins no line", None),
        ("//x", "begins no line", None),
        ("topic rw x", "`rw` is no right", Some("topic readwrite x")),
        (
            "topic publish x",
            "`publish` is no right",
            Some("topic write x"),
        ),
        ("topic Read x", "`Read` is no right", Some("topic read x")),
        (
            "pattern sub %c",
            "`sub` is no right",
            Some("pattern read %c"),
        ),
        (
            "topic my room/1",
            "`my` is no right",
            Some("topic readwrite my room/1"),
        ),
        (
            "topic a/# # all",
            "`a/#` is no right",
            Some("topic readwrite a/#"),
        ),
        ("topic", "needs a filter", Some("topic readwrite FILTER")),
        ("topic   ", "needs a filter", Some("topic readwrite FILTER")),
        (
            "pattern",
            "needs a filter",
            Some("pattern readwrite FILTER"),
        ),
        ("user", "needs a name", Some("user NAME")),
        ("user  ", "needs a name", Some("user NAME")),
        (
            "topic readwrite green/#  # all of it",
            "a comment must stand on a line of its own",
            Some("topic readwrite green/#"),
        ),
        ("topic read a+", "`+` must fill", None),
        ("topic read a/#/b", "`#` must be the last", None),
        (
            "topic read a #",
            "`#` must be the last",
            Some("topic read a"),
        ),
        ("topic #a", "`#` must be the last", None),
        ("pattern read %c+/a", "`+` must fill", None),
        ("topic read \0", "a NUL byte", None),
    ] {
        let text = format!("# first\n{line}\nuser ann\n");
        let Err(refused) = Acl::parse(text.as_bytes()) else {
            panic!("{line:?} is taken");
        };
        let [fault] = &refused.faults[..] else {
            panic!("{line:?}: {refused}");
        };
        assert_eq!(fault.line, 2, "{line:?}");
        assert!(fault.reason.contains(reason), "{line:?}: {fault}");
        assert_eq!(fault.write_instead.as_deref(), instead, "{line:?}");
    }
    let long = format!("topic read {}", "a".repeat(65_536));
    assert!(Acl::parse(long.as_bytes()).is_err());
    let all = "x\n".repeat(1000);
    let Err(refused) = Acl::parse(all.as_bytes()) else {
        panic!("taken")
    };
    assert_eq!(refused.faults.len(), limits::ACL_FAULTS_MAX);
    assert_eq!(refused.to_string().lines().count(), limits::ACL_FAULTS_MAX);
    let large = vec![b'\n'; limits::ACL_FILE_BYTES_MAX + 1];
    assert!(Acl::parse(&large).is_err());
}

/// A path of few levels.
fn path(chance: &mut SplitMix64, of: &[&str]) -> String {
    let levels: Vec<&str> = (0..=chance.below(4)).map(|_| chance.pick(of)).collect();
    levels.join("/")
}

/// Random files of few words, so that rules and names meet, against the plain model.
#[test]
fn verdicts_are_those_of_the_plain_model() {
    let mut chance = SplitMix64::new(1);
    for _ in 0..10_000 {
        let users = ["", "ann", "b", "a/b", "+", "$SYS", "%c", "%u"];
        let clients = ["c", "ann", "x/y", "#", "$SYS", "", "%u"];
        let words = [
            "a",
            "b",
            "ann",
            "c",
            "",
            "$SYS",
            "$a",
            "%u",
            "x",
            "connection",
            "broker",
            "state",
            "$CONTROL",
        ];
        let filters = [
            "a", "b", "ann", "+", "+", "#", "", "$SYS", "$a", "$CONTROL", "%u", "%c", "p%c",
            "%u%c", "%cq%u",
        ];
        let mut text = format!("{}\n{}\n", chance.pick(&users), chance.pick(&clients));
        let mut names: Vec<String> = (0..4).map(|_| path(&mut chance, &words)).collect();
        let wild = ["a", "b", "+", "+", "ann", "$SYS", "c"];
        let end = ["", "/#"];
        names.extend((0..2).map(|_| path(&mut chance, &wild) + end[chance.below(2)]));
        names.push("#".into());
        text.push_str(&names.join(";"));
        for _ in 0..chance.below(12) {
            let mut filter = path(&mut chance, &filters);
            // A `#` in the midst would only be refused.
            if let Some(at) = filter.find("#/") {
                filter.truncate(at + 1);
            }
            let access = chance.pick(&["", "read ", "write ", "readwrite ", "deny "]);
            let line = match chance.below(8) {
                0 | 1 => format!("user {}", chance.pick(&["ann", "b", "a/b", "$SYS"])),
                2..5 => format!("topic {access}{filter}"),
                _ => format!("pattern {access}{filter}"),
            };
            text.push('\n');
            text.push_str(&line);
        }
        verdicts_are_the_models(text.as_bytes());
    }
}

/// Bytes of a small alphabet: most such files are refused somewhere.
#[test]
fn any_bytes_are_a_table_or_refused_by_lines_that_are_there() {
    let mut chance = SplitMix64::new(2);
    let alphabet = b"topic user pattern read write deny\n\n\n#+/%uc\t\r\0\xE9\xEF\xBB\xBF;$a";
    for _ in 0..20_000 {
        let length = chance.below(120);
        let bytes: Vec<u8> = (0..length)
            .map(|_| alphabet[chance.below(alphabet.len())])
            .collect();
        verdicts_are_the_models(&bytes);
    }
}

#[test]
fn how_much_of_a_subscription_is_heard() {
    let acl = acl("\
user ann
topic readwrite #
topic deny safe/#
user bert
topic read house/+/state
topic write house/#
pattern read home/%u/#
pattern deny home/%u/x
pattern deny home/%u/y/#
pattern read all/#
");
    use Reach::{All, Nothing, Some};
    for (user, filter, wanted) in [
        ("ann", "house/#", All),
        ("ann", "safe", Nothing),
        ("ann", "safe/+", Nothing),
        ("ann", "+/a", Some),
        ("ann", "#", Some),
        ("ann", "$SYS/#", Nothing),
        ("bert", "house/kitchen/state", All),
        ("bert", "house/kitchen/set", Nothing),
        ("bert", "house/+/state", All),
        ("bert", "house/#", Some),
        ("bert", "garden/#", Nothing),
        ("bert", "home/bert/a/#", All),
        ("bert", "home/bert/#", Some),
        ("bert", "home/bert/y/#", Nothing),
        ("bert", "home/ann/a", Nothing),
        ("bert", "home/+/a", Some),
        ("carl", "all/1", All),
        ("carl", "+/1", Some),
        ("+", "all/1", Nothing),
        ("+", "all/#", Nothing),
    ] {
        let user_name = Option::Some(user);
        let standing = acl.standing(user_name, "c");
        let reach = acl.reach(standing, user_name, "c", Act::Read, filter);
        assert_eq!(reach, wanted, "{user} {filter}");
    }
}

#[test]
fn a_verdict_is_recalled_for_its_table_alone() {
    let (open, shut) = (acl("topic a"), acl("topic b"));
    let mut recall = Recall::default();
    let mut ask = |generation, acl: &Acl, name: &str| {
        let standing = acl.standing(None, "c");
        recall.may(generation, acl, standing, None, "c", Act::Write, name)
    };
    assert_eq!(ask(0, &open, "a"), RULE(1));
    assert_eq!(ask(0, &open, "a"), RULE(1));
    assert_eq!(ask(0, &open, "ab"), NO_RULE);
    assert_eq!(ask(0, &open, ""), NO_RULE);
    assert_eq!(ask(0, &open, "a"), RULE(1));
    assert_eq!(ask(1, &shut, "a"), NO_RULE);
    let long = "a".repeat(500);
    assert_eq!(ask(1, &shut, &long), NO_RULE);
    assert_eq!(ask(1, &shut, &long), NO_RULE);
}
