//! One Client. A [`Session`] outlives the Network Connection, a [`Connection`] dies with it; both are plain data of one
//! shard. What is done with them is the broker's business.

pub mod alias;
pub mod connection;
pub mod inflight;
pub mod message;
pub mod progress;
pub mod queue;
pub mod request;
pub mod rights;
#[allow(clippy::module_inception)]
pub mod session;
pub mod takeovers;

pub use connection::{Connection, Phase};
pub use inflight::{Delivering, Inflight, Stage};
pub use message::{Message, Source};
pub use queue::{Queue, Queued};
pub use request::ConnectRequest;
pub use rights::ClientRights;
pub use session::{Received, Session, StoredWill};
pub use takeovers::Takeovers;
