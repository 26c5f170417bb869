//! `mqttfast bridge test NAME`: tries the other broker of a bridge, and says of each step how long it took, or what to
//! do.

use crate::bridge::Terms;
use crate::config::mosquitto::{self, Refused};
use crate::io::disk::Disk;
use crate::io::helpers::bridge::trial::{self, Step};
use crate::io::helpers::bridge::{host_name, words};
use crate::io::words::Shown;
use std::path::PathBuf;

/// What is to be tried.
#[derive(Debug)]
pub struct BridgeTest {
    /// Of the `connection` line.
    pub name: String,
    /// Where that line is.
    pub config: PathBuf,
}

/// Why nothing was tried.
#[derive(Debug)]
pub enum NotTried {
    /// The configuration file has faults.
    Configuration(Refused),
    /// It has no such bridge: a sentence.
    NoBridge(String),
}

impl BridgeTest {
    /// Tries each address of the bridge. `say` gets whole lines, as they come. `true`: all steps were good.
    ///
    /// Errors: as [`NotTried`] says.
    pub fn run(&self, say: impl Fn(&str)) -> Result<bool, NotTried> {
        let file = mosquitto::read(&self.config, &Disk).map_err(NotTried::Configuration)?;
        let bridge = file.bridges.iter().find(|bridge| bridge.name == self.name);
        let Some(bridge) = bridge else {
            let config = self.config.display();
            let names: Vec<String> = file
                .bridges
                .iter()
                .map(|bridge| Shown(&bridge.name).to_string())
                .collect();
            let there = match names.is_empty() {
                true => "it has no `connection` line".to_owned(),
                false => format!("its bridges are {}", names.join(", ")),
            };
            let name = Shown(&self.name);
            let text = format!("{config} has no bridge {name}: {there}");
            return Err(NotTried::NoBridge(text));
        };
        let terms = Terms::new(bridge, &host_name());
        let count = bridge.addresses.len();
        let mut all_good = true;
        for index in 0..count {
            let address = words::address(&terms, index);
            let name = Shown(&bridge.name);
            match count {
                1 => say(&format!("bridge {name}, {address}\n")),
                _ => say(&format!(
                    "bridge {name}, address {} of {count}, {address}\n",
                    index + 1
                )),
            }
            all_good &= trial::attempt(&terms, index, &mut |step| say(&line(&step)));
        }
        Ok(all_good)
    }
}

/// A line for eyes.
fn line(step: &Step) -> String {
    let word = if step.good { "ok    " } else { "failed" };
    let ms = step.took.as_secs_f64() * 1000.0;
    format!("  {word} {ms:8.1} ms  {}\n", step.text)
}
