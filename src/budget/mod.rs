//! Who holds how many bytes of what: one account book a shard for all that Clients can make grow, so that no Client,
//! with any bytes, takes the broker away from the others.
//!
//! - [`Book`]: owners and their bytes; and, in `division`, whether one may have more.
//! - [`Source`]: where a connection comes from.
//! - [`sizes`]: what filters and topics take in the trees of all shards.
//!
//! An *owner* is a user; without a checked user name, a client id; before CONNECT is accepted, an address. Below
//! [`crate::limits::MEMORY_FREE_PERCENT`] of the limit anyone may take anything within the limits for each Client.
//! Above, only owners below their fair share get more. So whoever is below it is served to the end.
//!
//! The limit is divided among the users and the addresses there are. Owners without a user name from one address divide
//! the share of that address, so nobody gains by many client ids. All shards take from one [`crate::buffer::Stock`].

pub mod book;
mod division;
pub mod owner;
pub mod refused;
pub mod sizes;
pub mod source;
#[cfg(test)]
mod tests;

pub use book::Book;
pub use refused::Refused;
pub use source::Source;
