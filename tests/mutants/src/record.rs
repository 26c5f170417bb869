//! What became of each mutant, as text that is kept.

use crate::suites::Outcome;
use crate::tree::Mutant;
use std::collections::BTreeMap;

/// One mutant in one line.
pub fn line(number: usize, mutant: &Mutant, outcome: &Outcome) -> String {
    let outcome = match outcome {
        Outcome::Caught(test) => format!("caught by {test}"),
        Outcome::TimedOut => "timed out".to_owned(),
        Outcome::Survived => "SURVIVED".to_owned(),
        Outcome::NotReached => "NOT REACHED".to_owned(),
    };
    format!("{number}: {}: {outcome}", place(mutant))
}

fn place(mutant: &Mutant) -> String {
    let point = &mutant.point;
    format!(
        "src/{}:{}:{}: {}",
        mutant.path.display(),
        point.line,
        point.column,
        point.what
    )
}

/// The table by folder and by kind, and who survived.
pub fn record(
    folders: &[String],
    seed: u64,
    possible: usize,
    dropped: usize,
    tests: usize,
    judged: &[(usize, Mutant, Outcome)],
) -> String {
    let mut text = format!(
        "{} of {possible} mistakes that could be made in {}, seed {seed}; {dropped} more did not compile; {tests} tests.\n\n",
        judged.len(),
        folders.join(", "),
    );
    text += &table("folder", judged, &|mutant| {
        let first = mutant.path.components().next().expect("a folder");
        first.as_os_str().to_string_lossy().into_owned()
    });
    text += "\n";
    text += &table("kind", judged, &|mutant| mutant.point.kind.to_owned());
    text += "\nSurvived:\n\n";
    for (number, mutant, outcome) in judged {
        let how = match outcome {
            Outcome::Survived => "",
            Outcome::NotReached => " (no test comes by it)",
            _ => continue,
        };
        text += &format!("- {number}: {}{how}\n", place(mutant));
    }
    text
}

fn table(
    head: &str,
    judged: &[(usize, Mutant, Outcome)],
    of: &dyn Fn(&Mutant) -> String,
) -> String {
    let mut rows: BTreeMap<String, [usize; 4]> = BTreeMap::new();
    for (_, mutant, outcome) in judged {
        let column = match outcome {
            Outcome::Caught(_) => 0,
            Outcome::TimedOut => 1,
            Outcome::Survived => 2,
            Outcome::NotReached => 3,
        };
        rows.entry(of(mutant)).or_default()[column] += 1;
        rows.entry("~all".to_owned()).or_default()[column] += 1;
    }
    let mut text = format!(
        "| {head} | caught | timed out | survived | not reached | noticed |\n| --- | --- | --- | --- | --- | --- |\n"
    );
    // `~` sorts behind letters.
    for (name, [caught, timed_out, survived, not_reached]) in rows {
        let all = caught + timed_out + survived + not_reached;
        let share = (caught + timed_out) * 100 / all;
        let name = name.trim_start_matches('~');
        text += &format!(
            "| {name} | {caught} | {timed_out} | {survived} | {not_reached} | {share} % |\n"
        );
    }
    text
}
