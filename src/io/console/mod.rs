//! Commands that ask a running broker by its control socket: what is there, who is there, and orders.
//!
//! Exit codes: 0 done, 1 not possible or nothing found, 2 asked wrongly.

mod asking;
mod client;
pub mod explain;
mod log;
mod retained;
mod session;
pub mod shown;
mod status;
mod top;

pub use self::asking::Broker;
pub use self::client::{Clients, Kick};
pub use self::log::{Denials, Log};
pub use self::retained::Retained;
pub use self::session::Sessions;
pub use self::status::Status;
pub use self::top::Top;
use std::io::{self, Write};

/// Why a command did not do what it was to: one sentence for standard error.
#[derive(Debug)]
pub struct Failure {
    /// With the remedy.
    pub text: String,
    /// What the command ends with.
    pub exit_code: u8,
}

impl Failure {
    /// With exit code 1.
    pub fn new(text: impl Into<String>) -> Failure {
        Failure {
            text: text.into(),
            exit_code: 1,
        }
    }

    fn asked_wrongly(text: impl Into<String>) -> Failure {
        Failure {
            text: text.into(),
            exit_code: 2,
        }
    }

    /// Who closed the pipe does not want the rest: no failure is told.
    fn of_output(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure {
                text: String::new(),
                exit_code: 0,
            },
            _ => Failure::new(format!("standard output: {error}")),
        }
    }
}

/// Prints at once.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    printed.map_err(|error| Failure::of_output(&error))
}

/// Prints a sentence of ours, with its line end, in the operator's language.
fn print_line(english: &str) -> Result<(), Failure> {
    print(&shown::say_line(english))
}

/// One of these commands.
#[derive(Debug)]
pub enum Command {
    /// `mqttfast status`
    Status(Status),
    /// `mqttfast clients`
    Clients(Clients),
    /// `mqttfast kick`
    Kick(Kick),
    /// `mqttfast sessions`
    Sessions(Sessions),
    /// `mqttfast retained`
    Retained(Retained),
    /// `mqttfast denials`
    Denials(Denials),
    /// `mqttfast log`
    Log(Log),
    /// `mqttfast top`
    Top(Top),
}

/// Carries out the command; its answer goes to standard output. Returns the exit code.
///
/// Errors: no broker can be asked, or it refuses.
pub fn run(command: &Command) -> Result<u8, Failure> {
    match command {
        Command::Status(command) => command.run(),
        Command::Clients(command) => command.run(),
        Command::Kick(command) => command.run(),
        Command::Sessions(command) => command.run(),
        Command::Retained(command) => command.run(),
        Command::Denials(command) => command.run(),
        Command::Log(command) => command.run(),
        Command::Top(command) => command.run(),
    }
}
