//! One run as a line of a table: for people, or as comma-separated values for `perf/run`.

use crate::connects;
use crate::memory::Growth;
use crate::retained;
use crate::traffic::{Outcome, Pacing, Plan};
use crate::usage::{Memory, Usage};

/// The columns in order. Those that say nothing about a scenario are empty.
pub struct Report(Vec<(&'static str, String)>);

/// Two figures after the point from 10 on, four below.
fn decimal(value: f64) -> String {
    if value.abs() >= 10.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}

impl Report {
    fn start(scenario: &str, count: u64, seconds: f64, usage: Usage, own_cpu_ns: u64) -> Report {
        let each = |value: f64| {
            if count == 0 {
                String::new()
            } else {
                decimal(value / count as f64)
            }
        };
        Report(vec![
            ("scenario", scenario.to_string()),
            ("seconds", decimal(seconds)),
            ("count", count.to_string()),
            (
                "per_second",
                format!(
                    "{:.0}",
                    if count == 0 {
                        0.0
                    } else {
                        count as f64 / seconds
                    }
                ),
            ),
            ("cpu_us_each", each(usage.cpu_ns as f64 / 1e3)),
            (
                "broker_utilisation",
                decimal(usage.cpu_ns as f64 / 1e9 / seconds),
            ),
            (
                "broker_kept_waiting",
                decimal(usage.queued_ns as f64 / 1e9 / seconds),
            ),
            (
                "load_utilisation",
                decimal(own_cpu_ns as f64 / 1e9 / seconds),
            ),
            ("switches_voluntary", usage.switches_voluntary.to_string()),
            (
                "switches_involuntary",
                usage.switches_involuntary.to_string(),
            ),
        ])
    }

    fn memory(&mut self, memory: Memory) {
        self.0.push(("rss_bytes", memory.rss_bytes.to_string()));
        self.0.push(("pss_bytes", memory.pss_bytes.to_string()));
        self.0
            .push(("rss_peak_bytes", memory.rss_peak_bytes.to_string()));
    }

    fn checks(&mut self, due: u64, lost: u64, disordered: u64, corrupt: u64) {
        self.0.push(("due", due.to_string()));
        self.0.push(("lost", lost.to_string()));
        self.0.push(("disordered", disordered.to_string()));
        self.0.push(("corrupt", corrupt.to_string()));
    }

    pub fn traffic(scenario: &str, plan: &Plan, outcome: Outcome) -> Report {
        let mut report = Report::start(
            scenario,
            outcome.delivered,
            outcome.seconds,
            outcome.usage,
            outcome.own_cpu_ns,
        );
        report.memory(outcome.memory);
        report.checks(
            outcome.due,
            outcome.lost,
            outcome.disordered,
            outcome.corrupt,
        );
        if outcome.latency.total() > 0 {
            let us = |ns: u64| decimal(ns as f64 / 1e3);
            report
                .0
                .push(("latency_count", outcome.latency.total().to_string()));
            report.0.push(("p50_us", us(outcome.latency.quantile(0.5))));
            report
                .0
                .push(("p99_us", us(outcome.latency.quantile(0.99))));
            report.0.push(("max_us", us(outcome.latency.max())));
        }
        if outcome.lateness.total() > 0 {
            let late_us = outcome.lateness.quantile(0.99) as f64 / 1e3;
            report.0.push(("load_late_p99_us", decimal(late_us)));
        }
        let pacing = match plan.pacing {
            Pacing::Window(window) => format!("window {window}"),
            Pacing::Flood => "flood".into(),
            Pacing::Open(rate) => format!("open {rate}/s"),
        };
        report.0.push((
            "plan",
            format!(
                "{} publishers {} subscribers {} B QoS {} {pacing}",
                plan.publishers, plan.subscribers, plan.payload_bytes, plan.qos
            ),
        ));
        report.0.push((
            "note",
            if outcome.stalled {
                "stalled".into()
            } else {
                String::new()
            },
        ));
        report
    }

    pub fn connects(at_once: usize, outcome: connects::Outcome, memory: Memory) -> Report {
        let mut report = Report::start(
            "connect",
            outcome.connected,
            outcome.seconds,
            outcome.usage,
            outcome.own_cpu_ns,
        );
        report.memory(memory);
        report.0.push(("plan", format!("{at_once} at once")));
        report.0.push((
            "note",
            if outcome.stalled {
                "stalled".into()
            } else {
                String::new()
            },
        ));
        report
    }

    pub fn retained(payload_bytes: usize, outcome: retained::Outcome, memory: Memory) -> Report {
        let mut report = Report::start(
            "retained",
            outcome.delivered,
            outcome.seconds,
            outcome.usage,
            outcome.own_cpu_ns,
        );
        report.memory(memory);
        report.checks(
            outcome.delivered + outcome.lost,
            outcome.lost,
            outcome.duplicates,
            outcome.corrupt,
        );
        report.0.push(("plan", format!("{payload_bytes} B")));
        report
    }

    pub fn growth(scenario: &str, growth: Growth) -> Report {
        let mut report = Report::start(
            scenario,
            growth.items,
            growth.seconds,
            growth.usage,
            growth.own_cpu_ns,
        );
        report.memory(growth.after);
        if growth.items > 0 {
            let each = |after: u64, before: u64| {
                decimal((after as f64 - before as f64) / growth.items as f64)
            };
            report.0.push((
                "rss_bytes_each",
                each(growth.after.rss_bytes, growth.before.rss_bytes),
            ));
            report.0.push((
                "pss_bytes_each",
                each(growth.after.pss_bytes, growth.before.pss_bytes),
            ));
        }
        if growth.idle_seconds > 0.0 {
            report.0.push((
                "idle_cpu_ms_per_s",
                decimal(growth.idle.cpu_ns as f64 / 1e6 / growth.idle_seconds),
            ));
            let wakeups = growth.idle.switches_voluntary as f64 / growth.idle_seconds;
            report.0.push(("idle_wakeups_per_s", decimal(wakeups)));
        }
        report
    }

    /// A header and a line.
    pub fn csv(&self) -> String {
        let join = |pick: fn(&(&'static str, String)) -> String| {
            self.0.iter().map(pick).collect::<Vec<String>>().join(",")
        };
        format!(
            "{}\n{}\n",
            join(|(name, _)| name.to_string()),
            join(|(_, value)| value.clone())
        )
    }

    /// A line a figure.
    pub fn text(&self) -> String {
        let lines = self.0.iter().filter(|(_, value)| !value.is_empty());
        lines
            .map(|(name, value)| format!("{name:>22}  {value}\n"))
            .collect()
    }
}
