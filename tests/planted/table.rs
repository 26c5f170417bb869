//! Reads `edits.txt` and applies it to the text of `src/`. The build script of this crate and `tests/layers.rs` use it
//! alike, so that a reworded line is noticed without building the copy.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Files by their path below `src/`.
pub type Tree = BTreeMap<PathBuf, String>;

pub struct Fault {
    pub name: String,
    pub what: String,
    pub edits: Vec<Edit>,
}

pub struct Edit {
    /// Its first line in the table, from 1.
    pub line: usize,
    pub find: String,
    pub put: String,
}

/// The table's faults, in its order.
pub fn parse(table: &str) -> Result<Vec<Fault>, String> {
    let mut faults: Vec<Fault> = Vec::new();
    let mut before = ' ';
    for (index, text) in table.lines().enumerate() {
        let line = index + 1;
        let kind = text.chars().next().unwrap_or('#');
        let wrong = |why: &str| Err(format!("edits.txt:{line}: {why}"));
        let rest = text.get(2..).unwrap_or_default();
        match (kind, faults.last_mut()) {
            ('#', _) => {}
            ('-' | '+', None) => return wrong("an edit belongs below the name of its fault"),
            ('-', Some(fault)) => {
                if before != '-' {
                    fault.edits.push(Edit {
                        line,
                        find: String::new(),
                        put: String::new(),
                    });
                }
                let edit = fault.edits.last_mut().expect("just pushed");
                edit.find += rest;
                edit.find.push('\n');
            }
            ('+', Some(fault)) => match fault.edits.last_mut() {
                Some(edit) if matches!(before, '-' | '+') => {
                    let asked =
                        format!("crate::planted::is(crate::planted::Fault::{})", fault.name);
                    edit.put += &rest.replace("PLANTED", &asked);
                    edit.put.push('\n');
                }
                _ => return wrong("`+` lines follow the `-` lines they stand for"),
            },
            _ => match text.split_once(": ") {
                Some((name, what)) if name.chars().all(char::is_alphanumeric) => {
                    faults.push(Fault {
                        name: name.to_owned(),
                        what: what.to_owned(),
                        edits: Vec::new(),
                    });
                }
                _ => {
                    return wrong(
                        "neither `Name: what it does` nor a line that begins with -, + or #",
                    );
                }
            },
        }
        before = kind;
    }
    for fault in &faults {
        let whole = |edit: &Edit| !edit.find.trim().is_empty() && !edit.put.is_empty();
        if fault.edits.is_empty() || !fault.edits.iter().all(whole) {
            return Err(format!(
                "edits.txt: {} has no edit, or half of one",
                fault.name
            ));
        }
    }
    Ok(faults)
}

/// Every Rust file below a folder.
pub fn tree(root: &Path) -> Tree {
    let mut files = Tree::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("readable");
                files.insert(path.strip_prefix(root).expect("below it").to_owned(), text);
            }
        }
    }
    files
}

/// Applies every edit. What is told of those that do not apply says what to do.
///
/// All snippets are looked for in the tree as it was, so that no edit can hide or feed another; two edits of one line
/// are fine as
/// long as their snippets do not overlap.
pub fn apply(faults: &[Fault], files: &mut Tree) -> Vec<String> {
    let squeezed: BTreeMap<PathBuf, Squeezed> = files
        .iter()
        .map(|(path, text)| (path.clone(), Squeezed::new(text)))
        .collect();
    let mut complaints = Vec::new();
    // Of each file: where a snippet begins and ends, and what is put there.
    let mut changes: BTreeMap<&PathBuf, Vec<(usize, usize, &Fault, &Edit)>> = BTreeMap::new();
    for fault in faults {
        for edit in &fault.edits {
            let mut places = Vec::new();
            for (path, text) in &squeezed {
                places.extend(
                    text.find(&edit.find)
                        .into_iter()
                        .map(|(from, to)| (path, from, to)),
                );
            }
            match places[..] {
                [(path, from, to)] => {
                    changes
                        .entry(path)
                        .or_default()
                        .push((from, to, fault, edit));
                }
                _ => complaints.push(complaint(fault, edit, &places)),
            }
        }
    }
    for (path, mut changes) in changes {
        changes.sort_by_key(|change| change.0);
        for pair in changes.windows(2) {
            if pair[0].1 > pair[1].0 {
                complaints.push(format!(
                    "tests/planted/edits.txt: {} (line {}) and {} (line {}) change the same place of src/{}; choose smaller snippets",
                    pair[0].2.name, pair[0].3.line, pair[1].2.name, pair[1].3.line, path.display()
                ));
            }
        }
        let text = files.get_mut(path).expect("it was read");
        for (from, to, _, edit) in changes.into_iter().rev() {
            text.replace_range(from..to, edit.put.trim_end());
        }
    }
    complaints
}

fn complaint(fault: &Fault, edit: &Edit, places: &[(&PathBuf, usize, usize)]) -> String {
    let (name, line, find) = (&fault.name, edit.line, edit.find.trim_end());
    let found = match places {
        [] => "nowhere".to_owned(),
        _ => {
            let places: Vec<String> = places
                .iter()
                .map(|(path, _, _)| format!("src/{}", path.display()))
                .collect();
            format!("{} times ({})", places.len(), places.join(", "))
        }
    };
    format!(
        "tests/planted/edits.txt:{line}: the snippet of the planted fault {name} stands {found} in src/, not once:\n{find}\n\
         If you reworded that code, reword the snippet too: it must stand in src/ exactly once (blanks and line breaks do not matter), and\n\
         its `+` lines must still make the mistake. If the rule moved into other code, plant the mistake there. The head of the table says how."
    )
}

/// A text without its white space and the commas before closing brackets, and where each byte of it stood.
struct Squeezed {
    text: String,
    stood: Vec<usize>,
}

impl Squeezed {
    fn new(whole: &str) -> Squeezed {
        let mut squeezed = Squeezed {
            text: String::new(),
            stood: Vec::new(),
        };
        for (at, character) in whole.char_indices().filter(|(_, c)| !c.is_whitespace()) {
            // `cargo fmt` puts a comma there as it breaks lines.
            if matches!(character, ')' | ']' | '}') && squeezed.text.ends_with(',') {
                squeezed.text.pop();
                squeezed.stood.pop();
            }
            squeezed.text.push(character);
            squeezed.stood.extend(at..at + character.len_utf8());
        }
        squeezed
    }

    /// Each place of a snippet, as a range of bytes of the text.
    fn find(&self, snippet: &str) -> Vec<(usize, usize)> {
        let wanted = Squeezed::new(snippet).text;
        let places = self.text.match_indices(&wanted);
        places
            .map(|(start, found)| {
                let last = start + found.len() - 1;
                (self.stood[start], self.stood[last] + 1)
            })
            .collect()
    }
}
