//! Compiles the copy: without the mutants that no compiler takes, then each suite.

use crate::render::Rendered;
use crate::tree::{self, Mutant, Sources};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Rounds until the rest of the mutants compiles. Each ends with fewer of them.
const ROUNDS_MAX: usize = 40;

/// Where the copy is and what is built of it.
pub struct Workshop {
    pub copy: PathBuf,
    pub target: PathBuf,
}

impl Workshop {
    /// Runs cargo in the copy; each of its messages that is JSON.
    fn cargo(&self, words: &[&str]) -> (bool, Vec<Value>) {
        let run = Command::new("cargo")
            .args(words)
            .args(["--message-format=json", "--quiet"])
            .args(["--config", "profile.dev.package.mqttfast.opt-level=1"])
            .args(["--config", "profile.dev.package.mqttfast-rig.opt-level=1"])
            .current_dir(&self.copy)
            .env("CARGO_TARGET_DIR", &self.target)
            .stderr(Stdio::inherit())
            .output()
            .expect("cargo runs");
        let said = String::from_utf8_lossy(&run.stdout);
        let messages = said
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        (run.status.success(), messages.collect())
    }

    /// Plants the mutants in the copy and drops those that do not compile. How many it dropped.
    pub fn keep_what_compiles(
        &self,
        sources: &Sources,
        mutants: &mut BTreeMap<usize, Mutant>,
    ) -> usize {
        let mut dropped = 0;
        for round in 1..=ROUNDS_MAX {
            let rendered = tree::plant(&self.copy, sources, mutants);
            let (good, messages) = self.cargo(&["check", "--lib"]);
            if good {
                return dropped;
            }
            let blamed: BTreeSet<usize> = messages
                .iter()
                .filter(|message| message["message"]["level"] == "error")
                .flat_map(|message| blamed(&self.copy, &message["message"], &rendered))
                .collect();
            assert!(
                !blamed.is_empty(),
                "cargo check fails, and no mutant stands where: {messages:#?}"
            );
            println!("round {round}: {} mutants do not compile", blamed.len());
            dropped += blamed.len();
            mutants.retain(|number, _| !blamed.contains(number));
        }
        panic!("after {ROUNDS_MAX} rounds it does not compile");
    }

    /// Builds the suites. The program of each.
    pub fn build(&self, suites: &[&str]) -> BTreeMap<String, PathBuf> {
        let mut words = vec!["test", "--no-run", "--lib"];
        for suite in suites.iter().filter(|suite| **suite != "lib") {
            words.extend(["--test", suite]);
        }
        let (good, messages) = self.cargo(&words);
        if !good {
            for message in messages
                .iter()
                .filter(|message| message["message"]["level"] == "error")
            {
                println!(
                    "{}",
                    message["message"]["rendered"].as_str().unwrap_or_default()
                );
            }
            panic!("the suites do not compile");
        }
        let mut programs = BTreeMap::new();
        for message in &messages {
            let is_test = message["profile"]["test"] == true;
            if let (true, Some(program)) = (is_test, message["executable"].as_str()) {
                let kind = message["target"]["kind"][0].as_str();
                let name = match kind {
                    Some("lib") => "lib",
                    _ => message["target"]["name"]
                        .as_str()
                        .expect("a target has a name"),
                };
                programs.insert(name.to_owned(), PathBuf::from(program));
            }
        }
        programs
    }
}

/// The mutants that an error of the compiler is about: who stands where it points to, or else nearest to that.
fn blamed(copy: &Path, error: &Value, rendered: &BTreeMap<PathBuf, Rendered>) -> Vec<usize> {
    let mut spans: Vec<&Value> = error["spans"].as_array().into_iter().flatten().collect();
    // Where the compiler points to first.
    spans.sort_by_key(|span| span["is_primary"] != true);
    let mut nearest: Option<(usize, usize)> = None;
    for span in spans {
        let name = Path::new(span["file_name"].as_str().unwrap_or_default());
        let name = name.strip_prefix(copy).unwrap_or(name);
        let Some(file) = name
            .strip_prefix("src")
            .ok()
            .and_then(|path| rendered.get(path))
        else {
            continue;
        };
        let byte = |key: &str| span[key].as_u64().unwrap_or(0) as usize;
        let (start, end) = (byte("byte_start"), byte("byte_end"));
        let around = file
            .places
            .iter()
            .filter(|(_, place)| place.start <= start && end <= place.end);
        if let Some((number, _)) = around.min_by_key(|(_, place)| place.len()) {
            return vec![*number];
        }
        let within: Vec<usize> = file
            .places
            .iter()
            .filter(|(_, place)| start <= place.start && place.end <= end)
            .map(|(number, _)| *number)
            .collect();
        if !within.is_empty() {
            return within;
        }
        for (number, place) in &file.places {
            let distance = start.abs_diff(place.end).min(place.start.abs_diff(end));
            if nearest.is_none_or(|(least, _)| distance < least) {
                nearest = Some((distance, *number));
            }
        }
    }
    nearest.into_iter().map(|(_, number)| number).collect()
}
