//! The suites: which tests there are, which mutants each comes by, and whether it notices one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A test that passes without a mutant.
#[derive(Clone, Debug)]
pub struct Test {
    pub suite: String,
    pub name: String,
    /// How long it takes without a mutant.
    pub takes: Duration,
    /// The numbers of the mutants it comes by.
    pub reaches: BTreeSet<usize>,
}

/// What became of a mutant.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// A test failed; its name where the program lived to tell.
    Caught(String),
    /// Tests did not end.
    TimedOut,
    /// All tests that come by it passed.
    Survived,
    /// No test comes by it.
    NotReached,
}

/// Batches of tests grow, so that what is noticed at once is cheap: so much of their time each.
const BATCHES: [Duration; 2] = [Duration::from_millis(400), Duration::from_secs(3)];

/// What programs are waited for beyond six times what they should take.
const PATIENCE: Duration = Duration::from_secs(6);

/// This suite is asked for as many seeds as are wanted, and never left out.
const SEEDED: &str = "sim";

/// How many seeds of the simulator a run meets.
const SEEDS: &str = "MQTTFAST_SIM_SEEDS";

pub struct Suites<'a> {
    pub programs: BTreeMap<String, PathBuf>,
    /// Tests run there: they read files of the repository.
    pub copy: &'a Path,
    /// For what they print.
    pub scratch: PathBuf,
}

/// How a program ended, and what it printed.
enum Ended {
    Passed,
    Failed(String),
    TimedOut,
}

impl Suites<'_> {
    /// Runs each test alone, to see what it comes by. The second list has those that fail or take too long.
    pub fn survey(
        &self,
        leave_out: &dyn Fn(&str, &str) -> bool,
        longest: Duration,
        seeds: &str,
    ) -> (Vec<Test>, Vec<String>) {
        let (mut tests, mut unfit) = (Vec::new(), Vec::new());
        for (suite, program) in &self.programs {
            let listed = Command::new(program)
                .args(["--list", "--format", "terse"])
                .current_dir(self.copy)
                .output()
                .expect("the suite runs");
            let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
            let names = listed
                .lines()
                .filter_map(|line| line.strip_suffix(": test"));
            let start = Instant::now();
            let before = tests.len();
            for name in names.filter(|name| !leave_out(suite, name)) {
                let reached = self.scratch.join("reached");
                let _ = fs::remove_file(&reached);
                let start = Instant::now();
                let ended = self.run(
                    program,
                    &[name],
                    longest + PATIENCE * 10,
                    &[
                        ("MQTTFAST_MUTANTS_REACHED", reached.to_str().expect("text")),
                        (SEEDS, seeds),
                    ],
                );
                let slow = start.elapsed() > longest && suite != SEEDED;
                if slow || !matches!(ended, Ended::Passed) {
                    unfit.push(format!("{suite} {name}"));
                    continue;
                }
                let numbers = fs::read_to_string(&reached).unwrap_or_default();
                tests.push(Test {
                    suite: suite.clone(),
                    name: name.to_owned(),
                    takes: start.elapsed(),
                    reaches: numbers
                        .lines()
                        .filter_map(|line| line.parse().ok())
                        .collect(),
                });
            }
            println!(
                "{suite}: {} tests in {:.0} s",
                tests.len() - before,
                start.elapsed().as_secs_f64()
            );
        }
        // The quick ones first.
        tests.sort_by_key(|test| test.takes);
        (tests, unfit)
    }

    /// Runs the tests that come by a mutant, with it in force, until one notices.
    pub fn judge(&self, number: usize, tests: &[Test], enough: Duration, seeds: &str) -> Outcome {
        let mut left: Vec<&Test> = tests
            .iter()
            .filter(|test| test.reaches.contains(&number))
            .collect();
        if left.is_empty() {
            return Outcome::NotReached;
        }
        let mut total = Duration::ZERO;
        left.retain(|test| {
            total += test.takes;
            total <= enough || test.suite == SEEDED
        });
        let text = number.to_string();
        let environment = [("MQTTFAST_MUTANT", text.as_str()), (SEEDS, seeds)];
        for limit in BATCHES.into_iter().chain([Duration::MAX]) {
            let mut batch: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            let mut total = Duration::ZERO;
            while let Some(test) = left.first().filter(|_| total < limit) {
                batch.entry(&test.suite).or_default().push(&test.name);
                total += test.takes;
                left.remove(0);
            }
            for (suite, names) in batch {
                let patience = PATIENCE + total * 6;
                match self.run(&self.programs[suite], &names, patience, &environment) {
                    Ended::Passed => {}
                    Ended::TimedOut => return Outcome::TimedOut,
                    Ended::Failed(printed) => {
                        let failed = printed.lines().find_map(|line| {
                            line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
                        });
                        return Outcome::Caught(format!(
                            "{suite} {}",
                            failed.unwrap_or("(aborted)")
                        ));
                    }
                }
            }
        }
        Outcome::Survived
    }

    fn run(
        &self,
        program: &Path,
        names: &[&str],
        patience: Duration,
        environment: &[(&str, &str)],
    ) -> Ended {
        let path = self.scratch.join("printed");
        let printed = File::create(&path).expect("a file");
        let child = Command::new(program)
            .args(["--exact", "--test-threads=1"])
            .args(names)
            .envs(environment.iter().copied())
            .current_dir(self.copy)
            .stdin(Stdio::null())
            .stdout(printed)
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.expect("the suite runs");
        match wait(&mut child, patience) {
            None => Ended::TimedOut,
            Some(true) => Ended::Passed,
            Some(false) => Ended::Failed(
                String::from_utf8_lossy(&fs::read(&path).expect("it is there")).into_owned(),
            ),
        }
    }
}

/// Whether a program ended well, or `None` if it had to be killed.
fn wait(child: &mut Child, patience: Duration) -> Option<bool> {
    let until = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            return Some(status.success());
        }
        if Instant::now() > until {
            child.kill().expect("it is ours");
            child.wait().expect("it ends");
            return None;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}
