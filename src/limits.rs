//! Every bound, size and time constant of the broker, with the relations between them. What an operator
//! may change is the default of a field in `Config`; everything else is fixed here.

/// Shards a broker may have: a set of them is one 64-bit mask.
pub const SHARDS_MAX: usize = 64;

// Packets

/// The largest packet accepted unless `Config` says otherwise, Fixed Header included.
pub const PACKET_BYTES_MAX_DEFAULT: u32 = 16 * 1024 * 1024;
/// What an operator may set it to: below, the smallest clients' own packets would not pass; above, no length can be
/// written.
pub const PACKET_BYTES_MAX_LEAST: u32 = 256;
pub const PACKET_BYTES_MAX_MOST: u32 = REMAINING_LENGTH_MAX + 5;
/// The largest CONNECT, where packets may be as large: one field as long as the standard lets it be, a will or a
/// token as password, and others of some size beside it.
pub const CONNECT_PACKET_BYTES_MAX: u32 = 256 * 1024;
/// What is kept of a connection that is not accepted yet, whoever it is: any ordinary CONNECT.
pub const UNACCEPTED_BYTES_FREE: usize = 4 * 1024;
/// What all such connections of one shard may have beyond that; one that would go past it is told "server busy".
pub const UNACCEPTED_BYTES_MAX: usize = 1024 * 1024;
const _: () = assert!(
    UNACCEPTED_BYTES_FREE + UNACCEPTED_BYTES_MAX
        > CONNECT_PACKET_BYTES_MAX as usize + 2 * RECEIVE_BUFFER_BYTES
);
/// The largest packet the standard can announce: Fixed Header of 5 bytes and [`REMAINING_LENGTH_MAX`].
pub const REMAINING_LENGTH_MAX: u32 = 268_435_455;
/// The CONNACK of an acceptance has at most this: its numbers and an assigned client id.
pub const CONNACK_BYTES_MAX: usize = 64;
/// User Properties of one packet; a packet with more is refused. [v5 2.2.2.2 allows any number]
pub const USER_PROPERTIES_MAX: usize = 1024;
/// Levels in a Topic Name or Topic Filter, behind the ShareName of a shared one: 200 separators, as Mosquitto takes.
pub const TOPIC_LEVELS_MAX: usize = 201;

// Time

/// From the opening of a Network Connection to its complete CONNECT.
pub const CONNECT_DEADLINE_MS: u64 = 10_000;
/// Time-outs are looked at on whole multiples of this, so that many idle Clients wake a shard once.
pub const TIMER_GRAIN_MS: u64 = 1_000;
/// A time-out looked at so late means that the machine stopped or starved the shard (suspend, SIGSTOP, overload):
/// Clients then have this long for what they sent meanwhile to be read, before they count as silent.
pub const LATE_MS: u64 = 100;
pub const LATE_GRACE_MS: u64 = 1_000;
/// Retained messages are searched for expired ones at most this often.
pub const RETAINED_SWEEP_MS: u64 = 60_000;
/// A receiver for which others wait is looked at this often; one that took less than [`PROGRESS_BYTES_MIN`] meanwhile
/// is stalled and no longer holds back those who publish to it. So a pause lasts some seconds at most.
pub const STALLED_AFTER_MS: u64 = 1_000;
pub const PROGRESS_BYTES_MIN: usize = 16 * 1024;
/// Takeovers of one client id further apart than this are no fight; of so many closer ones the log warns, then once in
/// a while.
pub const TAKEOVERS_FORGOTTEN_AFTER_MS: u64 = 60_000;
pub const TAKEOVERS_BEFORE_WARNING: u64 = 3;
pub const TAKEOVER_WARNING_EVERY_MS: u64 = 60_000;
/// How long a connection that ends waits for the answers that other shards owe it. They come within a turn or two; a
/// shard that takes longer is overloaded.
pub const LAST_ANSWERS_MS: u64 = 1_000;
/// Answers of one connection that may wait for the store; past it the connection is not read from until they have left.
pub const HELD_ANSWERS_MAX: usize = 1024;
/// What a closed connection's last bytes have to leave in.
pub const LINGER_MS: u64 = 1_000;
/// From SIGTERM to exit, at most.
pub const SHUTDOWN_MS: u64 = 1_500;
/// What a shard may take beyond that before the process ends without it; 2 s in all, with the log's last lines.
pub const SHUTDOWN_GRACE_MS: u64 = 200;
/// TCP keep-alive of a Client whose Keep Alive is 0: silence before the first probe, between probes, and their number.
pub const TCP_PROBE_IDLE_S: u32 = 30;
pub const TCP_PROBE_INTERVAL_S: u32 = 10;
pub const TCP_PROBE_COUNT: u32 = 3;
/// Unacknowledged bytes end such a connection after this.
pub const TCP_USER_TIMEOUT_MS: u32 = 60_000;

// Sessions

/// QoS 1 and 2 messages in flight towards one Client, unless it asks for fewer (v5 Receive Maximum).
pub const INFLIGHT_MAX_DEFAULT: u16 = 20;
/// QoS 1 and 2 messages a Client may have in flight towards us (v5: told as Receive Maximum).
pub const RECEIVE_MAXIMUM: u16 = 1024;
/// Topic Aliases a v5 Client may use towards us.
pub const TOPIC_ALIAS_MAXIMUM: u16 = 16;
/// Topic Aliases we use towards a v5 Client, if it allows as many.
pub const OUTWARD_ALIASES_MAX: usize = 16;
/// Shorter Topic Names get no alias: it takes three bytes itself.
pub const ALIASED_TOPIC_BYTES_MIN: usize = 8;
/// Bytes of messages one Session may hold queued; past it a message for it is dropped and counted.
pub const SESSION_QUEUE_BYTES_MAX_DEFAULT: u32 = 16 * 1024 * 1024;
/// The least an operator may set it to.
pub const SESSION_QUEUE_BYTES_MAX_LEAST: u32 = 1024;
/// Bytes of messages all Sessions of one shard may hold queued.
pub const SHARD_QUEUE_BYTES_MAX_DEFAULT: u64 = 256 * 1024 * 1024;
/// What a queued message costs besides its bytes, for the budgets above.
pub const QUEUED_OVERHEAD_BYTES: u32 = 128;
/// Topic Filters of one Session, some 200 bytes each; more are refused in SUBACK (0x97, before v5 0x80).
pub const FILTERS_PER_SESSION_MAX: usize = 250_000;

/// Shared Subscriptions of one Session.
pub const SHARED_FILTERS_PER_SESSION_MAX: usize = 10_000;

/// What a connection with a Session and a subscription takes while nothing is under way on it, as measured
/// (`docs/performance.md`); no limit, but what most of them take.
pub const CONNECTION_BYTES_TYPICAL: u64 = 1024;

// Output of one connection

/// Unsent bytes above which those who publish to the connection are paced.
pub const OUTBOX_HIGH_BYTES: usize = 128 * 1024;
/// Unsent bytes below which they go on, and the connection's own queue and replay are served.
pub const OUTBOX_LOW_BYTES: usize = 32 * 1024;
/// Unsent bytes above which even what was already read from them waits. Below, a publisher's last read is handled to
/// its end, because stopping within it copies its rest.
pub const OUTBOX_WITHHOLD_BYTES: usize = 1024 * 1024;
/// Unsent bytes above which QoS 0 messages are dropped and counted. Far above [`OUTBOX_HIGH_BYTES`], because what is
/// already on its way from publishers of other shards when they are paced must find room.
pub const OUTBOX_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Queued bytes of a connected Session above which those who publish to it are paced, and below which they go on.
pub const QUEUE_HIGH_BYTES: usize = 256 * 1024;
pub const QUEUE_LOW_BYTES: usize = 128 * 1024;
const _: () = assert!(
    QUEUE_LOW_BYTES < QUEUE_HIGH_BYTES
        && QUEUE_HIGH_BYTES < SESSION_QUEUE_BYTES_MAX_DEFAULT as usize
);
/// Payloads from this size are referenced by the outbox, smaller ones copied into it.
pub const PAYLOAD_SHARED_FROM_BYTES: usize = 16 * 1024;
const _: () = assert!(
    OUTBOX_LOW_BYTES < OUTBOX_HIGH_BYTES
        && OUTBOX_HIGH_BYTES < OUTBOX_WITHHOLD_BYTES
        && OUTBOX_WITHHOLD_BYTES < OUTBOX_BYTES_MAX
);

// Work of one turn, in nodes of the trie visited; see `broker/turn.rs`

/// Work for the packets of one read after which the others of them wait for the next turn.
pub const WORK_OF_READ: usize = 20_000;
/// Work for everyone after which costly reads end sooner, and lanes wait.
pub const WORK_OF_TURN: usize = 100_000;
/// What a message costs that counts as costly.
pub const WORK_OF_MESSAGE: usize = 1_000;
/// What putting a Topic Filter into the trie, or taking it out, counts.
pub const WORK_OF_FILTER: usize = 10;
const _: () = assert!(WORK_OF_MESSAGE < WORK_OF_READ && WORK_OF_READ < WORK_OF_TURN);

/// Filters of one SUBSCRIBE or UNSUBSCRIBE that are handled in one turn; of more than 64 times as many, a part of 64.
pub const FILTERS_AT_ONCE: usize = 1_000;

/// Sessions a turn looks at, and ends, of users who are gone from the password file.
pub const GONE_SESSIONS_LOOKED_AT: usize = 10_000;
pub const GONE_SESSIONS_AT_ONCE: u64 = 200;

// Blocks of a shard's pool

/// Capacity of an outbox block that holds little: a connection's turn, mostly.
pub const BLOCK_BYTES: usize = 4 * 1024;
/// Capacity of one that holds much; larger ones are made for one packet alone and not kept.
pub const LARGE_BLOCK_BYTES: usize = 64 * 1024;
/// What an acknowledgement or another answer takes, mostly; only a hint.
pub const ANSWER_BYTES: usize = 64;
const _: () = assert!(ANSWER_BYTES <= BLOCK_BYTES && BLOCK_BYTES < LARGE_BLOCK_BYTES);
/// Bytes of packets that are the same but for their payloads, and so are routed and copied as one.
pub const RUN_BYTES_MAX: usize = LARGE_BLOCK_BYTES;
const _: () = assert!(PAYLOAD_SHARED_FROM_BYTES <= RUN_BYTES_MAX);
/// Bytes of free blocks one shard keeps.
pub const POOL_KEPT_BYTES_MAX: usize = 1024 * 1024;
/// Packets from this size on get the memory of one that has gone, if there is some.
pub const SPARE_PACKET_BYTES: usize = 64 * 1024;
/// Bytes of such memory that one shard keeps: fresh pages cost more than what else is done with a large message.
pub const SPARE_PACKETS_BYTES_MAX: usize = 4 * 1024 * 1024;
pub const SPARE_PACKETS_MAX: usize = 8;

// Listeners

/// Listeners of one broker; a `ListenerId` counts them.
pub const LISTENERS_MAX: usize = 64;
const _: () = assert!(LISTENERS_MAX <= 1 << u8::BITS);

// Between shards

/// Slots of one lane; a power of two.
pub const LANE_SLOTS: usize = 1024;
const _: () = assert!(LANE_SLOTS.is_power_of_two());
/// Bytes of messages in one lane, and a message more.
pub const LANE_BYTES_MAX: usize = 1024 * 1024;
const _: () = assert!(LANE_BYTES_MAX >= 4 * LARGE_BLOCK_BYTES); // Parcels, one of which is being read.
/// Messages a shard takes from one lane before it looks at the next.
pub const LANE_QUANTUM: usize = 16;
/// Memory of one slot, at most; for the bound told at start-up.
pub const LANE_SLOT_BYTES_MAX: usize = 192;
/// Messages, and bytes of messages, spilled from one lane above which those who publish through it are paced.
pub const SPILL_HIGH: usize = 4096;
pub const SPILL_HIGH_BYTES: usize = 1024 * 1024;
/// What is spilled when they go on: less than this, of both.
pub const SPILL_LOW: usize = 256;
pub const SPILL_LOW_BYTES: usize = 256 * 1024;
const _: () = assert!(SPILL_LOW < SPILL_HIGH && SPILL_LOW_BYTES < SPILL_HIGH_BYTES);
/// Emptied parcels a shard keeps for its own, and how many runs one of these may have room for.
pub const SPARE_PARCELS_MAX: usize = 16;
pub const SPARE_PARCEL_RUNS_MAX: usize = 1024;
/// Messages a shard takes from its lanes in one turn, and before it looks whether it has had its share of work.
pub const LANE_MESSAGES_PER_TURN: usize = 1024;
pub const LANE_MESSAGES_AT_ONCE: usize = 32;

// Receiving

/// One provided receive buffer.
pub const RECEIVE_BUFFER_BYTES: usize = 16 * 1024;
/// Provided receive buffers of one shard; a power of two.
pub const RECEIVE_BUFFERS: usize = 64;
const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two());
/// One receive of a connection that sends large packets, into the one buffer of a shard for these.
pub const LARGE_RECEIVE_BYTES: usize = 32 * 1024;
/// A connection sends large packets when one of this size is under way at the end of a full receive. Where packets are
/// smaller, a larger receive would hold so many of them that others wait long.
pub const LARGE_RECEIVE_PACKET_BYTES: usize = 1024;
const _: () = assert!(LARGE_RECEIVE_BYTES > RECEIVE_BUFFER_BYTES);

// The ring of one shard

/// Entries of a submission queue; when it is full it is handed over early.
pub const RING_SUBMISSIONS: u32 = 256;
/// How often a full submission queue is handed over before the ring counts as broken.
pub const SUBMIT_ATTEMPTS_MAX: usize = 100;
/// Entries of a completion queue; the kernel keeps what does not fit.
pub const RING_COMPLETIONS: u32 = 2048;
/// Completions a shard takes in one turn.
pub const COMPLETIONS_PER_TURN: usize = 512;
/// Received bytes after which a turn is flushed before more are looked at, so that a flood delays others by one such
/// turn.
pub const RECEIVED_BYTES_PER_TURN: usize = 256 * 1024;
const _: () = assert!(RECEIVED_BYTES_PER_TURN >= LARGE_RECEIVE_BYTES);
/// Parts of one `sendmsg`; a send of more parts takes several.
pub const SEND_VECTORS_MAX: usize = 64;
/// Send records kept for reuse by one shard.
pub const SPARE_SENDS_MAX: usize = 64;
/// How long a ring that ends waits for the kernel to let go of its memory.
pub const RING_QUIESCE_MS: u64 = 200;
/// How often spilled messages are offered to a full lane by a shard that has nothing else to do.
pub const SPILL_RETRY_MS: u64 = 1;

// The epoll set of one shard

/// Events taken at once; the others come next time, since the kernel gives all sockets their turn.
pub const EPOLL_EVENTS: usize = 256;

// Listening

/// Connections the kernel completes before we accept them.
pub const LISTEN_BACKLOG: i32 = 4096;
/// How long the bind of a port in use is tried again: the port of an io_uring process that died is freed a moment after
/// it.
pub const BIND_RETRY_MS: u64 = 300;
/// Connections beyond the most there may be that are heard and refused in CONNACK, at a time; others are closed at
/// once.
pub const EXTRA_CONNECTIONS: usize = 16;
/// Descriptors that no connection takes: for the password file, for the log's time zone, and one a shard for who is
/// turned away.
pub const FILES_KEPT_FREE: usize = 8;
/// Pause of an accept that the machine has refused (no descriptor, no memory).
pub const ACCEPT_PAUSE_MS: u64 = 100;
/// The same complaint is logged at most this often.
pub const LOG_REPEAT_MS: u64 = 10_000;

// Helpers

/// CONNECTs that may wait for the password thread, and the bytes of their user names and passwords; more are answered
/// "server busy".
pub const PASSWORD_CHECKS_WAITING_MAX: usize = 1024;
pub const PASSWORD_CHECKS_WAITING_BYTES_MAX: usize = 1024 * 1024;
const _: () =
    assert!(PASSWORD_CHECKS_WAITING_BYTES_MAX >= USER_NAME_BYTES_MAX + PASSWORD_BYTES_MAX);
/// Dropped messages are logged this often at most.
pub const DROPS_LOGGED_EVERY_MS: u64 = 60_000;
/// How long the log gathers lines before it writes them.
pub const LOG_GATHER_MS: u64 = 5;
/// Log lines that may wait for a slow standard error; more are counted and dropped.
pub const LOG_LINES_WAITING_MAX: usize = 4096;
/// Entries of one page of a survey.
pub const SURVEY_ITEMS_MAX: usize = 128;
/// Slots and nodes that one page of a survey looks at, so that one over empty slots ends, too.
pub const SURVEY_STEPS_MAX: usize = 1024;
/// Bytes of names in one page of a survey, passed by one entry at most.
pub const SURVEY_BYTES_MAX: usize = 64 * 1024;
/// How long the main thread waits for the reports of all shards.
pub const SURVEY_WAIT_MS: u64 = 500;
/// Nodes of the retained tree that replays look at in one turn, for all connections together.
pub const RETAINED_PER_TURN: usize = 2048;

// The service manager

/// How long the main thread waits for a manager that does not read what it is told.
pub const NOTIFY_WAIT_MS: u64 = 1_000;
/// How often in a watchdog's period the shards are asked for a sign of life: one answer may be late without harm.
pub const WATCHDOG_TICKS_PER_PERIOD: u32 = 3;
const _: () = assert!(WATCHDOG_TICKS_PER_PERIOD >= 2);

// Password file

/// Bytes of a password file: about 400,000 users.
pub const PASSWORD_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Skipped lines of a file that are remembered with their cause, and of which the log tells; the others are counted.
pub const PASSWORD_LINES_SKIPPED_KEPT: usize = 1000;
pub const PASSWORD_LINES_SKIPPED_TOLD: usize = 10;
const _: () = assert!(PASSWORD_LINES_SKIPPED_TOLD < PASSWORD_LINES_SKIPPED_KEPT);
/// Users one line of the log names.
pub const PASSWORD_USERS_TOLD: usize = 10;
/// Iterations of PBKDF2 a line of the file may ask for: some seconds a check on a small board. More is taken for a
/// slip, since one such check holds up all others.
pub const PASSWORD_ITERATIONS_MAX: u32 = 10_000_000;
/// Iterations `mqttfast passwd` writes: those of `mosquitto_passwd` 2.1.
pub const PASSWORD_ITERATIONS_DEFAULT: u32 = 1000;
/// User names and passwords are MQTT fields with a length of two bytes.
pub const USER_NAME_BYTES_MAX: usize = 65_535;
pub const PASSWORD_BYTES_MAX: usize = 65_535;
/// How long `mqttfast passwd` waits for another one that writes in the same directory.
pub const PASSWORD_LOCK_WAIT_MS: u64 = 10_000;

// ACL file

/// Bytes of an ACL file: the largest known has some 80 lines.
pub const ACL_FILE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Faulty lines told at once, and lines told that have no effect.
pub const ACL_FAULTS_MAX: usize = 20;
pub const ACL_WARNINGS_MAX: usize = 100;

// mosquitto.conf

/// Bytes of a configuration and all it includes: the commented template of Mosquitto has 40 KiB.
pub const CONFIGURATION_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Files of one configuration, and how deep they may include each other.
pub const CONFIGURATION_FILES_MAX: usize = 1000;
pub const CONFIGURATION_DEPTH_MAX: usize = 10;
/// Faults, and other notes, told of one configuration.
pub const CONFIGURATION_NOTES_MAX: usize = 100;
