//! The account book of a shard.
//!
//! Two kinds of bytes are in it. What is of one shard alone (Sessions, queues, filters, outboxes, unfinished packets)
//! is booked here by plain additions: whoever changes such a thing books the difference. Payloads, which queues,
//! windows, outboxes, retained messages and other shards share, count themselves once each in the [`Account`] of who
//! published them.

use crate::buffer::account::{Account, Arc, Total};
use crate::ids::OwnerId;
use crate::limits;
use hashbrown::HashMap;
use std::collections::VecDeque;

/// What was refused because its owner has had his share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// A new Session: its CONNECT is refused with 0x97, or 3 before v5.
    Session,
    /// A new subscription: refused in SUBACK with 0x97, or 0x80 before v5.
    Filter,
    /// A message of QoS 1 or 2, or a retained one.
    Message,
    /// QoS 0.
    Unacknowledged,
    /// A message for a Session whose owner has had his share.
    Delivery,
    /// A large packet half received: its connection closes.
    Packet,
}

impl Refused {
    /// Every kind once, in the order of its number as an array index.
    pub const ALL: [Refused; 6] = [
        Refused::Session,
        Refused::Filter,
        Refused::Message,
        Refused::Unacknowledged,
        Refused::Delivery,
        Refused::Packet,
    ];
}

#[derive(Debug)]
struct Owner {
    name: Box<str>,
    /// Bytes booked here.
    plain: usize,
    /// Bytes of payloads.
    account: Arc<Account>,
    /// Connections and Sessions.
    uses: u32,
    /// Refusals, and when one was last told of.
    refused: u64,
    told_ms: Option<u64>,
}

impl Owner {
    fn bytes(&self) -> usize {
        self.plain + self.account.bytes()
    }
}

/// One owner, as an operator sees him.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnerReport {
    /// "user NAME" or "client id ID".
    pub name: Box<str>,
    /// Bytes booked here, and bytes of payloads that it published and someone still holds.
    pub bytes: usize,
    /// What was refused it since its first connection or Session here.
    pub refused: u64,
}

/// See the module.
pub struct Book {
    /// What this shard may hold, and what of it anyone may take.
    limit: usize,
    free_limit: usize,
    plain: usize,
    payloads: Arc<Total>,
    owners: Vec<Option<Owner>>,
    free: Vec<u32>,
    by_name: HashMap<Box<str>, OwnerId>,
    /// Owners with nothing here any more but payloads that someone holds.
    lingering: VecDeque<OwnerId>,
    refused: [u64; Refused::ALL.len()],
}

impl Book {
    /// For a shard that may hold `limit` bytes.
    pub fn new(limit: u64) -> Book {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Book {
            limit,
            free_limit: limit / 100 * limits::MEMORY_FREE_PERCENT,
            plain: 0,
            payloads: Arc::new(Total::default()),
            owners: Vec::new(),
            free: Vec::new(),
            by_name: HashMap::new(),
            lingering: VecDeque::new(),
            refused: [0; Refused::ALL.len()],
        }
    }

    /// The owner of this name has one connection or Session more.
    pub fn open(&mut self, name: &str) -> OwnerId {
        if let Some(id) = self.by_name.get(name) {
            let id = *id;
            self.open_again(id);
            return id;
        }
        let owner = Owner {
            name: name.into(),
            plain: 0,
            account: Arc::new(Account::new(Arc::clone(&self.payloads))),
            uses: 1,
            refused: 0,
            told_ms: None,
        };
        let index = self.free.pop().unwrap_or(self.owners.len() as u32);
        let id = OwnerId(index);
        if index as usize == self.owners.len() {
            self.owners.push(None);
        }
        self.owners[index as usize] = Some(owner);
        self.by_name.insert(name.into(), id);
        self.add(id, limits::OWNER_BYTES + 2 * name.len());
        id
    }

    /// The same of an owner that is there.
    pub fn open_again(&mut self, id: OwnerId) {
        self.owner_mut(id).uses += 1;
    }

    /// One less; the last one may end it.
    pub fn close(&mut self, id: OwnerId) {
        let owner = self.owner_mut(id);
        assert!(owner.uses > 0);
        owner.uses -= 1;
        if owner.uses == 0 && !self.forget(id) {
            self.lingering.push_back(id);
        }
    }

    /// Forgets some of the owners of whom nothing is left.
    #[inline]
    pub fn tidy(&mut self) {
        if !self.lingering.is_empty() {
            self.forget_some();
        }
    }

    fn forget_some(&mut self) {
        for _ in 0..self.lingering.len().min(limits::OWNERS_TIDIED_AT_ONCE) {
            let Some(id) = self.lingering.pop_front() else {
                return;
            };
            let there = self.owners[id.0 as usize].as_ref();
            if there.is_some_and(|owner| owner.uses == 0) && !self.forget(id) {
                self.lingering.push_back(id);
            }
        }
    }

    /// Forgets an owner of whom nothing is left. `false`: something is.
    fn forget(&mut self, id: OwnerId) -> bool {
        let owner = self.owner(id);
        let own = limits::OWNER_BYTES + 2 * owner.name.len();
        if owner.plain > own || owner.account.bytes() > 0 {
            return false;
        }
        self.sub(id, own);
        if let Some(owner) = self.owners[id.0 as usize].take() {
            self.by_name.remove(&owner.name);
        }
        self.free.push(id.0);
        true
    }

    fn owner(&self, id: OwnerId) -> &Owner {
        let owner = self.owners[id.0 as usize].as_ref();
        owner.expect("whoever names an owner uses it")
    }

    fn owner_mut(&mut self, id: OwnerId) -> &mut Owner {
        let owner = self.owners[id.0 as usize].as_mut();
        owner.expect("whoever names an owner uses it")
    }

    /// Books `bytes` that the owner now holds in this shard.
    #[inline]
    pub fn add(&mut self, id: OwnerId, bytes: usize) {
        self.owner_mut(id).plain += bytes;
        self.plain += bytes;
    }

    /// Takes them out again; never more than were booked.
    #[inline]
    pub fn sub(&mut self, id: OwnerId, bytes: usize) {
        let owner = self.owner_mut(id);
        assert!(owner.plain >= bytes && self.plain >= bytes);
        self.owner_mut(id).plain -= bytes;
        self.plain -= bytes;
    }

    /// Something that took `from` bytes takes `to`.
    #[inline]
    pub fn change(&mut self, id: OwnerId, from: usize, to: usize) {
        if to > from {
            self.add(id, to - from);
        } else if from > to {
            self.sub(id, from - to);
        }
    }

    /// Where the payloads of an owner count.
    #[inline]
    pub fn account(&self, id: OwnerId) -> &Arc<Account> {
        &self.owner(id).account
    }

    /// All bytes.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.plain + self.payloads.bytes()
    }

    /// Bytes of payloads, each counted once.
    #[inline]
    pub fn payload_bytes(&self) -> usize {
        self.payloads.bytes()
    }

    /// What this shard may hold.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Owners there are.
    pub fn owners(&self) -> usize {
        self.by_name.len()
    }

    /// More is held than anyone may take.
    #[inline]
    pub fn is_short(&self) -> bool {
        self.bytes() > self.free_limit
    }

    /// Memory is short or will soon be: whoever gives this shard more must expect that it is refused.
    #[inline]
    pub fn is_tight(&self) -> bool {
        self.bytes() > self.free_limit - self.free_limit / 8
    }

    /// An owner may have so many bytes more.
    #[inline]
    pub fn may_take(&self, id: OwnerId, bytes: usize) -> bool {
        let all = self.bytes().saturating_add(bytes);
        all <= self.free_limit || self.is_below_share(id, all, bytes)
    }

    #[cold]
    fn is_below_share(&self, id: OwnerId, all: usize, bytes: usize) -> bool {
        // One more than there are: a newcomer finds room.
        let share = self.limit / (self.by_name.len() + 1);
        all <= self.limit && self.owner(id).bytes().saturating_add(bytes) <= share
    }

    /// The same for a newcomer.
    pub fn may_come(&self, name: &str, bytes: usize) -> bool {
        if let Some(id) = self.by_name.get(name) {
            return self.may_take(*id, bytes);
        }
        let bytes = bytes + limits::OWNER_BYTES + 2 * name.len();
        let all = self.bytes().saturating_add(bytes);
        all <= self.free_limit
            || (all <= self.limit && bytes <= self.limit / (self.by_name.len() + 1))
    }

    /// Counts a refusal. `Some`: it is to be told of, since this owner's last one that was is a while ago.
    pub fn refuse(&mut self, id: OwnerId, why: Refused, now_ms: u64) -> Option<OwnerReport> {
        self.refused[why as usize] += 1;
        let owner = self.owner_mut(id);
        owner.refused += 1;
        let told = owner.told_ms;
        if told.is_some_and(|told| now_ms < told + limits::DROPS_LOGGED_EVERY_MS) {
            return None;
        }
        owner.told_ms = Some(now_ms);
        Some(report(self.owner(id)))
    }

    /// Counts a refusal of one who is not here.
    pub fn refuse_newcomer(&mut self) {
        self.refused[Refused::Session as usize] += 1;
    }

    /// Refusals, by [`Refused::ALL`].
    pub fn refused(&self) -> [u64; Refused::ALL.len()] {
        self.refused
    }

    /// The owners that hold most, up to `count`. O(owners).
    pub fn largest(&self, count: usize) -> Vec<OwnerReport> {
        let mut all: Vec<&Owner> = self.owners.iter().flatten().collect();
        all.sort_by_key(|owner| std::cmp::Reverse(owner.bytes()));
        all.into_iter().take(count).map(report).collect()
    }

    /// Panics where sums contradict each other. `booked` has what the shard's own things take, by owner, counted anew;
    /// for tests.
    pub fn check_invariants(&self, booked: &HashMap<OwnerId, usize>) {
        let mut plain = 0;
        for (index, owner) in self.owners.iter().enumerate() {
            let Some(owner) = owner else { continue };
            let id = OwnerId(index as u32);
            let own = limits::OWNER_BYTES + 2 * owner.name.len();
            let held = booked.get(&id).copied().unwrap_or(0);
            assert_eq!(owner.plain, own + held, "of {}", owner.name);
            assert_eq!(self.by_name.get(&owner.name), Some(&id));
            assert!(owner.uses > 0 || self.lingering.contains(&id));
            plain += owner.plain;
        }
        assert_eq!(plain, self.plain);
        // A peer shard may give a payload back between the two sums, so they are compared until they agree.
        let agree = || {
            let accounts = self.owners.iter().flatten();
            let payloads: usize = accounts.map(|owner| owner.account.bytes()).sum();
            payloads == self.payloads.bytes()
        };
        assert!((0..10_000).any(|_| agree()), "payloads by owner and in all");
    }
}

fn report(owner: &Owner) -> OwnerReport {
    OwnerReport {
        name: owner.name.clone(),
        bytes: owner.bytes(),
        refused: owner.refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Payload;

    #[test]
    fn above_the_free_part_only_those_below_their_share_get_more() {
        let mut book = Book::new(1_000_000);
        let (greedy, modest) = (book.open("user greedy"), book.open("user modest"));
        while book.may_take(greedy, 10_000) {
            book.add(greedy, 10_000);
        }
        assert!((780_000..=800_000).contains(&book.bytes()));
        // The other is served up to his third, as far as there is room.
        while book.may_take(modest, 10_000) {
            book.add(modest, 10_000);
        }
        assert!((980_000..=1_000_000).contains(&book.bytes()));
        assert!(!book.may_take(greedy, 1));
        assert!(book.refuse(greedy, Refused::Message, 0).is_some());
        assert!(book.refuse(greedy, Refused::Message, 59_999).is_none());
        assert!(book.refuse(greedy, Refused::Message, 60_000).is_some());
        assert_eq!(book.refused()[Refused::Message as usize], 3);
    }

    #[test]
    fn an_owner_stays_as_long_as_a_payload_of_his_is_held() {
        let mut book = Book::new(1_000_000);
        let id = book.open("client id a");
        let mut payload = Payload::new(&[0; 1000]);
        payload.book(book.account(id), 1000);
        let held = payload.clone();
        drop(payload);
        assert_eq!(book.payload_bytes(), 1000);
        book.close(id);
        book.tidy();
        assert_eq!(book.owners(), 1);
        assert_eq!(book.open("client id a"), id);
        book.close(id);
        drop(held);
        book.tidy();
        book.tidy();
        assert_eq!((book.owners(), book.bytes()), (0, 0));
        book.check_invariants(&HashMap::new());
    }
}
