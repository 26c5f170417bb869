//! Checks `docs/conformance.md` against the statements and against the tests of this target.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

/// Statements without a test: nothing of a broker that runs without sockets and WebSockets shows whether they hold.
const UNTESTED: &[&str] = &[
    "MQTT-2.3.1-2",
    "MQTT-2.3.1-3",
    "MQTT-3.1.2-23",
    "MQTT-3.1.3-1",
    "MQTT-3.14.4-1",
    "MQTT-3.14.4-2",
    "MQTT-4.5.0-2",
    "MQTT-4.7.3-3",
    "MQTT-4.8.0-2",
    "MQTT-6.0.0-1",
    "MQTT-6.0.0-2",
    "MQTT-6.0.0-3",
    "MQTT-6.0.0-4",
    "MQTT-7.0.0-1",
    "MQTT-7.0.0-2",
    "MQTT-7.1.2-1",
];

fn package() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn statements() -> Vec<String> {
    let text = fs::read_to_string(package().join("tests/conformance/statements-3.1.1.txt"));
    text.expect("the list of statements")
        .lines()
        .map(str::to_owned)
        .collect()
}

/// The names of all tests of this target.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(package().join("tests/conformance")).expect("the tests' folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source file");
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.trim() != "#[test]" {
                continue;
            }
            let declaration = lines.next().expect("a function after #[test]").trim();
            let name = declaration
                .strip_prefix("fn ")
                .and_then(|rest| rest.split('(').next());
            assert!(
                names.insert(name.expect("a function").to_owned()),
                "two tests named {declaration}"
            );
        }
    }
    names
}

/// The rows of the page: statement → (tests, remark).
fn rows() -> BTreeMap<String, (Vec<String>, String)> {
    let page =
        fs::read_to_string(package().join("docs/conformance.md")).expect("docs/conformance.md");
    let mut rows = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| MQTT-")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 3, "statement, tests, remark: {line}");
        let tests = cells[1]
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        let earlier = rows.insert(cells[0].to_owned(), (tests, cells[2].to_owned()));
        assert!(earlier.is_none(), "{} has two rows", cells[0]);
    }
    rows
}

#[test]
fn page_names_every_statement_once() {
    let statements = statements();
    assert_eq!(statements.len(), 141);
    let rows: Vec<String> = rows().into_keys().collect();
    let mut sorted = statements;
    sorted.sort();
    assert_eq!(rows, sorted);
}

#[test]
fn page_names_tests_that_exist() {
    let tests = tests();
    for (statement, (named, remark)) in rows() {
        for test in &named {
            assert!(tests.contains(test), "{statement}: there is no test {test}");
        }
        if UNTESTED.contains(&statement.as_str()) {
            assert!(
                named.is_empty() && !remark.is_empty(),
                "{statement}: a reason and no test"
            );
        } else {
            assert!(!named.is_empty(), "{statement} has no test");
        }
    }
}

#[test]
fn page_names_every_test_of_a_statement() {
    let rows = rows();
    for test in tests().iter().filter(|test| test.starts_with("mqtt_")) {
        // The longest number that begins the name: `mqtt_3_1_2_10_` is not 3.1.2-1.
        let number: Vec<&str> = test["mqtt_".len()..].splitn(5, '_').take(4).collect();
        let statement = format!(
            "MQTT-{}.{}.{}-{}",
            number[0], number[1], number[2], number[3]
        );
        let row = rows
            .get(&statement)
            .unwrap_or_else(|| panic!("{test}: no statement {statement}"));
        assert!(row.0.contains(test), "the row of {statement} lacks {test}");
    }
}
