//! Why a device does not connect, or may not: by what the running broker remembers of it.

use super::{Doctor, Finding, wear};
use crate::io::console::Broker;
use crate::io::console::shown::{self, number};
use crate::io::words::units;
use crate::language::Language;
use serde_json::{Value, json};
use std::fs;
use std::net::IpAddr;

/// Happenings that are told, at most.
const TOLD_MAX: usize = 5;

/// The running broker, and the device that has trouble.
pub fn look(doctor: &Doctor, found: &mut Vec<Finding>) {
    let (client, control) = (doctor.client.as_deref(), doctor.control.as_deref());
    let mut broker = match Broker::find(control) {
        Ok(broker) => broker,
        Err(failure) => {
            if client.is_some() || control.is_some() {
                found.push(
                    Finding::fault(failure.text)
                        .why("only a running broker knows what a device had trouble with"),
                );
            }
            return;
        }
    };
    let status = broker.ask_one(&json!({ "ask": "status" }));
    let status = status.unwrap_or_default();
    if !status.is_null() {
        running(&status, &doctor.words, found);
    }
    let Some(client) = client else {
        return;
    };
    if let Err(failure) = device(&mut broker, client, &status, found) {
        found.push(Finding::fault(failure.text));
    }
}

/// The broker that runs.
fn running(status: &Value, words: &[String], found: &mut Vec<Finding>) {
    let pid = number(status, "pid");
    let up = units::span(number(status, "uptime_s"));
    found.push(Finding::fine(format!(
        "a broker runs: process {pid}, up for {up}"
    )));
    if let Some(started) = started_with(pid)
        && options(&started) != options(words)
    {
        let line = started.iter().map(|word| quoted(word));
        let line: String = line.map(|word| format!(" {word}")).collect();
        let text = format!("the running broker was started as: mqttfast{line}");
        found.push(
            Finding::fine(text)
                .why("what is said here of files, listeners and rights is for a start with the options of this command")
                .mend(format!("to look at those of the running broker: mqttfast{line} doctor")),
        );
    }
    match status["store"]["condition"].as_str() {
        Some("full") => found.push(
            Finding::fault("the store of the running broker is full")
                .why("messages that must be kept are refused, or wait")
                .mend("make room on its disk; it goes on by itself"),
        ),
        Some("memory-only") => found.push(
            Finding::fault("the store of the running broker cannot be written")
                .why("a restart would forget sessions and retained messages")
                .mend("look at the disk, and at the log: mqttfast log tail -n 200"),
        ),
        Some("behind") => found.push(
            Finding::warning("the disk of the running broker is too slow for what must be kept")
                .why("publishers wait for it")
                .mend("use --durability lazy or a faster disk"),
        ),
        _ => {}
    }
    wear::look(status, found);
    let mistakes = number(status, "mistakes");
    if mistakes > 0 {
        found.push(
            Finding::warning(format!(
                "the running broker has noticed {mistakes} mistakes of its own"
            ))
            .why("a connection was closed for each")
            .mend("please report the lines of its log: mqttfast log tail -n 200"),
        );
    }
}

/// The command line of a broker. `None`: it is gone, or was started in a way that we do not know.
fn started_with(pid: u64) -> Option<Vec<String>> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let line = String::from_utf8(line).ok()?;
    let mut words = line.trim_end_matches('\0').split('\0');
    let program = words.next()?.rsplit('/').next()?;
    (program == "mqttfast").then(|| words.map(str::to_owned).collect())
}

/// What a command line says to the broker, in no order: without what is for this command alone.
fn options(words: &[String]) -> Vec<&str> {
    let mut said = Vec::new();
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "doctor" => {}
            "--client" | "--control" | "--service-user" => drop(words.next()),
            word => said.push(word),
        }
    }
    said.sort_unstable();
    said
}

/// One word of a shell's line.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_./:@%+=,-".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

fn device(
    broker: &mut Broker,
    client: &str,
    status: &Value,
    found: &mut Vec<Finding>,
) -> Result<(), crate::io::console::Failure> {
    let mut connected = Vec::new();
    broker.ask(&json!({ "ask": "clients" }), |line, _| {
        let names = [
            line["client"].as_str(),
            line["user"].as_str(),
            line["address"].as_str(),
            Some(ip(&line)),
        ];
        if names.contains(&Some(client)) {
            connected.push(line);
        }
        Ok(())
    })?;
    let kinds = ["denial", "refusal", "end"];
    let request = json!({ "ask": "happenings", "client": client, "kinds": kinds });
    let happened = broker.ask_all(&request)?;
    let whom = shown::whole(client);
    for line in &connected {
        let whom = shown::whole(line["client"].as_str().unwrap_or_default());
        found.push(Finding::fine(format!(
            "{whom} is connected, for {}",
            shown::ago(line, "since")
        )));
    }
    // What is over by now does not count as wrong: the same user has been connected since, by the same client id. Who
    // was refused may have been given another user name, or the first one: then the client id says that it is the same.
    // Who was refused before it had said who it is, is known by its address.
    let same = |line: &Value, other: &Value| match line["client"].is_null() {
        true => ip(line) == ip(other),
        false => {
            line["client"] == other["client"]
                && (line["kind"] == "refusal" || line["user"] == other["user"])
        }
    };
    let is_back = |line: &Value| {
        let at = line["at"].as_u64();
        let mut ends = happened.iter().filter(|other| other["kind"] == "end");
        connected
            .iter()
            .any(|back| same(line, back) && back["since"].as_u64() >= at)
            || ends.any(|end| same(line, end) && end["at"].as_u64() > at)
    };
    // Of those who take one client id from each other, one is always connected.
    let stays = |line: &Value| line["kind"] == "denial" || line["fight"] == true;
    let is_past = |line: &Value| !stays(line) && is_back(line);
    for line in happened.iter().take(TOLD_MAX) {
        let (ago, count) = (shown::ago(line, "at"), number(line, "count"));
        let text = shown::whole(line["text"].as_str().unwrap_or_default());
        let what = match count {
            0 | 1 => format!("{ago} ago: {text}"),
            count => format!("{ago} ago, {count} times: {text}"),
        };
        let finding = match (is_past(line), line["kind"].as_str()) {
            (true, _) => Finding::fine(what),
            // Nothing is to be done about a Client that has gone as it should.
            (false, Some("end")) if line["remedy"].is_null() => Finding::fine(what),
            (false, Some("end")) => Finding::warning(what),
            (false, _) => Finding::fault(what),
        };
        let remedy = match shown::language() {
            Language::English => "remedy",
            Language::French => "remedy_fr",
        };
        found.push(match line[remedy].as_str() {
            Some(remedy) => finding.mend(remedy),
            None => finding,
        });
    }
    if connected.is_empty() && happened.is_empty() {
        found.push(never_came(&whom, client, status));
    }
    Ok(())
}

/// Where a line's device is, without its port.
fn ip(line: &Value) -> &str {
    let address = line["address"].as_str().unwrap_or_default();
    let ip = address.rsplit_once(':').map_or(address, |(ip, _)| ip);
    ip.trim_matches(['[', ']'])
}

/// Nothing is known of this device.
fn never_came(whom: &str, client: &str, status: &Value) -> Finding {
    let finding = Finding::fault(format!(
        "{whom} has not reached the broker since it was started"
    ));
    let listeners: Vec<&str> = shown::list(&status["listeners"])
        .filter_map(Value::as_str)
        .collect();
    let is_of_here = |listener: &&str| {
        ["127.", "[::1]", "localhost"]
            .iter()
            .any(|start| listener.starts_with(start))
    };
    if !listeners.is_empty() && listeners.iter().all(is_of_here) {
        let places = listeners.join(", ");
        return finding
            .why(format!("the broker listens on {places} alone, which no other machine reaches"))
            .mend("make users, and start it with --passwd FILE and without --bind: mqttfast passwd -c passwd NAME");
    }
    let finding = match client.parse::<IpAddr>() {
        Ok(_) => finding.why("nothing of it has come in: neither a connection nor a refusal"),
        Err(_) => finding.why(
            "no client of this id or user name has come in; what broke off before it gave one is found by its address: mqttfast denials",
        ),
    };
    finding.mend(
        "check the address and port it is given, its network, and the firewall of this machine",
    )
}
