//! What is not a shard's work, on plain threads of its own: these may block as they like.
//!
//! - [`passwords`]: hashing, which takes milliseconds to seconds.
//! - [`handshakes`]: steps of TLS handshakes, which take a millisecond or more.
//! - [`bridge`]: connections to other brokers.
//! - [`log`]: writes lines, in the time of a [`zone`].
//! - [`certificates`]: reads those of TLS listeners.
//! - [`rules`]: reads ACL files.
//! - [`control`]: the main thread: signals, reload, the end.
//! - [`control_socket`]: answers operators.
//! - [`known`], [`answers`]: what it is asked, and its answers as JSON, as the page has them too.
//! - [`patience`]: how long the readers of both may take.
//! - [`mod@http`]: the page, and its API.
//! - [`recent`]: what devices had trouble with.
//! - [`summary`]: the sums of all shards, at SIGUSR1.
//! - [`notify`]: what the service manager hears; its watchdog.

pub mod answers;
pub mod bridge;
pub mod certificates;
pub mod control;
pub mod control_socket;
pub mod destinations;
pub mod handshakes;
pub mod home_assistant;
pub mod http;
pub mod known;
pub mod log;
pub mod notify;
pub mod passwords;
pub mod patience;
pub mod recent;
pub mod reload;
pub mod rules;
pub mod strftime;
pub mod summary;
pub mod sys;
pub mod zone;
