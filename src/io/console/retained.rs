//! `mqttfast retained`.

use super::shown::{self, Table, ago, size, text};
use super::{Broker, Failure, print, print_line};
use crate::io::words::units;
use argh::FromArgs;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

/// List, show or delete the retained messages of the running broker.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "retained",
    help_triggers("-h", "--help"),
    example = "Devices that Home Assistant still shows and nobody has renewed for a month:\n  mqttfast retained ls 'homeassistant/#' --older-than 30d\n  mqttfast retained rm 'homeassistant/#' --older-than 30d --dry-run\n  mqttfast retained rm 'homeassistant/#' --older-than 30d",
    note = "How old a message is, is known of those that mqttfast has taken itself; others are never called old. If the clock of the machine was far ahead once, what came later may seem younger than it is."
)]
pub struct Retained {
    #[argh(subcommand)]
    act: Act,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum Act {
    List(List),
    Get(Get),
    Remove(Remove),
}

/// List them: topic, size, age.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "ls", help_triggers("-h", "--help"))]
struct List {
    /// topic filter; without it all, but those of topics that begin with $
    #[argh(positional, arg_name = "filter", default = "String::from(\"#\")")]
    filter: String,
    /// only those written so long ago, or earlier: 90s, 12h, 30d
    #[argh(option, arg_name = "age", from_str_fn(parse_age))]
    older_than: Option<u64>,
    /// control socket of the broker, where it is not in its usual place
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
    /// print one JSON object for each
    #[argh(switch)]
    json: bool,
}

/// Show what one says, byte for byte, or what all of a filter say, a line each.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "get", help_triggers("-h", "--help"))]
struct Get {
    /// topic, or topic filter
    #[argh(positional, arg_name = "filter")]
    filter: String,
    /// control socket of the broker, where it is not in its usual place
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
    /// print one JSON object for each
    #[argh(switch)]
    json: bool,
}

/// Delete them, as an empty retained message would: subscribers are told, and the store forgets them.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "rm", help_triggers("-h", "--help"))]
struct Remove {
    /// topic, or topic filter
    #[argh(positional, arg_name = "filter")]
    filter: String,
    /// only those written so long ago, or earlier: 90s, 12h, 30d
    #[argh(option, arg_name = "age", from_str_fn(parse_age))]
    older_than: Option<u64>,
    /// delete nothing, and say what would be
    #[argh(switch)]
    dry_run: bool,
    /// control socket of the broker, where it is not in its usual place
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
    /// print one JSON object for each
    #[argh(switch)]
    json: bool,
}

/// Seconds of `90s`, `5m`, `12h`, `30d` or `4w`.
fn parse_age(text: &str) -> Result<u64, String> {
    let units = [
        ('s', 1),
        ('m', 60),
        ('h', 3_600),
        ('d', 86_400),
        ('w', 604_800),
    ];
    let found = units.iter().find_map(|(unit, seconds)| {
        let digits = text.strip_suffix(*unit)?;
        digits.parse::<u64>().ok()?.checked_mul(*seconds)
    });
    found.ok_or_else(|| "give an age such as 90s, 12h, 30d or 4w".to_owned())
}

impl Retained {
    pub(super) fn run(&self) -> Result<u8, Failure> {
        match &self.act {
            Act::List(list) => list.run(),
            Act::Get(get) => get.run(),
            Act::Remove(remove) => remove.run(),
        }
    }
}

fn row(line: &Value) -> Vec<String> {
    vec![
        size(line, "bytes"),
        shown::number(line, "qos").to_string(),
        ago(line, "written"),
        text(line, "topic", usize::MAX),
    ]
}

impl List {
    fn run(&self) -> Result<u8, Failure> {
        let mut broker = Broker::find(self.control.as_deref())?;
        let request =
            json!({ "ask": "retained", "filter": self.filter, "older_s": self.older_than });
        if self.json {
            return broker.print(&request);
        }
        let mut table = Table::new(&["SIZE>", "QOS>", "AGE>", "TOPIC"]);
        broker.ask(&request, |line, _| {
            table.row(row(&line));
            Ok(())
        })?;
        print(&table.text_or("there is no such retained message\n")).map(|()| 0)
    }
}

/// The bytes of a value.
fn value(line: &Value) -> Vec<u8> {
    if let Some(text) = line["value"].as_str() {
        return text.as_bytes().to_vec();
    }
    let coded = line["value_base64"].as_str().unwrap_or_default();
    BASE64_STANDARD.decode(coded).unwrap_or_default()
}

impl Get {
    fn run(&self) -> Result<u8, Failure> {
        let mut broker = Broker::find(self.control.as_deref())?;
        broker.streams = true;
        let request = json!({ "ask": "retained", "filter": self.filter, "values": true });
        let one = !self.filter.contains(['+', '#']);
        let terminal = io::stdout().is_terminal();
        let mut found = 0;
        broker.ask(&request, |line, text_of| {
            found += 1;
            if line["cut"] == true && !self.json {
                let all = size(&line, "bytes");
                let text = format!("only the beginning of {all} is shown");
                eprintln!("mqttfast retained: {}", shown::say(&text));
            }
            if self.json {
                return print(&format!("{text_of}\n"));
            }
            let value = value(&line);
            // A file or a program gets the bytes as they are.
            if one && !terminal {
                let mut out = io::stdout().lock();
                let written = out.write_all(&value).and_then(|()| out.flush());
                return written.map_err(|error| Failure::of_output(&error));
            }
            let value = shown::whole(&String::from_utf8_lossy(&value));
            match one {
                true => print(&format!("{value}\n")),
                false => print(&format!("{} {value}\n", text(&line, "topic", usize::MAX))),
            }
        })?;
        match found {
            0 => Err(Failure::new(format!(
                "there is no retained message of {}",
                shown::whole(&self.filter)
            ))),
            _ => Ok(0),
        }
    }
}

impl Remove {
    fn run(&self) -> Result<u8, Failure> {
        let mut broker = Broker::find(self.control.as_deref())?;
        let request = json!({
            "ask": "remove_retained",
            "filter": self.filter,
            "older_s": self.older_than,
            "dry_run": self.dry_run,
        });
        if self.json {
            return broker.print(&request);
        }
        let mut table = Table::new(&["SIZE>", "QOS>", "AGE>", "TOPIC"]);
        let mut count = 0;
        broker.ask(&request, |line, _| {
            count += 1;
            table.row(row(&line));
            Ok(())
        })?;
        print(&table.text_or(""))?;
        let count = match count {
            1 => "1 retained message".to_owned(),
            count => format!("{} retained messages", units::count(count)),
        };
        match self.dry_run {
            true => print_line(&format!("{count} would be deleted\n"))?,
            false => print_line(&format!("{count} deleted\n"))?,
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_units() {
        for (text, seconds) in [
            ("90s", 90),
            ("2m", 120),
            ("12h", 43_200),
            ("30d", 2_592_000),
        ] {
            assert_eq!(parse_age(text), Ok(seconds));
        }
        for wrong in [
            "",
            "30",
            "d",
            "-1d",
            "30 d",
            "99999999999999999999d",
            "9999999999999999999w",
        ] {
            assert!(parse_age(wrong).is_err(), "{wrong}");
        }
    }
}
