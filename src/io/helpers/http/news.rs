//! What happens, for pages that are open: nothing is kept, and nobody is woken, while there is none.

use super::live::{is_own, line};
use crate::broker::{Happening, UNIX_PEER};
use crate::io::helpers::answers;
use crate::io::helpers::known::{Known, unix_s};
use crate::io::helpers::recent::{Entry, Recent};
use crate::io::words;
use crate::limits;
use nix::sys::eventfd::EventFd;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// See the module.
#[derive(Default)]
pub struct News {
    listens: bool,
    /// Until then so many Clients that come or go are told of.
    until: Option<Instant>,
    left: u32,
    /// Those of this second that were not.
    lost: u64,
}

impl News {
    /// Somebody is to be told, or nobody any more.
    pub fn listen(&mut self, listens: bool, recent: &Recent, wake: &Arc<EventFd>) {
        if listens != self.listens {
            // What was counted for those who have left is due to nobody.
            *self = News {
                listens,
                ..News::default()
            };
            recent.listen(listens.then(|| Arc::clone(wake)));
        }
    }

    /// When the Clients that were not told of are counted for the pages.
    pub fn due(&self) -> Option<Instant> {
        self.until.filter(|_| self.lost > 0)
    }

    /// What has happened since the last time, a line for each.
    pub fn take(&mut self, known: &Known, now: Instant) -> Vec<String> {
        if !self.listens {
            return Vec::new();
        }
        let mut lines = Vec::new();
        if self.until.is_none_or(|until| now >= until) {
            if self.lost > 0 {
                lines.push(line(&json!({ "connects_lost": self.lost })));
            }
            self.until = Some(now + Duration::from_secs(1));
            self.left = limits::HTTP_LIVE_CONNECTS_PER_S;
            self.lost = 0;
        }
        let (news, lost) = known.recent.take_news();
        self.lost += lost;
        for (at, happening) in news {
            let at_s = unix_s(at);
            let come_or_gone = match &*happening {
                Happening::Connected { who, .. } | Happening::Ended { who, .. }
                    if who.address == UNIX_PEER && is_own(&who.client_id) =>
                {
                    continue;
                }
                Happening::Connected { who, .. } => Some(json!({ "connect": {
                    "client": who.client_id,
                    "user": who.user_name,
                    "address": answers::address(who.address),
                    "at": at_s,
                }})),
                Happening::Ended { who, .. } => Some(json!({ "leave": {
                    "client": who.client_id,
                    "at": at_s,
                    "text": words::sentence(&happening).1,
                }})),
                _ => None,
            };
            match come_or_gone {
                Some(told) if self.left > 0 => {
                    self.left -= 1;
                    lines.push(line(&told));
                }
                Some(_) => {
                    self.lost += 1;
                    continue;
                }
                None => {}
            }
            if let Some(entry) = Entry::new(at, happening) {
                let told = answers::happening(&entry, known);
                lines.push(line(&json!({ "happening": told })));
            }
        }
        lines
    }
}
