//! A strict reader of Prometheus' text format 0.0.4, and of the conventions for names.

use std::collections::{BTreeMap, BTreeSet};

/// Samples by name and labels. Panics at whatever `promtool check metrics` complains of.
pub fn read(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'), "the last line ends");
    let mut samples = BTreeMap::new();
    let mut families = BTreeSet::new();
    let mut family: Option<(String, String)> = None;
    let mut helped: Option<String> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("name and help");
            assert!(!help.trim().is_empty() && helped.is_none(), "{line}");
            helped = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("name and type");
            assert_eq!(helped.take().as_deref(), Some(name), "HELP comes first");
            assert!(["gauge", "counter"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(families.insert(name.to_owned()), "{name} is there twice");
            family = Some((name.to_owned(), kind.to_owned()));
        } else {
            assert!(!line.starts_with('#') && helped.is_none(), "{line}");
            let (series, value) = line.rsplit_once(' ').expect("series and value");
            let (name, labels) = match series.split_once('{') {
                Some((name, rest)) => (name, rest.strip_suffix('}').expect("}")),
                None => (series, ""),
            };
            assert_eq!(family.as_ref().map(|(name, _)| name.as_str()), Some(name));
            assert!(name.starts_with("mqttfast_") || name.starts_with("process_"));
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            );
            for word in ["_ms", "_milliseconds", "_kb", "_mb", "_percent", "_count"] {
                assert!(!name.ends_with(word), "{name}: base units");
            }
            labels_are_good(labels);
            let value: f64 = value.parse().expect("a number");
            assert!(value >= 0.0, "{line}");
            let known = samples.insert(series.to_owned(), value);
            assert_eq!(known, None, "{series} is there twice");
        }
    }
    samples
}

fn labels_are_good(mut rest: &str) {
    let known = ["version", "io", "reason", "what", "condition", "bridge"];
    while !rest.is_empty() {
        let (name, behind) = rest.split_once("=\"").expect("a label");
        assert!(known.contains(&name), "{name}: its values must be few");
        let mut escaped = false;
        let end = behind.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let behind = &behind[end.expect("the end of a value") + 1..];
        rest = behind.strip_prefix(',').unwrap_or(behind);
        assert!(rest.len() < behind.len() || rest.is_empty());
    }
}
