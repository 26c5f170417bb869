//! The house's walls, read from `src/`: which module may import which, and where sockets, clocks, atomics and unsafe
//! code live.
//!
//! Comments and a file's `#[cfg(test)]` part are not looked at.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "layers/circles.rs"]
mod circles;
#[path = "layers/page.rs"]
mod page;
#[path = "planted/table.rs"]
mod table;

/// Each top module and what it may import of the others; `x::y` allows that submodule alone.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("invariant", &[]),
    ("language", &[]),
    ("limits", &[]),
    ("ids", &["limits"]),
    ("sorted", &[]),
    ("random", &[]),
    ("time", &["limits"]),
    ("acl", &["wire::topic", "ids", "limits", "random"]),
    ("config", &["acl", "language", "limits", "ids", "random"]),
    ("wire", &["limits"]),
    ("mesh", &["limits", "ids"]),
    ("buffer", &["limits", "ids", "mesh::sync"]),
    ("budget", &["limits", "ids", "random", "buffer"]),
    (
        "topic",
        &[
            "wire::topic",
            "buffer",
            "ids",
            "random",
            "sorted",
            "time",
            "limits",
        ],
    ),
    (
        "session",
        &[
            "acl",
            "wire",
            "buffer",
            "ids",
            "sorted",
            "time",
            "limits",
            "invariant",
        ],
    ),
    (
        "broker",
        &[
            "acl",
            "session",
            "topic",
            "config",
            "wire",
            "buffer",
            "ids",
            "random",
            "sorted",
            "time",
            "limits",
            "invariant",
            "budget",
        ],
    ),
    (
        "store",
        &[
            "broker", "session", "wire", "ids", "random", "time", "limits",
        ],
    ),
    ("passwd", &["limits", "random"]),
    ("bridge", &["config", "wire", "random", "time", "limits"]),
    (
        "io",
        &[
            "acl",
            "broker",
            "store",
            "budget",
            "session",
            "wire::QoS",
            "wire::ReasonCode",
            "wire::TopicName",
            "wire::Version",
            "wire::packet_type",
            "bridge",
            "passwd",
            "config",
            "mesh",
            "buffer",
            "ids",
            "language",
            "random",
            "time",
            "limits",
        ],
    ),
];

/// Rooms inside a top module, from the lowest up: a file or folder, and the rooms before it that it may import. Of two
/// rooms a file lies in, the smaller counts. Every file of a folder named here lies in a room.
const ROOMS: &[(&str, &[&str])] = &[
    ("broker::home", &[]),
    ("broker::slots", &[]),
    ("broker::other_protocol", &[]),
    ("broker::violation", &["broker::other_protocol"]),
    ("broker::filter_refusal", &["broker::violation"]),
    ("broker::counters", &[]),
    ("broker::gone", &[]),
    ("broker::rights", &[]),
    ("broker::turn", &[]),
    ("broker::passing", &[]),
    ("broker::change", &["broker::passing"]),
    ("broker::restored", &["broker::passing"]),
    ("broker::storage", &[]),
    ("broker::order", &[]),
    ("broker::survey", &["broker::counters", "broker::storage"]),
    ("broker::parcel", &["broker::passing"]),
    (
        "broker::happening",
        &[
            "broker::counters",
            "broker::filter_refusal",
            "broker::violation",
        ],
    ),
    (
        "broker::event",
        &[
            "broker::change",
            "broker::happening",
            "broker::order",
            "broker::parcel",
            "broker::passing",
            "broker::restored",
            "broker::storage",
            "broker::survey",
            "broker::violation",
        ],
    ),
    (
        "broker::outputs",
        &[
            "broker::event",
            "broker::happening",
            "broker::parcel",
            "broker::passing",
        ],
    ),
    ("broker::restoring", &["broker::happening"]),
    ("broker::settling", &["broker::event", "broker::passing"]),
    (
        "broker::peers",
        &[
            "broker::event",
            "broker::outputs",
            "broker::passing",
            "broker::settling",
        ],
    ),
    // Who is here: never who wants what, nor what shards agreed on.
    (
        "broker::clients",
        &[
            "broker::change",
            "broker::counters",
            "broker::event",
            "broker::happening",
            "broker::outputs",
            "broker::passing",
            "broker::restored",
            "broker::rights",
            "broker::slots",
            "broker::storage",
            "broker::survey",
            "broker::other_protocol",
            "broker::violation",
        ],
    ),
    // Who wants what: never a connection, and no output.
    (
        "broker::topics",
        &[
            "broker::change",
            "broker::home",
            "broker::passing",
            "broker::slots",
        ],
    ),
    (
        "broker::pending",
        &["broker::filter_refusal", "broker::topics"],
    ),
    (
        "broker::shard",
        &[
            "broker::clients",
            "broker::counters",
            "broker::event",
            "broker::gone",
            "broker::outputs",
            "broker::peers",
            "broker::pending",
            "broker::restoring",
            "broker::rights",
            "broker::topics",
            "broker::turn",
        ],
    ),
    // The only room that sees both.
    (
        "broker::on",
        &[
            "broker::clients",
            "broker::counters",
            "broker::event",
            "broker::filter_refusal",
            "broker::happening",
            "broker::home",
            "broker::order",
            "broker::outputs",
            "broker::passing",
            "broker::peers",
            "broker::pending",
            "broker::restored",
            "broker::restoring",
            "broker::settling",
            "broker::rights",
            "broker::shard",
            "broker::other_protocol",
            "broker::survey",
            "broker::topics",
            "broker::turn",
            "broker::violation",
        ],
    ),
    ("io::clock", &[]),
    ("io::link", &["io::clock"]),
    ("io::cpu", &[]),
    ("io::disk", &[]),
    ("io::holder", &[]),
    ("io::listening", &[]),
    ("io::memory", &[]),
    ("io::start_error", &[]),
    ("io::user", &["io::start_error"]),
    ("io::words", &[]),
    ("io::helpers::zone", &[]),
    ("io::mosquitto_words", &["io::words"]),
    ("io::helpers::strftime", &["io::helpers::zone"]),
    (
        "io::helpers::destinations",
        &["io::helpers::strftime", "io::helpers::zone"],
    ),
    (
        "io::helpers::log",
        &[
            "io::words",
            "io::mosquitto_words",
            "io::helpers::destinations",
        ],
    ),
    // The store: a shard's side of it, and below the rest of it.
    ("io::store::database", &[]),
    ("io::store::inbox", &[]),
    ("io::store::journal", &[]),
    (
        "io::store::place",
        &["io::start_error", "io::store::database"],
    ),
    (
        "io::store::import",
        &["io::helpers::log", "io::store::database"],
    ),
    ("io::store::rebuild", &["io::store::database"]),
    (
        "io::store::whole",
        &["io::store::database", "io::store::rebuild"],
    ),
    ("io::store::reserve", &[]),
    (
        "io::store::keeping",
        &["io::helpers::log", "io::store::inbox", "io::store::journal"],
    ),
    // Helpers: a thread each; they speak to shards by mail alone.
    ("io::mail", &["io::link", "io::store::keeping"]),
    (
        "io::store::keeper",
        &[
            "io::clock",
            "io::helpers::log",
            "io::mail",
            "io::store::database",
            "io::store::inbox",
            "io::store::keeping",
            "io::store::rebuild",
            "io::store::reserve",
        ],
    ),
    (
        "io::store::recovery",
        &[
            "io::clock",
            "io::helpers::log",
            "io::mail",
            "io::start_error",
            "io::store::database",
            "io::store::import",
            "io::store::inbox",
            "io::store::journal",
            "io::store::keeper",
            "io::store::keeping",
            "io::store::place",
            "io::store::rebuild",
            "io::store::reserve",
            "io::store::whole",
        ],
    ),
    (
        "io::store::tool",
        &[
            "io::helpers::zone",
            "io::store::database",
            "io::store::import",
            "io::store::journal",
            "io::store::keeping",
            "io::store::place",
            "io::store::rebuild",
            "io::store::recovery",
            "io::words",
        ],
    ),
    ("io::store", &[]),
    ("io::helpers::handshakes", &["io::link", "io::mail"]),
    (
        "io::helpers::certificates",
        &["io::disk", "io::helpers::log", "io::link", "io::mail"],
    ),
    ("io::helpers::passwords", &["io::mail", "io::clock"]),
    ("io::helpers::rules", &["io::disk"]),
    ("io::helpers::recent", &[]),
    ("io::helpers::patience", &[]),
    ("io::explain", &["io::disk", "io::helpers::rules"]),
    (
        "io::migrate",
        &["io::disk", "io::helpers::rules", "io::store::import"],
    ),
    ("io::helpers::notify", &["io::mail"]),
    (
        "io::helpers::summary",
        &["io::mail", "io::helpers::log", "io::words"],
    ),
    (
        "io::helpers::bridge",
        &[
            "io::clock",
            "io::disk",
            "io::helpers::log",
            "io::helpers::recent",
            "io::helpers::summary",
            "io::link",
            "io::mail",
            "io::words",
        ],
    ),
    ("io::helpers::home_assistant", &["io::mail"]),
    (
        "io::helpers::sys",
        &[
            "io::mail",
            "io::helpers::bridge",
            "io::helpers::home_assistant",
            "io::helpers::summary",
            "io::words",
        ],
    ),
    // What operators are told.
    (
        "io::helpers::known",
        &[
            "io::clock",
            "io::helpers::bridge",
            "io::helpers::log",
            "io::helpers::recent",
            "io::helpers::summary",
            "io::mail",
        ],
    ),
    (
        "io::helpers::answers",
        &[
            "io::helpers::bridge",
            "io::helpers::known",
            "io::helpers::recent",
            "io::helpers::summary",
            "io::words",
        ],
    ),
    (
        "io::helpers::control_socket",
        &[
            "io::helpers::answers",
            "io::helpers::known",
            "io::helpers::patience",
            "io::helpers::recent",
            "io::helpers::summary",
            "io::mail",
            "io::start_error",
        ],
    ),
    (
        "io::bridge_test",
        &["io::disk", "io::helpers::bridge", "io::words"],
    ),
    // Commands that ask a running broker.
    (
        "io::console",
        &[
            "io::explain",
            "io::helpers::control_socket",
            "io::helpers::known",
            "io::helpers::zone",
            "io::words",
        ],
    ),
    (
        "io::helpers::reload",
        &[
            "io::helpers::bridge",
            "io::helpers::home_assistant",
            "io::helpers::sys",
            "io::disk",
            "io::helpers::certificates",
            "io::mail",
            "io::helpers::log",
            "io::helpers::passwords",
            "io::helpers::rules",
        ],
    ),
    (
        "io::helpers::control",
        &[
            "io::clock",
            "io::mail",
            "io::store::inbox",
            "io::helpers::log",
            "io::helpers::notify",
            "io::helpers::reload",
            "io::helpers::summary",
        ],
    ),
    ("io::helpers", &[]),
    ("io::files", &["io::start_error", "io::helpers::log"]),
    (
        "io::listener",
        &["io::start_error", "io::holder", "io::link", "io::listening"],
    ),
    // The page.
    (
        "io::helpers::http",
        &[
            "io::helpers::answers",
            "io::helpers::bridge",
            "io::helpers::known",
            "io::helpers::passwords",
            "io::helpers::patience",
            "io::helpers::recent",
            "io::helpers::summary",
            "io::helpers::sys",
            "io::link",
            "io::mail",
            "io::words",
        ],
    ),
    // A shard's thread.
    ("io::crossing", &["io::link"]),
    (
        "io::seat",
        &[
            "io::clock",
            "io::mail",
            "io::crossing",
            "io::listener",
            "io::helpers::handshakes",
            "io::helpers::log",
            "io::helpers::passwords",
            "io::helpers::recent",
            "io::helpers::sys",
        ],
    ),
    ("io::driver::kernel", &["io::listening"]),
    ("io::driver::sending", &[]),
    ("io::driver::sockets", &["io::link"]),
    ("io::driver::storing", &["io::mail", "io::store::keeping"]),
    (
        "io::driver::accept",
        &["io::driver::kernel", "io::link", "io::seat", "io::words"],
    ),
    (
        "io::driver",
        &[
            "io::crossing",
            "io::driver::accept",
            "io::driver::kernel",
            "io::driver::sockets",
            "io::driver::storing",
            "io::helpers::handshakes",
            "io::helpers::passwords",
            "io::link",
            "io::mail",
            "io::seat",
            "io::words",
        ],
    ),
    (
        "io::epoll",
        &["io::driver::kernel", "io::driver::sending", "io::listening"],
    ),
    (
        "io::uring",
        &["io::driver::kernel", "io::driver::sending", "io::listening"],
    ),
    (
        "io::host",
        &[
            "io::driver",
            "io::driver::kernel",
            "io::epoll",
            "io::mail",
            "io::seat",
            "io::uring",
        ],
    ),
    (
        "io::doctor",
        &[
            "io::console",
            "io::cpu",
            "io::disk",
            "io::helpers::bridge",
            "io::helpers::certificates",
            "io::helpers::rules",
            "io::holder",
            "io::host",
            "io::link",
            "io::listener",
            "io::memory",
            "io::store::place",
            "io::user",
            "io::words",
        ],
    ),
    (
        "io::start",
        &[
            "io::clock",
            "io::cpu",
            "io::crossing",
            "io::files",
            "io::memory",
            "io::helpers::bridge",
            "io::helpers::certificates",
            "io::helpers::control",
            "io::helpers::control_socket",
            "io::helpers::destinations",
            "io::helpers::handshakes",
            "io::helpers::home_assistant",
            "io::helpers::http",
            "io::helpers::known",
            "io::helpers::log",
            "io::helpers::notify",
            "io::helpers::passwords",
            "io::helpers::recent",
            "io::helpers::reload",
            "io::helpers::sys",
            "io::helpers::rules",
            "io::host",
            "io::listener",
            "io::listening",
            "io::disk",
            "io::mail",
            "io::seat",
            "io::start_error",
            "io::store::place",
            "io::store::recovery",
            "io::user",
        ],
    ),
];

/// Words and the only places they may stand in, as beginnings of paths below `src/`.
const LIVES_IN: &[(&str, &[&str])] = &[
    ("unsafe", &["mesh", "buffer", "io/uring"]),
    // The tail of the receive buffers' ring is shared with the kernel.
    ("atomic", &["mesh", "buffer", "io/uring/buffers.rs"]),
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
            // Beside a `tests.rs`.
            if path.file_name().is_some_and(|name| name != "tests") {
                collect(&path, paths);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            // `mod tests;` under `#[cfg(test)]`.
            if path.file_name().is_some_and(|name| name != "tests.rs") {
                paths.push(path);
            }
        }
    }
}

/// The lines up to the tests, which come last in a file; a single line for tests, such as `mod tests;`, is left out.
fn code(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let start = line.trim_start();
        if start.starts_with("#[cfg(test)]") || start.starts_with("#[cfg(all(test") {
            match lines.next() {
                Some((_, line)) if line.ends_with('{') => break,
                _ => continue,
            }
        }
        found.push((index + 1, without_comment_and_strings(line)));
    }
    found
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

/// The path of a file's module: `io/driver/inputs.rs` is `io::driver::inputs`, `io/mod.rs` is `io`.
fn module_of(path: &str) -> String {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    path.replace('/', "::")
}

/// The paths that a line of this module imports, from the crate's root: those after `crate::` and after `super::`.
fn imports_from_root(module: &str, line: &str) -> Vec<String> {
    const UP: &str = "super::";
    let mut line = line.to_owned();
    // `pub(in crate::broker)` imports nothing.
    if let Some((before, rest)) = line.split_once("(in ") {
        let after = rest.split_once(')').map_or("", |(_, after)| after);
        line = format!("{before}{after}");
    }
    while let Some(at) = line.find(UP) {
        let (mut above, mut end) = (module, at);
        while line[end..].starts_with(UP) {
            above = above.rsplit_once("::").map_or("", |(above, _)| above);
            end += UP.len();
        }
        line.replace_range(at..end, &format!("crate::{above}::"));
    }
    imports(&line)
}

/// The room that a path lies in: the longest row it begins with.
fn room_of(path: &str) -> Option<usize> {
    let holds = |room: &str| path == room || path.starts_with(&format!("{room}::"));
    (0..ROOMS.len())
        .filter(|row| holds(ROOMS[*row].0))
        .max_by_key(|row| ROOMS[*row].0.len())
}

/// Rows name only rows above them, so no circle of imports can come up between rooms.
#[test]
fn rooms_import_only_rooms_before_them() {
    for (row, (room, allowed)) in ROOMS.iter().enumerate() {
        for name in *allowed {
            let at = ROOMS.iter().position(|(room, _)| room == name);
            assert!(
                at.is_some_and(|at| at < row),
                "{room} names {name}, which is no room before it"
            );
        }
    }
    let tops: Vec<&str> = ROOMS
        .iter()
        .filter_map(|(room, _)| room.split("::").next())
        .collect();
    let mut broken = Vec::new();
    let mut used = vec![false; ROOMS.len()];
    for source in sources() {
        let module = module_of(&source.path);
        // The folder's own file declares its rooms, and passes on what the whole crate is offered.
        if !tops.contains(&module.split("::").next().unwrap()) || tops.contains(&module.as_str()) {
            continue;
        }
        let Some(row) = room_of(&module) else {
            broken.push(format!("src/{} lies in no room", source.path));
            continue;
        };
        used[row] = true;
        let (room, allowed) = ROOMS[row];
        for (number, line) in &source.lines {
            for path in imports_from_root(&module, line) {
                if !tops.contains(&path.split("::").next().unwrap()) {
                    continue;
                }
                let to = room_of(&path).map(|row| ROOMS[row].0);
                // One that climbs to a top module's own file goes round its rooms.
                let fine = module.split("::").next() != path.split("::").next()
                    || to.is_some_and(|to| to == room || allowed.contains(&to));
                if !fine {
                    broken.push(format!(
                        "src/{}:{number}: {room} imports {path}",
                        source.path
                    ));
                }
            }
        }
    }
    for (row, used) in used.iter().enumerate() {
        if !used {
            broken.push(format!("{} holds no file", ROOMS[row].0));
        }
    }
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
    let text = "use a;\n#[cfg(test)]\nmod b;\nuse c;\n#[cfg(test)]\nmod tests {\nuse d;\n}\n";
    assert_eq!(code(text), [(1, "use a;".into()), (4, "use c;".into())]);
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
    assert_eq!(module_of("io/driver/inputs.rs"), "io::driver::inputs");
    assert_eq!(module_of("io/link/mod.rs"), "io::link");
    assert_eq!(
        imports_from_root("io::driver::inputs", "use super::{Core, kernel::Kernel};"),
        ["io::driver::Core", "io::driver::kernel::Kernel"]
    );
    assert_eq!(
        imports_from_root("broker::on::will", "use super::super::shard::Shard;"),
        ["broker::shard::Shard"]
    );
    let room = |path: &str| room_of(path).map(|row| ROOMS[row].0);
    assert_eq!(room("io::driver::Core"), Some("io::driver"));
    assert_eq!(
        room("io::driver::kernel::Kernel"),
        Some("io::driver::kernel")
    );
    assert_eq!((room("io::drivers"), room("io::StartError")), (None, None));
    assert!(holds_word("unsafe {", "unsafe") && !holds_word("unsafely", "unsafe"));
    assert!(holds_word("use nix::poll", "nix::") && !holds_word("unix::poll", "nix::"));
}

/// `tests/planted` changes these lines of `src/`; whoever rewords one hears of it here, long before that crate is
/// built.
#[test]
fn every_planted_mistake_has_its_place() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let edits = fs::read_to_string(root.join("tests/planted/edits.txt")).unwrap();
    let faults = table::parse(&edits).unwrap_or_else(|why| panic!("{why}"));
    assert!(faults.iter().all(|fault| !fault.what.is_empty()));
    let complaints = table::apply(&faults, &mut table::tree(&root.join("src")));
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// A comment longer than this is not read to its end; `cargo fmt` does not break comments.
const COMMENT_COLUMNS_MAX: usize = 120;

#[test]
fn no_comment_line_is_too_long() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "fuzz", "perf"] {
        rust_files(&root.join(folder), &mut files);
    }
    assert!(files.len() > 200, "only {} files are found", files.len());
    let mut long = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().enumerate();
        for (index, line) in lines.filter(|(_, line)| line.trim_start().starts_with("//")) {
            let columns = line.chars().count();
            if columns > COMMENT_COLUMNS_MAX {
                let path = path.strip_prefix(root).unwrap().display();
                long.push(format!("{path}:{}: {columns} columns", index + 1));
            }
        }
    }
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}

/// The shard is made of owners. With more than twelve fields some of them want an owner.
#[test]
fn the_shard_has_at_most_twelve_fields() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/broker/shard.rs");
    let text = fs::read_to_string(path).expect("the shard has a file");
    let (_, behind) = text.split_once("pub struct Shard {").expect("it is there");
    let (fields, _) = behind.split_once("\n}").expect("it ends");
    let fields: Vec<&str> = fields
        .lines()
        .map(str::trim)
        .filter(|line| line.contains(':') && !line.starts_with("//"))
        .collect();
    assert!((8..=12).contains(&fields.len()), "{fields:#?}");
}

/// Every Rust file below a folder, tests too; what Cargo builds and downloads is left out.
fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                rust_files(&path, files);
            }
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
}
