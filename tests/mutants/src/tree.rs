//! A copy of the repository whose `src/` has the mutants in it, so that every test compiles against them as it stands.

use crate::points::Point;
use crate::render::{Rendered, render};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file's path below `src/`, and its text.
pub type Sources = BTreeMap<PathBuf, String>;

/// What the broker asks which mutant is in force.
const CHOSEN: &str = include_str!("../chosen.rs");

/// The Rust files below these folders of `root` that are no tests.
pub fn sources(root: &Path, folders: &[String]) -> Sources {
    let mut found = Sources::new();
    let mut left: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("readable").path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .expect("a name");
            if path.is_dir() {
                if name != "tests" {
                    left.push(path);
                }
            } else if name.ends_with(".rs") && name != "tests.rs" && name != "props.rs" {
                let text = fs::read_to_string(&path).expect("readable");
                found.insert(path.strip_prefix(root).expect("below it").to_owned(), text);
            }
        }
    }
    found
}

/// Brings the copy of a repository up to date, `src/` as it is. What is the same is left as it was, so that cargo
/// compiles no more than it must.
pub fn copy(repository: &Path, to: &Path) {
    let listed = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(repository)
        .output()
        .expect("git runs");
    assert!(listed.status.success(), "git ls-files: {listed:?}");
    let names = String::from_utf8(listed.stdout).expect("names are text");
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        // A file that git still has and that is gone.
        if let Ok(bytes) = fs::read(repository.join(name)) {
            write(&to.join(name), &bytes);
        }
    }
    write(&to.join("src/mutants.rs"), CHOSEN.as_bytes());
    let root = fs::read_to_string(repository.join("src/lib.rs")).expect("lib.rs");
    let root = format!("#![allow(warnings)]\n{root}\npub mod mutants;\n");
    write(&to.join("src/lib.rs"), root.as_bytes());
}

fn write(path: &Path, bytes: &[u8]) {
    if fs::read(path).is_ok_and(|was| was == bytes) {
        return;
    }
    fs::create_dir_all(path.parent().expect("it has a folder")).expect("a folder");
    fs::write(path, bytes).expect("a file that can be written");
}

/// A mutant: where, and what.
#[derive(Clone, Debug)]
pub struct Mutant {
    pub path: PathBuf,
    pub point: Point,
}

/// Writes the mutants into the copy. Of each file that has some, where they stand in it.
pub fn plant(
    copy: &Path,
    sources: &Sources,
    mutants: &BTreeMap<usize, Mutant>,
) -> BTreeMap<PathBuf, Rendered> {
    let mut rendered = BTreeMap::new();
    for (path, source) in sources {
        let here = mutants.iter().filter(|(_, mutant)| mutant.path == *path);
        let here = here
            .map(|(number, mutant)| (*number, &mutant.point))
            .collect();
        let done = render(source, &here);
        write(&copy.join("src").join(path), done.text.as_bytes());
        rendered.insert(path.clone(), done);
    }
    rendered
}
