//! What must hold of password files, as functions of arbitrary bytes: called by the tests below with random ones and
//! by `fuzz/` with worse. They panic where it does not hold.

use super::fault::{Fault, LineFault, PasswordFileError};
use super::file::{self, Check, PasswordFile, split_line};
use super::hash::{Hash, SALT_BYTES, Scheme};
use super::tool::{Change, Refusal, check_user_name, edit};
use crate::limits;
use std::path::Path;

/// Iterations up to which a line's password is tried, so that a property takes milliseconds whatever a file asks for.
const ITERATIONS_TRIED_MAX: u32 = 100;
/// Users of a file whose passwords are tried.
const USERS_TRIED_MAX: usize = 8;
/// Bytes of a refusal beside the user name it quotes.
const SENTENCE_BYTES_MAX: usize = 1000;
/// Bytes of the longest hash there is: 64 bytes of salt and of digest in base64, and the most iterations.
const HASH_BYTES_MAX: usize = "$7$10000000$$".len() + 2 * 88;
/// What the tool writes here: the cheapest there is.
const SCHEME: Scheme = Scheme::Pbkdf2 { iterations: 1 };

/// The first line is a user name, the second a password, all that follows the text of a password file. It is taken whole, or
/// refused by a line that is there; and what the tool makes of it, given that name and password, is what was asked for.
pub fn files_are_whole_or_refused(data: &[u8]) {
    let mut parts = data.splitn(3, |&byte| byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let (user_name, password, text) = (part(), part(), part());
    let file = match PasswordFile::parse(text) {
        Ok(file) => {
            is_whole(&file, text, password);
            Some(file)
        }
        Err(fault) => {
            is_refused(fault, text);
            None
        }
    };
    upgrade_hashes_what_is_plain(text);
    if let Ok(user_name) = std::str::from_utf8(user_name) {
        set_and_delete_touch_one_user(user_name, password, text, file.as_ref());
    }
}

/// User name and the rest of each line that has one.
fn user_lines(text: &[u8]) -> Vec<(&str, &str)> {
    let lines = file::lines(text);
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
    }
}

/// A file that is taken has each of its lines' users with that line's hash, and no other.
fn is_whole(file: &PasswordFile, text: &[u8], password: &[u8]) {
    let users = user_lines(text);
    assert_eq!(file.len(), users.len());
    assert_eq!(file.is_empty(), users.is_empty());
    let mut all_cheap = !users.is_empty();
    for (index, (user_name, rest)) in users.into_iter().enumerate() {
        let hash = Hash::parse(field(rest)).expect("its line was taken");
        let written = hash.to_string();
        assert!(Hash::parse(&written).is_ok_and(|read| read == hash));
        assert!(written.len() <= HASH_BYTES_MAX);
        assert!(file.hash_of(user_name) == Some(&hash));
        all_cheap &= is_cheap(&hash);
        if index < USERS_TRIED_MAX && is_cheap(&hash) {
            let right = hash.verify(password) && !password.is_empty();
            let expected = if right {
                Check::Accepted
            } else {
                Check::WrongPassword
            };
            assert_eq!(file.check(user_name, password), expected);
        }
    }
    let nobody = "a name\nof two lines";
    assert!(file.hash_of(nobody).is_none());
    if all_cheap {
        assert_eq!(file.check(nobody, password), Check::UnknownUser);
    }
}

/// A refusal names the first line that is wrong, or both lines of a user, in one sentence of bounded length.
fn is_refused(fault: Fault, text: &[u8]) {
    let line_text = |line: u32| {
        let found = file::lines(text).find(|&(number, _)| number == line);
        found.expect("the line is there").1
    };
    let (line, quoted) = match &fault {
        Fault::Line { line, fault } => {
            for (number, text) in file::lines(text).take(*line as usize) {
                let refused = file::parse_line(text).err();
                assert_eq!(refused, (number == *line).then_some(*fault));
            }
            (*line, 0)
        }
        Fault::Duplicate {
            user_name,
            first,
            second,
        } => {
            assert!(first < second);
            for line in [*first, *second] {
                let found = split_line(line_text(line)).ok().flatten();
                assert_eq!(found.map(|(found, _)| found), Some(&**user_name));
            }
            (*second, user_name.len())
        }
        other => panic!("a text has no such fault: {other:?}"),
    };
    let _ = line_text(line);
    let path = Path::new("passwd").to_path_buf();
    let sentence = PasswordFileError { path, fault }.to_string();
    assert!(sentence.contains(&format!("line {line}:")));
    assert!(!sentence.contains('\n'));
    assert!(sentence.len() <= SENTENCE_BYTES_MAX + quoted);
}

/// `-U` keeps every user, every hash and every comment, and makes a hash of each plain password; a second time it changes
/// nothing. Or it refuses and names a line that is there.
fn upgrade_hashes_what_is_plain(text: &[u8]) {
    let change = Change::Upgrade { scheme: SCHEME };
    let new = match edit(text, &change) {
        Ok(new) => new,
        Err(Refusal::Line { line, .. } | Refusal::ColonInPassword { line }) => {
            assert!(file::lines(text).any(|(number, _)| number == line));
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
    assert_eq!(file::lines(text).count(), file::lines(&new).count());
    assert!(edit(&new, &change).is_ok_and(|again| again == new));
    match PasswordFile::parse(&new) {
        Ok(_) | Err(Fault::Duplicate { .. }) => {}
        Err(Fault::Line { fault, .. }) => assert_eq!(fault, LineFault::Argon2),
        Err(other) => panic!("a text has no such fault: {other:?}"),
    }
}

/// A user that is set has that password, one deleted is gone, and everything else in the file stays. A name is refused if
/// and only if a file would not give it back.
fn set_and_delete_touch_one_user(
    user_name: &str,
    password: &[u8],
    text: &[u8],
    old: Option<&PasswordFile>,
) {
    let hash = Hash::new(SCHEME, password, [7; SALT_BYTES]);
    let alone = PasswordFile::parse(format!("{user_name}:{hash}\n").as_bytes());
    let comes_back = alone.is_ok_and(|file| file.hash_of(user_name) == Some(&hash));
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
        let lines = file::lines(text).map(|(_, line)| line);
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
    let Some(old) = old else {
        return;
    };
    let new = PasswordFile::parse(&new).unwrap_or_else(|fault| panic!("{fault:?}"));
    let gone = PasswordFile::parse(&gone).unwrap_or_else(|fault| panic!("{fault:?}"));
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
            assert!(old.hash_of(name).is_some() && old.hash_of(name) == new.hash_of(name));
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

    /// Found by the property above: `-U` wrote the line without its blank, which made a comment of it.
    #[test]
    fn upgrade_keeps_a_user_whose_name_is_a_comment_but_for_a_blank() {
        files_are_whole_or_refused(b"\n\n #bob:secret\n");
        files_are_whole_or_refused("\n\n\u{FEFF}\u{FEFF}bob:secret\n".as_bytes());
    }

    /// Found by it too: the second line's name lost its first character as its line became the first.
    #[test]
    fn a_deleted_first_line_leaves_the_second_as_it_is() {
        let hash = Hash::new(SCHEME, b"pw", [7; SALT_BYTES]);
        let text = format!("a\npw\na:{hash}\n\u{FEFF}b:{hash}\n");
        files_are_whole_or_refused(text.as_bytes());
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
            files_are_whole_or_refused(text.as_bytes());
        }
    }
}
