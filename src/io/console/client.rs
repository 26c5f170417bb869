//! `mqttfast clients` and `mqttfast kick`.

use super::shown::{self, Table, ago, size, text};
use super::{Broker, Failure, print, print_line};
use argh::FromArgs;
use serde_json::{Value, json};
use std::path::PathBuf;

/// List the clients that are connected to the running broker.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "clients",
    help_triggers("-h", "--help"),
    example = "Who is connected, and who sends most?\n  mqttfast clients"
)]
pub struct Clients {
    /// control socket of the broker, where it is not in its usual place
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
    /// print one JSON object for each
    #[argh(switch)]
    json: bool,
}

impl Clients {
    pub(super) fn run(&self) -> Result<u8, Failure> {
        let mut broker = Broker::find(self.control.as_deref())?;
        let request = json!({ "ask": "clients" });
        if self.json {
            return broker.print(&request);
        }
        let mut found = broker.ask_all(&request)?;
        found.sort_by(|a, b| a["client"].as_str().cmp(&b["client"].as_str()));
        let head = [
            "CLIENT", "USER", "ADDRESS", "MQTT", "FOR", "IN>", "OUT>", "QUEUE>",
        ];
        let mut table = Table::new(&head);
        for line in &found {
            table.row(vec![
                text(line, "client", 40),
                text(line, "user", 20),
                text(line, "address", 50),
                text(line, "mqtt", 8),
                ago(line, "since"),
                size(line, "received_bytes"),
                size(line, "sent_bytes"),
                queue(line),
            ]);
        }
        print(&table.text_or("no client is connected\n")).map(|()| 0)
    }
}

/// Messages that wait, and their bytes.
pub(super) fn queue(line: &Value) -> String {
    match shown::number(line, "queued") {
        0 => "-".to_owned(),
        queued => format!("{queued} ({})", size(line, "queued_bytes")),
    }
}

/// Close the connection of a client. Its session stays, its will is published, and it may come again.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "kick", help_triggers("-h", "--help"))]
pub struct Kick {
    /// client id
    #[argh(positional, arg_name = "client")]
    client: String,
    /// control socket of the broker, where it is not in its usual place
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
}

impl Kick {
    pub(super) fn run(&self) -> Result<u8, Failure> {
        let mut broker = Broker::find(self.control.as_deref())?;
        let done = broker.ask_one(&json!({ "ask": "disconnect", "client": self.client }))?;
        let client = shown::whole(&self.client);
        match done["done"] == true {
            true => print_line(&format!("{client} is disconnected\n")).map(|()| 0),
            false => Err(Failure::new(format!(
                "no client {client} is connected: `mqttfast clients` lists those that are"
            ))),
        }
    }
}
