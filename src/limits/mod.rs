//! Every bound, size and time constant of the broker, with the relations between them. Of what an operator may set, the
//! default is here; everything else is fixed.
//!
//! This file has those of a shard and of the helpers; each other file has those of one owner. All are named
//! `limits::NAME`.

mod bridge;
mod files;
mod http;
mod sockets;
mod store;

pub use bridge::*;
pub use files::*;
pub use http::*;
pub use sockets::*;
pub use store::*;

/// Shards a broker may have: a set of them is one 64-bit mask.
pub const SHARDS_MAX: usize = 64;

// Packets

/// The largest packet accepted unless `Config` says otherwise, Fixed Header included.
pub const PACKET_BYTES_MAX_DEFAULT: u32 = 16 * 1024 * 1024;
/// The least an operator may set: below it, packets of the smallest Clients would not pass.
pub const PACKET_BYTES_MAX_LEAST: u32 = 256;
/// The most an operator may set: the longest Remaining Length and the Fixed Header's own 5 bytes. No packet can be
/// longer.
pub const PACKET_BYTES_MAX_MOST: u32 = REMAINING_LENGTH_MAX + 5;
/// The largest CONNECT, unless packets must be smaller: one field of the longest length the standard allows (a will, or
/// a token as password), and other fields of ordinary size.
pub const CONNECT_PACKET_BYTES_MAX: u32 = 256 * 1024;
/// Bytes that every connection may have kept before it is accepted: enough for any ordinary CONNECT.
pub const UNACCEPTED_BYTES_FREE: usize = 4 * 1024;
/// Bytes that all such connections of one shard may have kept beyond that, those of one address half of what the others
/// leave. A connection that would pass it is refused with "server busy".
pub const UNACCEPTED_BYTES_MAX: usize = 1024 * 1024;
const _: () = assert!(
    UNACCEPTED_BYTES_FREE + UNACCEPTED_BYTES_MAX / 2
        > CONNECT_PACKET_BYTES_MAX as usize + 2 * RECEIVE_BUFFER_BYTES
);
/// The largest packet the standard can announce: Fixed Header of 5 bytes and [`REMAINING_LENGTH_MAX`].
pub const REMAINING_LENGTH_MAX: u32 = 268_435_455;
/// The size of the largest CONNACK of an acceptance: its numbers and an assigned client id.
pub const CONNACK_BYTES_MAX: usize = 128;
/// What an assigned client id begins with, as with Mosquitto. The other 32 characters are chance.
pub const ASSIGNED_PREFIX: &str = "auto-";
/// The longest that an operator may set instead; Mosquitto's figure.
pub const ASSIGNED_PREFIX_BYTES_MAX: usize = 50;
const _: () = assert!(ASSIGNED_PREFIX_BYTES_MAX + 32 + 32 < CONNACK_BYTES_MAX);
/// User Properties of one packet; a packet with more is refused. [v5 2.2.2.2 allows any number]
pub const USER_PROPERTIES_MAX: usize = 1024;
/// Levels in a Topic Name or Topic Filter, behind the ShareName of a shared one: 200 separators, as Mosquitto takes.
pub const TOPIC_LEVELS_MAX: usize = 201;

// Time

/// From the opening of a Network Connection to its complete CONNECT.
pub const CONNECT_DEADLINE_MS: u64 = 10_000;
/// Time-outs are rounded up to multiples of this, so that many idle Clients wake a shard once.
pub const TIMER_GRAIN_MS: u64 = 1_000;
/// A shard that runs so late for a time-out was stopped or starved (suspend, SIGSTOP, overload).
pub const LATE_MS: u64 = 100;
/// How long such a late shard reads what Clients sent meanwhile, before it judges any of them as silent.
pub const LATE_GRACE_MS: u64 = 1_000;
/// The tree of retained messages is searched for expired ones at most this often.
pub const RETAINED_SWEEP_MS: u64 = 60_000;
/// How long publishers wait for one reader in any minute, at most; then it is stalled, and no longer holds them back.
pub const HELD_BACK_MS_MAX: u64 = 2_000;
/// A reader that takes so much of what is delivered to it is never stalled: what is unsent then leaves within
/// [`SHORT_WAIT_MS`].
pub const READER_BYTES_PER_S: i64 = 1024 * 1024;
/// What [`HELD_BACK_MS_MAX`] is made of: a stock of waiting that is full again after [`WAIT_REFILL_MS`], and ends up to
/// a timer's grain late. Waits shorter than [`SHORT_WAIT_MS`] do not count: what is unsent leaves so fast that nobody
/// is held up.
pub const WAIT_STOCK_MS: u64 = 600;
/// Time in which the whole stock of waiting comes back.
pub const WAIT_REFILL_MS: u64 = 120_000;
/// A wait that ends within this costs no patience.
pub const SHORT_WAIT_MS: u64 = 100;
const _: () = assert!(
    WAIT_STOCK_MS + 60_000 * WAIT_STOCK_MS / WAIT_REFILL_MS + TIMER_GRAIN_MS <= HELD_BACK_MS_MAX
);
/// Takeovers of one client id that are further apart than this are counted anew.
pub const TAKEOVERS_FORGOTTEN_AFTER_MS: u64 = 60_000;
/// Takeovers close together that bring no warning yet.
pub const TAKEOVERS_BEFORE_WARNING: u64 = 3;
/// Least time between two warnings about one client id.
pub const TAKEOVER_WARNING_EVERY_MS: u64 = 60_000;
/// How long an ending connection waits for answers of other shards. They come within a turn or two; a shard that takes
/// longer is overloaded.
pub const LAST_ANSWERS_MS: u64 = 1_000;
/// Answers of one connection that may wait for the store; past it the connection is not read from until they have left.
pub const HELD_ANSWERS_MAX: usize = 1024;
/// The last bytes of a closed connection must leave within this time.
pub const LINGER_MS: u64 = 1_000;
/// From SIGTERM to exit, at most.
pub const SHUTDOWN_MS: u64 = 1_500;
/// A shard may take this much longer before the process ends without it. With the last lines of the log that is 2 s in
/// all.
pub const SHUTDOWN_GRACE_MS: u64 = 200;
/// TCP keep-alive of a Client whose Keep Alive is 0: seconds of silence before the first probe.
pub const TCP_PROBE_IDLE_S: u32 = 30;
/// Seconds between two probes.
pub const TCP_PROBE_INTERVAL_S: u32 = 10;
/// Probes without an answer after which the kernel ends the connection.
pub const TCP_PROBE_COUNT: u32 = 3;
/// Unacknowledged bytes end such a connection after this.
pub const TCP_USER_TIMEOUT_MS: u32 = 60_000;

// Sessions

/// QoS 1 and 2 messages in flight towards one Client, unless it asks for fewer (v5 Receive Maximum).
pub const INFLIGHT_MAX_DEFAULT: u16 = 20;
/// The highest Packet Identifier of a message to a Client, and so how many can be under way. Those above are left to
/// bridges: they pass messages on with the identifier that we chose, and ask the other broker by identifiers of theirs.
pub const PACKET_ID_MOST: u16 = 65_532;
const _: () = assert!(INFLIGHT_MAX_DEFAULT <= PACKET_ID_MOST);
/// QoS 1 and 2 messages a Client may have in flight towards us (in v5 our Receive Maximum).
pub const RECEIVE_MAXIMUM: u16 = 1024;
/// The same of a bridge, which cannot tell the other broker of a limit before v5: as many as there are Packet
/// Identifiers, each of which takes two bytes while its message is under way.
pub const BRIDGE_RECEIVE_MAXIMUM: u16 = u16::MAX;
/// Topic Aliases a v5 Client may use towards us, unless an operator sets another number: each keeps a Topic Name.
pub const TOPIC_ALIAS_MAXIMUM: u16 = 16;
/// The most an operator may set.
pub const TOPIC_ALIAS_MAXIMUM_MOST: u16 = 1024;
/// Topic Aliases we use towards a v5 Client, if it allows as many.
pub const OUTWARD_ALIASES_MAX: usize = 16;
/// Shorter Topic Names get no alias, because an alias takes three bytes.
pub const ALIASED_TOPIC_BYTES_MIN: usize = 8;
/// Bytes of messages one Session may hold queued; past it a message for it is dropped and counted.
pub const SESSION_QUEUE_BYTES_MAX_DEFAULT: u32 = 16 * 1024 * 1024;
/// The least an operator may set it to.
pub const SESSION_QUEUE_BYTES_MAX_LEAST: u32 = 1024;
/// Bytes of messages all Sessions of one shard may hold queued.
pub const SHARD_QUEUE_BYTES_MAX_DEFAULT: u64 = 256 * 1024 * 1024;
/// What the budgets above count for a queued message besides its bytes.
pub const QUEUED_OVERHEAD_BYTES: u32 = 128;
/// Messages at the front of a full queue among which those are looked for whose time is up, and how long it is not
/// looked again where there was none.
pub const QUEUED_LOOKED_AT: usize = 1_000;
/// See [`QUEUED_LOOKED_AT`].
pub const QUEUED_LOOKED_AT_EVERY_MS: u64 = 1_000;
/// What all Clients together may hold, unless the start sets it by the machine.
pub const MEMORY_BYTES_DEFAULT: u64 = 1024 * 1024 * 1024;
/// The least that `--memory-limit` may say.
pub const MEMORY_BYTES_LEAST: u64 = 64 * 1024 * 1024;
/// Of what all may hold, the part that anyone may take within the limits for each Client; above it each has a fair
/// share.
pub const MEMORY_FREE_PERCENT: usize = 80;
/// The part that an owner may take who holds less than his part of his address's share, when the address itself holds
/// more than its share. What is above is for users and addresses that hold less than their shares.
pub const MEMORY_PART_PERCENT: usize = 90;
const _: () = assert!(MEMORY_FREE_PERCENT < MEMORY_PART_PERCENT && MEMORY_PART_PERCENT < 100);
/// A shard takes that in steps of this part of it, divided by the shards, within these sizes.
pub const MEMORY_STEPS: usize = 64;
/// See [`MEMORY_STEPS`].
pub const MEMORY_STEP_LEAST: usize = 4 * 1024;
/// See [`MEMORY_STEPS`].
pub const MEMORY_STEP_MOST: usize = 1024 * 1024;
/// Steps that a shard keeps beyond what it holds.
pub const MEMORY_STEPS_KEPT: usize = 3;
/// When a shard has taken of that, or given back, so many bytes, it tells what one of its owners holds.
pub const MEMORY_BYTES_FOR_AN_OWNER_TOLD: usize = 256;
/// When a shard has given back so much, the memory that the allocator has kept of it goes back to the system.
pub const FREED_BYTES_MUCH: usize = 8 * 1024 * 1024;
/// That waits until nothing more has been given back for this time.
pub const GIVE_BACK_AFTER_MS: u64 = 2_000;
/// And it is done this often at most.
pub const GIVE_BACK_EVERY_MS: u64 = 5_000;
/// Resident memory is within what the account book says, so much per cent of it and so many bytes more.
pub const ALLOCATOR_PERCENT: u64 = 25;
/// See [`ALLOCATOR_PERCENT`].
pub const ALLOCATOR_BYTES: u64 = 8 * 1024 * 1024;
/// Who holds less than one part in so many of his share is served even when others have passed the limit.
pub const SHARE_BEYOND_LIMIT: usize = 8;
/// What the account book counts besides bytes of Clients: here for an owner, below for what an owner has.
pub const OWNER_BYTES: usize = 256;
/// For a Session, besides its subscriptions and messages.
pub const SESSION_BYTES: usize = 512;
/// For a filter of one Session, with up to [`LEVELS_FREE`] levels.
pub const FILTER_BYTES: usize = 256;
/// For each further level of a filter or a retained message, in each shard's tree: a node, its edge and its text.
pub const LEVEL_BYTES: usize = 96;
/// Levels that are in the figures for a filter and a retained message.
pub const LEVELS_FREE: usize = 2;
/// For a Shared Subscription, besides its filter: the group and the member at the shard that owns it.
pub const GROUP_BYTES: usize = 256;
/// For a replay of retained messages that waits, besides its filter; and for the first of a Session, which is under
/// way.
pub const REPLAY_BYTES: usize = 128;
/// For the replays of a Session, besides each of them.
pub const REPLAYS_BYTES: usize = 512;
/// For each level of the filter of a replay.
pub const REPLAY_LEVEL_BYTES: usize = 32;
/// For an answer that waits for the store, besides its bytes.
pub const HELD_ANSWER_BYTES: usize = 96;
/// For a message to a peer whose lane is full: its slot in the spill, and a box.
pub const SPILLED_BYTES: usize = 2 * LANE_SLOT_BYTES_MAX;
/// For a message, besides Topic Name, properties and payload.
pub const MESSAGE_BYTES: usize = 96;
/// For a place of a QoS 1 or 2 delivery in flight, besides its message. A Session makes some places at once and keeps a
/// few of them.
pub const DELIVERY_BYTES: usize = 48;
/// For a retained message in one shard's tree, besides its payload.
pub const RETAINED_BYTES: usize = 256;
/// Addresses whose refused newcomers are remembered, so that the log tells of each once a minute; while there are more,
/// it tells of none that is new.
pub const NEWCOMERS_TOLD_MAX: usize = 1024;
/// Owners in the sums of a shard.
pub const OWNERS_TOLD: usize = 3;
/// Owners who have gone, looked at in one turn.
pub const OWNERS_TIDIED_AT_ONCE: usize = 4;
/// Topic Filters of one Session, some 200 bytes each; more are refused in SUBACK (0x97, before v5 0x80).
pub const FILTERS_PER_SESSION_MAX: usize = 250_000;

/// Shared Subscriptions of one Session. All of them hear in one turn that its Client has come or gone.
pub const SHARED_FILTERS_PER_SESSION_MAX: usize = 5_000;

/// Measured memory of an idle connection with a Session and a subscription (`docs/performance.md`). An estimate for the
/// line of the start, not a limit.
pub const CONNECTION_BYTES_TYPICAL: u64 = 1024;

// Output of one connection

/// Unsent bytes above which the publishers to the connection are paced.
pub const OUTBOX_HIGH_BYTES: usize = 128 * 1024;
/// Unsent bytes below which these publishers go on, and the connection's queue and replay are served.
pub const OUTBOX_LOW_BYTES: usize = 32 * 1024;
/// Unsent answers to a Client's own packets above which it is not read from, until they are below [`OUTBOX_LOW_BYTES`].
pub const ANSWERS_BYTES_MAX: usize = 128 * 1024;
/// Unsent bytes above which even what was already read from them waits. Below, a publisher's last read is handled to
/// its end, because stopping within it copies its rest.
pub const OUTBOX_WITHHOLD_BYTES: usize = 1024 * 1024;
/// Unsent bytes above which QoS 0 messages are dropped and counted. Far above [`OUTBOX_HIGH_BYTES`], because what is
/// already on its way from publishers of other shards when they are paced must find room.
pub const OUTBOX_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Queued bytes of a connected Session above which its publishers are paced.
pub const QUEUE_HIGH_BYTES: usize = 256 * 1024;
/// Queued bytes below which these publishers go on; between the two figures nothing changes.
pub const QUEUE_LOW_BYTES: usize = 128 * 1024;
const _: () = assert!(
    QUEUE_LOW_BYTES < QUEUE_HIGH_BYTES
        && QUEUE_HIGH_BYTES < SESSION_QUEUE_BYTES_MAX_DEFAULT as usize
);
/// Payloads from this size are referenced by the outbox, smaller ones copied into it; so are Topic Names and the
/// Properties that are passed on.
pub const PAYLOAD_SHARED_FROM_BYTES: usize = 16 * 1024;
/// The same of a message whose Topic Name, Properties and payload together have as many bytes.
pub const PART_SHARED_FROM_BYTES: usize = 4 * 1024;
const _: () = assert!(
    OUTBOX_LOW_BYTES < OUTBOX_HIGH_BYTES
        && OUTBOX_HIGH_BYTES < OUTBOX_WITHHOLD_BYTES
        && OUTBOX_WITHHOLD_BYTES < OUTBOX_BYTES_MAX
);

// Work of one turn, in nodes of the trie visited; see `broker/turn.rs`

/// When the packets of one read have cost this, the rest of them wait for the next turn.
pub const WORK_OF_READ: usize = 20_000;
/// When the whole turn has cost this, costly reads end sooner and the lanes wait.
pub const WORK_OF_TURN: usize = 100_000;
/// A message that costs this counts as costly.
pub const WORK_OF_MESSAGE: usize = 1_000;
/// What putting a Topic Filter into the trie, or taking it out, counts.
pub const WORK_OF_FILTER: usize = 10;
/// What each further level of it counts: a node is made or freed, which costs more than a look.
pub const WORK_OF_LEVEL: usize = 2;
/// Bytes of it that count as 1: they are looked at, hashed and copied several times.
pub const FILTER_BYTES_PER_WORK: usize = 32;
/// What writing a retained message counts: its tree has a node for each level, and a message of its own.
pub const WORK_OF_RETAINED: usize = 20;
/// What adding a new replay counts.
pub const WORK_OF_REPLAY: usize = 4;
/// When the filters of one packet, or of one Session that has ended, have cost this in a turn, the rest of them waits
/// for the next.
pub const WORK_OF_PART: usize = 20_000;
/// When publishers that go on at the end of a turn have cost this, the others go on at the end of the next.
pub const WORK_OF_RESUMED: usize = WORK_OF_TURN / 2;
const _: () = assert!(WORK_OF_MESSAGE < WORK_OF_READ && WORK_OF_READ < WORK_OF_TURN);

/// Bytes copied that count as one node: a node costs some 50 ns to look at.
pub const BYTES_PER_WORK: usize = 512;
/// Shared Subscriptions of one Session beyond which publishers do not wait for its Client: each message may come to it
/// once for each of them.
pub const GROUPS_PACING_MAX: u32 = 64;
/// Deliveries through groups that the packets of one run may lead to at once: some milliseconds.
pub const RUN_DELIVERIES_MAX: usize = 10_000;
/// Bytes that one run may be copied to at once.
pub const RUN_COPIES_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Copies of one QoS 0 message that groups may send to other shards: what a lane has room for.
pub const GROUP_COPIES_IN_LANE_MAX: usize = 1024;
/// The same while the lane is full. Few, since publishers wait until it is not.
pub const GROUP_COPIES_IN_FULL_LANE_MAX: usize = 4;
/// What each group found counts, for which a member is picked and told.
pub const WORK_OF_GROUP: usize = 10;
/// What each message counts that leaves the queue of a Session that has ended or gone.
pub const WORK_OF_QUEUED: usize = 2;
/// What each question to the rules counts.
pub const WORK_OF_RIGHT: usize = 5;
/// Rules looked at for a Topic Filter that count as 1.
pub const RULES_PER_WORK: usize = 4;

/// Filters of one SUBSCRIBE or UNSUBSCRIBE that are handled in one turn.
pub const FILTERS_AT_ONCE: usize = 1_000;
/// Filters of one such packet whose form is checked in one turn, before the first is handled.
pub const FILTERS_CHECKED_AT_ONCE: usize = 20_000;
/// Bytes of the packet that are checked in one turn.
pub const FILTER_BYTES_CHECKED_AT_ONCE: usize = 256 * 1024;
/// The filters of a Session that ends leave the trie at once if they are no more than [`FILTERS_AT_ONCE`] and are
/// counted with no more than this in each shard.
pub const FILTER_BYTES_AT_ONCE: usize = 1024 * 1024;
/// Alarms that one tick looks at, and Sessions and connections that it ends; the others come right after.
pub const ALARMS_AT_ONCE: usize = 500;

/// Sessions that a turn looks at in search of users that are gone from the password file.
pub const GONE_SESSIONS_LOOKED_AT: usize = 10_000;
/// Sessions of such users that a turn ends; each costs more than a look.
pub const GONE_SESSIONS_AT_ONCE: u64 = 200;

// Blocks of a shard's pool

/// Capacity of a small outbox block: enough for one turn of most connections.
pub const BLOCK_BYTES: usize = 4 * 1024;
/// Capacity of a large outbox block. A still larger block is made for one packet alone and not kept.
pub const LARGE_BLOCK_BYTES: usize = 64 * 1024;
/// What an acknowledgement or another answer takes, mostly; only a hint.
pub const ANSWER_BYTES: usize = 64;
const _: () = assert!(ANSWER_BYTES <= BLOCK_BYTES && BLOCK_BYTES < LARGE_BLOCK_BYTES);
/// Bytes of one run: packets that differ in their payloads alone, and so are routed and copied as one.
pub const RUN_BYTES_MAX: usize = LARGE_BLOCK_BYTES;
const _: () = assert!(PAYLOAD_SHARED_FROM_BYTES <= RUN_BYTES_MAX);
/// Bytes of free blocks one shard keeps.
pub const POOL_KEPT_BYTES_MAX: usize = 1024 * 1024;
/// Packets from this size on reuse the memory of an earlier packet, if there is some.
pub const SPARE_PACKET_BYTES: usize = 64 * 1024;
/// Bytes of such memory that one shard keeps. Fresh pages cost more than all other work on a large message.
pub const SPARE_PACKETS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Pieces of such memory that one shard keeps.
pub const SPARE_PACKETS_MAX: usize = 8;

// Listeners

/// Listeners of one broker; a `ListenerId` counts them.
pub const LISTENERS_MAX: usize = 64;
/// Listeners of the page, in the same numbers.
pub const HTTP_LISTENERS_MAX: usize = 8;
/// By which this broker's bridges come in, in the same numbers: with a user name and without one.
pub const BRIDGE_LISTENERS: usize = 2;
const _: () = assert!(LISTENERS_MAX + BRIDGE_LISTENERS + HTTP_LISTENERS_MAX <= 1 << u8::BITS);

// Between shards

/// Slots of one lane; a power of two.
pub const LANE_SLOTS: usize = 1024;
const _: () = assert!(LANE_SLOTS.is_power_of_two());
/// Bytes of messages in one lane; one more message may pass it.
pub const LANE_BYTES_MAX: usize = 1024 * 1024;
const _: () = assert!(LANE_BYTES_MAX >= 4 * LARGE_BLOCK_BYTES); // Parcels, one of which is being read.
/// Messages a shard takes from one lane before it looks at the next.
pub const LANE_QUANTUM: usize = 16;
/// Memory of one slot, at most, for the bound that the log shows at the start.
pub const LANE_SLOT_BYTES_MAX: usize = 192;
/// Messages spilled from one lane above which publishers through it are paced.
pub const SPILL_HIGH: usize = 4096;
/// Bytes of such messages above which they are paced, too.
pub const SPILL_HIGH_BYTES: usize = 1024 * 1024;
/// They go on when fewer messages than this are spilled, with fewer bytes than [`SPILL_LOW_BYTES`].
pub const SPILL_LOW: usize = 256;
/// See [`SPILL_LOW`].
pub const SPILL_LOW_BYTES: usize = 256 * 1024;
const _: () = assert!(SPILL_LOW < SPILL_HIGH && SPILL_LOW_BYTES < SPILL_HIGH_BYTES);
/// Empty parcels that a shard keeps for reuse.
pub const SPARE_PARCELS_MAX: usize = 16;
/// Runs that a kept parcel may have room for; a larger one is freed.
pub const SPARE_PARCEL_RUNS_MAX: usize = 1024;
/// Messages a shard takes from its lanes in one turn.
pub const LANE_MESSAGES_PER_TURN: usize = 1024;
/// Of these, messages between two checks of the turn's work budget.
pub const LANE_MESSAGES_AT_ONCE: usize = 32;

// Helpers

/// Items in a shard's mailbox beyond which what may be lost is lost; verdicts and orders are not.
pub const MAIL_ITEMS_MAX: usize = 1040;
/// CONNECTs that may wait for the password thread; more are answered "server busy".
pub const PASSWORD_CHECKS_WAITING_MAX: usize = 1024;
/// Bytes of all waiting user names and passwords together; more are answered "server busy".
pub const PASSWORD_CHECKS_WAITING_BYTES_MAX: usize = 1024 * 1024;
const _: () =
    assert!(PASSWORD_CHECKS_WAITING_BYTES_MAX >= USER_NAME_BYTES_MAX + PASSWORD_BYTES_MAX);
/// What a waiting check counts for beside its bytes, when room is made: an address with many small ones has as much.
pub const PASSWORD_CHECK_BYTES: usize = 1024;
/// Failed checks of an address in a row after which the next one need not wait.
pub const PASSWORD_FAILURES_FREE: u32 = 10;
/// Wait of an address after its first failure beyond these; doubled by each further one.
pub const PASSWORD_BACK_OFF_FIRST_MS: u64 = 50;
/// The longest wait of an address between two checks. Short, as others may be behind the same address.
pub const PASSWORD_BACK_OFF_MAX_MS: u64 = 2_000;
/// An address without a failure for so long has a clean record again.
pub const PASSWORD_FAILURES_KEPT_MS: u64 = 300_000;
/// Addresses whose failures are remembered; the oldest are forgotten.
pub const PASSWORD_ADDRESSES_MAX: usize = 16 * 1024;
/// Checks that may wait for an address that is held back; more are answered "server busy".
pub const PASSWORD_CHECKS_WAITING_OF_FAILING: usize = 8;
/// One check in so many is that of an address with failures, if others wait too.
pub const PASSWORD_CHECKS_TO_FAILING: u32 = 4;
/// Verified credentials that are remembered, 20 bytes each.
pub const PASSWORDS_KNOWN_MAX: usize = 64 * 1024;
/// User name and password that are remembered, together: a few microseconds to hash.
pub const PASSWORD_KNOWN_BYTES_MAX: usize = 4096;
/// Dropped messages are logged this often at most.
pub const DROPS_LOGGED_EVERY_MS: u64 = 60_000;
/// How long the log gathers lines before it writes them.
pub const LOG_GATHER_MS: u64 = 5;
/// Log lines that may wait for a slow standard error; more are counted and dropped.
pub const LOG_LINES_WAITING_MAX: usize = 4096;
/// Bytes of these lines; more are counted and dropped in the same way. As many may be under way to standard error, once
/// as lines and once as text.
pub const LOG_BYTES_WAITING_MAX: usize = 1024 * 1024;
/// The part of both that lines about what Clients do may take. The rest is for warnings, errors and the broker's own
/// lines, which no number of Clients that come and go can push out.
pub const LOG_EVENTS_PERCENT: usize = 75;
/// Entries of one page of a survey.
pub const SURVEY_ITEMS_MAX: usize = 128;
/// Slots and nodes that one page of a survey looks at, so that one over empty slots ends, too.
pub const SURVEY_STEPS_MAX: usize = 1024;
/// Bytes of names and values in one page of a survey, passed by one entry at most.
pub const SURVEY_BYTES_MAX: usize = 64 * 1024;
/// The low bits of the clock of retained writes, below the calendar's seconds.
pub const RETAIN_CLOCK_BITS: u32 = 20;
/// 2025-01-01 in seconds since 1970: a machine whose clock is before this has not set it yet, and does not know how old
/// anything is.
pub const CALENDAR_LEAST_S: u64 = 1_735_689_600;
/// How often values below `$SYS` are published while somebody wants them, unless a configuration says; in seconds.
pub const SYS_INTERVAL_S: u16 = 10;
/// Values below `$SYS` are kept so long for who asks for them at the page, or three intervals if that is longer.
pub const SYS_ASKED_MS: u64 = 30_000;
/// How long the main thread waits for the reports of all shards.
pub const SURVEY_WAIT_MS: u64 = 500;
/// How long a shard counts what is published to which topic after somebody has asked for it.
pub const WATCH_MS: u64 = 10_000;
/// Topics of which it counts meanwhile; what comes to others is one sum.
pub const WATCH_TOPICS_MAX: usize = 1024;
/// Bytes of their names.
pub const WATCH_BYTES_MAX: usize = 128 * 1024;
/// Nodes of the retained tree that the replays of all connections together look at in one turn; a step of the sweep
/// looks at as many.
pub const RETAINED_PER_TURN: usize = 2048;

// The control socket
/// Connections to the control socket at a time. With that many, one that asks for nothing makes place for the next.
pub const CONTROL_CONNECTIONS_MAX: usize = 16;
/// The longest request: it may name a user, a client id and a topic of 65,535 bytes.
pub const CONTROL_REQUEST_BYTES_MAX: usize = 512 * 1024;
/// With so much of an answer unsent, nothing more is asked of the shards for it.
pub const CONTROL_ANSWER_BYTES_MAX: usize = 128 * 1024;
/// A connection that takes nothing of its answer, or is in the middle of its request, is closed after this.
pub const CONTROL_STUCK_MS: u64 = 10_000;
/// A connection that asks for nothing is closed after this.
pub const CONTROL_IDLE_MS: u64 = 600_000;
/// With so much unsent to all connections, nothing more is asked of the shards for who has something unsent, or whose
/// answer has values of any size.
pub const CONTROL_ALL_UNSENT_BYTES_MAX: usize = 2 * 1024 * 1024;
const _: () =
    assert!(CONTROL_ALL_UNSENT_BYTES_MAX >= CONTROL_CONNECTIONS_MAX * CONTROL_ANSWER_BYTES_MAX);
/// The reader of an answer, here or at the page, may take so long for all of it, counted while some of it waits …
pub const ANSWER_MS: u64 = 20_000;
/// … and a second more for each so many bytes that it has taken.
pub const ANSWER_BYTES_PER_S: u64 = 32 * 1024;
/// A byte of a text may take so many as JSON: `\\u0001`.
pub const JSON_GROWTH: usize = 6;
/// Bytes of the value of a retained message that an answer has; the rest is left out.
pub const CONTROL_VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Retained messages that are deleted before the shards do other work.
pub const CONTROL_REMOVALS_AT_ONCE: usize = 16;
/// Happenings of each kind that are remembered for who asks.
pub const RECENT_ITEMS_MAX: usize = 256;
/// Bytes of these, with their names.
pub const RECENT_BYTES_MAX: usize = 256 * 1024;
/// Lines of the log that are remembered for who asks.
pub const LOG_TAIL_LINES_MAX: usize = 256;
/// Bytes of these.
pub const LOG_TAIL_BYTES_MAX: usize = 64 * 1024;
const _: () = assert!(CONTROL_REMOVALS_AT_ONCE <= SURVEY_ITEMS_MAX);

// The service manager

/// How long the main thread waits for a service manager that does not read.
pub const NOTIFY_WAIT_MS: u64 = 1_000;
/// How often in a watchdog's period the shards are asked for a sign of life: one answer may be late without harm.
pub const WATCHDOG_TICKS_PER_PERIOD: u32 = 3;
const _: () = assert!(WATCHDOG_TICKS_PER_PERIOD >= 2);
