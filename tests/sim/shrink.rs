//! Makes a failing case small: drops actions while it still fails.

use crate::actions::Case;

/// Runs of one shrinking at most.
const RUNS_MAX: usize = 3_000;

/// The case without what its failure does not need; `fails` tells whether it still does.
pub fn shrink(case: &Case, fails: impl Fn(&Case) -> bool) -> Case {
    let mut least = case.clone();
    let mut chunk = least.actions.len() / 2;
    let mut runs = 0;
    while chunk > 0 {
        let mut at = 0;
        let before = least.actions.len();
        while at < least.actions.len() && runs < RUNS_MAX {
            let mut fewer = least.clone();
            let end = (at + chunk).min(fewer.actions.len());
            fewer.actions.drain(at..end);
            runs += 1;
            if fails(&fewer) {
                least = fewer;
            } else {
                at = end;
            }
        }
        if chunk > 1 {
            chunk /= 2;
        } else if least.actions.len() == before || runs >= RUNS_MAX {
            break;
        }
    }
    least
}
