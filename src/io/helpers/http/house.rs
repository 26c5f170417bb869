//! What all connections to the page share.

use super::page::Page;
use crate::broker::Verdict;
use crate::ids::ListenerId;
use crate::io::helpers::known::Known;
use crate::io::helpers::passwords::{Checker, Reply, Request};
use crate::io::helpers::sys::Sys;
use nix::sys::eventfd::EventFd;
use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;

/// See the module.
pub struct House {
    /// What operators are told.
    pub known: Known,
    /// `None`: nobody logs in anywhere.
    pub checker: Option<Checker>,
    /// Has `$SYS` published.
    pub sys: Sys,
    /// Bytes of answers that are not taken yet, of all connections: counted each turn, and up meanwhile.
    pub unsent: Cell<usize>,
    /// WebSockets that are open.
    pub lives: Cell<usize>,
    /// One has opened in this turn, and news are kept for it, though it may be gone already.
    pub has_opened: Cell<bool>,
    /// The page, ready to be sent.
    pub page: Page,
    /// Where verdicts of the password thread go, with the number of the connection they are for.
    pub verdicts: Sender<(u64, Verdict)>,
    /// Ends the wait of this thread.
    pub wake: Arc<EventFd>,
}

impl House {
    /// Has a password checked, in the same line as those of MQTT: what an address does wrong here makes it wait there.
    pub fn check(
        &self,
        connection: u64,
        listener: ListenerId,
        address: IpAddr,
        user_name: String,
        password: Vec<u8>,
    ) {
        let Some(checker) = &self.checker else {
            // A listener with a login has one.
            let _ = self.verdicts.send((connection, Verdict::UnknownUser));
            return;
        };
        let (verdicts, wake) = (self.verdicts.clone(), Arc::clone(&self.wake));
        checker.ask(Request {
            reply: Reply::Helper(Box::new(move |verdict| {
                let _ = verdicts.send((connection, verdict));
                let _ = wake.write(1);
            })),
            listener,
            address,
            user_name,
            password,
            asked: self.known.clock.now(),
        });
    }
}
