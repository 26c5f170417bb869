//! The same for programs: one JSON object [RFC 8259]. Sizes are bytes, times seconds since 1970. Names stay; new ones
//! may come.

use super::figures::Figures;
use super::words;
use crate::store::Table;
use crate::store::tally::Tally;
use std::fmt::Write;

/// An object or a list under way.
struct Json {
    text: String,
}

impl Json {
    fn object(fill: impl FnOnce(&mut Json)) -> String {
        let mut json = Json {
            text: String::from("{"),
        };
        fill(&mut json);
        json.text.push('}');
        json.text
    }

    fn key(&mut self, key: &str) {
        if !self.text.ends_with('{') {
            self.text.push(',');
        }
        self.text += &string(key);
        self.text.push(':');
    }

    fn raw(&mut self, key: &str, value: &str) {
        self.key(key);
        self.text += value;
    }

    fn number(&mut self, key: &str, value: u64) {
        self.raw(key, &value.to_string());
    }

    fn truth(&mut self, key: &str, value: bool) {
        self.raw(key, if value { "true" } else { "false" });
    }

    fn text(&mut self, key: &str, value: &str) {
        self.raw(key, &string(value));
    }

    fn list(&mut self, key: &str, items: impl Iterator<Item = String>) {
        let items: Vec<String> = items.collect();
        self.raw(key, &format!("[{}]", items.join(",")));
    }
}

/// A string with its quotes.
fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(character);
            }
            '\0'..='\x1F' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(character));
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

fn head(figures: &Figures, json: &mut Json) {
    json.text("directory", &figures.directory.display().to_string());
    if let Some(state) = &figures.image.state {
        json.number("written", state.stamp);
        json.truth("orderly", state.clean);
    }
    let file = |name: &str, bytes: u64| {
        Json::object(|json| {
            json.text("name", name);
            json.number("bytes", bytes);
        })
    };
    let files = figures.files.iter();
    json.list("files", files.map(|(name, bytes)| file(name, *bytes)));
    let journals = figures.journals.iter();
    let journals = journals.map(|(path, bytes)| file(&path.display().to_string(), *bytes));
    json.list("journals", journals);
    json.number("journal_changes", figures.image.replayed);
}

fn by_table(of: impl Fn(Table) -> u64) -> String {
    Json::object(|json| {
        for table in Table::ALL {
            json.number(table.name(), of(table));
        }
    })
}

/// For `show`.
pub fn show(figures: &Figures) -> String {
    let mut text = Json::object(|json| {
        head(figures, json);
        json.raw("rows", &by_table(|table| figures.sum(table).rows));
        json.raw("bytes", &by_table(|table| figures.sum(table).bytes));
        json.number("connected", figures.connected);
        json.number("queued", figures.queued);
        json.number("in_flight", figures.in_flight);
        json.number("free_bytes", figures.free_bytes());
        let queues = figures.queues.iter().map(|queue| {
            Json::object(|json| {
                json.text("client_id", &queue.client_id);
                json.number("messages", queue.messages);
                json.number("bytes", queue.bytes);
            })
        });
        json.list("largest_queues", queues);
        json.truth("damaged", !figures.image.damage.is_none());
    });
    text.push('\n');
    text
}

/// For `check`.
pub fn check(figures: &Figures) -> String {
    let damage = &figures.image.damage;
    let tally = |tally: &Tally| {
        Json::object(|json| {
            for table in Table::ALL {
                json.number(table.name(), tally.of(Some(table)));
            }
            json.number("unknown", tally.of(None));
        })
    };
    let mut text = Json::object(|json| {
        head(figures, json);
        json.truth("damaged", !damage.is_none());
        json.raw("rows", &by_table(|table| figures.sum(table).rows));
        json.raw("damaged_rows", &tally(&damage.rows));
        json.raw("missing_pages", &tally(&damage.pages));
        json.raw("rows_of_missing_pages", &tally(&damage.rows_of_pages));
        json.raw("orphaned_rows", &tally(&damage.orphans));
        json.number("stray_pages", damage.stray);
        json.truth("state_damaged", damage.state);
        json.number("journal_gap", damage.gap);
        json.number("journal_damaged", damage.records);
        let losses = match damage.is_none() {
            true => Vec::new(),
            false => words::losses(figures),
        };
        json.list("losses", losses.iter().map(|loss| string(loss)));
    });
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped() {
        assert_eq!(string("a\"\\\n\u{e9}"), "\"a\\\"\\\\\\u000a\u{e9}\"");
        let object = Json::object(|json| {
            json.number("n", 1);
            json.list("l", ["1".to_owned(), string("x")].into_iter());
        });
        assert_eq!(object, "{\"n\":1,\"l\":[1,\"x\"]}");
    }
}
