//! `mqttfast`: flags and a file to `Config`, then `io::run`; and the commands `mqttfast passwd`, `explain`, `store` and
//! `migrate`, and those of `io::console`, which ask a running broker.
//!
//! Exit codes: 0 done, 1 not possible, 2 asked wrongly; with a configuration file also Mosquitto's: 3 for what is
//! written wrong there, 13 for a password file that cannot be opened.

mod options;

use mqttfast::acl::explain::Explanation;
use mqttfast::config::mosquitto::{Refused, describe};
use mqttfast::config::{Config, Source};
use mqttfast::io::bridge_test::{BridgeTest, NotTried};
use mqttfast::io::explain::{NoAnswer, Question};
use mqttfast::io::migrate::Migration;
use mqttfast::io::{self, disk::Disk, store_tool};
use mqttfast::io::{console, doctor};
use mqttfast::language::Language;
use mqttfast::passwd;
use options::Request;
use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match options::parse(std::env::args_os().skip(1).collect()) {
        Err(text) => fail("mqttfast", &text, 2),
        Ok(Request::Print(text)) => print(&text),
        Ok(Request::Passwd(command)) => match passwd::run(command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => fail("mqttfast passwd", &failure.text, failure.exit_code),
        },
        Ok(Request::Store(command)) => match store_tool::run(command) {
            Ok(done) => {
                print(&done.text);
                ExitCode::from(done.exit_code)
            }
            Err(failure) => fail("mqttfast store", &failure.text, failure.exit_code),
        },
        Ok(Request::Serve(flags, None)) => serve(flags.config()),
        Ok(Request::Serve(flags, Some(file))) => {
            let source = Source { file, flags };
            match source.read(&Disk) {
                Ok((config, _)) => serve(config),
                Err(refused) => {
                    let exit_code = refuse(&refused);
                    offer_doctor(Some(&source.file));
                    exit_code
                }
            }
        }
        Ok(Request::Explain(question, control)) => explain(&question, control.as_deref()),
        Ok(Request::Doctor(doctor)) => {
            let findings = doctor.findings();
            print(&doctor::said(
                &findings,
                language(),
                console::shown::colours(),
            ));
            ExitCode::from(doctor::exit_code(&findings))
        }
        Ok(Request::Console(command)) => match console::run(&command) {
            Ok(exit_code) => ExitCode::from(exit_code),
            Err(failure) => console_failed("mqttfast", &failure),
        },
        Ok(Request::Check(flags, file)) => check(Source { file, flags }),
        Ok(Request::Migrate(migration)) => migrate(&migration),
        Ok(Request::BridgeTest(test)) => bridge_test(&test),
    }
}

fn serve(config: Config) -> ExitCode {
    let file = config.source.as_ref().map(|source| source.file.clone());
    match io::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let exit_code = fail("mqttfast", &error, error.exit_code());
            offer_doctor(file.as_deref());
            exit_code
        }
    }
}

/// Where to look when a start has failed.
fn offer_doctor(file: Option<&Path>) {
    let text = match file {
        Some(file) => format!("`mqttfast doctor -c {}` says more", file.display()),
        None => "`mqttfast doctor`, with the same flags before it, says more".to_owned(),
    };
    let _ = writeln!(std::io::stderr(), "mqttfast: {}", language().say(&text));
}

/// Says whether a Client may do something. Exit code 1: it may not.
fn explain(question: &Question, control: Option<&Path>) -> ExitCode {
    const WHO: &str = "mqttfast explain";
    if question.acl.is_none() && question.config.is_none() {
        return match console::explain::ask(question, control) {
            Ok(answer) => explained(&answer),
            Err(failure) => console_failed(WHO, &failure),
        };
    }
    match question.answer() {
        Ok(answer) => explained(&answer),
        Err(NoAnswer::Topic(text)) => fail(WHO, &text, 2),
        Err(NoAnswer::Configuration(refused)) => refuse(&refused),
        Err(NoAnswer::Rules(faults)) => fail(WHO, &faults.sentences().join("\n"), 2),
    }
}

fn explained(answer: &Explanation) -> ExitCode {
    print(&answer.text);
    ExitCode::from(u8::from(!answer.allowed))
}

fn console_failed(who: &str, failure: &console::Failure) -> ExitCode {
    match failure.text.is_empty() {
        true => ExitCode::from(failure.exit_code),
        false => fail(who, &failure.text, failure.exit_code),
    }
}

/// Tries the other broker of a bridge. Exit code 1: a step failed.
fn bridge_test(test: &BridgeTest) -> ExitCode {
    // A reader who closes the pipe wants no more lines.
    let say = |text: &str| drop(std::io::stdout().write_all(text.as_bytes()));
    match test.run(say) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(NotTried::Configuration(refused)) => refuse(&refused),
        Err(NotTried::NoBridge(text)) => fail("mqttfast bridge test", &text, 2),
    }
}

/// Says what becomes of each line of a Mosquitto's files.
fn migrate(migration: &Migration) -> ExitCode {
    match migration.run() {
        Ok(report) => {
            print(&report.text);
            ExitCode::from(report.exit_code)
        }
        Err(text) => fail("mqttfast migrate", &text, 1),
    }
}

/// Says what a start would do, and does nothing.
fn check(source: Source) -> ExitCode {
    let (config, file) = match source.read(&Disk) {
        Ok(read) => read,
        Err(refused) => return refuse(&refused),
    };
    let language = language();
    let mut text = describe(&file, language);
    match io::check(&config) {
        Ok(warnings) => {
            for (index, warning) in warnings.iter().enumerate() {
                if index == 0 {
                    let title = language.say("Password and ACL files");
                    text.push_str(&format!("\n{title}\n"));
                }
                text.push_str(&format!("  {}\n", language.say_lines(warning)));
            }
            print(&text)
        }
        Err(error) => {
            print(&text);
            fail("mqttfast", &error, error.exit_code())
        }
    }
}

fn print(text: &str) -> ExitCode {
    // Who closed the pipe does not want the rest.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Every fault of a configuration, then what else is to be said of it.
fn refuse(refused: &Refused) -> ExitCode {
    let language = language();
    for fault in &refused.faults {
        let _ = writeln!(std::io::stderr(), "mqttfast: {}", fault.said(language));
    }
    for note in &refused.notes {
        let also = format!("also, {}", note.said(language));
        let _ = writeln!(std::io::stderr(), "mqttfast: {}", language.say(&also));
    }
    ExitCode::from(refused.exit.code())
}

/// That of the operator.
fn language() -> Language {
    Language::of(|name| std::env::var_os(name))
}

/// One sentence on standard error.
fn fail(who: &str, text: &dyn Display, exit_code: u8) -> ExitCode {
    let text = language().say_lines(&text.to_string());
    let _ = writeln!(std::io::stderr(), "{who}: {text}");
    ExitCode::from(exit_code)
}
