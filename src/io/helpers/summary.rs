//! What an operator asks of all shards at once: counters and sizes, one line of the log for each.

use crate::broker::{Found, LogLevel, Report, StoreState, Survey};
use crate::ids::ShardId;
use crate::io::helpers::log::Log;
use crate::io::mail::{Shards, ToShard};
use crate::io::words::figures;
use crate::limits;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// Logs the sums of each shard, in their order. Waits `limits::SURVEY_WAIT_MS` at most; a shard that has not answered
/// by then is named.
pub fn log_sums(shards: &Shards, log: &Log) {
    let mut answers = ask(shards, Survey::sums);
    answers.sort_by_key(|report| report.shard);
    for report in &answers {
        if let Found::Sums(sums) = &report.found {
            log.line(LogLevel::Info, figures::sums(report.shard, sums));
        }
    }
    if let Some((state, waiting_bytes)) = store(&answers) {
        log.line(LogLevel::Info, figures::store(&state, waiting_bytes));
    }
    let dropped = log.dropped_since_start();
    if dropped.lines > 0 {
        let text = format!("since the start {}", dropped.sentence());
        log.line(LogLevel::Info, text);
    }
    for shard in (0..shards.count()).map(|index| ShardId(index as u8)) {
        if !answers.iter().any(|report| report.shard == shard) {
            let text = format!(
                "shard {shard} did not answer within {} ms",
                limits::SURVEY_WAIT_MS
            );
            log.line(LogLevel::Warning, text);
        }
    }
}

/// The store as the shard knows it that was told of it last, and what waits for the disk of all shards. `None`: there
/// is no store.
pub fn store(reports: &[Report]) -> Option<(StoreState, usize)> {
    let states = reports.iter().filter_map(|report| match &report.found {
        Found::Sums(sums) => sums.store,
        _ => None,
    });
    let states: Vec<StoreState> = states.collect();
    let waiting_bytes = states.iter().map(|state| state.waiting_bytes).sum();
    let last = states.iter().max_by_key(|state| state.figures.commits)?;
    let behind = states.iter().any(|state| state.behind);
    Some((StoreState { behind, ..*last }, waiting_bytes))
}

/// The reports of all shards that answer in time.
pub fn ask(shards: &Shards, survey: impl Fn() -> Survey) -> Vec<Report> {
    reports(shards, |reply| ToShard::Survey {
        survey: Box::new(survey()),
        reply,
    })
}

/// Counters and sizes of all shards, with what a walk finds. Each shard is asked again and again until it has walked
/// all of it, and does other work between. A shard that does not answer in time is left out.
pub fn statistics(shards: &Shards) -> Vec<Report> {
    let mut whole = Vec::new();
    for mut report in ask(shards, Survey::statistics) {
        while let Some(survey) = report.next.take() {
            match ask_one(shards, report.shard, survey) {
                Some(more) => report = more,
                None => break,
            }
        }
        if matches!(report.found, Found::Sums(_)) {
            whole.push(report);
        }
    }
    whole
}

/// The report of one shard. `None`: it has not answered in time.
pub fn ask_one(shards: &Shards, shard: ShardId, survey: Survey) -> Option<Report> {
    let (reply, reports) = channel();
    let survey = Box::new(survey);
    shards.tell_surely(shard, ToShard::Survey { survey, reply });
    let wait = Duration::from_millis(limits::SURVEY_WAIT_MS);
    reports.recv_timeout(wait).ok().map(|report| *report)
}

/// The same of any mail that is answered by a report.
pub fn reports(shards: &Shards, mail: impl Fn(Sender<Box<Report>>) -> ToShard) -> Vec<Report> {
    let until = Instant::now() + Duration::from_millis(limits::SURVEY_WAIT_MS);
    let (reply, reports) = channel();
    shards.tell_all(|| mail(reply.clone()));
    // The channel ends when all shards have answered, or will not: they hold what is left of `reply`.
    drop(reply);
    let next = || {
        let left = until.saturating_duration_since(Instant::now());
        reports
            .recv_timeout(left)
            .ok()
            .map(|report: Box<Report>| *report)
    };
    std::iter::from_fn(next).collect()
}
