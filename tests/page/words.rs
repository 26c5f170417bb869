//! The file itself: one element of style and one of script, nothing of elsewhere, both languages alike; and what
//! assistive programs are told.

use super::{Options, house, opened};
use crate::browser::DESKTOP;
use serde_json::{Value, json};

const PAGE: &str = include_str!("../../src/io/helpers/http/page.html");

#[test]
fn the_file_is_small_and_asks_for_nothing() {
    assert!(PAGE.len() <= 100_000, "{} bytes", PAGE.len());
    for (text, count) in [
        ("<html lang=\"en\">", 1),
        ("<style>", 1),
        ("</style>", 1),
        ("<script>", 1),
        ("</script>", 1),
        ("<style", 1),
        ("<script", 1),
        ("<!--", 1),
        (" style=\"", 0),
        ("innerHTML", 0),
        ("outerHTML", 0),
        ("insertAdjacentHTML", 0),
        ("document.write", 0),
        ("eval(", 0),
        ("Function(", 0),
        ("https://", 0),
        ("@import", 0),
        ("url(", 0),
    ] {
        assert_eq!(PAGE.matches(text).count(), count, "{text}");
    }
    // Namespaces are names, not addresses.
    let addresses = PAGE.matches("http://").count();
    assert_eq!(
        addresses,
        PAGE.matches("http://www.w3.org/2000/svg").count()
    );
    let markup = &PAGE[..PAGE.find("<script>").expect("a script")];
    let handler = markup.split_whitespace().find(|word| {
        word.split_once('=')
            .is_some_and(|(name, _)| name.starts_with("on") && name.len() > 2)
    });
    assert_eq!(handler, None);
}

#[test]
fn both_languages_say_the_same_and_everything_has_a_name() {
    let (_broker, at) = house(Options::default());
    let mut browser = opened(&at, DESKTOP);
    // Holes, and singular and plural; every word that is asked for is there.
    let faults = browser.get(
        "(() => {
            const holes = (text) => [...new Set(text.match(/\\{\\w+\\}/g))].sort().join(), faults = [];
            for (const [key, [en, fr, ...more]] of Object.entries(WORDS))
                if (!en || !fr || more.length || holes(en) !== holes(fr) || en.split('|').length !== fr.split('|').length) faults.push(key);
            const source = document.scripts[0].textContent, asked = [...source.matchAll(/\\bT\\(\"([^\"]*[^\".])\"/g)].map((found) => found[1]);
            for (const el of document.querySelectorAll('[data-t], [data-t-label], [data-t-hint]')) asked.push(...[el.dataset.t, el.dataset.tLabel, el.dataset.tHint].filter((key) => key));
            for (const key of asked) if (!WORDS[key]) faults.push('missing: ' + key);
            const used = new Set(asked), prefix = [...source.matchAll(/\"([\\w.]+\\.)\" \\+/g)].map((found) => found[1]);
            for (const key of Object.keys(WORDS)) if (!used.has(key) && !prefix.some((begin) => key.startsWith(begin)) && !source.includes('\"' + key + '\"', source.indexOf('let lang'))) faults.push('unused: ' + key);
            return faults;
        })()",
    );
    assert_eq!(faults, json!([]));
    browser.call("Accessibility.enable", json!({}));
    let tree = browser.call("Accessibility.getFullAXTree", json!({}));
    let nodes = tree["nodes"].as_array().expect("nodes");
    let role = |node: &Value| {
        node["role"]["value"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let shown = |node: &&Value| node["ignored"] == false;
    for landmark in ["banner", "navigation", "main", "contentinfo"] {
        let count = nodes
            .iter()
            .filter(shown)
            .filter(|node| role(node) == landmark)
            .count();
        assert_eq!(count, 1, "{landmark}");
    }
    let wanted = [
        "button",
        "textbox",
        "searchbox",
        "combobox",
        "checkbox",
        "spinbutton",
        "link",
        "heading",
        "region",
        "image",
        "columnheader",
        "tree",
    ];
    let nameless: Vec<&Value> = nodes
        .iter()
        .filter(shown)
        .filter(|node| {
            wanted.contains(&role(node).as_str())
                && node["name"]["value"].as_str().is_none_or(str::is_empty)
        })
        .collect();
    assert!(nameless.is_empty(), "without a name: {nameless:?}");
}
