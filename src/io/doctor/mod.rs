//! `mqttfast doctor`: what is wrong with a set-up, why that matters, and the line that mends it. Works without a
//! running broker, and changes nothing.
//!
//! What a start would refuse or warn of is found by the same code as a start's. The rest are things that a start cannot
//! know: who can reach it, whether a reload may read its files, how fast the disk is, what a device had trouble with.
//!
//! Exit codes: 0 nothing is wrong, 1 something does not work, 4 something should be looked at; 2 asked wrongly.

mod bridges;
mod device;
mod files;
mod machine;
mod network;
mod store;
mod wear;

use crate::config::mosquitto::{Exit, Kind};
use crate::config::{Config, Flags, Source};
use crate::io::console::shown;
use crate::io::disk::Disk;
use crate::io::user::RunAs;
use crate::language::Language;
use std::fmt::Display;
use std::path::PathBuf;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// As it should be; or worth knowing, and nothing is wrong.
    Fine,
    /// It works, and not as was meant, or not for long.
    Warning,
    /// It does not work.
    Fault,
}

/// One thing that was looked at. Sentences are English; they are put into the operator's language as they are shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// See there.
    pub level: Level,
    /// What is so.
    pub what: String,
    /// Why it matters.
    pub why: Option<String>,
    /// What to write or to type.
    pub mend: Option<String>,
}

impl Finding {
    fn fine(what: impl Into<String>) -> Finding {
        Finding::new(Level::Fine, what)
    }

    fn warning(what: impl Into<String>) -> Finding {
        Finding::new(Level::Warning, what)
    }

    fn fault(what: impl Into<String>) -> Finding {
        Finding::new(Level::Fault, what)
    }

    fn new(level: Level, what: impl Into<String>) -> Finding {
        Finding {
            level,
            what: what.into(),
            why: None,
            mend: None,
        }
    }

    fn why(mut self, why: impl Into<String>) -> Finding {
        self.why = Some(why.into());
        self
    }

    fn mend(mut self, mend: impl Into<String>) -> Finding {
        self.mend = Some(mend.into());
        self
    }
}

/// What is looked at.
#[derive(Debug)]
pub struct Doctor {
    /// The command line that the broker is to be started with.
    pub flags: Flags,
    /// Its `mosquitto.conf`, if it reads one.
    pub config: Option<PathBuf>,
    /// The user of the service; `None`: whoever runs this, or whom the configuration names.
    pub service_user: Option<String>,
    /// A device that has trouble: client id, user name or address.
    pub client: Option<String>,
    /// Where the running broker is asked, if not in its usual place.
    pub control: Option<PathBuf>,
    /// The words of all these flags, to compare with how the running broker was started.
    pub words: Vec<String>,
}

impl Doctor {
    /// Looks at everything.
    pub fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        if let Some(config) = self.configuration(&mut found) {
            let reader = files::Reader::of(&config, self.service_user.as_deref(), &mut found);
            let lan = network::lan_addresses();
            network::look(&config, &lan, &mut found);
            files::look(&config, &reader, &lan, &mut found);
            store::look(&config, &reader, &mut found);
            machine::look(&config, &mut found);
            bridges::look(&config, shown::now_s() as i64, &mut found);
        }
        device::look(self, &mut found);
        found
    }

    /// What the broker would be started with. `None`: a start would be refused for it.
    fn configuration(&self, found: &mut Vec<Finding>) -> Option<Config> {
        let Some(file) = &self.config else {
            return Some(self.flags.clone().config());
        };
        let source = Source {
            file: file.clone(),
            flags: self.flags.clone(),
        };
        match source.read(&Disk) {
            Ok((config, _)) => {
                let before = found.len();
                for note in config
                    .notes
                    .iter()
                    .filter(|note| note.kind == Kind::Warning)
                {
                    found.push(
                        Finding::warning(note.to_string())
                            .why("the line does something else than it seems to say"),
                    );
                }
                if found.len() == before {
                    found.push(Finding::fine(format!(
                        "the configuration {} is in order",
                        file.display()
                    )));
                }
                if let Err(error) = RunAs::of(config.user.as_ref()) {
                    found.push(refused(&error));
                }
                Some(config)
            }
            Err(refused) => {
                let why = match refused.exit {
                    Exit::Unreadable => "the broker does not start without the file",
                    _ => "the broker does not start with this line",
                };
                for fault in &refused.faults {
                    let finding = Finding::fault(fault.to_string()).why(why);
                    found.push(match refused.exit {
                        Exit::Unreadable => {
                            finding.mend("create the file, or correct its name there")
                        }
                        // It says what to write.
                        _ => finding,
                    });
                }
                None
            }
        }
    }
}

/// What a start would be refused for.
fn refused(error: &dyn Display) -> Finding {
    Finding::fault(error.to_string()).why("the broker does not start")
}

/// The worst of them as an exit code.
pub fn exit_code(findings: &[Finding]) -> u8 {
    match findings.iter().map(|finding| finding.level).max() {
        Some(Level::Fault) => 1,
        Some(Level::Warning) => 4,
        Some(Level::Fine) | None => 0,
    }
}

/// The findings as text, the worst first.
pub fn said(findings: &[Finding], language: Language, colours: bool) -> String {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let mut out = String::new();
    for finding in &sorted {
        let (word, colour) = match finding.level {
            Level::Fault => ("wrong", "\x1b[31m"),
            Level::Warning => ("look", "\x1b[33m"),
            Level::Fine => ("fine", "\x1b[32m"),
        };
        let (on, off) = match colours {
            true => (colour, "\x1b[0m"),
            false => ("", ""),
        };
        let word = language.say(word);
        let what = shown::whole(&language.say(&finding.what));
        out += &format!("{on}{word:9}{off} {what}\n");
        for (title, text) in [("why", &finding.why), ("do", &finding.mend)] {
            if let Some(text) = text {
                let title = format!("{}:", language.say(title));
                let text = shown::whole(&language.say(text));
                out += &format!("{:9} {title:9} {text}\n", "");
            }
        }
    }
    let count = |level| {
        findings
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    };
    let (faults, warnings) = (count(Level::Fault), count(Level::Warning));
    let sum = match (faults, warnings) {
        (0, 0) => "nothing wrong was found".to_owned(),
        (faults, warnings) => format!("found: {faults} wrong, {warnings} to look at"),
    };
    out += &format!("\n{}\n", language.say(&sum));
    out
}
