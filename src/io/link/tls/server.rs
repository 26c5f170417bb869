//! What all connections of a TLS listener have in common.

use super::terms::Terms;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The terms in force. Handshakes that have begun end by the terms they began with.
pub struct Server {
    terms: Mutex<Arc<Terms>>,
}

impl Server {
    /// With these terms.
    pub fn new(terms: Terms) -> Server {
        Server {
            terms: Mutex::new(Arc::new(terms)),
        }
    }

    /// The terms of a handshake that begins now.
    pub fn terms(&self) -> Arc<Terms> {
        Arc::clone(&self.lock())
    }

    /// Puts other terms in force.
    pub fn exchange(&self, terms: Terms) {
        *self.lock() = Arc::new(terms);
    }

    /// Held for one assignment or copy, which cannot panic.
    fn lock(&self) -> MutexGuard<'_, Arc<Terms>> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
    }
}
