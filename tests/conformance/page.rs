//! Checks `docs/conformance.md` against the statements and against the tests of this target.

use crate::support::listed::{Listed, check_page, listed};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// Statements without a test here: nothing shows whether they hold, or they are about WebSockets, which lie below this
/// harness.
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

/// All tests of this target.
fn tests() -> BTreeMap<String, Listed> {
    listed(&package().join("tests/conformance"))
}

fn page() -> String {
    fs::read_to_string(package().join("docs/conformance.md")).expect("docs/conformance.md")
}

/// The rows of the page: statement → (tests, remark).
fn rows() -> BTreeMap<String, (Vec<String>, String)> {
    let mut rows = BTreeMap::new();
    for line in page().lines().filter(|line| line.starts_with("| MQTT-")) {
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
            assert!(
                tests.contains_key(test),
                "{statement}: there is no test {test}"
            );
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
    for test in tests().keys().filter(|test| test.starts_with("mqtt_")) {
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

#[test]
fn page_tells_what_does_not_run_over_sockets() {
    let rows = rows();
    let rows = rows.iter().map(|(statement, (named, remark))| {
        let named = named.iter().map(String::as_str).collect();
        (statement.as_str(), named, remark.as_str())
    });
    check_page(&page(), &tests(), rows);
}
