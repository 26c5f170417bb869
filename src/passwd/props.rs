//! What must hold of password files, as functions of arbitrary bytes: called by the tests below with random ones and
//! by `fuzz/` with worse. They panic where it does not hold.

use super::fault::LineFault;
use super::file::{Check, PasswordFile, Succession};
use super::hash::{Hash, SALT_BYTES, Scheme};
use super::lines::{self, split_line};
use super::tool::{Change, Refusal, check_user_name, edit};
use crate::limits;
use crate::random::damaged;
use std::collections::BTreeMap;
use std::path::Path;

/// Iterations up to which a line's password is tried, so that a property takes milliseconds whatever a file asks for.
const ITERATIONS_TRIED_MAX: u32 = 100;
/// Users of a file whose passwords are tried.
const USERS_TRIED_MAX: usize = 8;
/// Bytes of a warning, whatever a file holds.
const SENTENCE_BYTES_MAX: usize = 1000;
/// Bytes of the longest hash there is: 64 bytes of salt and of digest in base64, and the most iterations.
const HASH_BYTES_MAX: usize = "$7$500000$$".len() + 2 * 88;
/// What the tool writes here: the cheapest there is.
const SCHEME: Scheme = Scheme::Pbkdf2 { iterations: 1 };

/// The first line is a user name, the second a password, all that follows the text of a password file. Whole lines let
/// their users in and no other line lets anybody in; and what the tool makes of the file, given that name and password,
/// is what was asked for.
pub fn whole_lines_alone_let_in(data: &[u8]) {
    let mut parts = data.splitn(3, |&byte| byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let (user_name, password, text) = (part(), part(), part());
    let file = PasswordFile::parse(text);
    has_users_of_whole_lines(&file, text, password);
    tells_skipped_lines(&file, text);
    gives_way_to_another(&file, text);
    damage_lets_nobody_in(&file, text);
    upgrade_hashes_what_is_plain(text);
    if let Ok(user_name) = std::str::from_utf8(user_name) {
        set_and_delete_touch_one_user(user_name, password, text, &file);
    }
}

/// User name and the rest of each line that has one.
fn user_lines(text: &[u8]) -> Vec<(&str, &str)> {
    let lines = lines::lines(text);
    let users = lines.filter_map(|(_, line)| split_line(line).ok().flatten());
    users.collect()
}

/// The second field of a line, from what follows its first `:`.
fn field(rest: &str) -> &str {
    rest.split(':').next().unwrap_or(rest).trim_ascii()
}

fn is_cheap(hash: &Hash) -> bool {
    match hash.scheme() {
        Scheme::Sha512 => true,
        Scheme::Pbkdf2 { iterations } => iterations <= ITERATIONS_TRIED_MAX,
        Scheme::Argon2id(cost) => cost.memory_kib <= 64 && cost.passes <= 2,
    }
}

/// One byte put in, or written over another within a line, that belongs into no such file: each user who is there was
/// there before, with the same hash. Of two lines that contradict each other damage may leave one.
fn damage_lets_nobody_in(file: &PasswordFile, text: &[u8]) {
    let contradicted =
        |(_, fault): &(u32, LineFault)| matches!(fault, LineFault::Contradicted { .. });
    if file.faults().any(|skipped| contradicted(&skipped)) {
        return;
    }
    for damaged in damaged(text, &[0, 1, 0xFF], |_, _| true) {
        for (line, user_name, hash) in PasswordFile::parse(&damaged).users() {
            assert!(
                file.hash_of(user_name) == Some(hash),
                "line {line} lets in another user"
            );
        }
    }
}

/// Each name's user is there with the hash of the lines that have one, if these agree; nobody else is.
fn has_users_of_whole_lines(file: &PasswordFile, text: &[u8], password: &[u8]) {
    let mut hashes: BTreeMap<&str, Vec<Hash>> = BTreeMap::new();
    for (_, line) in lines::lines(text) {
        if let Ok(Some((user_name, hash))) = lines::parse_line(line) {
            hashes.entry(user_name).or_default().push(hash);
        }
    }
    let agree = |hashes: &Vec<Hash>| hashes.iter().all(|hash| *hash == hashes[0]);
    let users = hashes.values().filter(|hashes| agree(hashes)).count();
    assert_eq!(file.len(), users);
    assert_eq!(file.is_empty(), users == 0);
    let all_cheap = !file.is_empty() && hashes.values().flatten().all(is_cheap);
    for (index, (user_name, rest)) in user_lines(text).into_iter().enumerate() {
        let hash = hashes.get(user_name).filter(|hashes| agree(hashes));
        let hash = hash.map(|hashes| &hashes[0]);
        assert!(file.hash_of(user_name) == hash);
        if let Ok(read) = Hash::parse(field(rest)) {
            let written = read.to_string();
            assert!(Hash::parse(&written).is_ok_and(|again| again == read));
            assert!(written.len() <= HASH_BYTES_MAX);
        }
        let expected = match hash {
            None => Check::UnknownUser,
            Some(hash) if !is_cheap(hash) => continue,
            Some(hash) if hash.verify(password) && !password.is_empty() => Check::Accepted,
            Some(_) => Check::WrongPassword,
        };
        if index < USERS_TRIED_MAX && (hash.is_some() || all_cheap) {
            assert_eq!(file.check(user_name, password), expected);
        }
    }
    let nobody = "a name\nof two lines";
    assert!(file.hash_of(nobody).is_none());
    if all_cheap {
        assert_eq!(file.check(nobody, password), Check::UnknownUser);
    }
}

/// Every line is a comment, a user's, or skipped. Of the first that are skipped each is told: one sentence of bounded
/// length with its number.
fn tells_skipped_lines(file: &PasswordFile, text: &[u8]) {
    let parsed: Vec<_> = lines::lines(text)
        .map(|(line, text)| (line, lines::parse_line(text)))
        .collect();
    let comments = parsed.iter().filter(|(_, read)| matches!(read, Ok(None)));
    assert_eq!(comments.count() + file.len() + file.skipped(), parsed.len());
    let faults: Vec<_> = file.faults().collect();
    let kept = limits::PASSWORD_LINES_SKIPPED_KEPT;
    assert_eq!(faults.len(), file.skipped().min(kept));
    assert!(faults.is_sorted_by(|(a, _), (b, _)| a < b));
    for (line, fault) in &faults {
        let (number, read) = &parsed[*line as usize - 1];
        assert_eq!(number, line);
        match (fault, read) {
            (LineFault::Doubled { first: other }, Ok(Some((name, hash))))
            | (LineFault::Contradicted { other }, Ok(Some((name, hash)))) => {
                let Ok(Some((other_name, other_hash))) = &parsed[*other as usize - 1].1 else {
                    panic!("line {other} has a hash");
                };
                let is_doubled = matches!(fault, LineFault::Doubled { .. });
                assert!(name == other_name && (hash == other_hash) == is_doubled);
            }
            (fault, read) => assert_eq!(read.as_ref().err(), Some(fault)),
        }
    }
    let warnings = file.warnings(Path::new("passwd"));
    let told = faults.len().min(limits::PASSWORD_LINES_SKIPPED_TOLD);
    let more = usize::from(file.skipped() > told) + usize::from(file.is_empty());
    assert_eq!(warnings.len(), told + more);
    for (warning, (line, _)) in warnings.iter().zip(&faults[..told]) {
        assert!(warning.starts_with(&format!("password file passwd:{line} skipped")));
    }
    for warning in warnings {
        assert!(!warning.contains('\n') && warning.len() <= SENTENCE_BYTES_MAX);
    }
}

/// Beside a file that was cut, users are gone only if no line may have been theirs, and either way they were here and
/// are not there.
fn gives_way_to_another(file: &PasswordFile, text: &[u8]) {
    assert_eq!(file.successor(file), Succession::Gone(Vec::new()));
    for cut in [0, text.len() / 2, text.len().saturating_sub(1)] {
        let text = &text[..cut];
        let new = PasswordFile::parse(text);
        let (missing, are_gone) = match file.successor(&new) {
            Succession::Gone(names) => (names, true),
            Succession::Lost(names) => {
                assert!(!names.is_empty());
                (names, false)
            }
        };
        for name in missing {
            assert!(file.hash_of(&name).is_some() && new.hash_of(&name).is_none());
            let named = user_lines(text).iter().any(|(user, _)| **user == *name);
            // Beyond what is kept of skipped lines, nobody knows whose they were.
            let known = new.skipped() <= limits::PASSWORD_LINES_SKIPPED_KEPT;
            assert!(!(are_gone && named && known));
        }
    }
}

/// `-U` keeps every user, every hash and every comment, and makes a hash of each plain password; a second time it
/// changes nothing. Or it refuses and names a line that is there.
fn upgrade_hashes_what_is_plain(text: &[u8]) {
    let change = Change::Upgrade { scheme: SCHEME };
    let new = match edit(text, &change) {
        Ok(new) => new,
        Err(Refusal::Line { line, .. } | Refusal::ColonInPassword { line }) => {
            assert!(lines::lines(text).any(|(number, _)| number == line));
            return;
        }
        Err(Refusal::UnknownUser(_) | Refusal::Failed(_)) => panic!("nobody was named"),
    };
    let (before, after) = (user_lines(text), user_lines(&new));
    assert_eq!(before.len(), after.len());
    for ((old_name, old), (new_name, new)) in before.into_iter().zip(after) {
        assert_eq!(old_name, new_name);
        match Hash::parse(field(old)) {
            Err(LineFault::PlainText) => {
                let hash = Hash::parse(new).expect("it is hashed now");
                assert!(hash.scheme() == SCHEME && hash.verify(field(old).as_bytes()));
            }
            _ => assert_eq!(old, new),
        }
    }
    assert_eq!(lines::lines(text).count(), lines::lines(&new).count());
    assert!(edit(&new, &change).is_ok_and(|again| again == new));
    for (_, fault) in PasswordFile::parse(&new).faults() {
        assert!(matches!(
            fault,
            LineFault::Argon2
                | LineFault::Argon2Field
                | LineFault::Argon2TooMuch
                | LineFault::IndentedComment
                | LineFault::Doubled { .. }
                | LineFault::Contradicted { .. }
        ));
    }
}

/// A user that is set has that password, one deleted is gone, and everything else in the file stays. A name is refused
/// if and only if a file would not give it back.
fn set_and_delete_touch_one_user(
    user_name: &str,
    password: &[u8],
    text: &[u8],
    old: &PasswordFile,
) {
    let hash = Hash::new(SCHEME, password, [7; SALT_BYTES]).expect("no memory to speak of");
    let alone = PasswordFile::parse(format!("{user_name}:{hash}\n").as_bytes());
    let comes_back = alone.hash_of(user_name) == Some(&hash);
    assert_eq!(
        check_user_name(user_name).is_ok(),
        comes_back,
        "{user_name:?}"
    );
    if !comes_back || password.is_empty() || password.len() > limits::PASSWORD_BYTES_MAX {
        return;
    }
    let others = |text: &[u8]| -> Vec<Vec<u8>> {
        let is_other = |line: &[u8]| {
            let name = split_line(line).ok().flatten().map(|(name, _)| name);
            !line.is_empty() && name != Some(user_name)
        };
        let lines = lines::lines(text).map(|(_, line)| line);
        lines
            .filter(|line| is_other(line))
            .map(<[u8]>::to_vec)
            .collect()
    };
    let edited = |text: &[u8], change: &Change| match edit(text, change) {
        Ok(new) => new,
        Err(_) => panic!("the user is there or may be added"),
    };
    let set = Change::Set {
        user_name: user_name.to_owned(),
        hash: hash.clone(),
        create: false,
    };
    let new = edited(text, &set);
    assert_eq!(others(&new), others(text));
    assert_eq!(edited(&new, &set), new);
    let delete = Change::Delete {
        user_name: user_name.to_owned(),
    };
    let gone = edited(&new, &delete);
    assert_eq!(others(&gone), others(text));
    assert!(matches!(edit(&gone, &delete), Err(Refusal::UnknownUser(_))));
    let new = PasswordFile::parse(&new);
    let gone = PasswordFile::parse(&gone);
    assert!(new.hash_of(user_name) == Some(&hash) && gone.hash_of(user_name).is_none());
    assert_eq!(new.check(user_name, password), Check::Accepted);
    assert_eq!(new.check(user_name, b""), Check::WrongPassword);
    let longer = [password, b"x"].concat();
    assert_eq!(new.check(user_name, &longer), Check::WrongPassword);
    let was_there = usize::from(old.hash_of(user_name).is_some());
    assert_eq!(new.len(), gone.len() + 1);
    assert_eq!(new.len(), old.len() + 1 - was_there);
    for (name, _) in user_lines(text) {
        if name != user_name {
            assert!(old.hash_of(name) == new.hash_of(name));
            assert!(new.hash_of(name) == gone.hash_of(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECES: [&str; 18] = [
        "\n",
        "\n",
        "\r\n",
        ":",
        ":",
        " ",
        "#",
        "a",
        "bob",
        "\u{FEFF}",
        "\0",
        "$",
        "$6$PeS/X1OZ/ASKpDs/$w3n3MEI696QaTsBk12qY58as69W/BiBDNQlXlBEiTmBib5zzBb6ChmVjS1SZd8IQxbrADluvoFIZ9mE60VSQew==",
        "$7$101$dJRVb0YElmDAtSWM$LGtgXLEgC1nJ/xzVh3QQNF4LzoAYc79t3AZ6WktAyZeu9eyDX10vVhkkMqwFwuYAdL+hQg/pZ6ah35YIfE5Xbg==",
        "bob:$6$PeS/X1OZ/ASKpDs/$w3n3MEI696QaTsBk12qY58as69W/BiBDNQlXlBEiTmBib5zzBb6ChmVjS1SZd8IQxbrADluvoFIZ9mE60VSQew==\n",
        "$argon2id$v=19$m=47104,t=1,p=1$x$y",
        "secret",
        "ü",
    ];

    /// Found by the property above: `-U` wrote the line without its blank. Today a blank before `#` makes no user.
    #[test]
    fn upgrade_keeps_a_comment_behind_a_blank() {
        whole_lines_alone_let_in(b"\n\n #bob:secret\n");
        whole_lines_alone_let_in("\n\n\u{FEFF}\u{FEFF}bob:secret\n".as_bytes());
    }

    /// Found by it too: the second line's name lost its first character as its line became the first.
    #[test]
    fn a_deleted_first_line_leaves_the_second_as_it_is() {
        let hash = Hash::new(SCHEME, b"pw", [7; SALT_BYTES]).unwrap();
        let text = format!("a\npw\na:{hash}\n\u{FEFF}b:{hash}\n");
        whole_lines_alone_let_in(text.as_bytes());
    }

    #[test]
    fn files_made_of_pieces() {
        let mut state = 1u64;
        let mut next = || {
            // Numerical Recipes; the upper bits are the better ones.
            state = state.wrapping_mul(6_364_136_223_846_793_005);
            state = state.wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as usize
        };
        for _ in 0..2_000 {
            let mut text = ["bob\noldpw\n", "a\nb\n", "\u{FEFF}\nx\n", ""][next() % 4].to_owned();
            for _ in 0..next() % 20 {
                text.push_str(PIECES[next() % PIECES.len()]);
            }
            whole_lines_alone_let_in(text.as_bytes());
        }
    }
}
