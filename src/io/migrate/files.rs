//! What becomes of users, rules and of what Mosquitto has kept.

use super::Findings;
use crate::acl::Acl;
use crate::config::mosquitto::account::{Account, Outcome, shown};
use crate::config::mosquitto::{Exit, Mosquitto, Place};
use crate::io::helpers::rules;
use crate::io::store::import::{self, Failure};
use crate::passwd::{LineFault, PasswordFile, Scheme};
use std::path::Path;

fn at(path: &Path, line: u32) -> Place {
    Place {
        file: path.display().to_string().into(),
        line,
    }
}

/// A sentence of ours about a line.
fn ours(place: Place, outcome: Outcome, text: String, remark: Option<String>) -> Account {
    Account {
        place,
        text,
        is_ours: true,
        outcome,
        remarks: remark.into_iter().collect(),
    }
}

fn refuse(found: &mut Findings, path: &Path, exit: Exit, why: String) {
    // What stops a start first has its exit code.
    found.refused.get_or_insert(exit.code());
    let outcome = Outcome::NotSupported;
    let account = ours(at(path, 0), outcome, String::new(), Some(why));
    found.accounts.push(account);
}

/// The password files, line by line. Of passwords nothing is shown but how they are kept.
pub(super) fn users(taken: &Mosquitto, found: &mut Findings) {
    for path in taken.password_files() {
        let path = path.value.as_path();
        let file = match PasswordFile::load(path) {
            Ok(file) => file,
            Err(error) => {
                refuse(found, path, Exit::Unreadable, error.to_string());
                continue;
            }
        };
        let mut accounts: Vec<Account> = Vec::new();
        for (line, user_name, hash) in file.users() {
            let how = match hash.scheme() {
                Scheme::Sha512 => "$6$".to_owned(),
                Scheme::Pbkdf2 { iterations } => format!("$7$, {iterations} iterations"),
                Scheme::Argon2id(cost) => format!("$argon2id$, {} KiB", cost.memory_kib),
            };
            let text = format!("{user_name} ({how})");
            accounts.push(ours(at(path, line), Outcome::Same, text, None));
        }
        for (line, fault) in file.faults() {
            let (outcome, text) = match fault {
                LineFault::IterationsTooMany | LineFault::Argon2TooMuch => {
                    (Outcome::NotSupported, "a user who cannot log in")
                }
                LineFault::Contradicted { .. } => (Outcome::Different, "a user with two passwords"),
                LineFault::IndentedComment | LineFault::Doubled { .. } => (Outcome::Same, ""),
                // Mosquitto 2.0 drops such a user, and 2.1 does not start.
                _ => (
                    Outcome::Same,
                    "nobody can log in by this line, with Mosquitto neither",
                ),
            };
            let remark = Some(fault.sentence(path));
            accounts.push(ours(at(path, line), outcome, text.to_owned(), remark));
        }
        accounts.sort_by_key(|account| account.place.line);
        found.accounts.extend(accounts);
        let more = file.skipped() - file.faults().count();
        if more > 0 {
            let text = format!("{more} more lines by which nobody can log in");
            let account = ours(at(path, 0), Outcome::Same, text, None);
            found.accounts.push(account);
        }
    }
}

/// The ACL files, line by line.
pub(super) fn acl_files(taken: &Mosquitto, found: &mut Findings) {
    for path in taken.acl_files() {
        let path = path.value.as_path();
        let bytes = match rules::bytes_of(path) {
            Ok(bytes) => bytes,
            Err(why) => {
                refuse(found, path, Exit::Unreadable, why);
                continue;
            }
        };
        // By line: what is said of it, and whether it keeps the file from being taken.
        let (remarks, refuses): (Vec<(u32, String)>, bool) = match Acl::parse(&bytes) {
            Ok(acl) => {
                let warnings = acl.warnings().iter();
                (warnings.map(|w| (w.line, w.text.clone())).collect(), false)
            }
            Err(refused) => {
                found.refused.get_or_insert(Exit::Invalid.code());
                let told = refused.faults.iter();
                let told = told.map(|fault| (fault.line, fault.sentence()));
                (told.collect(), true)
            }
        };
        for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            let number = index as u32 + 1;
            let text = shown(line);
            let of_line: Vec<String> = remarks
                .iter()
                .filter(|(line, _)| *line == number)
                .map(|(_, text)| text.clone())
                .collect();
            if of_line.is_empty() && (text.is_empty() || text.starts_with('#')) {
                continue;
            }
            let outcome = match refuses && !of_line.is_empty() {
                true => Outcome::NotSupported,
                false => Outcome::Same,
            };
            found.accounts.push(Account {
                place: at(path, number),
                text,
                is_ours: false,
                outcome,
                remarks: of_line,
            });
        }
    }
}

/// What Mosquitto has kept, as it would be taken over by a first start.
pub(super) fn database(taken: &Mosquitto, found: &mut Findings) {
    if !taken.global.persistence {
        return;
    }
    let path = taken.global.database();
    let (outcome, text, remark) = match import::look(&path) {
        Ok(seen) => {
            let whole = seen.lost == 0;
            let remark = "the first start takes it over and leaves the file as it is; Mosquitto writes it when it stops, so \
                          stop it first";
            let outcome = match whole {
                true => Outcome::Same,
                false => Outcome::Different,
            };
            (outcome, seen.to_string(), Some(remark.to_owned()))
        }
        Err(Failure::Missing) => {
            let text =
                "not there, so there is nothing to take over; Mosquitto writes it when it stops";
            (Outcome::Same, text.to_owned(), None)
        }
        Err(Failure::Unusable(why)) => (
            Outcome::NotSupported,
            String::new(),
            Some(format!(
                "{why}; a start begins without sessions and retained messages"
            )),
        ),
        // Nothing is written here.
        Err(Failure::Store(_)) => return,
    };
    let account = ours(at(&path, 0), outcome, text, remark);
    found.accounts.push(account);
}
