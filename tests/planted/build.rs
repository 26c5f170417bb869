//! Copies the product's `src/` to the output folder, applies the edits of `edits.txt` and writes `enum Fault` of their
//! names.

mod table;

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=edits.txt");
    println!("cargo::rerun-if-changed=table.rs");
    println!("cargo::rerun-if-changed=../../src");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let faults = table::parse(&fs::read_to_string("edits.txt").expect("edits.txt"));
    let mut files = table::tree(Path::new("../../src"));
    let complaints = match &faults {
        Ok(faults) => table::apply(faults, &mut files),
        Err(why) => vec![why.clone()],
    };
    if !complaints.is_empty() {
        for line in complaints.join("\n").lines() {
            println!("cargo::error={line}");
        }
        std::process::exit(1);
    }
    let _ = fs::remove_dir_all(out.join("src"));
    copy_all(Path::new("../../src"), &out.join("src"));
    for (path, text) in &files {
        fs::write(out.join("src").join(path), text).expect("a file");
    }
    let root = out.join("src/lib.rs");
    fs::write(
        &root,
        includable(&fs::read_to_string(&root).expect("lib.rs")),
    )
    .expect("lib.rs");
    fs::write(
        out.join("fault.rs"),
        enumeration(&faults.expect("checked above")),
    )
    .expect("fault.rs");
}

/// The whole folder: sources include files of other kinds.
fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("the folder is there") {
        let path = entry.expect("readable").path();
        let copy = to.join(path.file_name().expect("it has a name"));
        if path.is_dir() {
            copy_all(&path, &copy);
        } else {
            fs::copy(&path, &copy).expect("a copy");
        }
    }
}

/// `lib.rs` without its own documentation, which `include!` does not take.
fn includable(root: &str) -> String {
    assert!(
        !root.contains("#!["),
        "src/lib.rs has an inner attribute, which `include!` does not take: tests/planted/src/lib.rs must have it, and build.rs drop it"
    );
    let lines = root.lines().filter(|line| !line.starts_with("//!"));
    lines.map(|line| format!("{line}\n")).collect()
}

fn enumeration(faults: &[table::Fault]) -> String {
    let mut text =
        "/// One mistake a broker could make.\n#[derive(Clone, Copy, PartialEq, Eq, Debug)]\npub enum Fault {\n".to_owned();
    for fault in faults {
        text += &format!("    /// {}\n    {},\n", fault.what, fault.name);
    }
    text += "}\n\nimpl Fault {\n    /// Every one of the table, in its order.\n    pub const ALL: &[Fault] = &[\n";
    for fault in faults {
        text += &format!("        Fault::{},\n", fault.name);
    }
    text + "    ];\n}\n"
}
