//! Measures the tests: small random mistakes in the broker, all in one build, and how many of them the fast suites
//! notice. `docs/testing.md`, section "Random mistakes", says how it is used; `run` beside this crate starts it.
//!
//! It picks places of `src/` at random (`points`), writes them into a copy of the repository (`render`, `tree`), drops
//! those that no compiler takes and builds the suites once (`compile`), asks each test which mutants it comes by, runs
//! those tests with one mutant at a time (`suites`), and writes what became of each (`record`).

mod compile;
mod points;
mod record;
mod render;
mod suites;
mod tree;

use compile::Workshop;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use suites::{Outcome, Suites};
use tree::Mutant;

/// Where mistakes are made, below `src/`, if nothing else is asked for.
pub const FOLDERS: [&str; 4] = ["broker", "session", "budget", "topic"];

/// The suites that need no socket and no process.
const SUITES: [&str; 17] = [
    "lib",
    "shards",
    "v5",
    "conformance",
    "conformance5",
    "sim",
    "budgets",
    "pressure",
    "owners",
    "operator",
    "store_seam",
    "store_peers",
    "store_restart",
    "work_budget",
    "unaccepted",
    "corpora",
    "alloc",
];

/// Modules of the library whose own tests are asked: the mistakes are in them, or they drive them without sockets.
const MODULES: [&str; 6] = [
    "broker::",
    "session::",
    "budget::",
    "topic::",
    "store::",
    "bridge::",
];

/// A mutant that nobody notices meets every test that comes by it, so a few long ones would be most of the time.
const LONGEST_DEFAULT: Duration = Duration::from_millis(1500);

/// The quickest tests come first, and hundreds of them take this long.
const ENOUGH_DEFAULT: Duration = Duration::from_secs(12);

/// Seeds of the simulator that each mutant meets, and those that who survives them meets too.
const SEEDS: (&str, &str) = ("60", "200");

struct Options {
    count: usize,
    seed: u64,
    folders: Vec<String>,
    only: Vec<usize>,
    /// The first one that is tried.
    from: usize,
    /// A test that takes longer without a mutant is left out.
    longest: Duration,
    /// Tests that take so long in all, without it, are enough for a mutant.
    enough: Duration,
    record: Option<PathBuf>,
}

impl Options {
    fn read(words: &[String]) -> Result<Options, String> {
        let mut options = Options {
            count: 300,
            seed: 1,
            folders: FOLDERS.map(str::to_owned).to_vec(),
            only: Vec::new(),
            from: 0,
            longest: LONGEST_DEFAULT,
            enough: ENOUGH_DEFAULT,
            record: None,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} takes a value"));
            let number = |text: &str| text.parse().map_err(|_| format!("{text} is no number"));
            match word.as_str() {
                "--count" => options.count = number(value()?)? as usize,
                "--seed" => options.seed = number(value()?)?,
                "--folders" => options.folders = value()?.split(',').map(str::to_owned).collect(),
                "--only" => {
                    let numbers: Result<Vec<u64>, String> =
                        value()?.split(',').map(number).collect();
                    options.only = numbers?.into_iter().map(|number| number as usize).collect();
                }
                "--from" => options.from = number(value()?)? as usize,
                "--enough" => options.enough = Duration::from_millis(number(value()?)?),
                "--longest" => options.longest = Duration::from_millis(number(value()?)?),
                "--record" => options.record = Some(PathBuf::from(value()?)),
                _ => {
                    return Err(format!("{word}: see tests/mutants/run"));
                }
            }
        }
        Ok(options)
    }
}

/// SplitMix64: the same mutants for the same seed and source.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

/// So many mutants of these sources, numbered as they were picked; no two replace the same bytes. The second value is
/// how many could be made.
fn pick(
    sources: &tree::Sources,
    count: usize,
    random: &mut Random,
) -> (BTreeMap<usize, Mutant>, usize) {
    let mut all: Vec<Mutant> = Vec::new();
    for (path, source) in sources {
        let points =
            points::points(source).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        all.extend(points.into_iter().map(|point| Mutant {
            path: path.clone(),
            point,
        }));
    }
    let possible = all.len();
    let mut picked: BTreeMap<usize, Mutant> = BTreeMap::new();
    while picked.len() < count && !all.is_empty() {
        let mutant = all.swap_remove(random.below(all.len()));
        let taken =
            |other: &Mutant| other.path == mutant.path && other.point.range == mutant.point.range;
        if !picked.values().any(taken) {
            picked.insert(picked.len(), mutant);
        }
    }
    (picked, possible)
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let options = Options::read(&words).unwrap_or_else(|why| {
        eprintln!("{why}");
        std::process::exit(2);
    });
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let repository = repository.canonicalize().expect("the repository");
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => PathBuf::from(target),
        None => repository.join("target"),
    };
    let workshop = Workshop {
        copy: target.join("mutants/copy"),
        target,
    };
    let sources = tree::sources(&repository.join("src"), &options.folders);
    // Some will not compile: a quarter more, and the first `count` of those that do are taken.
    let (mut mutants, possible) = pick(
        &sources,
        options.count + options.count / 4 + 1,
        &mut Random(options.seed),
    );
    println!(
        "{} of {possible} mistakes picked, seed {}",
        mutants.len(),
        options.seed
    );
    tree::copy(&repository, &workshop.copy);
    let dropped = workshop.keep_what_compiles(&sources, &mut mutants);
    println!("{dropped} do not compile, {} do", mutants.len());
    let programs = workshop.build(&SUITES);

    let suites = Suites {
        programs,
        copy: &workshop.copy,
        scratch: workshop.target.join("mutants"),
    };
    let leave_out = |suite: &str, name: &str| match suite {
        "lib" => !MODULES.iter().any(|module| name.starts_with(module)),
        "conformance" | "conformance5" => !name.contains("on_shards"),
        // These look at the clock of the processor, which a busy machine turns as it likes.
        "work_budget" => name.starts_with("worst"),
        _ => false,
    };
    let (tests, unfit) = suites.survey(&leave_out, options.longest, SEEDS.0);
    for test in &unfit {
        println!("left out, as it fails or takes long without a mutant: {test}");
    }
    let mut judged = Vec::new();
    for (number, mutant) in mutants.into_iter().take(options.count) {
        if number < options.from || !options.only.is_empty() && !options.only.contains(&number) {
            continue;
        }
        let mut outcome = suites.judge(number, &tests, options.enough, SEEDS.0);
        if outcome == Outcome::Survived {
            let simulator: Vec<suites::Test> = tests
                .iter()
                .filter(|test| test.suite == "sim" && test.name == "seeds")
                .cloned()
                .collect();
            if simulator.iter().any(|test| test.reaches.contains(&number)) {
                outcome = suites.judge(number, &simulator, options.enough, SEEDS.1);
            }
        }
        println!("{}", record::line(number, &mutant, &outcome));
        judged.push((number, mutant, outcome));
    }
    let text = record::record(
        &options.folders,
        options.seed,
        possible,
        dropped,
        tests.len(),
        &judged,
    );
    println!("\n{text}");
    if let Some(path) = options.record {
        std::fs::write(&path, text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_picks_the_same_and_no_place_twice() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src");
        let sources = tree::sources(&root, &FOLDERS.map(str::to_owned));
        let names = |seed| -> Vec<String> {
            let (picked, _) = pick(&sources, 200, &mut Random(seed));
            let outcome = Outcome::Survived;
            picked
                .iter()
                .map(|(number, mutant)| record::line(*number, mutant, &outcome))
                .collect()
        };
        assert_eq!(names(1), names(1));
        assert_ne!(names(1), names(2));
        let (picked, possible) = pick(&sources, 200, &mut Random(3));
        assert_eq!(picked.len(), 200);
        assert!(possible > 2000, "{possible} mistakes");
        for (number, mutant) in &picked {
            let same = picked.iter().filter(|(_, other)| {
                other.path == mutant.path && other.point.range == mutant.point.range
            });
            assert_eq!(same.count(), 1, "{number}");
        }
    }
}
