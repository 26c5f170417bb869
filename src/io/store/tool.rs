//! `mqttfast store`: what a store has, whether it is sound, and what may be done to it while no broker has it.
//!
//! `show` and `check` write nothing: they read the files without SQLite, and lock them with the lock file that is
//! there. `compact` and `import` write as a start of the broker does: a new file that is complete takes the old one's
//! name, or one transaction.
//!
//! Exit codes: 0 done, 1 not possible, 2 asked wrongly. `check`: 0 sound, 1 damage was found, 2 it cannot be said.

mod bar;
mod changing;
mod failure;
mod figures;
mod json;
mod words;

use self::failure::in_use;
pub use self::failure::{Done, Failure};
use self::figures::Figures;
use super::database::FILE_NAME;
use super::place;
use argh::FromArgs;
use std::path::PathBuf;

/// Show, check, compact or fill the store of a broker that does not run.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "store",
    help_triggers("-h", "--help"),
    example = "What does the store of the broker on port 1883 have, and is it sound?\n  mqttfast store show\n  mqttfast store check",
    note = "Exit codes: 0 done, 1 not possible, 2 asked wrongly; of check: 0 sound, 1 damaged, 2 it cannot be said."
)]
pub struct Command {
    #[argh(subcommand)]
    act: Act,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum Act {
    Show(Show),
    Check(Check),
    Compact(Compact),
    Import(Import),
}

/// Show how much is stored, of what, and since when. Writes nothing.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "show", help_triggers("-h", "--help"))]
struct Show {
    /// directory of the store, as given to the broker
    #[argh(option, arg_name = "dir")]
    store_dir: Option<PathBuf>,
    /// port of the broker's first listener, 1883 unless given; names the directory where --store-dir does not
    #[argh(option, short = 'p', arg_name = "port", default = "PORT")]
    port: u16,
    /// print one JSON object
    #[argh(switch)]
    json: bool,
}

/// Look for damage, and say what it costs. Exit code 1: there is damage. Writes nothing.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "check", help_triggers("-h", "--help"))]
struct Check {
    /// directory of the store, as given to the broker
    #[argh(option, arg_name = "dir")]
    store_dir: Option<PathBuf>,
    /// port of the broker's first listener, 1883 unless given; names the directory where --store-dir does not
    #[argh(option, short = 'p', arg_name = "port", default = "PORT")]
    port: u16,
    /// print one JSON object
    #[argh(switch)]
    json: bool,
}

/// Write the store anew without its free pages, and with the journals in it. A damaged file is kept beside it.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "compact", help_triggers("-h", "--help"))]
struct Compact {
    /// directory of the store, as given to the broker
    #[argh(option, arg_name = "dir")]
    store_dir: Option<PathBuf>,
    /// port of the broker's first listener, 1883 unless given; names the directory where --store-dir does not
    #[argh(option, short = 'p', arg_name = "port", default = "PORT")]
    port: u16,
}

/// Take what a Mosquitto has kept (a mosquitto.db of version 3 to 6) into a store that is new or empty.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "import", help_triggers("-h", "--help"))]
struct Import {
    /// directory of the store, as given to the broker
    #[argh(option, arg_name = "dir")]
    store_dir: Option<PathBuf>,
    /// port of the broker's first listener, 1883 unless given; names the directory where --store-dir does not
    #[argh(option, short = 'p', arg_name = "port", default = "PORT")]
    port: u16,
    /// a mosquitto.db
    #[argh(positional, arg_name = "file")]
    file: PathBuf,
}

/// Where a broker listens that is told nothing.
const PORT: u16 = 1883;

/// Carries out the command.
///
/// Errors: a broker has the store, there is none, or the files cannot be read or written.
pub fn run(command: Command) -> Result<Done, Failure> {
    match command.act {
        Act::Show(show) => {
            let figures = look(show.store_dir, show.port)?;
            let text = match show.json {
                true => json::show(&figures),
                false => words::show(&figures),
            };
            Ok(Done { text, exit_code: 0 })
        }
        Act::Check(check) => {
            let figures = look(check.store_dir, check.port).map_err(|failure| Failure {
                exit_code: 2,
                ..failure
            })?;
            let text = match check.json {
                true => json::check(&figures),
                false => words::check(&figures),
            };
            let exit_code = u8::from(!figures.image.damage.is_none());
            Ok(Done { text, exit_code })
        }
        Act::Compact(compact) => {
            let directory = directory(compact.store_dir, compact.port)?;
            changing::compact(&directory)
        }
        Act::Import(import) => {
            let directory =
                place::of_command(import.store_dir, import.port).map_err(Failure::new)?;
            changing::import(&directory, &import.file)
        }
    }
}

/// The directory of a store that is there.
fn directory(given: Option<PathBuf>, port: u16) -> Result<PathBuf, Failure> {
    let directory = place::of_command(given, port).map_err(Failure::new)?;
    if directory.join(FILE_NAME).exists() {
        return Ok(directory);
    }
    Err(Failure::new(format!(
        "there is no store in {}: its file {FILE_NAME} is missing; the line `store:` of the broker's log says where it is, and --store-dir DIR names it here",
        directory.display()
    )))
}

/// Reads a store that no broker has.
fn look(given: Option<PathBuf>, port: u16) -> Result<Figures, Failure> {
    let directory = directory(given, port)?;
    let held = place::hold(&directory)
        .map_err(|error| Failure::new(format!("{}: {error}", directory.display())))?;
    let _held = held.map_err(|holder| in_use(&directory, &holder))?;
    Figures::read(&directory)
}
