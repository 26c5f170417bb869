//! Faults planted on purpose, to prove that the simulator finds such (`tests/sim`, feature `faults`), and that a panic ends the broker. Without the feature this module is not
//! compiled and [`planted!`] is the constant `false`.

#[cfg(feature = "faults")]
pub use plant::{Fault, plant, plant_panic};

#[cfg(feature = "faults")]
mod plant {
    use crate::ids::ShardId;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    /// One mistake a broker could make.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Fault {
        /// A repeated QoS 2 PUBLISH is taken for a new one.
        SkipQos2Dedup,
        ResendWithoutDup,
        /// Two messages of one turn to one peer shard change places.
        ReorderLane,
        /// PUBACK does not end a delivery.
        LeakPacketId,
        DeliverAfterUnsubscribe,
        /// A message for a peer shard is lost while its lane is full.
        DropOnFullLane,
        /// SUBACK although no peer shard has the filter in force.
        SkipFiltersInForceWait,
        /// SUBACK once the first peer shard has the filter in force.
        SubackEarly,
        IgnoreRetainVersions,
        NoDeletionMark,
        WillTwice,
        WillAfterDisconnect,
        WillLostAtTakeover,
        /// A queue makes room for a message by its first one, always.
        QueueDropsFirst,
        /// A Session outlives its connection though it must not.
        SessionNotEnded,
        /// Clean Session takes the earlier Session over as it is.
        CleanStartIgnored,
        PaceNeverReleased,
        WindowIgnored,
        /// RETAIN 1 to subscribers that were there before.
        RetainOnLive,
        /// PUBREC is not answered.
        ForgetPubRel,
        NoReplay,
        ResendNothing,
        QosNotLowered,
        /// Peer shards forget a filter when the first of its Sessions leaves it.
        FilterRemovedTooSoon,
        /// Only shards with subscribers hear of a retained message.
        RetainNotSpread,
        ReceiveMaximumIgnored,
        PacketSizeIgnored,
        NoLocalIgnored,
        RetainAsPublishedIgnored,
        RetainHandlingIgnored,
        /// Of overlapping subscriptions only the first gives its Subscription Identifier.
        IdentifiersNotJoined,
        /// A topic without a free alias takes the alias of another, and no name goes along.
        WrongAlias,
        /// A Client's alias keeps the first topic it was set to.
        AliasNotReplaced,
        ExpiredDelivered,
        /// A message that crosses to another shard too late is delivered.
        ExpiredCrosses,
        /// The Message Expiry Interval does not count what is over.
        ExpiryNotLowered,
        SessionNeverExpires,
        /// DISCONNECT changes no Session Expiry Interval.
        DisconnectKeepsExpiry,
        WillDelayIgnored,
        /// A Client that is back in time does not stop its will.
        WillNotCancelled,
        /// DISCONNECT with 0x04 takes the will back.
        WillLostAt04,
        /// Two members get each message.
        ShareToTwo,
        /// What a member does not take goes to no other.
        HandBackForgotten,
        /// QoS 1 messages under way go with the Session of their member.
        InflightNotHandedBack,
        /// SUBACK of a Shared Subscription although no peer shard has the filter in force.
        JoinedEarly,
        /// Queues are full and nobody counts.
        DropNotCounted,
        WrongPasswordAccepted,
        ShutdownSilent,
        /// Bytes that are no packet are passed over.
        MalformedIgnored,
        /// Of a run only the first packet goes on.
        RunCut,
        /// Who got a run as it came gets its messages one by one too.
        RunTwice,
        /// What is said to a peer overtakes the parcel for it.
        ParcelOvertaken,
        /// What a Session that ends had subscribed to stays known to peers.
        MaskKept,
        /// A PUBLISH breaks an invariant; for `tests/panic.rs`.
        Panic,
    }

    /// From now on all shards of this thread make this mistake, or none.
    pub fn plant(fault: Option<Fault>) {
        PLANTED.set(fault);
    }

    /// Plants [`Fault::Panic`] in this thread if `MQTTFAST_FAULT_PANIC` names its shard.
    pub fn plant_panic(shard: ShardId) {
        if std::env::var("MQTTFAST_FAULT_PANIC").is_ok_and(|text| text == shard.to_string()) {
            plant(Some(Fault::Panic));
        }
    }

    pub(in crate::broker) fn is_planted(fault: Fault) -> bool {
        PLANTED.get() == Some(fault)
    }
}

#[cfg(feature = "faults")]
pub(super) use plant::is_planted;

/// Whether the named fault is planted; `false` at compile time without the feature `faults`.
macro_rules! planted {
    ($fault:ident) => {{
        #[cfg(feature = "faults")]
        {
            crate::broker::faults::is_planted(crate::broker::faults::Fault::$fault)
        }
        #[cfg(not(feature = "faults"))]
        {
            false
        }
    }};
}
pub(super) use planted;
