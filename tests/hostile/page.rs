//! Checks `docs/security.md` against the tests of this folder: every number of the list has its row, and every test it
//! names exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

/// Cases of the list.
const CASES: u32 = 60;

fn package() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Files of this folder, or of `tests/`, and the functions in each.
fn functions(file: &str) -> BTreeSet<String> {
    let (path, name) = match file.strip_prefix("tests/") {
        Some(rest) => (package().join("tests").join(rest), file),
        None => (
            package().join("tests/hostile").join(format!("{file}.rs")),
            file,
        ),
    };
    let text = fs::read_to_string(path).unwrap_or_else(|_| panic!("there is no {name}"));
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("fn ")?.split('(').next())
        .map(str::to_owned)
        .collect()
}

/// The rows: number → what stands in the last two cells, tests and files.
fn rows() -> BTreeMap<u32, (String, String)> {
    let page = fs::read_to_string(package().join("docs/security.md")).expect("docs/security.md");
    let mut rows = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let Ok(number) = cells[0].parse() else {
            continue;
        };
        let [.., tests, file] = cells[..] else {
            panic!("{line}");
        };
        let earlier = rows.insert(number, (tests.to_owned(), file.to_owned()));
        assert!(earlier.is_none(), "case {number} has two rows");
    }
    rows
}

/// The words in backquotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn page_names_every_case_and_its_tests() {
    let rows = rows();
    let numbers: Vec<u32> = rows.keys().copied().collect();
    assert_eq!(numbers, (1..=CASES).collect::<Vec<_>>());
    let mut named = BTreeSet::new();
    for (number, (tests, files)) in &rows {
        let files = quoted(files);
        assert!(
            !tests.is_empty() && (files.is_empty() == quoted(tests).is_empty()),
            "case {number}: its tests and their file, or what it waits for"
        );
        for test in quoted(tests) {
            let found = files.iter().any(|file| functions(file).contains(test));
            assert!(found, "case {number}: no test {test} in {files:?}");
            named.insert(test.to_owned());
        }
    }
    // And the other way round.
    for entry in fs::read_dir(package().join("tests/hostile")).expect("this folder") {
        let name = entry.expect("an entry").file_name();
        let Some(file) = name.to_str().and_then(|name| name.strip_suffix(".rs")) else {
            continue;
        };
        for test in functions(file) {
            let is_test = test.starts_with("case_") || test.starts_with("cases_");
            let helper = test == "case_12_and_13";
            assert!(
                !is_test || helper || named.contains(&test),
                "{test} has no row"
            );
        }
    }
}
