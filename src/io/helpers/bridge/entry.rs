//! What is told of one bridge.

use crate::bridge::Status;
use crate::time::Time;

/// One bridge.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Of its `connection` line.
    pub name: String,
    /// The address that is in use, or was tried last.
    pub address: String,
    /// Of its Session here, in whose queue messages wait for the other broker.
    pub local_client_id: String,
    /// As it was at `looked_at`.
    pub status: Status,
    /// When this was written.
    pub looked_at: Time,
}
