//! `mqttfast log` and `mqttfast denials`.

use super::shown::{self, text, time};
use super::{Broker, Failure, print, print_line};
use crate::io::helpers::zone::Zone;
use argh::FromArgs;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Show the last lines of the running broker's log, wherever the log itself goes.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "log", help_triggers("-h", "--help"))]
pub struct Log {
    #[argh(subcommand)]
    act: Act,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum Act {
    Tail(Tail),
}

/// Show the last lines, and new ones as they come.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "tail", help_triggers("-h", "--help"))]
struct Tail {
    /// lines to begin with, 20 unless given
    #[argh(option, short = 'n', arg_name = "n", default = "20")]
    lines: u64,
    /// go on as lines come, until Ctrl+C
    #[argh(switch, short = 'f')]
    follow: bool,
    /// control socket of the broker, where it is not in its usual place
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
    /// print one JSON object for each
    #[argh(switch)]
    json: bool,
}

impl Log {
    pub(super) fn run(&self) -> Result<u8, Failure> {
        let Act::Tail(tail) = &self.act;
        let mut broker = Broker::find(tail.control.as_deref())?;
        broker.streams = true;
        if tail.follow {
            broker.be_patient()?;
        }
        let zone = Zone::local();
        let colours = shown::colours();
        let request = json!({ "ask": "log", "lines": tail.lines, "follow": tail.follow });
        broker.ask(&request, |line, text_of| {
            if tail.json {
                return print(&format!("{text_of}\n"));
            }
            let said = text(&line, "line", usize::MAX);
            let (on, off) = match (colours, line["type"].as_str()) {
                (true, Some("error")) => ("\x1b[31m", "\x1b[0m"),
                (true, Some("warning")) => ("\x1b[33m", "\x1b[0m"),
                _ => ("", ""),
            };
            print(&format!("{} {on}{said}{off}\n", time(&line, "at", &zone)))
        })?;
        Ok(0)
    }
}

/// Show what devices had trouble with last: what the rules refused them, and why they could not connect.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "denials",
    help_triggers("-h", "--help"),
    example = "Why does the lamp not connect?\n  mqttfast denials --client lamp\n  mqttfast denials --client 192.168.1.50"
)]
pub struct Denials {
    /// only those of this client id, user name or address
    #[argh(option, arg_name = "who")]
    client: Option<String>,
    /// also connections that ended
    #[argh(switch)]
    all: bool,
    /// control socket of the broker, where it is not in its usual place
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
    /// print one JSON object for each
    #[argh(switch)]
    json: bool,
}

impl Denials {
    pub(super) fn run(&self) -> Result<u8, Failure> {
        let mut broker = Broker::find(self.control.as_deref())?;
        broker.streams = self.json;
        let kinds = match self.all {
            true => json!(["denial", "refusal", "end"]),
            false => json!(["denial", "refusal"]),
        };
        let request = json!({ "ask": "happenings", "kinds": kinds, "client": self.client });
        let zone = Zone::local();
        let mut said = Vec::new();
        broker.ask(&request, |line, text_of| match self.json {
            true => print(&format!("{text_of}\n")),
            false => {
                said.push(sentence(&line, &zone));
                Ok(())
            }
        })?;
        if self.json {
            return Ok(0);
        }
        if said.is_empty() {
            let whom = self.client.as_deref().map(shown::whole);
            let text = match whom {
                Some(whom) => {
                    format!("nothing of {whom} was refused since the broker was started\n")
                }
                None => "nothing was refused since the broker was started\n".to_owned(),
            };
            return print_line(&text).map(|()| 0);
        }
        // As a log has it: the newest at the end.
        said.reverse();
        print(&said.concat()).map(|()| 0)
    }
}

/// One happening as a line.
fn sentence(line: &Value, zone: &Zone) -> String {
    let count = shown::number(line, "count");
    let often = match count {
        0 | 1 => String::new(),
        count => {
            let often = format!("({count} times since {})", time(line, "first", zone));
            format!(" {}", shown::say(&often))
        }
    };
    let said = text(line, "text", usize::MAX);
    format!("{} {said}{often}\n", time(line, "at", zone))
}
