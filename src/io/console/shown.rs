//! What a person reads on a terminal: names that do nothing to it, columns that line up.

use crate::io::helpers::zone::Zone;
use crate::io::words::{turns, units};
use crate::language::Language;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// The operator's.
pub fn language() -> Language {
    static LANGUAGE: LazyLock<Language> =
        LazyLock::new(|| Language::of(|name| std::env::var_os(name)));
    *LANGUAGE
}

/// A sentence of ours in the operator's language.
pub fn say(english: &str) -> String {
    language().say(english).into_owned()
}

/// The same of a line, with its end.
pub fn say_line(english: &str) -> String {
    let line = english.trim_end_matches('\n');
    format!("{}{}", say(line), &english[line.len()..])
}

/// A name that somebody else chose, at most `width` characters of it: no control character, and nothing that turns the
/// direction of what follows.
pub fn name(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    for character in text.chars() {
        let is_unseen = matches!(character, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}');
        let acts = character.is_control() || turns(character) || is_unseen;
        let shown = match acts {
            true => character.escape_default().to_string(),
            false => character.to_string(),
        };
        let more = shown.chars().count();
        if used + more > width {
            // The last place says that there is more.
            while used >= width && out.pop().is_some() {
                used -= 1;
            }
            out.push('…');
            break;
        }
        used += more;
        out.push_str(&shown);
    }
    out
}

/// As long as it is, without a bound.
pub fn whole(text: &str) -> String {
    name(text, usize::MAX)
}

/// A field of an answer as text; `-` where there is none.
pub fn text(line: &Value, field: &str, width: usize) -> String {
    match line[field].as_str() {
        Some("") => "\"\"".to_owned(),
        Some(text) => name(text, width),
        None => "-".to_owned(),
    }
}

/// The entries of a list; none where there is no list.
pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A field as a number, 0 where there is none.
pub fn number(line: &Value, field: &str) -> u64 {
    line[field].as_u64().unwrap_or(0)
}

/// A field as a number with its thousands apart.
pub fn count(line: &Value, field: &str) -> String {
    units::count(number(line, field))
}

/// A field of bytes.
pub fn size(line: &Value, field: &str) -> String {
    units::bytes(number(line, field))
}

/// Seconds since 1970.
pub fn now_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

/// How long ago a field's time is; `-` where it is not known.
pub fn ago(line: &Value, field: &str) -> String {
    match line[field].as_u64() {
        Some(at) => say(&units::span(now_s().saturating_sub(at))),
        None => "-".to_owned(),
    }
}

/// A field's time, `2026-01-31 23:59:59`.
pub fn time(line: &Value, field: &str, zone: &Zone) -> String {
    let mut out = String::new();
    match line[field].as_u64() {
        Some(at) => zone.append_time(at.cast_signed(), &mut out),
        None => out.push('-'),
    }
    out
}

/// Rows below a head, each column as wide as its widest.
pub struct Table {
    rows: Vec<Vec<String>>,
    /// Numbers stand at the right.
    right: Vec<bool>,
}

impl Table {
    /// A title that ends with `>` is of a column of numbers.
    pub fn new(head: &[&str]) -> Table {
        let titles = head.iter().map(|title| say(title.trim_end_matches('>')));
        Table {
            rows: vec![titles.collect()],
            right: head.iter().map(|title| title.ends_with('>')).collect(),
        }
    }

    /// Appends one, with a cell for each column.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// There is nothing below the head.
    fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The text for standard output; `nothing` in place of a head alone.
    pub fn text_or(&self, nothing: &str) -> String {
        match self.is_empty() {
            true => say_line(nothing),
            false => self.text(colours()),
        }
    }

    /// The text; the head in bold on a terminal.
    fn text(&self, colours: bool) -> String {
        let mut widths = vec![0; self.right.len()];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut out = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for ((cell, width), right) in row.iter().zip(&widths).zip(&self.right) {
                let _ = match right {
                    true => write!(line, "{cell:>width$}  "),
                    false => write!(line, "{cell:width$}  "),
                };
            }
            let line = line.trim_end();
            let _ = match colours && index == 0 {
                true => writeln!(out, "\x1b[1m{line}\x1b[0m"),
                false => writeln!(out, "{line}"),
            };
        }
        out
    }
}

/// Standard output is a terminal that may have colours.
pub fn colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_nothing_to_a_terminal() {
        let shown = whole("lamp\u{1b}[2J\u{9b}1m\u{7}\u{202e}\u{feff}é");
        assert_eq!(shown, "lamp\\u{1b}[2J\\u{9b}1m\\u{7}\\u{202e}\\u{feff}é");
        assert_eq!(name("abcdef", 4), "abc…");
        assert_eq!(name("abcd", 4), "abcd");
        assert!(name(&"\u{1b}".repeat(9), 12).chars().count() <= 12);
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["NAME", "SIZE>"]);
        assert!(table.is_empty());
        table.row(vec!["é".to_owned(), "1".to_owned()]);
        table.row(vec!["lamps".to_owned(), "12345".to_owned()]);
        assert_eq!(
            table.text(false),
            "NAME    SIZE\né          1\nlamps  12345\n"
        );
    }
}
