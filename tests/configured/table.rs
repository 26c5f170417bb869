//! Each option that Mosquitto has and we are to implement has a test, or a reason why it has none: the lines of
//! `tests/mosquitto/implemented.txt`.

use mqttfast::config::file::IMPLEMENTED;
use mqttfast::config::mosquitto::{Scope, Support, Table};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Options and what stands behind them: `FILE NAME`, a test; `- …`, a reason why there is none; `not yet: …`.
fn rows() -> BTreeMap<String, String> {
    let path = format!("{ROOT}/tests/mosquitto/implemented.txt");
    let text = fs::read_to_string(path).expect("the table");
    let lines = text
        .lines()
        .filter(|l| !l.starts_with('#') && !l.is_empty());
    let mut rows = BTreeMap::new();
    for line in lines {
        let (option, behind) = line
            .split_once(" | ")
            .expect("OPTION | what stands behind it");
        let before = rows.insert(option.trim().to_owned(), behind.trim().to_owned());
        assert_eq!(before, None, "{option} has two rows");
    }
    rows
}

#[test]
fn every_implemented_option_has_a_test_or_a_reason() {
    let rows = rows();
    for option in IMPLEMENTED {
        let behind = rows
            .get(*option)
            .unwrap_or_else(|| panic!("{option} has no row"));
        assert!(
            !behind.starts_with("not yet"),
            "{option} is there: {behind}"
        );
        if let Some(reason) = behind.strip_prefix("- ") {
            assert!(reason.len() > 10, "{option}: {reason}");
            continue;
        }
        let (file, name) = behind.split_once(' ').expect("FILE NAME");
        let path = Path::new(ROOT).join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(
            text.contains(&format!("fn {name}(")),
            "{file} has no {name}"
        );
        let named = option.split(' ').next().unwrap();
        assert!(text.contains(named), "{file} does not name {option}");
    }
    for (option, behind) in &rows {
        let is_there = IMPLEMENTED.contains(&option.as_str());
        assert!(
            is_there || behind.starts_with("not yet: "),
            "{option}: {behind}"
        );
    }
}

/// What the reference marks as to be implemented is implemented, or is told to be missing.
#[test]
fn every_option_to_implement_has_a_row() {
    let rows = rows();
    let wanted = Table::get().rows().iter();
    let wanted =
        wanted.filter(|row| row.support == Support::Implement && row.scope != Scope::Bridge);
    let mut missing: Vec<&str> = wanted
        .map(|row| row.option)
        .filter(|option| !rows.contains_key(*option))
        .collect();
    missing.dedup();
    assert!(missing.is_empty(), "no row: {missing:?}");
}
