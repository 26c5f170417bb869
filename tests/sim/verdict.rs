//! What a run comes to.

use crate::actions::Case;
use crate::play::Play;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// Panics of this thread are findings, not news.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Plays a case; a panic of broker or world is a finding too.
pub fn verdict(case: &Case) -> Result<(), String> {
    judge(|| Play::new(case).run())
}

/// What a run says, or the panic it ends in.
pub fn judge(run: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    QUIET.set(false);
    result.unwrap_or_else(|cause| {
        let text = cause
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

/// No words of a panic that is a finding.
pub fn hush() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !QUIET.get() {
            before(info);
        }
    }));
}

/// A number from the environment.
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
    )
}
