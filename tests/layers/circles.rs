//! No circle of imports between files of `src/`. A file that declares modules knows them by their `mod` lines, which
//! count for nothing; a name it passes on with `pub use` leads to the file the name is from.

use super::{Source, module_of, sources};
use std::collections::{BTreeMap, BTreeSet};

/// What a file imports, as paths from the crate's root.
struct Module {
    imports: Vec<String>,
    /// Names it passes on, and their paths.
    passed_on: BTreeMap<String, String>,
}

/// All code of a file as one text, so that an import may have many lines.
fn text(source: &Source) -> String {
    let lines = source.lines.iter().map(|(_, line)| line.as_str());
    lines.collect::<Vec<_>>().join("\n")
}

/// Spreads the braces of a `use`: `a::{b, c::{d, e}}` is `a::b`, `a::c::d`, `a::c::e`. The name after `as` is its last.
fn spread(tree: &str) -> Vec<(String, String)> {
    let tree = tree.trim();
    let Some((before, rest)) = tree.split_once('{') else {
        let (path, name) = tree.split_once(" as ").unwrap_or((tree, ""));
        let path = path.trim().trim_end_matches("::self").to_owned();
        let own = path.rsplit("::").next().unwrap().to_owned();
        let name = Some(name.trim()).filter(|name| !name.is_empty());
        return vec![(path, name.map_or(own, str::to_owned))];
    };
    let mut found = Vec::new();
    let (mut depth, mut part) = (0, String::new());
    for character in rest.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            _ => {}
        }
        if character == ',' && depth == 0 {
            found.extend(spread(&format!("{before}{}", part.trim())));
            part.clear();
        } else {
            part.push(character);
        }
    }
    if !part.trim().is_empty() {
        found.extend(spread(&format!("{before}{}", part.trim())));
    }
    found
}

/// A path from the crate's root, if it is one of this crate.
fn from_root(module: &str, path: &str, children: &BTreeSet<String>) -> Option<String> {
    let mut above = module;
    let mut rest = path;
    if let Some(own) = rest.strip_prefix("crate::") {
        return Some(own.to_owned());
    }
    while let Some(shorter) = rest.strip_prefix("super::") {
        above = above.rsplit_once("::").map_or("", |(above, _)| above);
        rest = shorter;
    }
    rest = rest.strip_prefix("self::").unwrap_or(rest);
    let first = rest.split("::").next().unwrap();
    if path == rest && !children.contains(&format!("{module}::{first}")) {
        return None; // Another crate's, or a name of this file.
    }
    Some(
        format!("{above}::{rest}")
            .trim_start_matches("::")
            .to_owned(),
    )
}

fn read(source: &Source, files: &BTreeSet<String>) -> Module {
    let module = module_of(&source.path);
    let mut read = Module {
        imports: Vec::new(),
        passed_on: BTreeMap::new(),
    };
    let text = text(source);
    let mut rest = String::new();
    // `use` statements first; what is left are paths in code.
    let mut tail = text.as_str();
    while let Some(at) = find_use(tail) {
        rest.push_str(&tail[..at]);
        let (statement, after) = tail[at + "use ".len()..]
            .split_once(';')
            .unwrap_or_default();
        let line = tail[..at].rsplit('\n').next().unwrap();
        let public = line.trim_start().starts_with("pub");
        for (path, name) in spread(&statement.replace('\n', " ")) {
            let Some(path) = from_root(&module, &path, files) else {
                continue;
            };
            if public {
                read.passed_on.insert(name, path);
            } else {
                read.imports.push(path);
            }
        }
        tail = after;
    }
    rest.push_str(tail);
    for start in ["crate::", "super::"] {
        for (at, _) in rest.match_indices(start) {
            let before = rest[..at].chars().next_back();
            if before.is_some_and(|c| c == ':' || c.is_alphanumeric())
                || rest[..at].ends_with("(in ")
            {
                continue;
            }
            let path = rest[at..].split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
            let path = path.into_iter().next().unwrap().trim_end_matches(':');
            read.imports.extend(from_root(&module, path, files));
        }
    }
    read
}

/// Where the next `use ` begins that is a statement.
fn find_use(text: &str) -> Option<usize> {
    let mut places = text.match_indices("use ").map(|(at, _)| at);
    places.find(|at| {
        let before = text[..*at].rsplit('\n').next().unwrap().trim();
        let restricted = before.starts_with("pub(") && before.ends_with(')');
        before.is_empty() || before == "pub" || restricted
    })
}

/// The file that a path leads to, through names that files pass on.
fn file_of(path: &str, modules: &BTreeMap<String, Module>) -> Option<String> {
    let mut path = path.to_owned();
    for _ in 0..10 {
        let mut module = path.as_str();
        while !modules.contains_key(module) {
            module = module.rsplit_once("::")?.0;
        }
        let name = path[module.len()..].trim_start_matches("::");
        let name = name.split("::").next().unwrap();
        let passed_on = &modules[module].passed_on;
        let Some(next) = passed_on.get(name) else {
            return Some(module.to_owned());
        };
        path = next.clone();
    }
    None
}

/// Files that import each other, however far round: the strongly connected parts of more than one.
fn circles(edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reach = |from: &String| {
        let mut seen = BTreeSet::new();
        let mut todo = vec![from];
        while let Some(file) = todo.pop() {
            for next in edges.get(file).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    todo.push(next);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> =
        edges.keys().map(|file| (file, reach(file))).collect();
    let mut found: BTreeSet<Vec<String>> = BTreeSet::new();
    for (file, others) in &reached {
        if others.contains(*file) {
            let back = |other: &&String| reached.get(other).is_some_and(|r| r.contains(*file));
            found.insert(others.iter().filter(back).cloned().collect());
        }
    }
    found.into_iter().collect()
}

fn edges(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let files: BTreeSet<String> = sources.iter().map(|s| module_of(&s.path)).collect();
    let modules: BTreeMap<String, Module> = sources
        .iter()
        .map(|source| (module_of(&source.path), read(source, &files)))
        .collect();
    let edges = modules.iter().map(|(file, module)| {
        let to = module.imports.iter();
        let to = to.filter_map(|path| file_of(path, &modules));
        (file.clone(), to.filter(|to| to != file).collect())
    });
    edges.collect()
}

#[test]
fn files_import_in_no_circle() {
    let found = circles(&edges(&sources()));
    assert!(found.is_empty(), "circles of imports: {found:#?}");
}

#[test]
fn a_circle_is_seen() {
    let source = |path: &str, text: &str| Source {
        path: path.to_owned(),
        lines: text.lines().map(str::to_owned).enumerate().collect(),
    };
    let circle = [
        source(
            "a/mod.rs",
            "mod b;\nmod c;\npub use b::{\n    B,\n    X as Y,\n};\nuse c::C;",
        ),
        source("a/b.rs", "use super::c::C;\nfn f(_: crate::d::D) {}"),
        source("a/c.rs", "use std::fmt;"),
        source("d.rs", "use crate::{\n    a::Y,\n    e,\n};"),
        source("e.rs", "pub(in crate::a) use crate::a::B;"),
    ];
    let edges = edges(&circle);
    assert_eq!(edges["d"], ["a::b", "e"].map(str::to_owned).into());
    assert_eq!(edges["a"], ["a::c".to_owned()].into());
    assert_eq!(circles(&edges), [["a::b", "d"].map(str::to_owned)]);
    let straight = circle.into_iter().filter(|source| source.path != "d.rs");
    assert!(circles(&super::circles::edges(&straight.collect::<Vec<_>>())).is_empty());
}
