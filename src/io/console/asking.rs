//! A request to a running broker, and its answer line by line.

use super::{Failure, print};
use crate::io::helpers::control_socket::place;
use crate::io::helpers::known::VERSION;
use crate::limits;
use serde_json::Value;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// A connection to the broker's control socket.
pub struct Broker {
    stream: BufReader<UnixStream>,
    /// Lines are printed as they come, which is progress enough.
    pub(super) streams: bool,
}

impl Broker {
    /// Connects.
    ///
    /// Errors: there is no broker to ask, or this user may not.
    pub fn find(named: Option<&Path>) -> Result<Broker, Failure> {
        let stream = place::connect(named).map_err(Failure::new)?;
        let patience = Duration::from_millis(limits::CONTROL_STUCK_MS);
        let set = stream
            .set_read_timeout(Some(patience))
            .and_then(|()| stream.set_write_timeout(Some(patience)));
        set.map_err(|error| Failure::new(error.to_string()))?;
        Ok(Broker {
            stream: BufReader::new(stream),
            streams: false,
        })
    }

    /// Sends a request; `each` gets every line of the answer but the last one, with its text.
    ///
    /// Errors: the broker refuses it, with exit code 2 where it was asked wrongly, or is gone.
    pub fn ask(
        &mut self,
        request: &Value,
        mut each: impl FnMut(Value, &str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut line = request.to_string();
        line.push('\n');
        let sent = self.stream.get_mut().write_all(line.as_bytes());
        sent.map_err(|error| gone(&error))?;
        let mut progress = Progress::new(!self.streams);
        loop {
            line.clear();
            match self.stream.read_line(&mut line) {
                Ok(0) => {
                    return Err(Failure::new(
                        "the broker closed the connection: it stops, or too many commands ask it at a time",
                    ));
                }
                Ok(_) => {}
                Err(error) => return Err(gone(&error)),
            }
            let value: Value = serde_json::from_str(&line).map_err(|error| {
                Failure::new(format!("the broker's answer is not understood: {error}"))
            })?;
            if let Some(code) = value["error"].as_str() {
                let text = super::shown::whole(value["text"].as_str().unwrap_or(code));
                return Err(match code {
                    "wrong_request" => Failure::asked_wrongly(text),
                    _ => Failure::new(text),
                });
            }
            if value["end"] == true {
                if value["protocol"].as_u64() > Some(VERSION.into()) {
                    let text = "the broker is of a later version than this command";
                    eprintln!("mqttfast: {}", super::shown::say(text));
                }
                return Ok(());
            }
            progress.one_more();
            each(value, line.trim_end())?;
        }
    }

    /// The one line of an answer.
    pub fn ask_one(&mut self, request: &Value) -> Result<Value, Failure> {
        Ok(self.ask_all(request)?.pop().unwrap_or_default())
    }

    /// All lines of an answer.
    pub fn ask_all(&mut self, request: &Value) -> Result<Vec<Value>, Failure> {
        let mut found = Vec::new();
        self.ask(request, |value, _| {
            found.push(value);
            Ok(())
        })?;
        Ok(found)
    }

    /// Prints an answer as it comes: a JSON object a line. Returns the exit code.
    pub(super) fn print(&mut self, request: &Value) -> Result<u8, Failure> {
        self.streams = true;
        self.ask(request, |_, line| print(&format!("{line}\n")))?;
        Ok(0)
    }

    /// Lines may come as late as they like.
    pub fn be_patient(&mut self) -> Result<(), Failure> {
        let set = self.stream.get_mut().set_read_timeout(None);
        set.map_err(|error| Failure::new(error.to_string()))
    }
}

fn gone(error: &std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
            Failure::new("the broker does not answer")
        }
        _ => Failure::new(format!("the broker is gone: {error}")),
    }
}

/// How much has come, on a terminal, of an answer that takes more than a second.
struct Progress {
    since: Instant,
    count: u64,
    shown: bool,
    looks: bool,
}

impl Progress {
    fn new(wanted: bool) -> Progress {
        Progress {
            since: Instant::now(),
            count: 0,
            shown: false,
            looks: wanted && std::io::stderr().is_terminal(),
        }
    }

    fn one_more(&mut self) {
        self.count += 1;
        if self.looks && self.count.is_multiple_of(512) && self.since.elapsed().as_secs() >= 1 {
            self.shown = true;
            let so_far = format!("{} so far", self.count);
            eprint!("\r{}", super::shown::say(&so_far));
            let _ = std::io::stderr().flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            // Clears the line.
            eprint!("\r\x1b[K");
        }
    }
}
