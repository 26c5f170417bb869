//! What the sources of a suite say of its tests: which there are, and at which ends they run.

use std::collections::BTreeMap;
use std::path::Path;

/// A test as `table!` or `on_shards_alone!` lists it.
pub struct Listed {
    /// Why it has no run over sockets; `None` if it has.
    pub on_shards_alone: Option<String>,
    /// The lines of its comment.
    pub comment: Vec<String>,
}

/// All tests in the sources below `folder`, but for those of `page.rs`. Panics where a function that is named like one
/// is not listed.
pub fn listed(folder: &Path) -> BTreeMap<String, Listed> {
    let mut tests = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("the tests' folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            read(
                &std::fs::read_to_string(&path).expect("a source file"),
                &mut tests,
            );
        }
    }
    tests
}

fn read(source: &str, tests: &mut BTreeMap<String, Listed>) {
    let mut here: BTreeMap<&str, Option<String>> = BTreeMap::new();
    for list in source.split("\ncrate::table! {").skip(1) {
        let (names, _) = list.split_once('}').expect("the end of a list");
        here.extend(words(names).map(|name| (name, None)));
    }
    for list in source.split("\ncrate::on_shards_alone! {").skip(1) {
        let (list, _) = list.split_once('}').expect("the end of a list");
        for entry in list.split_terminator(';') {
            let mut parts = entry.split('"');
            let Some(reason) = parts.nth(1) else {
                continue;
            };
            let names = parts.next().expect("names behind a reason");
            here.extend(words(names).map(|name| (name, Some(reason.to_owned()))));
        }
    }
    let mut comment = Vec::new();
    for line in source.lines() {
        if let Some(text) = line.strip_prefix("///") {
            comment.push(text.to_owned());
            continue;
        }
        let comment = std::mem::take(&mut comment);
        let name = line
            .strip_prefix("fn ")
            .and_then(|line| line.strip_suffix("() {"));
        if let Some(name) =
            name.filter(|name| name.starts_with("mqtt_") || name.starts_with("v31_"))
        {
            let on_shards_alone = here
                .remove(name)
                .unwrap_or_else(|| panic!("{name} runs nowhere"));
            let listed = Listed {
                on_shards_alone,
                comment,
            };
            let earlier = tests.insert(name.to_owned(), listed);
            assert!(earlier.is_none(), "two tests named {name}");
        }
    }
    assert!(here.is_empty(), "listed and not there: {here:?}");
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
}

/// Holds a page to what the sources say: a row without a test that runs over sockets says why, and no other does; and
/// the page has the sentence with the numbers of tests.
pub fn check_page<'a>(
    page: &str,
    tests: &BTreeMap<String, Listed>,
    rows: impl Iterator<Item = (&'a str, Vec<&'a str>, &'a str)>,
) {
    for (statement, named, remark) in rows {
        let reasons = named.iter().map(|name| &tests[*name].on_shards_alone);
        let alone = !named.is_empty() && reasons.clone().all(Option::is_some);
        assert_eq!(
            alone,
            remark.contains("no run over sockets:"),
            "the remark of {statement}: {:?}",
            Vec::from_iter(reasons.flatten())
        );
    }
    let alone = tests.values().filter(|test| test.on_shards_alone.is_some());
    let sentence = format!(
        "{} tests run on shards, and {} of them over sockets as well",
        tests.len(),
        tests.len() - alone.count()
    );
    let words = Vec::from_iter(page.split_whitespace()).join(" ");
    assert!(words.contains(&sentence), "the page lacks: {sentence}");
}
