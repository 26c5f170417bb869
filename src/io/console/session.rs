//! `mqttfast sessions`.

use super::client::queue;
use super::shown::{self, Table, count, text};
use super::{Broker, Failure, print, print_line};
use crate::io::words::units;
use argh::FromArgs;
use serde_json::json;
use std::path::PathBuf;

/// List the sessions of the running broker, those of absent clients too, or end one.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "sessions",
    help_triggers("-h", "--help"),
    example = "Whose messages wait, and forget a device that is gone:\n  mqttfast sessions ls\n  mqttfast sessions rm old-lamp"
)]
pub struct Sessions {
    #[argh(subcommand)]
    act: Act,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum Act {
    List(List),
    Remove(Remove),
}

/// List them; those whose queues are longest come first.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "ls", help_triggers("-h", "--help"))]
struct List {
    /// control socket of the broker, where it is not in its usual place
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
    /// print one JSON object for each
    #[argh(switch)]
    json: bool,
}

/// End the session of an absent client: what waits for it and its subscriptions are forgotten, for good.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "rm", help_triggers("-h", "--help"))]
struct Remove {
    /// client id
    #[argh(positional, arg_name = "client")]
    client: String,
    /// control socket of the broker, where it is not in its usual place
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
    /// also while the client is connected, whose connection is closed
    #[argh(switch)]
    connected: bool,
}

impl Sessions {
    pub(super) fn run(&self) -> Result<u8, Failure> {
        match &self.act {
            Act::List(list) => list.run(),
            Act::Remove(remove) => remove.run(),
        }
    }
}

impl List {
    fn run(&self) -> Result<u8, Failure> {
        let mut broker = Broker::find(self.control.as_deref())?;
        let request = json!({ "ask": "sessions" });
        if self.json {
            return broker.print(&request);
        }
        let mut found = broker.ask_all(&request)?;
        found.sort_by(|a, b| {
            let bytes = |line| std::cmp::Reverse(shown::number(line, "queued_bytes"));
            let names = a["client"].as_str().cmp(&b["client"].as_str());
            bytes(a).cmp(&bytes(b)).then(names)
        });
        let head = [
            "CLIENT",
            "USER",
            "STATE",
            "FILTERS>",
            "QUEUE>",
            "UNDER WAY>",
        ];
        let mut table = Table::new(&head);
        for line in &found {
            table.row(vec![
                text(line, "client", 40),
                text(line, "user", 20),
                shown::say(&state(line)),
                count(line, "subscriptions"),
                queue(line),
                count(line, "in_flight"),
            ]);
        }
        print(&table.text_or("there is no session\n")).map(|()| 0)
    }
}

fn state(line: &serde_json::Value) -> String {
    if line["connected"] == true {
        return "connected".to_owned();
    }
    match line["ends"].as_u64() {
        Some(ends) => {
            let left = ends.saturating_sub(shown::now_s());
            format!("absent, ends in {}", units::span(left))
        }
        None => "absent, kept for ever".to_owned(),
    }
}

impl Remove {
    fn run(&self) -> Result<u8, Failure> {
        let mut broker = Broker::find(self.control.as_deref())?;
        let request = json!({
            "ask": "end_session", "client": self.client, "only_absent": !self.connected,
        });
        let done = broker.ask_one(&request)?;
        let client = shown::whole(&self.client);
        match (done["done"] == true, self.connected) {
            (true, _) => print_line(&format!("the session of {client} has ended\n")).map(|()| 0),
            (false, true) => Err(Failure::new(format!(
                "there is no session of {client}: `mqttfast sessions ls` lists all"
            ))),
            (false, false) => Err(Failure::new(format!(
                "there is no session of an absent client {client}: `mqttfast sessions ls` lists all; of a connected one, --connected ends it too"
            ))),
        }
    }
}
