//! What may still end the broker: each `assert!`, `expect`, `unreachable!` and the like in the rooms that a
//! Client's packets pass stands in `tests/asserts.txt` with the kind of argument why no Client can reach it.
//! `docs/security.md` explains the kinds and counts them.
//!
//! Not looked at: tests, properties, `const` assertions, and the walks over structures for tests.
//!
//!     cargo test --test asserts

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const ROOMS: [&str; 6] = ["wire", "mesh", "buffer", "topic", "session", "broker"];

/// What panics.
const WORDS: [&str; 11] = [
    "assert!(",
    "assert_eq!(",
    "assert_ne!(",
    "debug_assert!(",
    "debug_assert_eq!(",
    ".expect(",
    ".unwrap()",
    "unreachable!(",
    "panic!(",
    "todo!(",
    "unimplemented!(",
];

/// Functions that walk structures, for tests alone.
const WALKS: [&str; 5] = [
    "fn check_book(",
    "fn check_invariants(",
    "fn check_groups(",
    "fn check_queued(",
    "fn check_unaccepted(",
];

/// A place in `src/`: its file and its line, without blanks around.
type Site = (String, String);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        if path.is_dir() && name != "tests" {
            files(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" && name != "props.rs" {
            found.push(path);
        }
    }
}

/// The places of a file, in their order.
fn sites_of(text: &str) -> Vec<String> {
    let mut sites = Vec::new();
    // The indent of the `check_*` function that the line lies in.
    let mut walk: Option<usize> = None;
    let mut const_open = false;
    for line in text.lines() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if trimmed.starts_with("#[cfg(test)]") || trimmed.starts_with("#[cfg(all(test") {
            break;
        }
        if trimmed.starts_with("//") {
            continue;
        }
        if WALKS.iter().any(|walk| trimmed.contains(walk)) {
            walk = Some(indent);
        }
        if walk.is_some() {
            if trimmed == "}" && walk == Some(indent) {
                walk = None;
            }
            continue;
        }
        const_open |= trimmed.starts_with("const _: () = assert!");
        if const_open {
            const_open = !trimmed.ends_with(';');
            continue;
        }
        let starts_word = |at: usize| {
            let before = line[..at].chars().next_back();
            before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
        };
        let panics = WORDS.iter().any(|word| {
            line.match_indices(word)
                .any(|(at, _)| word.starts_with('.') || starts_word(at))
        });
        if panics {
            sites.push(trimmed.to_owned());
        }
    }
    sites
}

fn sites() -> Vec<Site> {
    let mut paths = Vec::new();
    for room in ROOMS {
        files(&root().join("src").join(room), &mut paths);
    }
    paths.sort();
    let mut sites = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("readable");
        let path = path.strip_prefix(root().join("src")).expect("below it");
        let path = path.display().to_string();
        sites.extend(sites_of(&text).into_iter().map(|site| (path.clone(), site)));
    }
    sites
}

/// The list: a line is a kind, a file, and the line of code.
fn listed() -> Vec<(String, Site)> {
    let text = fs::read_to_string(root().join("tests/asserts.txt")).expect("the list");
    let entry = |line: &str| {
        let mut parts = line.splitn(3, " | ").map(str::to_owned);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(kind), Some(path), Some(code)) => (kind, (path, code)),
            _ => panic!("tests/asserts.txt: no `kind | file | code`: {line}"),
        }
    };
    let lines = text.lines();
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(entry)
        .collect()
}

#[test]
fn each_has_an_argument() {
    let (mut found, mut argued) = (BTreeMap::new(), BTreeMap::new());
    for site in sites() {
        *found.entry(site).or_insert(0) += 1;
    }
    for (_, site) in listed() {
        *argued.entry(site).or_insert(0) += 1;
    }
    let mut wrong = Vec::new();
    for (site, count) in &found {
        if argued.get(site) != Some(count) {
            wrong.push(format!("not in the list: kind | {} | {}", site.0, site.1));
        }
    }
    for site in argued.keys().filter(|site| !found.contains_key(*site)) {
        wrong.push(format!("no longer in src/: {} | {}", site.0, site.1));
    }
    assert!(
        wrong.is_empty(),
        "tests/asserts.txt, whose head says what to do:\n{}",
        wrong.join("\n")
    );
}

/// The table of `docs/security.md`: a row for each kind, a column for each room.
#[test]
fn the_page_counts_them() {
    let mut counts: BTreeMap<String, [usize; ROOMS.len()]> = BTreeMap::new();
    for (kind, (path, _)) in listed() {
        let room = ROOMS.iter().position(|room| path.starts_with(room));
        counts.entry(kind).or_default()[room.expect("a room")] += 1;
    }
    let page = fs::read_to_string(root().join("docs/security.md")).expect("the page");
    let mut missing = Vec::new();
    for (kind, by_room) in &counts {
        let cells: Vec<String> = by_room.iter().map(usize::to_string).collect();
        let row = format!("| `{kind}` | {} |", cells.join(" | "));
        if !page.contains(&row) {
            missing.push(row);
        }
    }
    assert!(
        missing.is_empty(),
        "docs/security.md, section 4, should have these rows:\n{}",
        missing.join("\n")
    );
    let rows = page.lines().filter(|line| {
        let kind = line.split('`').nth(1);
        line.starts_with("| `") && kind.is_some_and(|kind| counts.contains_key(kind))
    });
    assert!(rows.count() >= counts.len(), "a row for each kind");
}

#[test]
fn the_reader_of_this_test_reads() {
    let text = "
        // assert!(no);
        const _: () = assert!(
            1 < 2
        );
        fn f() {
            self.assert!(x);
            let a = b.expect(\"c\");
            my_assert!(no);
        }
        pub fn check_invariants(&self) {
            assert!(no);
        }
        fn g() { unreachable!() }
        #[cfg(test)]
        mod tests { assert!(no); }
    ";
    assert_eq!(
        sites_of(text),
        [
            "self.assert!(x);",
            "let a = b.expect(\"c\");",
            "fn g() { unreachable!() }"
        ]
    );
}
