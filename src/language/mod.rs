//! What an operator reads before the broker serves, in the operator's language: the answers of `--check` and `mqttfast
//! migrate`, and why a start is refused. The log is English, as programs read it.
//!
//! The code has English sentences alone, and they are put into another language as they are shown. `fr.txt` has each
//! sentence with its holes, beside its translation:
//!
//! ```text
//! en `{name}` has no effect here: {why}
//! fr `{name}` n'a pas d'effet ici : {why}
//! ```
//!
//! A sentence fits a row if the row's words are in it, in their order; what is between them fills the holes, and is put
//! into the language in turn. Of several rows the one with the most words counts. A sentence without a row stays as it
//! is, and so does the place of a line, `FILE:LINE: `, before one. `O(rows × bytes)` for a sentence, of which a start
//! shows a few.

use std::borrow::Cow;
use std::ffi::OsString;
use std::sync::LazyLock;

/// Sentences within sentences, at most.
const DEPTH_MAX: usize = 4;

/// A language that the program speaks.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Language {
    /// As the code has it.
    #[default]
    English,
    /// As `fr.txt` has it.
    French,
}

impl Language {
    /// The one that `LC_ALL`, `LC_MESSAGES` or `LANG` asks for: the first of them that is not empty counts, as POSIX
    /// has it.
    pub fn of(variable: impl Fn(&str) -> Option<OsString>) -> Language {
        let values = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter();
        let mut set = values
            .filter_map(variable)
            .filter(|value| !value.is_empty());
        let first = set.next().unwrap_or_default();
        let name = first.to_string_lossy();
        match name.split(['_', '.', '@']).next() {
            Some("fr") => Language::French,
            _ => Language::English,
        }
    }

    /// A sentence, or a part of one.
    pub fn say<'a>(self, english: &'a str) -> Cow<'a, str> {
        match self {
            Language::English => Cow::Borrowed(english),
            Language::French => FRENCH.translate(english, 0),
        }
    }

    /// Lines, each with the blanks it begins with.
    pub fn say_lines(self, english: &str) -> String {
        let mut out = String::new();
        for (index, line) in english.split('\n').enumerate() {
            if index > 0 {
                out.push('\n');
            }
            let text = line.trim_start_matches(' ');
            out.push_str(&line[..line.len() - text.len()]);
            out.push_str(&self.say(text));
        }
        out
    }
}

/// A text and its holes: the words between holes, one more than there are holes, and the holes' names.
#[derive(PartialEq, Eq, Debug)]
struct Pattern {
    words: Vec<&'static str>,
    holes: Vec<&'static str>,
}

impl Pattern {
    fn parse(text: &'static str) -> Pattern {
        let (mut words, mut holes) = (Vec::new(), Vec::new());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{')
            && let Some((hole, after)) = after.split_once('}')
        {
            words.push(before);
            holes.push(hole);
            rest = after;
        }
        words.push(rest);
        Pattern { words, holes }
    }

    fn weight(&self) -> usize {
        self.words.iter().map(|words| words.len()).sum()
    }

    /// What fills the holes, in order; `None`: the text is another one.
    fn fit<'a>(&self, text: &'a str) -> Option<Vec<&'a str>> {
        let (first, rest) = self.words.split_first()?;
        let mut left = text.strip_prefix(first)?;
        let Some((last, between)) = rest.split_last() else {
            return left.is_empty().then(Vec::new);
        };
        let mut filled = Vec::with_capacity(self.holes.len());
        for words in between {
            let (hole, after) = left.split_once(words)?;
            filled.push(hole);
            left = after;
        }
        filled.push(left.strip_suffix(last)?);
        Some(filled)
    }
}

/// The rows of a language, those with the most words first.
struct Table(Vec<(Pattern, Pattern)>);

static FRENCH: LazyLock<Table> = LazyLock::new(|| Table::parse(include_str!("fr.txt"), "fr "));

impl Table {
    /// The file is part of the program. A line that cannot be read is our own mistake, and every test that shows a
    /// sentence in this language finds it.
    fn parse(text: &'static str, mark: &str) -> Table {
        let mut lines = text
            .lines()
            .filter(|line| line.starts_with("en ") || line.starts_with(mark));
        let mut rows = Vec::new();
        while let Some(english) = lines.next() {
            let translation = lines.next().and_then(|line| line.strip_prefix(mark));
            match (english.strip_prefix("en "), translation) {
                (Some(english), Some(translation)) => {
                    rows.push((Pattern::parse(english), Pattern::parse(translation)));
                }
                _ => panic!("two lines belong together: {english}"),
            }
        }
        rows.sort_by_key(|(english, _)| std::cmp::Reverse(english.weight()));
        Table(rows)
    }

    fn translate<'a>(&self, text: &'a str, depth: usize) -> Cow<'a, str> {
        if text.is_empty() || depth > DEPTH_MAX {
            return Cow::Borrowed(text);
        }
        if let Some((place, rest)) = split_place(text) {
            return Cow::Owned(format!("{place}: {}", self.translate(rest, depth + 1)));
        }
        let fits = |(english, translation): &'_ (Pattern, Pattern)| {
            let filled = english.fit(text)?;
            let mut out = String::new();
            for (index, words) in translation.words.iter().enumerate() {
                out.push_str(words);
                if let Some(name) = translation.holes.get(index) {
                    let at = english.holes.iter().position(|hole| hole == name)?;
                    out.push_str(&self.translate(filled[at], depth + 1));
                }
            }
            Some(out)
        };
        match self.0.iter().find_map(fits) {
            Some(translated) => Cow::Owned(translated),
            None => Cow::Borrowed(text),
        }
    }
}

/// `FILE:LINE` before a sentence, and the sentence.
fn split_place(text: &str) -> Option<(&str, &str)> {
    let (place, rest) = text.split_once(": ")?;
    let (file, line) = place.rsplit_once(':')?;
    let is_line = !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit());
    (is_line && !file.is_empty() && !place.contains(' ')).then_some((place, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_that_is_set_counts() {
        for (all, messages, lang, language) in [
            ("", "", "fr_FR.UTF-8", Language::French),
            ("", "", "fr", Language::French),
            ("", "fr_CA@euro", "en_GB.UTF-8", Language::French),
            ("C", "fr_FR", "fr_FR", Language::English),
            ("", "en_US", "fr_FR", Language::English),
            ("", "", "", Language::English),
            ("", "", "fro_FR", Language::English),
        ] {
            let variable = |name: &str| {
                let value = match name {
                    "LC_ALL" => all,
                    "LC_MESSAGES" => messages,
                    _ => lang,
                };
                Some(OsString::from(value))
            };
            assert_eq!(Language::of(variable), language, "{all} {messages} {lang}");
        }
        assert_eq!(Language::of(|_| None), Language::English);
    }

    #[test]
    fn sentences_are_translated_with_what_is_in_them() {
        for (english, french) in [
            ("`x` has no value", "`x` n'a pas de valeur"),
            ("nothing of ours", "nothing of ours"),
            ("", ""),
            (
                "`lisener` is no option of Mosquitto; write instead: listener 1883",
                "`lisener` n'est pas une option de Mosquitto ; écrivez plutôt : listener 1883",
            ),
            (
                "`x` is no option of Mosquitto: remove the line",
                "`x` n'est pas une option de Mosquitto : supprimez la ligne",
            ),
            (
                "a.conf:7: cannot listen on 127.0.0.1:1883: port 1883 is in use by another process, which `sudo ss -ltnp` names; stop it or choose another --port",
                "a.conf:7: impossible d'écouter sur 127.0.0.1:1883 : le port 1883 est utilisé par un autre processus, que `sudo ss -ltnp` nomme ; arrêtez-le ou choisissez un autre --port",
            ),
            (
                "`retry_interval` has no effect here: it has had no effect since Mosquitto 1.6",
                "`retry_interval` n'a pas d'effet ici : elle n'a plus d'effet depuis Mosquitto 1.6",
            ),
        ] {
            assert_eq!(Language::French.say(english), french);
            assert_eq!(Language::English.say(english), english);
        }
        assert_eq!(
            Language::French.say_lines("Reads\n  `x` has no value\n"),
            "Lit\n  `x` n'a pas de valeur\n"
        );
    }

    #[test]
    fn a_hole_takes_what_is_between_the_words() {
        let pattern = Pattern::parse("a {one} b {two}");
        assert_eq!(pattern.fit("a x b y b z"), Some(vec!["x", "y b z"]));
        assert_eq!(pattern.fit("a  b "), Some(vec!["", ""]));
        assert_eq!(pattern.fit("a x c y"), None);
        assert_eq!(Pattern::parse("a").fit("ab"), None);
    }

    /// Each hole of a translation is one of the sentence's, and none is lost.
    #[test]
    fn rows_have_the_same_holes_in_both_languages() {
        assert!(FRENCH.0.len() > 250);
        for (english, french) in &FRENCH.0 {
            let sorted = |pattern: &Pattern| {
                let mut holes = pattern.holes.clone();
                holes.sort_unstable();
                holes
            };
            assert_eq!(sorted(english), sorted(french), "{english:?}");
        }
    }
}
