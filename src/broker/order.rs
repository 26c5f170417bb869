//! What an operator tells a shard to do at once. Each order is one input, answered by one report.

/// See the module. Every shard may get it; the one whose Session it concerns carries it out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// The Network Connection of this client id ends. Its Session stays, as if the connection were lost, and its will
    /// is published.
    Disconnect {
        /// 1..=65,535 bytes.
        client_id: Box<str>,
    },
    /// The Session of this client id ends, and its Network Connection if there is one. Its will is published.
    EndSession {
        /// 1..=65,535 bytes.
        client_id: Box<str>,
        /// Not while the Client is connected.
        only_absent: bool,
    },
    /// The clock of the machine was set.
    SetCalendar {
        /// Seconds since 1970 at the shard's time 0.
        zero_s: u64,
    },
}
