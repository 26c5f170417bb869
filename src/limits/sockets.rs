//! Bounds of what is read, written and listened to: WebSocket, PROXY protocol, TLS, the ring and the epoll set.

use super::{TIMER_GRAIN_MS, UNACCEPTED_BYTES_FREE};

// WebSocket and PROXY protocol

/// The header block of the HTTP request that opens a WebSocket, unless a listener says otherwise; browsers send cookies
/// in it. Past it the request is refused with 431.
pub const HTTP_REQUEST_BYTES_MAX: u32 = 8 * 1024;
/// The least that a listener may say.
pub const HTTP_REQUEST_BYTES_LEAST: u32 = 4 * 1024;
/// The most that a listener may say, as Mosquitto's `websockets_headers_size`.
pub const HTTP_REQUEST_BYTES_MOST: u32 = 65_535;
/// Header lines of that request; a request with more is refused with 431.
pub const HTTP_HEADERS_MAX: usize = 64;
/// How often a link is looked at that wants to be: whether nothing was sent meanwhile.
pub const LINK_CHECK_MS: u64 = 15_000;
/// A WebSocket on which nothing was sent for so long is sent a Ping at the next check: proxies cut connections that are
/// silent for a minute.
pub const WEBSOCKET_PING_MS: u64 = 30_000;
const _: () = assert!(WEBSOCKET_PING_MS.is_multiple_of(LINK_CHECK_MS));
const _: () = assert!(WEBSOCKET_PING_MS + LINK_CHECK_MS + TIMER_GRAIN_MS < 60_000);
/// The longest PROXY header; a longer one ends the connection.
pub const PROXY_HEADER_BYTES_MAX: usize = 2 * 1024;
const _: () = assert!(PROXY_HEADER_BYTES_MAX <= UNACCEPTED_BYTES_FREE);

// Receiving

/// One provided receive buffer.
pub const RECEIVE_BUFFER_BYTES: usize = 16 * 1024;
/// Provided receive buffers of one shard; a power of two.
pub const RECEIVE_BUFFERS: usize = 64;
const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two());
/// One receive of a connection that sends large packets. Each shard has one buffer for these.
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
/// Connections beyond the limit that are read at a time, to refuse them in CONNACK. Others are closed at once.
pub const EXTRA_CONNECTIONS: usize = 16;
/// Descriptors that no connection takes: for the password file, for the log's time zone, and one for each shard to
/// accept and refuse with.
pub const FILES_KEPT_FREE: usize = 8;
/// Pause of an accept that the machine has refused (no descriptor, no memory).
pub const ACCEPT_PAUSE_MS: u64 = 100;
/// The same complaint is logged at most this often.
pub const LOG_REPEAT_MS: u64 = 10_000;

// TLS

/// Bytes of a handshake that a Client may send: its certificates with their chain are some 2 to 6 KiB.
pub const TLS_HANDSHAKE_BYTES_MAX: usize = 16 * 1024;
/// What TLS takes of memory for a connection, mostly buffers and keys of rustls.
pub const TLS_CONNECTION_BYTES: usize = 8 * 1024;
/// Bytes that are sealed at once; the rest waits until they have left.
pub const TLS_SEAL_BYTES: usize = 64 * 1024;
/// A file of certificates, keys or revoked certificates.
pub const TLS_FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Files of a `capath` that are read.
pub const TLS_CA_FILES_MAX: usize = 1024;
/// The least that an operator may allow a record of the broker's to have; RFC 6066 4 has 512 as its least too.
pub const TLS_FRAGMENT_BYTES_LEAST: u16 = 512;
/// The most that TLS allows. [RFC 8446 5.1]
pub const TLS_FRAGMENT_BYTES_MOST: u16 = 16 * 1024;
/// Certificates that the broker shows, its own and those that lead to a root.
pub const TLS_CHAIN_MAX: usize = 8;
/// Days before the end of the broker's certificate from which on the log warns.
pub const TLS_EXPIRY_WARNING_DAYS: i64 = 14;
/// A step of a handshake that takes no longer is done by the shard, in microseconds.
pub const TLS_STEP_ON_SHARD_US: u64 = 500;
/// Steps of handshakes that may wait for the helper threads; beyond it the address with most of them loses one.
pub const TLS_HANDSHAKES_WAITING_MAX: usize = 1024;
/// Helper threads for handshakes, at most.
pub const TLS_HELPERS_MAX: usize = 4;
/// How often the end of a certificate that is near is told to the log again, in seconds.
pub const TLS_EXPIRY_TOLD_S: i64 = 24 * 3600;
/// Files of certificates are looked at so often, in seconds, if nothing says before that they have changed.
pub const TLS_LOOK_S: u64 = 3600;
/// So long after the last change of such a file all of them are read.
pub const TLS_QUIET_MS: u64 = 500;
/// A key of tickets seals for so many seconds, and opens for as many more.
pub const TLS_TICKET_KEY_S: u64 = 6 * 3600;
