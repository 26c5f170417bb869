//! What a shard counts; every drop has its reason here.

/// Why a message was not delivered to one subscriber, or not routed at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dropped {
    /// QoS 0 for a Client that does not read fast enough.
    SlowReader,
    /// QoS 1 or 2 for a Session whose queue is at its byte limit.
    SessionQueueFull,
    /// QoS 1 or 2 while the queues of all Sessions together are at their limit.
    ShardQueueFull,
    /// Larger than the Client's Maximum Packet Size. [v5 MQTT-3.1.2-25]
    TooLargeForClient,
    /// Its Message Expiry Interval passed. [v5 MQTT-3.3.2-5]
    Expired,
    /// Published by a Client to `$SYS` or `$CONTROL`, which belong to the broker.
    OwnTopic,
    /// The rules do not let its publisher write it, or did not let its receiver read it when it left the queue.
    Denied,
    /// Waiting or under way in a Session that ended.
    SessionEnded,
    /// Its publisher or its receiver has had a fair share of the memory, which is short.
    OverShare,
    /// Its payload is larger than the operator allows.
    AbovePayloadMax,
    /// It would be stored, and the store has no room.
    StoreFull,
}

impl Dropped {
    /// All reasons, in the order of [`Counters::dropped`].
    pub const ALL: [Dropped; 11] = [
        Dropped::SlowReader,
        Dropped::SessionQueueFull,
        Dropped::ShardQueueFull,
        Dropped::TooLargeForClient,
        Dropped::Expired,
        Dropped::OwnTopic,
        Dropped::Denied,
        Dropped::SessionEnded,
        Dropped::OverShare,
        Dropped::AbovePayloadMax,
        Dropped::StoreFull,
    ];

    /// An operator should hear of it at once: a limit was reached. The other reasons are as the standard has it.
    pub fn is_loss(self) -> bool {
        matches!(
            self,
            Dropped::SlowReader
                | Dropped::SessionQueueFull
                | Dropped::ShardQueueFull
                | Dropped::OverShare
        )
    }
}

/// Sums since the start of the shard.
#[derive(Default, Clone, Debug)]
pub struct Counters {
    /// PUBLISH packets taken from Clients.
    pub messages_received: u64,
    /// Messages of the broker's own.
    pub messages_own: u64,
    /// PUBLISH packets handed to Clients.
    pub messages_sent: u64,
    /// Messages that crossed to a peer shard.
    pub messages_crossed: u64,
    /// Connections that closed without having sent a byte: probes.
    pub probes: u64,
    /// Connections accepted by CONNACK 0.
    pub connects: u64,
    /// Connections refused or ended before that.
    pub refusals: u64,
    /// Deliveries dropped, by [`Dropped::ALL`].
    pub dropped: [u64; Dropped::ALL.len()],
    /// Those of them that are losses ([`Dropped::is_loss`]).
    pub losses: u64,
    /// Packets of other types than PUBLISH that came from Clients, and answers handed to them.
    pub others_received: u64,
    /// See `others_received`.
    pub others_sent: u64,
    /// Bytes that came from accepted Clients, and bytes that left to all.
    pub bytes_received: u64,
    /// See `bytes_received`.
    pub bytes_sent: u64,
    /// Bytes of the payloads of PUBLISH packets taken from Clients.
    pub payload_bytes_received: u64,
    /// Bytes of the payloads of PUBLISH packets handed to Clients.
    pub payload_bytes_sent: u64,
    /// Connections of accepted Clients that have ended.
    pub disconnects: u64,
    /// Sessions that ended by their Session Expiry Interval.
    pub expired: u64,
    /// Invariants that did not hold: mistakes of our own, each of which ended one connection or skipped one step.
    pub broken_invariants: u64,
}

impl Counters {
    /// Counts `count` drops for a reason.
    pub fn drop_messages(&mut self, why: Dropped, count: u64) {
        self.dropped[why as usize] += count;
        if why.is_loss() {
            self.losses += count;
        }
    }

    /// Drops for one reason.
    pub fn dropped(&self, why: Dropped) -> u64 {
        self.dropped[why as usize]
    }

    /// Adds another shard's sums.
    pub fn add(&mut self, other: &Counters) {
        self.messages_received += other.messages_received;
        self.messages_own += other.messages_own;
        self.messages_sent += other.messages_sent;
        self.messages_crossed += other.messages_crossed;
        self.probes += other.probes;
        self.connects += other.connects;
        self.refusals += other.refusals;
        self.broken_invariants += other.broken_invariants;
        self.others_received += other.others_received;
        self.others_sent += other.others_sent;
        self.bytes_received += other.bytes_received;
        self.bytes_sent += other.bytes_sent;
        self.payload_bytes_received += other.payload_bytes_received;
        self.payload_bytes_sent += other.payload_bytes_sent;
        self.disconnects += other.disconnects;
        self.expired += other.expired;
        self.losses += other.losses;
        for (sum, more) in self.dropped.iter_mut().zip(other.dropped) {
            *sum += more;
        }
    }
}
