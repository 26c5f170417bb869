//! `mqttfast`: flags to `Config`, then `io::run`; and the command `mqttfast passwd`.
//!
//! Exit codes: 0 done, 1 not possible, 2 asked wrongly.

mod options;

use mqttfast::{io, passwd};
use options::Request;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match options::parse(std::env::args_os().skip(1).collect()) {
        Err(text) => fail("mqttfast", &text, 2),
        Ok(Request::Print(text)) => {
            // Who closed the pipe does not want the rest.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Ok(Request::Passwd(command)) => match passwd::run(command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => fail("mqttfast passwd", &failure.text, failure.exit_code),
        },
        Ok(Request::Serve(config)) => match io::run(config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail("mqttfast", &error.to_string(), 1),
        },
    }
}

/// One sentence on standard error.
fn fail(who: &str, text: &str, exit_code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{who}: {text}");
    ExitCode::from(exit_code)
}
