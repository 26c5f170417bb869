//! Who holds how many bytes of what: one account book a shard for all that Clients can make grow, so that no Client,
//! with any bytes, takes the broker away from the others.
//!
//! - [`Book`]: owners, their bytes, and whether one may have more.
//! - [`sizes`]: what filters and topics take in the trees of all shards.
//!
//! An *owner* is a user; without a user name, a client id. Below [`crate::limits::MEMORY_FREE_PERCENT`] of the limit
//! anyone may take anything within the limits for each Client. Above, only owners below their fair share, the limit
//! divided by all owners there are, get more. So whoever is below it is served to the end.

pub mod book;
pub mod sizes;

pub use book::{Book, Refused};
