//! The state of the store as a shard knows it, and who waits for it.

use crate::broker::storage::StoreState;
use crate::ids::{ConnectionId, OwnerId};

/// See the module.
#[derive(Default)]
pub struct Storage {
    pub state: StoreState,
    /// Connections that are not read from while the store is behind.
    pub paced: Vec<ConnectionId>,
    /// Whose account what waits for the disk is in, and how many bytes of it are.
    pub booked: Option<(OwnerId, usize)>,
}

impl Storage {
    /// A connection is gone.
    pub fn forget(&mut self, id: ConnectionId) {
        if !self.paced.is_empty() {
            self.paced.retain(|paced| *paced != id);
        }
    }
}
