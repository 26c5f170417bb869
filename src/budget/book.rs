//! The account book of a shard.
//!
//! Two kinds of bytes are in it. What is of one shard alone (Sessions, queues, filters, outboxes, unfinished packets)
//! is booked here by plain additions: whoever changes such a thing books the difference. Payloads, which queues,
//! windows, outboxes, retained messages and other shards share, count themselves once each in the [`Account`] of who
//! published them.
//!
//! When memory is short it is divided among users and addresses, over all shards: see `division`.

use super::owner::{Owner, OwnerReport, hash, own_bytes, sharer};
use super::refused::Refused;
use super::source::Source;
use crate::buffer::account::{Account, Arc, Total};
use crate::buffer::{Sharer, Stock};
use crate::ids::OwnerId;
use crate::limits;
use crate::random::HashState;
use hashbrown::{HashMap, HashTable};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync;

/// See the module.
pub struct Book {
    pub(super) stock: sync::Arc<Stock>,
    /// What this shard has taken of the stock as anyone may, and what only for owners below their share.
    pub(super) free_bytes: usize,
    pub(super) shared_bytes: usize,
    /// What went back to the stock, and was not taken again, since [`Book::tidy`] last told of much of it.
    pub(super) freed_bytes: usize,
    /// What was taken or given back since owners were last told of, and who is next.
    pub(super) moved_bytes: usize,
    pub(super) next_told: usize,
    plain: usize,
    payloads: Arc<Total>,
    pub(super) owners: Vec<Option<Owner>>,
    free: Vec<u32>,
    by_name: HashTable<OwnerId>,
    hasher: HashState,
    /// Refusals of those who are not here, and when one was last told of.
    newcomers: HashMap<Source, (u64, u64)>,
    /// Owners whose accounts of payloads were made in this turn.
    made: RefCell<Vec<OwnerId>>,
    /// Owners with nothing here any more but payloads that someone holds.
    lingering: VecDeque<OwnerId>,
    refused: [u64; Refused::ALL.len()],
}

impl Book {
    /// For a shard that takes from this stock.
    pub fn new(stock: sync::Arc<Stock>) -> Book {
        Book {
            stock,
            free_bytes: 0,
            shared_bytes: 0,
            freed_bytes: 0,
            moved_bytes: 0,
            next_told: 0,
            plain: 0,
            payloads: Arc::new(Total::default()),
            owners: Vec::new(),
            free: Vec::new(),
            by_name: HashTable::new(),
            hasher: HashState::default(),
            newcomers: HashMap::new(),
            made: RefCell::default(),
            lingering: VecDeque::new(),
            refused: [0; Refused::ALL.len()],
        }
    }

    /// The owner of this name has one connection or Session more. `source`: where it comes from, of an owner without a
    /// user name.
    pub fn open(&mut self, name: &str, source: Option<Source>) -> OwnerId {
        if let Some(id) = self.find(name) {
            self.open_again(id);
            self.place(id, source);
            return id;
        }
        let share = self.stock.shares().join(sharer(name, source));
        let owner = Owner::new(name, share);
        let index = self.free.pop().unwrap_or(self.owners.len() as u32);
        let id = OwnerId(index);
        if index as usize == self.owners.len() {
            self.owners.push(None);
        }
        self.owners[index as usize] = Some(owner);
        let (owners, hasher) = (&self.owners, &self.hasher);
        self.by_name.insert_unique(hash(hasher, name), id, |id| {
            let owner = owners[id.0 as usize].as_ref();
            owner.map_or(0, |owner| owner.name.hash(hasher))
        });
        self.add(id, own_bytes(name));
        self.owner_mut(id).tell();
        id
    }

    /// An owner without a user name is seen at this address now.
    pub fn place(&mut self, id: OwnerId, source: Option<Source>) {
        let before = self.owner(id).source();
        let (Some(_), Some(now)) = (before, source) else {
            return;
        };
        if before == source {
            return;
        }
        let joined = self.stock.shares().join(Sharer::Address(now.bits()));
        let (left, told) = self.owner_mut(id).change_share(joined);
        self.stock.shares().leave(&left, told);
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

    /// A turn ends: takes what this shard holds beyond its steps, or gives back what it does not need, and forgets some
    /// of the owners of whom nothing is left. Returns `true` if much has been given back.
    #[inline]
    pub fn tidy(&mut self) -> bool {
        let mut is_much = false;
        let (bytes, taken) = (self.bytes(), self.free_bytes + self.shared_bytes);
        if bytes > taken || taken - bytes > limits::MEMORY_STEPS_KEPT * self.stock.step() {
            is_much = self.settle(bytes, taken);
        }
        if self.moved_bytes >= limits::MEMORY_BYTES_FOR_AN_OWNER_TOLD {
            self.tell_some();
        }
        if !self.lingering.is_empty() {
            self.forget_some();
        }
        if !self.made.get_mut().is_empty() {
            self.drop_unused_accounts();
        }
        is_much
    }

    /// Most Clients never publish what outlives a turn. They need an account for a moment alone, as for a SUBSCRIBE.
    #[cold]
    fn drop_unused_accounts(&mut self) {
        for id in self.made.get_mut().drain(..) {
            if let Some(owner) = &mut self.owners[id.0 as usize] {
                owner.drop_unused_account();
            }
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
        let own = owner.name.own_bytes();
        if owner.plain > own || owner.payload_bytes() > 0 {
            return false;
        }
        self.sub(id, own);
        if let Some(owner) = self.owners[id.0 as usize].take() {
            let hash = owner.name.hash(&self.hasher);
            if let Ok(entry) = self.by_name.find_entry(hash, |entry| *entry == id) {
                entry.remove();
            }
            self.stock.shares().leave(owner.share(), owner.told_bytes);
        }
        self.free.push(id.0);
        true
    }

    pub(super) fn find(&self, name: &str) -> Option<OwnerId> {
        let is_it = |id: &OwnerId| {
            self.owners[id.0 as usize]
                .as_ref()
                .is_some_and(|owner| owner.name.is(name))
        };
        self.by_name.find(hash(&self.hasher, name), is_it).copied()
    }

    pub(super) fn owner(&self, id: OwnerId) -> &Owner {
        let owner = self.owners[id.0 as usize].as_ref();
        owner.expect("whoever names an owner uses it")
    }

    pub(super) fn owner_mut(&mut self, id: OwnerId) -> &mut Owner {
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
        let in_all = self.plain;
        let owner = self.owner_mut(id);
        assert!(owner.plain >= bytes && in_all >= bytes);
        owner.plain -= bytes;
        self.plain = in_all - bytes;
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
        let owner = self.owner(id);
        if !owner.has_account() {
            self.made.borrow_mut().push(id);
        }
        owner.account(&self.payloads)
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

    /// What all shards may hold.
    pub fn limit(&self) -> usize {
        self.stock.limit()
    }

    /// Owners there are.
    pub fn owners(&self) -> usize {
        self.by_name.len()
    }

    /// Counts a refusal. `Some`: it is to be told of, since this owner's last one that was is a while ago.
    pub fn refuse(&mut self, id: OwnerId, why: Refused, now_ms: u64) -> Option<OwnerReport> {
        self.refused[why as usize] += 1;
        let owner = self.owner_mut(id);
        owner.refuse(now_ms).then(|| owner.report())
    }

    /// Counts the refusal of a Session of this owner, who may not be here. `Some` as in [`Book::refuse`]; those who are
    /// not here are told of by their address.
    pub fn refuse_newcomer(
        &mut self,
        name: &str,
        source: Source,
        now_ms: u64,
    ) -> Option<OwnerReport> {
        if let Some(id) = self.find(name) {
            return self.refuse(id, Refused::Session, now_ms);
        }
        self.refused[Refused::Session as usize] += 1;
        let is_due = |told: u64| now_ms >= told + limits::DROPS_LOGGED_EVERY_MS;
        let is_known = self.newcomers.contains_key(&source);
        if !is_known && self.newcomers.len() >= limits::NEWCOMERS_TOLD_MAX {
            self.newcomers.retain(|_, (_, told)| !is_due(*told));
            if self.newcomers.len() >= limits::NEWCOMERS_TOLD_MAX {
                return None;
            }
        }
        let (refused, told) = self.newcomers.entry(source).or_insert((0, now_ms));
        *refused += 1;
        if is_known && !is_due(*told) {
            return None;
        }
        *told = now_ms;
        Some(OwnerReport {
            name: name.into(),
            bytes: 0,
            refused: *refused,
        })
    }

    /// Refusals, by [`Refused::ALL`].
    pub fn refused(&self) -> [u64; Refused::ALL.len()] {
        self.refused
    }

    /// The owners that hold most, up to `count`. O(owners).
    pub fn largest(&self, count: usize) -> Vec<OwnerReport> {
        let mut all: Vec<&Owner> = self.owners.iter().flatten().collect();
        all.sort_by_key(|owner| std::cmp::Reverse(owner.bytes()));
        all.into_iter().take(count).map(Owner::report).collect()
    }

    /// Panics where sums contradict each other. `booked` has what the shard's own things take, by owner, counted anew;
    /// for tests.
    pub fn check_invariants(&self, booked: &HashMap<OwnerId, usize>) {
        let mut plain = 0;
        for (index, owner) in self.owners.iter().enumerate() {
            let Some(owner) = owner else { continue };
            let id = OwnerId(index as u32);
            let own = owner.name.own_bytes();
            let held = booked.get(&id).copied().unwrap_or(0);
            assert_eq!(owner.plain, own + held, "of {}", owner.name);
            assert_eq!(self.find(&owner.name.to_string()), Some(id));
            assert!(owner.uses > 0 || self.lingering.contains(&id));
            plain += owner.plain;
        }
        assert_eq!(plain, self.plain);
        let mut told: HashMap<Sharer, (usize, usize)> = HashMap::new();
        for owner in self.owners.iter().flatten() {
            let (bytes, owners) = told.entry(owner.share().sharer().clone()).or_default();
            *bytes += owner.told_bytes;
            *owners += 1;
        }
        for (sharer, (bytes, owners)) in told {
            let share = self.stock.shares().find(&sharer);
            let share = share.expect("an owner has a part of it");
            assert!(share.bytes() >= bytes && share.owners() >= owners);
        }
        assert!(self.stock.taken() >= self.free_bytes + self.shared_bytes);
        // A peer shard may give a payload back between the two sums, so they are compared until they agree.
        let agree = || {
            let accounts = self.owners.iter().flatten();
            let payloads: usize = accounts.map(Owner::payload_bytes).sum();
            payloads == self.payloads.bytes()
        };
        assert!((0..10_000).any(|_| agree()), "payloads by owner and in all");
    }
}
