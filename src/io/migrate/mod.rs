//! `mqttfast migrate`: what becomes here of each line by which a Mosquitto has been running, and what to type to change
//! over. Reads its configuration, users, rules and database. Writes nothing unless it is told where, and then nothing
//! over what is there.

mod files;
mod write;

use crate::config::mosquitto::account::{Account, Outcome, Recorder, Told, account, corrected};
use crate::config::mosquitto::{self, Mosquitto, Note, Place, Refused};
use crate::config::{Flags, file::IMPLEMENTED};
use crate::io::disk::Disk;
use crate::language::Language;
use crate::passwd::shell_quoted;
use std::fmt::Write;
use std::path::PathBuf;

/// The exit code where a start goes well, but something that the files ask for is not there.
pub const SOMETHING_MISSING: u8 = 4;

/// The file that Debian's Mosquitto reads.
pub const CONFIGURATION: &str = "/etc/mosquitto/mosquitto.conf";

/// What is to be looked at.
#[derive(Debug)]
pub struct Migration {
    /// The configuration.
    pub config: PathBuf,
    /// They go before what it says.
    pub flags: Flags,
    /// Where corrected copies, and what the service needs, are written.
    pub write: Option<PathBuf>,
    /// Of the report.
    pub language: Language,
}

/// What was found.
#[derive(Debug)]
pub struct Report {
    /// Lines for eyes.
    pub text: String,
    /// 0: a start goes well; [`SOMETHING_MISSING`]: it does, without something that was asked for; else what a start
    /// ends with.
    pub exit_code: u8,
}

/// All that is known of the lines.
#[derive(Default)]
struct Findings {
    accounts: Vec<Account>,
    /// Files that could be better, by their paths.
    copies: Vec<(PathBuf, Vec<u8>)>,
    /// What a start ends with, if it does.
    refused: Option<u8>,
}

impl Migration {
    /// Reads everything and says what becomes of it.
    ///
    /// Errors: what was asked for cannot be written; one sentence.
    pub fn run(&self) -> Result<Report, String> {
        let mut found = Findings::default();
        let recorder = Recorder::new(&Disk);
        let read = mosquitto::read(&self.config, &recorder);
        self.configuration(&read, recorder.into_read(), &mut found);
        if let Ok(taken) = &read {
            files::users(taken, &mut found);
            files::acl_files(taken, &mut found);
            files::database(taken, &mut found);
        }
        let mut text = String::new();
        for account in &found.accounts {
            told(&mut text, account, self.language);
        }
        let missing = self.sum(&mut text, &found);
        if let Some(folder) = &self.write {
            let written = write::write(folder, &self.absolute(), &found.copies)?;
            let _ = writeln!(text, "\n{}", self.language.say("Written:"));
            for path in written {
                let _ = writeln!(text, "  {}", path.display());
            }
        }
        let exit_code = match found.refused {
            Some(code) => code,
            None if missing => SOMETHING_MISSING,
            None => 0,
        };
        if found.refused.is_none() {
            self.what_to_type(&mut text);
        }
        Ok(Report { text, exit_code })
    }

    /// The lines of the configuration and of the files it includes.
    fn configuration(
        &self,
        read: &Result<Mosquitto, Refused>,
        files: Vec<(PathBuf, Vec<u8>)>,
        found: &mut Findings,
    ) {
        let mut missing: Vec<Note> = Vec::new();
        let mut said: &[(&'static mosquitto::Row, Place)] = &[];
        let start = match read {
            Ok(taken) => {
                said = &taken.said;
                missing = match taken.not_yet(IMPLEMENTED) {
                    Ok(told) => told,
                    Err(refused) => refused.notes,
                };
                let start = self.flags.clone().over(taken);
                // Beside its reason, what is known of the lines.
                start.map_err(|refused| Refused {
                    notes: taken.notes.clone(),
                    ..refused
                })
            }
            Err(refused) => Err(refused.clone()),
        };
        let (faults, mut notes) = match start {
            // What was taken otherwise than it stands there is among these.
            Ok(config) => (Vec::new(), config.notes),
            Err(refused) => {
                found.refused = Some(refused.exit.code());
                (refused.faults, refused.notes)
            }
        };
        notes.retain(|note| !missing.contains(note));
        let told = Told {
            faults: &faults,
            missing: &missing,
            notes: &notes,
            said,
        };
        if files.is_empty() {
            // The file itself cannot be read.
            found.accounts.extend(account(&self.config, b"", &told));
        }
        for (path, bytes) in files {
            found.accounts.extend(account(&path, &bytes, &told));
            if let Some(copy) = corrected(&path, &bytes, &faults, &notes) {
                found.copies.push((path, copy));
            }
        }
    }

    /// How many lines are of which kind; and whether something that was asked for is missing.
    fn sum(&self, text: &mut String, found: &Findings) -> bool {
        let count = |outcome| {
            let of = found.accounts.iter().filter(|a| a.outcome == outcome);
            of.count()
        };
        let (same, different) = (count(Outcome::Same), count(Outcome::Different));
        let missing = count(Outcome::NotSupported);
        let sum = format!("{same} lines the same, {different} different, {missing} not supported.");
        let _ = writeln!(text, "\n{}", self.language.say(&sum));
        let what = match found.refused {
            Some(_) => match &self.write {
                Some(_) => "mqttfast does not start with these files: see the copies below.",
                None => {
                    "mqttfast does not start with these files: change the lines that are not supported, or have copies \
                         written with: mqttfast migrate --write DIR"
                }
            },
            None if missing > 0 => {
                "mqttfast starts with these files, without what is not supported."
            }
            None => "mqttfast starts with these files as they are.",
        };
        let _ = writeln!(text, "{}", self.language.say(what));
        missing > 0
    }

    /// The file as a service finds it, which starts in another folder.
    fn absolute(&self) -> PathBuf {
        std::path::absolute(&self.config).unwrap_or_else(|_| self.config.clone())
    }

    /// Three lines, and how to try it before.
    fn what_to_type(&self, text: &mut String) {
        let file = shell_quoted(&self.absolute());
        let try_it = "To try it until Ctrl+C, with Mosquitto stopped:";
        let _ = writeln!(text, "\n{}", self.language.say(try_it));
        let _ = writeln!(
            text,
            "  sudo systemctl stop mosquitto && sudo mqttfast -c {file}; sudo systemctl start mosquitto"
        );
        let change = "To change over, with mqttfast installed from its Debian package:";
        let _ = writeln!(text, "\n{}", self.language.say(change));
        text.push_str("  sudo systemctl disable --now mosquitto\n");
        let _ = writeln!(
            text,
            "  echo 'MQTTFAST_OPTIONS=\"-c {file}\"' | sudo tee /etc/mqttfast/options"
        );
        text.push_str(concat!(
            "  sudo install -Dm644 -t /etc/systemd/system/mqttfast.service.d /usr/share/mqttfast/mosquitto.conf",
            " && sudo systemctl daemon-reload && sudo systemctl restart mqttfast\n"
        ));
    }
}

/// One line, and below it what is to be said of it.
fn told(text: &mut String, account: &Account, language: Language) {
    let words = ["same", "different", "not supported"].map(|word| language.say(word));
    let word = match account.outcome {
        Outcome::Same => &words[0],
        Outcome::Different => &words[1],
        Outcome::NotSupported => &words[2],
    };
    let widths = words.iter().map(|word| word.chars().count());
    let width = widths.max().unwrap_or(0) + 1;
    let shown = match account.is_ours {
        true => language.say(&account.text),
        false => account.text.as_str().into(),
    };
    let _ = writeln!(text, "{word:<width$} {}: {shown}", account.place);
    for remark in &account.remarks {
        for line in language.say_lines(remark).lines() {
            let _ = writeln!(text, "{:<width$}   {line}", "");
        }
    }
}
