//! Checks `docs/conformance-5.0.md` against the statements and against the tests of this target.

use crate::support::listed::{Listed, check_page};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

/// Statements without a test: nothing of this broker shows whether they hold.
const UNTESTED: &[&str] = &[
    "MQTT-3.1.2-20",
    "MQTT-3.1.2-21",
    "MQTT-3.1.2-30",
    "MQTT-3.1.3-1",
    "MQTT-3.2.2-4",
    "MQTT-3.2.2-5",
    "MQTT-3.2.2-18",
    "MQTT-3.2.2-21",
    "MQTT-3.3.2-10",
    "MQTT-3.3.4-8",
    "MQTT-3.15.2-2",
    "MQTT-3.15.2-3",
    "MQTT-4.5.0-2",
    "MQTT-4.6.0-1",
    "MQTT-4.6.0-2",
    "MQTT-4.6.0-3",
    "MQTT-4.6.0-4",
    "MQTT-4.7.3-3",
    "MQTT-4.12.0-2",
    "MQTT-4.12.0-3",
    "MQTT-4.12.0-5",
    "MQTT-6.0.0-1",
    "MQTT-6.0.0-2",
    "MQTT-6.0.0-3",
    "MQTT-6.0.0-4",
];

type Tests = BTreeMap<String, BTreeSet<String>>;

fn package() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn statements() -> BTreeSet<String> {
    let text = fs::read_to_string(package().join("tests/conformance5/statements-5.0.txt"));
    let text = text.expect("the list of statements");
    text.lines().map(str::to_owned).collect()
}

/// The numbers in a line of text, as `MQTT-3.1.2-4`.
fn numbers(line: &str) -> Vec<String> {
    let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.'));
    let numbers = words.filter(|word| word.starts_with("MQTT-"));
    numbers
        .map(|word| word.trim_end_matches('.').to_owned())
        .collect()
}

/// All tests of this target.
fn listed() -> BTreeMap<String, Listed> {
    crate::support::listed::listed(&package().join("tests/conformance5"))
}

/// The statements that each test names in the lines above it.
fn tests() -> Tests {
    let tests = listed().into_iter().map(|(name, listed)| {
        let named = listed.comment.iter().flat_map(|line| numbers(line));
        (name, named.collect())
    });
    tests.collect()
}

fn page() -> String {
    fs::read_to_string(package().join("docs/conformance-5.0.md")).expect("docs/conformance-5.0.md")
}

/// The rows of the page: statement → (tests, remark).
fn rows() -> BTreeMap<String, (BTreeSet<String>, String)> {
    let mut rows = BTreeMap::new();
    for line in page().lines().filter(|line| line.starts_with("| MQTT-")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 3, "statement, tests, remark: {line}");
        let tests = cells[1].split('`').skip(1).step_by(2).map(str::to_owned);
        let row = (tests.collect(), cells[2].to_owned());
        let earlier = rows.insert(cells[0].to_owned(), row);
        assert!(earlier.is_none(), "{} has two rows", cells[0]);
    }
    rows
}

#[test]
fn page_names_every_statement_once() {
    let statements = statements();
    assert_eq!(statements.len(), 251);
    let rows: BTreeSet<String> = rows().into_keys().collect();
    assert_eq!(rows, statements);
}

/// The tests of a row are exactly those that name its statement.
#[test]
fn page_names_the_tests_of_each_statement() {
    let mut by_statement = Tests::new();
    for (test, statements) in tests() {
        for statement in statements {
            let tests = by_statement.entry(statement).or_default();
            tests.insert(test.clone());
        }
    }
    for (statement, (named, remark)) in rows() {
        let found = by_statement.remove(&statement).unwrap_or_default();
        assert_eq!(named, found, "the tests of {statement}");
        if UNTESTED.contains(&statement.as_str()) {
            assert!(
                named.is_empty() && !remark.is_empty(),
                "{statement}: a reason and no test"
            );
        } else {
            assert!(!named.is_empty(), "{statement} has no test");
        }
    }
    assert_eq!(
        by_statement,
        Tests::new(),
        "tests name what is no statement"
    );
}

/// A test's name begins with the number of one of its statements.
#[test]
fn tests_are_named_after_their_statements() {
    for (test, statements) in tests() {
        let begins = |statement: &String| {
            let number = statement["MQTT-".len()..].replace(['.', '-'], "_");
            test.starts_with(&format!("mqtt_{number}_"))
        };
        assert!(statements.iter().any(begins), "{test}: {statements:?}");
    }
}

#[test]
fn page_tells_what_does_not_run_over_sockets() {
    let rows = rows();
    let rows = rows.iter().map(|(statement, (named, remark))| {
        let named = named.iter().map(String::as_str).collect();
        (statement.as_str(), named, remark.as_str())
    });
    check_page(&page(), &listed(), rows);
}
