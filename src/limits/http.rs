//! Bounds of the page.

use super::CONNECT_DEADLINE_MS;

/// Connections to the page at a time. With that many, one makes place for the next: of the address that has most, one
/// that asks for nothing before one that waits for its answer, the oldest first.
pub const HTTP_CONNECTIONS_MAX: usize = 32;
/// Connections that one turn of its thread accepts.
pub const HTTP_ACCEPTS_PER_TURN: usize = 32;
/// The longest header block of a request.
pub const HTTP_HEAD_BYTES_MAX: usize = 8 * 1024;
/// The longest body.
pub const HTTP_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Values of JSON in a body, or in what a WebSocket says: more would be held in many times the bytes of their text.
pub const HTTP_JSON_VALUES_MAX: usize = 4096;
/// From its first byte to the end of its header block a request may take so long, however slowly it trickles.
pub const HTTP_HEAD_MS: u64 = 10_000;
/// And its body.
pub const HTTP_BODY_MS: u64 = 30_000;
/// A connection that asks for nothing is closed after this.
pub const HTTP_IDLE_MS: u64 = 60_000;
/// A reader that takes nothing of its answer is closed after this.
pub const HTTP_STUCK_MS: u64 = 10_000;
/// A connection that is refused is read from for so long, so that the refusal arrives.
pub const HTTP_LINGER_MS: u64 = 1_000;
/// Bytes that one read takes.
pub const HTTP_READ_BYTES: usize = 16 * 1024;
/// With so much of an answer unsent, no more of it is made.
pub const HTTP_UNSENT_BYTES_MAX: usize = 128 * 1024;
/// With so much unsent to all connections, no further value of a retained message is shown. One answer may pass it:
/// 1 MiB of a value, of which JSON may need six bytes for one.
pub const HTTP_ALL_UNSENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A piece of a list, passed by one entry at most.
pub const HTTP_PIECE_BYTES: usize = 64 * 1024;
/// What the system is asked to hold of an answer. It tells of room when a third of it is free: of the megabytes that it
/// would else hold, a reader on a slow line would not have taken that much in time to be seen as one who reads.
pub const HTTP_SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Pieces of one answer that are made before other connections have their turn.
pub const HTTP_PIECES_PER_TURN: usize = 8;
/// Entries of a list that one request is answered with.
pub const HTTP_ITEMS_MAX: usize = 1000;
/// The same where the request does not say.
pub const HTTP_ITEMS_DEFAULT: usize = 200;
/// What devices had trouble with, where the request does not say.
pub const HTTP_HAPPENINGS_DEFAULT: usize = 100;
/// Where no connection can be accepted, none is for this long.
pub const HTTP_REST_MS: u64 = 100;
/// Bytes of names and lines that a sorted list keeps until its reader takes them; what comes behind them is for the
/// next request. One entry may pass it.
pub const HTTP_LIST_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a value in a list; the whole one is for a request of its own.
pub const HTTP_LIST_VALUE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a value in the tree of topics.
pub const HTTP_LEVEL_VALUE_BYTES_MAX: usize = 1024;
/// WebSockets of pages at a time.
pub const HTTP_LIVES_MAX: usize = 4;
/// Topic Filters that one of them watches.
pub const HTTP_LIVE_FILTERS_MAX: usize = 32;
/// What a page may say at once: a filter has 65,535 bytes, which may be escaped.
pub const HTTP_LIVE_REQUEST_BYTES_MAX: usize = 512 * 1024;
/// With so much unsent, further messages to a page are dropped and counted.
pub const HTTP_LIVE_UNSENT_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a value that is shown as it comes.
pub const HTTP_LIVE_VALUE_BYTES_MAX: usize = 4 * 1024;
/// Messages that a page is told of in a second; more are counted.
pub const HTTP_LIVE_MESSAGES_PER_S: u32 = 500;
/// Clients that come or go, of which a page is told in a second; more are counted.
pub const HTTP_LIVE_CONNECTS_PER_S: u32 = 20;
/// How often a page is told how the broker is.
pub const HTTP_LIVE_STATUS_MS: u64 = 1_000;
/// Happenings that wait for the thread of the page; more are counted.
pub const HTTP_NEWS_WAITING_MAX: usize = 1024;
/// Bytes of these, with their names.
pub const HTTP_NEWS_BYTES_MAX: usize = 1024 * 1024;
/// Reads from the broker in one turn, so that it need not drop what a page would only count.
pub const HTTP_LOCAL_READS_PER_TURN: usize = 64;
/// The largest packet that a page hears of; larger messages are not sent to it.
pub const HTTP_LIVE_PACKET_BYTES_MAX: u32 = 1024 * 1024;
/// How long a message of the page may take to be published.
pub const HTTP_ERRAND_MS: u64 = 10_000;
/// A check of a password is given up after this; the password thread gives it up a little earlier.
pub const HTTP_CHECK_MS: u64 = CONNECT_DEADLINE_MS + 5_000;
