//! Why a Topic Filter is refused though it is well formed: a limit of ours, each with a code and a sentence of its own.

use super::violation::Violation;
use crate::limits;
use crate::wire::Malformed;
use crate::wire::reason::ReasonCode;
use std::fmt;

/// Why a filter that is well formed gets no subscription. Its `Display` is the Reason String.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FilterRefusal {
    /// More than [`limits::TOPIC_LEVELS_MAX`] levels.
    TooManyLevels,
    /// The Session has [`limits::FILTERS_PER_SESSION_MAX`] subscriptions.
    TooManySubscriptions,
    /// The Session has [`limits::SHARED_FILTERS_PER_SESSION_MAX`] Shared Subscriptions.
    TooManySharedSubscriptions,
    /// Memory is short, and the Session's owner has had a fair share.
    OverShare,
    /// The rules let the Client hear nothing of it, and the operator wants that to be said.
    Denied,
    /// The Session has ended.
    NoSession,
}

impl FilterRefusal {
    /// The code for a v5 SUBACK or UNSUBACK. [v5 3.9.3]
    pub fn reason_code(self) -> ReasonCode {
        match self {
            FilterRefusal::TooManyLevels => Malformed::TooManyFilterLevels.reason_code(),
            FilterRefusal::TooManySubscriptions
            | FilterRefusal::TooManySharedSubscriptions
            | FilterRefusal::OverShare => ReasonCode::QUOTA_EXCEEDED,
            FilterRefusal::Denied => ReasonCode::NOT_AUTHORIZED,
            FilterRefusal::NoSession => ReasonCode::UNSPECIFIED_ERROR,
        }
    }

    /// The Reason String of a SUBACK or UNSUBACK: the meaning of its first refusal. Empty if nothing was refused.
    pub fn explain(refusal: Option<FilterRefusal>) -> String {
        refusal.map_or_else(String::new, |refusal| refusal.to_string())
    }

    /// What ends the connection of a 3.1 Client: its SUBACK has no code for a refusal. [v3.1 §3.9]
    pub fn violation(self) -> Violation {
        match self {
            FilterRefusal::TooManyLevels => Violation::TopicFilter(Malformed::TooManyFilterLevels),
            FilterRefusal::OverShare => Violation::OverShare,
            FilterRefusal::TooManySubscriptions
            | FilterRefusal::TooManySharedSubscriptions
            | FilterRefusal::Denied
            | FilterRefusal::NoSession => Violation::TooManySubscriptions,
        }
    }
}

impl fmt::Display for FilterRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilterRefusal::TooManyLevels => write!(f, "{}", Malformed::TooManyFilterLevels),
            FilterRefusal::TooManySubscriptions => write!(
                f,
                "The session has reached its limit of {} subscriptions.",
                limits::FILTERS_PER_SESSION_MAX
            ),
            FilterRefusal::TooManySharedSubscriptions => write!(
                f,
                "The session has reached its limit of {} shared subscriptions.",
                limits::SHARED_FILTERS_PER_SESSION_MAX
            ),
            FilterRefusal::OverShare => write!(
                f,
                "Memory is short, and this user or client has had a fair share."
            ),
            FilterRefusal::Denied => write!(f, "The rules of this broker do not allow it."),
            FilterRefusal::NoSession => write!(f, "The session has ended."),
        }
    }
}
