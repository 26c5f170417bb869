//! The tables of `docs/architecture.md` say what `MAY_IMPORT` and `ROOMS` hold the code to: the same modules, the same
//! rooms, and of each the same imports.
//!
//! The last column of a row is a list of modules or rooms. `types` are the rooms of the first row of their table; `all
//! above but A and B` and `all` are the modules, or rooms, of all rows above but these.

use super::{MAY_IMPORT, ROOMS};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

type Names = BTreeSet<String>;

/// One row: whom it is about, and its last column as it stands.
struct Row {
    names: Vec<String>,
    imports: String,
}

/// The table whose heading begins so.
fn table(page: &str, heading: &str) -> Vec<Row> {
    let at = page.find(heading).expect(heading);
    let lines = page[at..].lines().skip(2);
    let rows = lines.take_while(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<&str> = line.trim().trim_matches('|').split(" | ").collect();
        assert!(cells.len() >= 3, "three columns: {line}");
        Row {
            names: names_of(cells[0]).into_iter().collect(),
            imports: cells[cells.len() - 1].trim().to_owned(),
        }
    });
    rows.collect()
}

/// The names of a list: what stands between commas, `and` and backticks.
fn names_of(list: &str) -> Names {
    let list = list.replace(" and ", ", ");
    let names = list.split([',', ';']).map(|name| {
        name.trim()
            .trim_matches('`')
            .trim_end_matches('/')
            .to_owned()
    });
    names.filter(|name| !name.is_empty()).collect()
}

/// Each word of a last column with the names it stands for.
fn words_of(row: &Row, above: &[Row], types: &Names) -> Vec<(String, Names)> {
    let all = || -> Names { above.iter().flat_map(|row| row.names.clone()).collect() };
    if row.imports == "all" {
        return vec![("all".to_owned(), all())];
    }
    let (list, mut words) = match row.imports.strip_prefix("all above but ") {
        None => (row.imports.as_str(), Vec::new()),
        Some(rest) => {
            let (but, more) = rest.split_once(';').unwrap_or((rest, ""));
            let but = names_of(but);
            assert!(
                but.is_subset(&all()),
                "of these one stands not above: {but:?}"
            );
            let all = all();
            let names = all.difference(&but).cloned();
            let each = names.map(|name| (name.clone(), Names::from([name])));
            (more, each.collect())
        }
    };
    words.extend(names_of(list).into_iter().map(|word| {
        let names = match word.as_str() {
            "types" => types.clone(),
            _ => Names::from([word.clone()]),
        };
        (word, names)
    }));
    words
}

/// Compares a table with the list that the tests hold the code to, both by names as the page has them.
fn complaints(rows: &[Row], list: &[(String, Names)]) -> Vec<String> {
    let mut found = Vec::new();
    let on_page: Vec<&String> = rows.iter().flat_map(|row| &row.names).collect();
    for (name, _) in list {
        if on_page.iter().filter(|known| **known == name).count() != 1 {
            found.push(format!("{name} stands in one row of the page"));
        }
    }
    let types: Names = rows[0].names.iter().cloned().collect();
    for (at, row) in rows.iter().enumerate() {
        let words = words_of(row, &rows[..at], &types);
        let allowed: Names = words.iter().flat_map(|(_, names)| names.clone()).collect();
        let mut needed = Names::new();
        for name in &row.names {
            match list.iter().find(|(known, _)| known == name) {
                None => found.push(format!("{name} is on the page alone")),
                Some((_, imports)) => needed.extend(imports.clone()),
            }
        }
        for import in needed.difference(&allowed) {
            found.push(format!(
                "{:?} may import {import}, says the test",
                row.names
            ));
        }
        for (word, names) in words {
            if names.is_disjoint(&needed) {
                found.push(format!("{:?} may import {word}, says the page", row.names));
            }
        }
    }
    found
}

fn owned(list: &[(&str, &[&str])], folder: &str) -> Vec<(String, Names)> {
    let rows = list.iter().filter_map(|(name, imports)| {
        let imports = imports.iter().map(|name| name.trim_start_matches(folder));
        let imports = imports.map(str::to_owned).collect();
        Some((name.strip_prefix(folder)?.to_owned(), imports))
    });
    rows.collect()
}

#[test]
fn the_tables_of_the_architecture_say_the_same() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let page = fs::read_to_string(path).unwrap();
    let modules = table(&page, "| module | owns | may import |");
    let mut found = complaints(&modules, &owned(MAY_IMPORT, ""));
    let rooms = table(&page, "| room | owns or does | may import of the others |");
    found.extend(complaints(&rooms, &owned(ROOMS, "broker::")));
    assert!(
        found.is_empty(),
        "docs/architecture.md and tests/layers.rs differ:\n{}",
        found.join("\n")
    );
}

#[test]
fn a_difference_is_seen() {
    let page = "| room | x | y |\n| --- | --- | --- |\n| `a`, `b` | x | `b` |\n| `c/` | x | types |\n| `d` | x | all above but c; `c::e` |\n\n";
    let rows = table(page, "| room |");
    let list = |c: &'static [&'static str], d: &'static [&'static str]| {
        owned(&[("a", &["b"]), ("b", &[]), ("c", c), ("d", d)], "")
    };
    let same: &[&str] = &["a", "b", "c::e"];
    assert_eq!(complaints(&rows, &list(&["a"], same)), [""; 0]);
    assert_eq!(complaints(&rows, &list(&["d"], same)).len(), 2);
    assert_eq!(complaints(&rows, &list(&["b"], &["a", "b", "c"])).len(), 2);
    assert_eq!(complaints(&rows, &list(&["b"], same)[..3]).len(), 4);
}
