//! The house's walls, read from `src/`: which module may import which, and where sockets, clocks, atomics and unsafe code live.
//!
//! Comments and a file's `#[cfg(test)]` part are not looked at.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "planted/table.rs"]
mod table;

/// Each top module and what it may import of the others; `x::y` allows that submodule alone.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("ids", &["limits"]),
    ("sorted", &[]),
    ("time", &["limits"]),
    ("config", &["limits", "ids"]),
    ("wire", &["limits"]),
    ("mesh", &["limits", "ids"]),
    ("buffer", &["limits", "ids", "mesh::sync"]),
    (
        "topic",
        &["wire::topic", "buffer", "ids", "sorted", "time", "limits"],
    ),
    (
        "session",
        &["wire", "buffer", "ids", "sorted", "time", "limits"],
    ),
    (
        "broker",
        &[
            "session", "topic", "config", "wire", "buffer", "ids", "sorted", "time", "limits",
        ],
    ),
    ("passwd", &["limits"]),
    ("acl", &["wire::topic", "limits"]),
    (
        "io",
        &[
            "broker",
            "session",
            "wire::Version",
            "wire::packet_type",
            "passwd",
            "config",
            "mesh",
            "buffer",
            "ids",
            "time",
            "limits",
        ],
    ),
];

/// Each room of `broker/`, a file or a folder, and what it may import of the others. A row names only rows above it, so there is no circle.
const BROKER_MAY_IMPORT: &[(&str, &[&str])] = &[
    ("home", &[]),
    ("random", &[]),
    ("slots", &[]),
    ("stranger", &[]),
    ("violation", &["stranger"]),
    ("counters", &[]),
    ("gone", &[]),
    ("rights", &[]),
    ("turn", &[]),
    ("passing", &[]),
    ("survey", &["counters"]),
    ("parcel", &["passing"]),
    ("happening", &["counters", "violation"]),
    (
        "event",
        &["happening", "parcel", "passing", "survey", "violation"],
    ),
    ("outputs", &["event", "happening", "parcel", "passing"]),
    ("peers", &["event", "outputs"]),
    // Who is here: never who wants what, nor what shards agreed on.
    (
        "clients",
        &[
            "counters",
            "event",
            "happening",
            "outputs",
            "passing",
            "random",
            "slots",
            "stranger",
            "violation",
        ],
    ),
    // Who wants what: never a connection, and no output.
    ("topics", &["event", "home", "passing", "slots"]),
    ("pending", &["topics", "violation"]),
    (
        "shard",
        &[
            "clients", "counters", "event", "gone", "outputs", "peers", "pending", "rights",
            "topics", "turn",
        ],
    ),
    // The only room that sees both.
    (
        "on",
        &[
            "clients",
            "counters",
            "event",
            "happening",
            "home",
            "outputs",
            "passing",
            "peers",
            "pending",
            "rights",
            "shard",
            "stranger",
            "survey",
            "topics",
            "turn",
            "violation",
        ],
    ),
];

/// Words and the only places they may stand in, as beginnings of paths below `src/`.
const LIVES_IN: &[(&str, &[&str])] = &[
    ("unsafe", &["mesh", "buffer", "io/uring"]),
    // The tail of the receive buffers' ring is shared with the kernel.
    ("atomic", &["mesh", "buffer", "io/uring/ring.rs"]),
    ("glommio", &["io/host.rs"]),
    ("io_uring", &["io/uring", "io/host.rs"]),
    ("nix::sys::socket", &["io"]),
    ("nix::sys::eventfd", &["io"]),
    ("nix::sys::signal", &["io", "passwd"]),
    ("nix::", &["io", "passwd"]),
    ("TcpStream", &["io"]),
    ("TcpListener", &["io"]),
    ("UnixStream", &["io"]),
    ("UnixDatagram", &["io"]),
    ("UdpSocket", &["io"]),
    ("async", &["io"]),
    ("await", &[]),
    ("Instant", &["io"]),
    ("SystemTime", &["io"]),
    ("std::thread", &["io", "passwd"]),
];

/// A source file: its path below `src/`, and its lines with their numbers, without comments, strings and tests.
struct Source {
    path: String,
    lines: Vec<(usize, String)>,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    assert!(paths.len() > 20, "the source tree is found");
    let source = |path: PathBuf| Source {
        lines: code(&fs::read_to_string(&path).unwrap()),
        path: path.strip_prefix(&root).unwrap().display().to_string(),
    };
    paths.into_iter().map(source).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            // `mod tests;` under `#[cfg(test)]`.
            if path.file_name().is_some_and(|name| name != "tests.rs") {
                paths.push(path);
            }
        }
    }
}

fn code(text: &str) -> Vec<(usize, String)> {
    let is_code = |line: &&str| {
        !line.trim_start().starts_with("#[cfg(test)]")
            && !line.trim_start().starts_with("#[cfg(all(test")
    };
    text.lines()
        .take_while(is_code)
        .map(without_comment_and_strings)
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .collect()
}

/// Drops what stands between double quotes on one line, and everything from `//` on.
fn without_comment_and_strings(line: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if quoted => {
                characters.next();
            }
            // `'"'` is a character.
            '\'' if !quoted && characters.peek() == Some(&'"') => {
                characters.next();
            }
            '"' => quoted = !quoted,
            '/' if !quoted && characters.peek() == Some(&'/') => break,
            _ if quoted => {}
            other => out.push(other),
        }
    }
    out
}

/// The paths after each `crate::` of a line; a group in braces is spread.
fn imports(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
            .unwrap_or(rest.len());
        let (path, rest) = rest.split_at(end);
        match rest.strip_prefix('{') {
            // `use crate::broker::{` goes on below with names of `broker`.
            Some(group) if !group.contains('}') => found.push(path.to_owned()),
            Some(group) => {
                let group = group.split('}').next().unwrap();
                found.extend(
                    group
                        .split(',')
                        .map(|name| format!("{path}{}", name.trim())),
                );
            }
            None => found.push(path.to_owned()),
        }
    }
    for path in &mut found {
        *path = path.trim_end_matches(':').to_owned();
        assert!(
            !path.is_empty(),
            "one `use` for each module, please: {line}"
        );
    }
    found
}

fn holds_word(line: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !part(before) && (word.ends_with("::") || !part(after))
    })
}

#[test]
fn modules_import_only_what_is_below_them() {
    let mut broken = Vec::new();
    for source in sources() {
        let top = source.path.split(['/', '.']).next().unwrap();
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(module, _)| *module == top) else {
            assert!(
                ["lib", "main", "options"].contains(&top),
                "no rule for {}",
                source.path
            );
            continue;
        };
        for (number, line) in &source.lines {
            for path in imports(line) {
                let module = path.split("::").next().unwrap();
                let fine = module == top
                    || allowed.iter().any(|allowed| {
                        path == *allowed || path.starts_with(&format!("{allowed}::"))
                    });
                if !fine {
                    broken.push(format!(
                        "src/{}:{number}: {top} imports {path}",
                        source.path
                    ));
                }
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// What a line of a file in `broker/` imports of the rooms there.
fn broker_imports(path: &str, line: &str) -> Vec<String> {
    let mut found: Vec<String> = imports(line)
        .into_iter()
        .filter_map(|path| path.strip_prefix("broker::").map(str::to_owned))
        .collect();
    let at_the_root = path.matches('/').count() == 1 && !path.ends_with("mod.rs");
    if let Some((_, rest)) = line.split_once("super::").filter(|_| at_the_root) {
        found.push(rest.to_owned());
    }
    let room = |path: String| {
        let end = path.find(|c: char| !c.is_alphanumeric() && c != '_');
        path[..end.unwrap_or(path.len())].to_owned()
    };
    found.into_iter().map(room).collect()
}

#[test]
fn rooms_of_the_broker_import_only_what_is_below_them() {
    let mut broken = Vec::new();
    for (at, (room, allowed)) in BROKER_MAY_IMPORT.iter().enumerate() {
        let above = |name: &&str| BROKER_MAY_IMPORT[..at].iter().any(|(room, _)| room == name);
        assert!(
            allowed.iter().all(above),
            "{room} names what is not above it"
        );
    }
    let mut rooms = 0;
    for source in sources() {
        let Some(path) = source
            .path
            .strip_prefix("broker/")
            .filter(|path| *path != "mod.rs")
        else {
            continue;
        };
        let room = path.split(['/', '.']).next().unwrap();
        let Some((_, allowed)) = BROKER_MAY_IMPORT.iter().find(|(name, _)| *name == room) else {
            panic!("no row for broker/{path}");
        };
        rooms += 1;
        for (number, line) in &source.lines {
            for import in broker_imports(&source.path, line) {
                if import != room && !allowed.contains(&&*import) {
                    broken.push(format!(
                        "src/{}:{number}: {room} imports {import}",
                        source.path
                    ));
                }
            }
        }
    }
    assert!(rooms > 40, "the rooms are found");
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn sockets_clocks_atomics_and_unsafe_code_stay_where_they_belong() {
    let mut broken = Vec::new();
    for source in sources() {
        for (number, line) in &source.lines {
            for (word, places) in LIVES_IN {
                let allowed = places.iter().any(|place| source.path.starts_with(place));
                if !allowed && holds_word(line, word) {
                    broken.push(format!("src/{}:{number}: {word}", source.path));
                }
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// Each `unsafe` block and implementation says why it is sound, in the lines right above or beside it.
#[test]
fn unsafe_code_has_its_proof() {
    const LINES_BETWEEN: usize = 8;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut broken = Vec::new();
    for source in sources() {
        let text = fs::read_to_string(root.join(&source.path)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in &source.lines {
            if !holds_word(line, "unsafe") {
                continue;
            }
            let from = number.saturating_sub(LINES_BETWEEN);
            let proof = lines[from..*number]
                .iter()
                .any(|line| line.contains("SAFETY") || line.contains("# Safety"));
            if !proof {
                broken.push(format!("src/{}:{number}", source.path));
            }
        }
    }
    assert!(
        broken.is_empty(),
        "no SAFETY comment:\n{}",
        broken.join("\n")
    );
}

#[test]
fn the_reader_of_this_test_reads() {
    assert_eq!(imports("use crate::limits::A;"), ["limits::A"]);
    assert_eq!(
        imports("f(crate::wire::topic::levels(x))"),
        ["wire::topic::levels"]
    );
    assert_eq!(
        imports("use crate::{ids, wire::QoS};"),
        ["ids", "wire::QoS"]
    );
    assert_eq!(
        imports("use crate::topic::{A, B};"),
        ["topic::A", "topic::B"]
    );
    assert_eq!(imports("use crate::broker::{"), ["broker"]);
    assert_eq!(
        without_comment_and_strings("a(\"x // y\"); // unsafe"),
        "a(); "
    );
    assert_eq!(
        broker_imports("broker/peers.rs", "use super::event::{A, B};"),
        ["event"]
    );
    assert_eq!(
        broker_imports("broker/on/will.rs", "use crate::broker::shard::Shard;"),
        ["shard"]
    );
    assert_eq!(
        broker_imports("broker/on/will.rs", "use super::large::f;"),
        [""; 0]
    );
    assert!(holds_word("unsafe {", "unsafe") && !holds_word("unsafely", "unsafe"));
    assert!(holds_word("use nix::poll", "nix::") && !holds_word("unix::poll", "nix::"));
}

/// `tests/planted` changes these lines of `src/`; whoever rewords one hears of it here, long before that crate is built.
#[test]
fn every_planted_mistake_has_its_place() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let edits = fs::read_to_string(root.join("tests/planted/edits.txt")).unwrap();
    let faults = table::parse(&edits).unwrap_or_else(|why| panic!("{why}"));
    assert!(faults.iter().all(|fault| !fault.what.is_empty()));
    let complaints = table::apply(&faults, &mut table::tree(&root.join("src")));
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
