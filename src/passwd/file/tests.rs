//! Who is let in by a file, who is not, and what its owner hears of it.

use super::*;
use crate::passwd::hash;

const ALICE: &str = "alice:$7$101$dJRVb0YElmDAtSWM$LGtgXLEgC1nJ/xzVh3QQNF4LzoAYc79t3AZ6WktAyZeu9eyDX10vVhkkMqwFwuYAdL+hQg/pZ6ah35YIfE5Xbg==";
const OLD: &str = "old:$6$PeS/X1OZ/ASKpDs/$w3n3MEI696QaTsBk12qY58as69W/BiBDNQlXlBEiTmBib5zzBb6ChmVjS1SZd8IQxbrADluvoFIZ9mE60VSQew==";

fn check(text: &str, user_name: &str, password: &str) -> Check {
    PasswordFile::parse(text.as_bytes()).check(user_name, password.as_bytes())
}

#[test]
fn known_unknown_and_wrong() {
    let text = format!("{ALICE}\n{OLD}\n");
    assert_eq!(check(&text, "alice", "secret"), Check::Accepted);
    assert_eq!(check(&text, "old", "oldpw"), Check::Accepted);
    assert_eq!(check(&text, "alice", "oldpw"), Check::WrongPassword);
    assert_eq!(check(&text, "alice", ""), Check::WrongPassword);
    assert_eq!(check(&text, "Alice", "secret"), Check::UnknownUser);
    assert_eq!(check(&text, "", "secret"), Check::UnknownUser);
    assert_eq!(check("", "alice", "secret"), Check::UnknownUser);
}

/// The stand-in of an unknown user is a true user's hash; its password must open nothing.
#[test]
fn an_unknown_user_with_the_right_password_of_another_stays_unknown() {
    for user_name in ["bob", "carol", "dave"] {
        assert_eq!(check(ALICE, user_name, "secret"), Check::UnknownUser);
    }
}

#[test]
fn an_empty_password_is_never_accepted() {
    let hash = Hash::new(Scheme::Sha512, b"", [1; 12]).unwrap();
    assert_eq!(check(&format!("u:{hash}"), "u", ""), Check::WrongPassword);
}

#[test]
fn comments_blanks_line_ends_marks_and_later_fields() {
    let text = format!(
        "\u{FEFF}# users\r\n\r\n   \t\n  {}  :more:fields\r\n#{OLD}\n {OLD}",
        ALICE.replace(':', " : ")
    );
    let file = PasswordFile::parse(text.as_bytes());
    assert_eq!((file.len(), file.skipped()), (2, 0));
    assert_eq!(file.check("alice", b"secret"), Check::Accepted);
    assert_eq!(file.check("old", b"oldpw"), Check::Accepted);
    assert!(PasswordFile::parse(b"").is_empty());
}

fn skipped(file: &PasswordFile) -> Vec<(u32, LineFault)> {
    file.faults().collect()
}

#[test]
fn a_bad_line_lets_nobody_in_and_the_others_stand() {
    let long = "u".repeat(limits::USER_NAME_BYTES_MAX + 1) + ":x";
    for (bad, expected) in [
        (&b"alice"[..], LineFault::NoColon),
        (b" # alice: on holiday", LineFault::IndentedComment),
        (b":$6$a$b", LineFault::EmptyUserName),
        (b"  :x", LineFault::EmptyUserName),
        (b"bob:", LineFault::NoPassword),
        (b"bob: ", LineFault::NoPassword),
        (b"bob::x", LineFault::NoPassword),
        (b"bob:secret", LineFault::PlainText),
        (b"b\x01b:secret", LineFault::ControlCharacter),
        (b"b\xffb:secret", LineFault::NotUtf8),
        (b"b\xc2\x85b:secret", LineFault::ControlCharacter),
        (b"bob:$7$101$dJRVb0YElmDAtSWM", LineFault::MissingField),
        (b"bob:$7$101$dJRVb0YElmDAtSWM$", LineFault::Digest),
        (long.as_bytes(), LineFault::UserNameTooLong),
    ] {
        let text = [ALICE.as_bytes(), b"\n# c\n", bad, b"\n", OLD.as_bytes()].concat();
        let file = PasswordFile::parse(&text);
        assert_eq!(skipped(&file), [(3, expected)]);
        assert_eq!((file.len(), file.skipped()), (2, 1));
        assert_eq!(file.check("alice", b"secret"), Check::Accepted);
        assert_eq!(file.check("old", b"oldpw"), Check::Accepted);
        for password in ["", "secret", "x", "$7$101$dJRVb0YElmDAtSWM"] {
            assert_eq!(file.check("bob", password.as_bytes()), Check::UnknownUser);
            assert_ne!(file.check("", password.as_bytes()), Check::Accepted);
        }
        let warnings = file.warnings(Path::new("pw"));
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].starts_with("password file pw:3 skipped"));
    }
}

/// A file cut anywhere lets in whose lines are whole, and nobody else.
#[test]
fn no_truncation_makes_another_user_or_password() {
    let text = format!("{OLD}\n{ALICE}\n");
    let full = PasswordFile::parse(text.as_bytes());
    for cut in 0..text.len() {
        let file = PasswordFile::parse(&text.as_bytes()[..cut]);
        let whole = [("old", cut >= OLD.len()), ("alice", cut >= text.len() - 1)];
        for (user, is_whole) in whole {
            let hash = full.hash_of(user).filter(|_| is_whole);
            assert!(file.hash_of(user) == hash, "{user} at {cut}");
        }
        assert_eq!(
            file.len(),
            whole.iter().filter(|(_, is_whole)| *is_whole).count()
        );
    }
}

#[test]
fn a_user_twice_is_in_with_one_hash_and_out_with_two() {
    let other = OLD.replace("old:", "alice:");
    let text = format!("# c\n{ALICE}\n{OLD}\n\n{ALICE}\n{OLD}\n");
    let file = PasswordFile::parse(text.as_bytes());
    let doubled = |first| LineFault::Doubled { first };
    assert_eq!(skipped(&file), [(5, doubled(2)), (6, doubled(3))]);
    assert_eq!(file.check("alice", b"secret"), Check::Accepted);
    assert_eq!(file.check("old", b"oldpw"), Check::Accepted);

    let file = PasswordFile::parse(format!("{ALICE}\n{OLD}\n{other}\n{ALICE}").as_bytes());
    let contradicted = |other| LineFault::Contradicted { other };
    let expected = [
        (1, contradicted(3)),
        (3, contradicted(1)),
        (4, contradicted(3)),
    ];
    assert_eq!(skipped(&file), expected);
    assert_eq!(file.check("alice", b"secret"), Check::UnknownUser);
    assert_eq!(file.check("alice", b"oldpw"), Check::UnknownUser);
    assert_eq!(file.check("old", b"oldpw"), Check::Accepted);

    // A line that lets nobody in contradicts none that does.
    let file = PasswordFile::parse(format!("alice:plain\n{ALICE}\nalice:$7$\n").as_bytes());
    assert_eq!((file.len(), file.skipped()), (1, 2));
    assert_eq!(file.check("alice", b"secret"), Check::Accepted);
    assert_eq!(file.check("alice", b"plain"), Check::WrongPassword);
}

#[test]
fn warnings_are_few_however_many_lines_are_bad() {
    let text = "bad\n".repeat(3 * limits::PASSWORD_LINES_SKIPPED_KEPT);
    let file = PasswordFile::parse(format!("{text}{ALICE}\n{ALICE}\n").as_bytes());
    let skipped = 3 * limits::PASSWORD_LINES_SKIPPED_KEPT + 1;
    assert_eq!((file.len(), file.skipped()), (1, skipped));
    assert_eq!(file.faults().count(), limits::PASSWORD_LINES_SKIPPED_KEPT);
    let warnings = file.warnings(Path::new("pw"));
    let told = limits::PASSWORD_LINES_SKIPPED_TOLD;
    assert_eq!(warnings.len(), told + 1);
    assert!(warnings[told].contains(&format!("{} more lines", skipped - told)));
    let empty = PasswordFile::parse(b"# nobody yet\n").warnings(Path::new("pw"));
    assert!(matches!(&empty[..], [one] if one.contains("mqttfast passwd pw USER")));
}

#[test]
fn users_are_gone_without_a_line_and_lost_by_a_bad_one() {
    let old = format!("{ALICE}\n{OLD}\nplain:text\n  # note\nno colon\n");
    let old = PasswordFile::parse(old.as_bytes());
    let after = |text: &str| old.successor(&PasswordFile::parse(text.as_bytes()));
    let gone = |names: &[&str]| Succession::Gone(names.iter().map(|&name| name.into()).collect());
    let lost = |names: &[&str]| Succession::Lost(names.iter().map(|&name| name.into()).collect());
    assert_eq!(after(&format!("{OLD}\nnew:plain\n{ALICE}\ncut")), gone(&[]));
    assert_eq!(after(&format!("{OLD}\n")), gone(&["alice"]));
    assert_eq!(after(&format!("{OLD}\n # {ALICE}\n")), gone(&["alice"]));
    assert_eq!(after(""), gone(&["alice", "old"]));
    // What was bad before shuts nobody out now.
    assert_eq!(
        after(&format!("{OLD}\nno colon\nplain:text")),
        gone(&["alice"])
    );
    // A line of the user's own, or one that may have been anybody's.
    assert_eq!(after(&format!("{OLD}\nalice:secret\n")), lost(&["alice"]));
    let twice = format!("{OLD}\n{ALICE}\n{}\n", OLD.replace("old:", "alice:"));
    assert_eq!(after(&twice), lost(&["alice"]));
    assert_eq!(after("alice:$7$101$dJRV"), lost(&["alice"]));
    assert_eq!(after(&format!("{OLD}\nali")), lost(&["alice"]));
    assert_eq!(after("\u{0}\u{1}"), lost(&["alice", "old"]));
}

/// Hashing is what a check costs: an unknown user's takes as much of it as a known one's, whatever the password, or
/// the answer's time would tell who is in the file.
#[test]
fn an_unknown_user_is_hashed_like_a_known_one() {
    let users = ["alice", "bob", "carol"];
    let text = users.map(|name| ALICE.replace("alice", name)).join("\n");
    let file = PasswordFile::parse(format!("{text}\ndan:plain\n").as_bytes());
    let cost = |file: &PasswordFile, user: &str, password: &[u8]| {
        let before = hash::iterations_done();
        file.check(user, password);
        hash::iterations_done() - before
    };
    for password in [&b"secret"[..], b"wrong", b""] {
        for user in users.iter().chain(&["dan", "eve", "", "ALICE"]) {
            assert_eq!(cost(&file, user, password), 101, "{user}");
        }
        let empty = PasswordFile::parse(b"");
        let default = u64::from(limits::PASSWORD_ITERATIONS_DEFAULT);
        assert_eq!(cost(&empty, "alice", password), default);
    }
}
