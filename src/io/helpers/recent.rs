//! The last denials, refusals and ends of connections, and how bridges came and went, in memory: what an operator asks
//! for whose device does not work.
//!
//! A shard gives its happenings away as it has them, and no text is made of them before somebody asks. What one device
//! does again and again is one entry with a count, so it does not push the others out. `O(entries)` for each happening
//! that is kept, of which an accepted Client makes one when it goes.

use crate::broker::{ConnectionEnd, Happening};
use crate::limits;
use nix::sys::eventfd::EventFd;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// What a happening is to its device.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// The rules, or a limit, refused a message or a subscription.
    Denial,
    /// A connection was refused before it was accepted.
    Refusal,
    /// The connection of an accepted Client ended.
    End,
    /// A bridge is connected, or is not.
    Bridge,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Denial, Kind::Refusal, Kind::End, Kind::Bridge];

    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Denial => "denial",
            Kind::Refusal => "refusal",
            Kind::End => "end",
            Kind::Bridge => "bridge",
        }
    }

    /// `None`: it is not kept.
    fn of(happening: &Happening) -> Option<Kind> {
        match happening {
            Happening::Denied { .. } | Happening::FiltersRefused { .. } => Some(Kind::Denial),
            Happening::Refused { .. } | Happening::Unaccepted { .. } => Some(Kind::Refusal),
            Happening::Bridge { .. } => Some(Kind::Bridge),
            // The end of the broker is nobody's trouble.
            Happening::Ended {
                how: ConnectionEnd::Shutdown,
                ..
            } => None,
            Happening::Ended { .. } | Happening::RepeatedTakeovers { .. } => Some(Kind::End),
            _ => None,
        }
    }
}

/// One of them, perhaps seen several times.
#[derive(Clone, Debug)]
pub struct Entry {
    /// See there.
    pub kind: Kind,
    /// The last time.
    pub at: SystemTime,
    /// The first time.
    pub first: SystemTime,
    /// How often.
    pub count: u64,
    /// As it was the last time.
    pub happening: Arc<Happening>,
    bytes: usize,
    key: u64,
}

impl Entry {
    /// Of one that has just happened. `None`: it is of no kind that is kept.
    pub fn new(at: SystemTime, happening: Arc<Happening>) -> Option<Entry> {
        let kind = Kind::of(&happening)?;
        Some(Entry {
            kind,
            at,
            first: at,
            // Those of one Client that were not told of within a second.
            count: match &*happening {
                Happening::Denied { untold, .. } => 1 + u64::from(*untold),
                _ => 1,
            },
            bytes: bytes(&happening),
            key: key(kind, &happening),
            happening,
        })
    }

    /// The device, as far as it is known: client id, user name, address.
    pub fn who(&self) -> (Option<&str>, Option<&str>, Option<SocketAddr>) {
        who(&self.happening)
    }

    /// Is it about this one: a client id, a user name, an address with or without its port?
    pub fn is_about(&self, whom: &str) -> bool {
        let (client_id, user_name, address) = self.who();
        client_id == Some(whom)
            || user_name == Some(whom)
            || address.is_some_and(|address| {
                let ip = address.ip().to_canonical();
                whom == address.to_string() || whom == ip.to_string()
            })
    }
}

fn who(happening: &Happening) -> (Option<&str>, Option<&str>, Option<SocketAddr>) {
    match happening {
        Happening::Refused { who, .. } | Happening::Ended { who, .. } => (
            Some(&who.client_id),
            who.user_name.as_deref(),
            Some(who.address),
        ),
        Happening::Unaccepted { address, .. } => (None, None, Some(*address)),
        Happening::Denied {
            client_id,
            user_name,
            address,
            ..
        } => (Some(client_id), user_name.as_deref(), *address),
        Happening::FiltersRefused {
            client_id, address, ..
        } => (Some(client_id), None, *address),
        Happening::RepeatedTakeovers { client_id, by, .. } => (Some(client_id), None, Some(*by)),
        _ => (None, None, None),
    }
}

/// What makes two happenings the same one: kind, device and reason.
fn key(kind: Kind, happening: &Happening) -> u64 {
    let mut hasher = DefaultHasher::new();
    let (client_id, user_name, address) = who(happening);
    (kind, client_id, user_name, address.map(|at| at.ip())).hash(&mut hasher);
    match happening {
        Happening::Denied { topic, what, .. } => {
            (topic, std::mem::discriminant(what)).hash(&mut hasher);
        }
        Happening::Refused { why, .. } => std::mem::discriminant(why).hash(&mut hasher),
        Happening::Unaccepted { why, .. } => std::mem::discriminant(why).hash(&mut hasher),
        Happening::Ended { how, .. } => std::mem::discriminant(how).hash(&mut hasher),
        Happening::Bridge { name, change, .. } => (name, change).hash(&mut hasher),
        other => std::mem::discriminant(other).hash(&mut hasher),
    }
    hasher.finish()
}

/// Names in it.
fn bytes(happening: &Happening) -> usize {
    let (client_id, user_name, _) = who(happening);
    let more = match happening {
        Happening::Denied {
            topic, file, rule, ..
        } => topic.len() + file.len() + rule.len(),
        Happening::Ended {
            how:
                ConnectionEnd::Violation {
                    filter: Some(filter),
                    ..
                },
            ..
        } => filter.len(),
        Happening::Bridge { name, text, .. } => name.len() + text.len(),
        _ => 0,
    };
    let names = client_id.map_or(0, str::len) + user_name.map_or(0, str::len) + more;
    size_of::<Entry>() + size_of::<Happening>() + names
}

/// A handle; copies share the same. `None` within: nobody can ask, and nothing is kept.
#[derive(Clone, Default)]
pub struct Recent {
    shared: Option<Arc<Mutex<Kept>>>,
}

#[derive(Default)]
struct Kept {
    rings: [Ring; Kind::ALL.len()],
    /// `None`: nobody listens.
    news: Option<News>,
}

/// What has happened since somebody listens, and was not taken yet.
struct News {
    waiting: VecDeque<(SystemTime, Arc<Happening>)>,
    bytes: usize,
    lost: u64,
    /// Written when something comes.
    wake: Arc<EventFd>,
}

impl News {
    fn push(&mut self, at: SystemTime, happening: Arc<Happening>) {
        let bytes = bytes(&happening);
        if self.waiting.len() >= limits::HTTP_NEWS_WAITING_MAX
            || self.bytes + bytes > limits::HTTP_NEWS_BYTES_MAX
        {
            self.lost += 1;
            return;
        }
        // Who has not taken the last one is awake.
        if self.waiting.is_empty() {
            let _ = self.wake.write(1);
        }
        self.bytes += bytes;
        self.waiting.push_back((at, happening));
    }
}

/// The oldest first. Each kind has its own, so that devices that come and go push out no denial.
#[derive(Default)]
struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Ring {
    fn note(&mut self, mut entry: Entry) {
        let same = self.entries.iter().position(|held| held.key == entry.key);
        if let Some(earlier) = same.and_then(|index| self.entries.remove(index)) {
            self.bytes -= earlier.bytes;
            entry.first = earlier.first;
            entry.count += earlier.count;
        }
        self.bytes += entry.bytes;
        self.entries.push_back(entry);
        while self.entries.len() > limits::RECENT_ITEMS_MAX || self.bytes > limits::RECENT_BYTES_MAX
        {
            match self.entries.pop_front() {
                Some(oldest) => self.bytes -= oldest.bytes,
                None => return,
            }
        }
    }
}

impl Recent {
    /// One that keeps.
    pub fn keeping() -> Recent {
        Recent {
            shared: Some(Arc::default()),
        }
    }

    /// Somebody may ask.
    pub fn keeps(&self) -> bool {
        self.shared.is_some()
    }

    /// Keeps it, if it is of a kind that is kept.
    pub fn note(&self, happening: Box<Happening>) {
        let is_kept = Kind::of(&happening).is_some();
        if !is_kept && !matches!(*happening, Happening::Connected { .. }) {
            return;
        }
        // Who comes is told to those who listen, and not kept.
        let Some(mut kept) = self.lock().filter(|kept| is_kept || kept.news.is_some()) else {
            return;
        };
        let now = SystemTime::now();
        let happening: Arc<Happening> = happening.into();
        if let Some(news) = &mut kept.news {
            news.push(now, Arc::clone(&happening));
        }
        if let Some(entry) = Entry::new(now, happening) {
            kept.rings[entry.kind as usize].note(entry);
        }
    }

    /// From now on what happens is kept to be taken by [`Recent::take_news`], and `wake` is written when something
    /// comes. Who listens already goes on. `None`: nobody listens any more.
    pub fn listen(&self, wake: Option<Arc<EventFd>>) {
        let Some(mut kept) = self.lock() else {
            return;
        };
        match wake {
            None => kept.news = None,
            Some(_) if kept.news.is_some() => {}
            Some(wake) => {
                kept.news = Some(News {
                    waiting: VecDeque::new(),
                    bytes: 0,
                    lost: 0,
                    wake,
                });
            }
        }
    }

    /// What has happened since it was asked last, the oldest first, and how much more was lost.
    pub fn take_news(&self) -> (Vec<(SystemTime, Arc<Happening>)>, u64) {
        let mut kept = self.lock();
        let news = kept.as_mut().and_then(|kept| kept.news.as_mut());
        news.map_or_else(Default::default, |news| {
            news.bytes = 0;
            let waiting = std::mem::take(&mut news.waiting);
            (waiting.into(), std::mem::take(&mut news.lost))
        })
    }

    /// The entries of these kinds, the newest first; those about `whom`, if somebody is named.
    pub fn entries(&self, kinds: &[Kind], whom: Option<&str>) -> Vec<Entry> {
        let mut found = Vec::new();
        if let Some(kept) = self.lock() {
            for kind in kinds {
                let entries = kept.rings[*kind as usize].entries.iter();
                let wanted = entries.filter(|entry| whom.is_none_or(|whom| entry.is_about(whom)));
                found.extend(wanted.cloned());
            }
        }
        found.sort_by_key(|entry| std::cmp::Reverse(entry.at));
        found
    }

    fn lock(&self) -> Option<MutexGuard<'_, Kept>> {
        let shared = self.shared.as_ref()?;
        Some(shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Identity, Refusal};

    fn refused(client_id: &str, port: u16, why: Refusal) -> Box<Happening> {
        Box::new(Happening::Refused {
            who: Identity {
                client_id: client_id.into(),
                user_name: Some("ann".into()),
                address: ([192, 0, 2, 7], port).into(),
            },
            why,
        })
    }

    #[test]
    fn one_device_is_one_entry_and_pushes_nobody_out() {
        let recent = Recent::keeping();
        recent.note(refused("lamp", 1, Refusal::UnknownUser));
        for port in 0..3_000 {
            recent.note(refused("loud", port, Refusal::WrongPassword));
        }
        let entries = recent.entries(&Kind::ALL, None);
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].count, entries[1].count), (3_000, 1));
        for whom in ["lamp", "192.0.2.7:1"] {
            let found = recent.entries(&[Kind::Refusal], Some(whom));
            assert_eq!(found.len(), 1, "{whom}");
            assert_eq!(found[0].who().0, Some("lamp"));
        }
        assert_eq!(recent.entries(&Kind::ALL, Some("192.0.2.7")).len(), 2);
        assert_eq!(recent.entries(&Kind::ALL, Some("ann")).len(), 2);
        assert!(recent.entries(&[Kind::Denial], None).is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let recent = Recent::keeping();
        for index in 0..3 * limits::RECENT_ITEMS_MAX {
            recent.note(refused(&index.to_string(), 1, Refusal::UnknownUser));
        }
        let entries = recent.entries(&Kind::ALL, None);
        assert_eq!(entries.len(), limits::RECENT_ITEMS_MAX);
        let long = "x".repeat(60_000);
        for index in 0..100 {
            recent.note(refused(&format!("{long}{index}"), 1, Refusal::UnknownUser));
        }
        let entries = recent.entries(&Kind::ALL, None);
        let names: usize = entries.iter().map(|entry| entry.bytes).sum();
        assert!(!entries.is_empty() && names <= limits::RECENT_BYTES_MAX);
        let nobody = Recent::default();
        nobody.note(refused("lamp", 1, Refusal::UnknownUser));
        assert!(nobody.entries(&Kind::ALL, None).is_empty());
    }
}
