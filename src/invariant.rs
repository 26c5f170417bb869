//! What only a mistake of our own can break, in places that a peer leads us to.
//!
//! An `assert!` there would end the broker for everyone because of one Client, and whoever has found the sequence
//! of packets could do it again. So a check in such a place gives a [`Broken`] to its caller, who skips the step
//! and ends the one connection that it concerns, with its Session where that may be wrong. It is logged with its
//! place and counted, and all others are served on. In a build with debug assertions, as tests, the simulator and
//! the fuzz targets are, it panics like any assert.
//!
//! ```text
//! invariant!(self.unsent == 0, "nothing new starts before all is sent again")?;
//! ```
//!
//! `assert!` stays where two lines prove that no peer can reach it, and where going on would be unsound:
//! `docs/security.md` lists the kinds, and `tests/asserts.rs` holds that list.

use std::fmt;
use std::panic::Location;

/// An invariant that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken {
    /// What should hold, as one clause.
    pub sentence: &'static str,
    place: &'static Location<'static>,
}

impl Broken {
    /// Panics with debug assertions; else it is the caller's to end what it concerns.
    #[cold]
    #[inline(never)]
    #[track_caller]
    pub fn new(sentence: &'static str) -> Broken {
        if cfg!(debug_assertions) {
            panic!("broken invariant: {sentence}");
        }
        Broken {
            sentence,
            place: Location::caller(),
        }
    }

    /// Source file and line of the check.
    pub fn place(&self) -> (&'static str, u32) {
        (self.place.file(), self.place.line())
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, line) = self.place();
        write!(f, "{} ({file}:{line})", self.sentence)
    }
}

/// `Ok(())` if the condition holds, else [`Broken`] with this sentence: what should hold, as one clause.
macro_rules! invariant {
    ($holds:expr, $sentence:literal) => {
        if $holds {
            Ok(())
        } else {
            Err($crate::invariant::Broken::new($sentence))
        }
    };
}
pub(crate) use invariant;

#[cfg(test)]
mod tests {
    #[test]
    fn what_holds_costs_nothing() {
        assert_eq!(invariant!(1 < 2, "one is less"), Ok(()));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "broken invariant: two is less")]
    fn what_does_not_hold_panics_in_tests() {
        let _ = invariant!(2 < 1, "two is less");
    }

    #[test]
    #[cfg(not(debug_assertions))]
    fn what_does_not_hold_is_told_in_the_product() {
        let broken = invariant!(2 < 1, "two is less").unwrap_err();
        assert_eq!(broken.sentence, "two is less");
        assert!(broken.place().0.ends_with("invariant.rs"));
    }
}
