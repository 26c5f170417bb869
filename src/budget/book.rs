//! The account book of a shard.
//!
//! Two kinds of bytes are in it. What is of one shard alone (Sessions, queues, filters, outboxes, unfinished packets)
//! is booked here by plain additions: whoever changes such a thing books the difference. Payloads, which queues,
//! windows, outboxes, retained messages and other shards share, count themselves once each in the [`Account`] of who
//! published them.
//!
//! When memory is short it is divided among users and addresses, over all shards: see [`crate::buffer::share`]. What an
//! owner holds here is told there when he asks for more while memory is short, and otherwise one owner after the other,
//! as this shard takes memory and gives it back: O(1) for each 256 bytes of that. So nothing is told with each change,
//! and what another shard knows is late by the few steps that a shard takes at once.

use super::source::Source;
use crate::buffer::account::{Account, Arc, Total};
use crate::buffer::{Share, Sharer, Stock};
use crate::ids::OwnerId;
use crate::limits;
use crate::random::HashState;
use hashbrown::{HashMap, HashTable};
use std::cell::OnceCell;
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync;

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
    /// Bytes of a connection before it is accepted: it is told "server busy" and closes.
    Unaccepted,
}

impl Refused {
    /// Every kind once, in the order of its number as an array index.
    pub const ALL: [Refused; 7] = [
        Refused::Session,
        Refused::Filter,
        Refused::Message,
        Refused::Unacknowledged,
        Refused::Delivery,
        Refused::Packet,
        Refused::Unaccepted,
    ];
}

#[derive(Debug)]
struct Owner {
    name: Box<str>,
    /// Whose share he has a part of. `None`: a share of his own.
    source: Option<Source>,
    share: Arc<Share>,
    /// What the share was told that he holds in this shard.
    told_bytes: usize,
    /// Bytes booked here.
    plain: usize,
    /// Bytes of payloads; made with the first.
    account: OnceCell<Arc<Account>>,
    /// Connections and Sessions.
    uses: u32,
    /// Refusals, and from when on one is told of.
    refused: u64,
    told_from_ms: u64,
}

impl Owner {
    fn payload_bytes(&self) -> usize {
        self.account.get().map_or(0, |account| account.bytes())
    }

    fn bytes(&self) -> usize {
        self.plain + self.payload_bytes()
    }

    fn sharer(&self) -> Sharer {
        sharer(&self.name, self.source)
    }

    /// Tells his share what he holds.
    fn tell(&mut self) {
        let bytes = self.bytes();
        self.share.change(self.told_bytes, bytes);
        self.told_bytes = bytes;
    }
}

/// What an owner takes who holds nothing: his name lies here and, of a user, among the shares.
fn own_bytes(name: &str) -> usize {
    limits::OWNER_BYTES + 2 * name.len()
}

/// Whose share the owner of this name has, or has a part of.
fn sharer(name: &str, source: Option<Source>) -> Sharer {
    match source {
        Some(source) => Sharer::Address(source.bits()),
        None => Sharer::Name(name.into()),
    }
}

/// One owner, as an operator sees him.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnerReport {
    /// "user NAME", "client id ID" or "address ADDRESS".
    pub name: Box<str>,
    /// Bytes booked here, and bytes of payloads that it published and someone still holds.
    pub bytes: usize,
    /// What was refused it since its first connection or Session here.
    pub refused: u64,
}

/// See the module.
pub struct Book {
    stock: sync::Arc<Stock>,
    /// What this shard has taken of the stock as anyone may, and what only for owners below their share.
    free_bytes: usize,
    shared_bytes: usize,
    /// What went back to the stock, and was not taken again, since [`Book::tidy`] last told of much of it.
    freed_bytes: usize,
    /// What was taken or given back since owners were last told of, and who is next.
    moved_bytes: usize,
    next_told: usize,
    plain: usize,
    payloads: Arc<Total>,
    owners: Vec<Option<Owner>>,
    free: Vec<u32>,
    by_name: HashTable<OwnerId>,
    hasher: HashState,
    /// Refusals of those who are not here, and when one was last told of.
    newcomers: HashMap<Source, (u64, u64)>,
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
        let owner = Owner {
            name: name.into(),
            source,
            share: self.stock.shares().join(sharer(name, source)),
            told_bytes: 0,
            plain: 0,
            account: OnceCell::new(),
            uses: 1,
            refused: 0,
            told_from_ms: 0,
        };
        let index = self.free.pop().unwrap_or(self.owners.len() as u32);
        let id = OwnerId(index);
        if index as usize == self.owners.len() {
            self.owners.push(None);
        }
        self.owners[index as usize] = Some(owner);
        let (owners, hasher) = (&self.owners, &self.hasher);
        self.by_name.insert_unique(hasher.hash_one(name), id, |id| {
            let owner = owners[id.0 as usize].as_ref();
            hasher.hash_one(owner.map_or("", |owner| &*owner.name))
        });
        self.add(id, own_bytes(name));
        self.owner_mut(id).tell();
        id
    }

    /// An owner without a user name is seen at this address now.
    pub fn place(&mut self, id: OwnerId, source: Option<Source>) {
        let before = self.owner(id).source;
        if before.is_none() || source.is_none() || before == source {
            return;
        }
        let stock = sync::Arc::clone(&self.stock);
        let owner = self.owner_mut(id);
        let left = owner.sharer();
        owner.source = source;
        let joined = stock.shares().join(owner.sharer());
        let share = std::mem::replace(&mut owner.share, joined);
        let told = std::mem::take(&mut owner.told_bytes);
        stock.shares().leave(&left, &share, told);
        owner.tell();
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
        is_much
    }

    /// Tells what some owners hold, the next ones in turn.
    #[cold]
    fn tell_some(&mut self) {
        let due = self.moved_bytes / limits::MEMORY_BYTES_FOR_AN_OWNER_TOLD;
        self.moved_bytes = 0;
        for _ in 0..due.min(self.owners.len()) {
            self.next_told = (self.next_told + 1) % self.owners.len();
            if let Some(owner) = &mut self.owners[self.next_told] {
                owner.tell();
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
        let own = own_bytes(&owner.name);
        if owner.plain > own || owner.payload_bytes() > 0 {
            return false;
        }
        self.sub(id, own);
        if let Some(owner) = self.owners[id.0 as usize].take() {
            let hash = self.hasher.hash_one(&*owner.name);
            if let Ok(entry) = self.by_name.find_entry(hash, |entry| *entry == id) {
                entry.remove();
            }
            let shares = self.stock.shares();
            shares.leave(&owner.sharer(), &owner.share, owner.told_bytes);
        }
        self.free.push(id.0);
        true
    }

    fn find(&self, name: &str) -> Option<OwnerId> {
        let is_it = |id: &OwnerId| {
            self.owners[id.0 as usize]
                .as_ref()
                .is_some_and(|owner| *owner.name == *name)
        };
        self.by_name
            .find(self.hasher.hash_one(name), is_it)
            .copied()
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
        let account = || Arc::new(Account::new(Arc::clone(&self.payloads)));
        self.owner(id).account.get_or_init(account)
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

    /// More is held than anyone may take. What this shard holds beyond its steps is taken for that: else shards that
    /// grow in the same turn would not know of one another, and each would take what is left.
    #[inline]
    pub fn is_short(&mut self) -> bool {
        let bytes = self.bytes();
        bytes > self.free_bytes && self.is_beyond_free(bytes)
    }

    #[cold]
    fn is_beyond_free(&mut self, bytes: usize) -> bool {
        !self.take_for_anyone(bytes)
    }

    /// Memory is short or will soon be: whoever gives this shard more must expect that it is refused.
    #[inline]
    pub fn is_tight(&self) -> bool {
        let free_limit = self.stock.free_limit();
        self.stock.taken() > free_limit - free_limit / 8
    }

    /// An owner may have so many bytes more.
    #[inline]
    pub fn may_take(&mut self, id: OwnerId, bytes: usize) -> bool {
        let all = self.bytes().saturating_add(bytes);
        all <= self.free_bytes || self.may_take_more(id, all, bytes)
    }

    #[cold]
    fn may_take_more(&mut self, id: OwnerId, all: usize, bytes: usize) -> bool {
        if self.take_for_anyone(all) {
            return true;
        }
        let owner = self.owner_mut(id);
        owner.tell();
        let own = owner.told_bytes.saturating_add(bytes);
        let most = self.most_for(&owner_share(self.owner(id)), own, bytes);
        if !self.take_for_sharer(all, most) {
            return false;
        }
        // Told at once, so that many owners of one share cannot each get the last of it.
        let owner = self.owner_mut(id);
        owner.share.change(0, bytes);
        owner.told_bytes += bytes;
        true
    }

    /// The same for a newcomer.
    pub fn may_come(&mut self, name: &str, source: Option<Source>, bytes: usize) -> bool {
        if let Some(id) = self.find(name) {
            return self.may_take(id, bytes);
        }
        let bytes = bytes + own_bytes(name);
        let all = self.bytes().saturating_add(bytes);
        if self.take_for_anyone(all) {
            return true;
        }
        let share = self.stock.shares().find(&sharer(name, source));
        let share = Holds {
            bytes: share.as_ref().map_or(0, |share| share.bytes()),
            owners: share.map_or(0, |share| share.owners()) + 1,
            is_divided: source.is_some(),
        };
        let most = self.most_for(&share, bytes, bytes);
        self.take_for_sharer(all, most)
    }

    /// This owner has had his share, or his part of it; asked while memory is short.
    pub fn has_had_share(&self, id: OwnerId) -> bool {
        let owner = self.owner(id);
        let most = self.most_for(&owner_share(owner), owner.bytes(), 0);
        most <= self.stock.free_limit() || self.stock.taken() > most
    }

    /// How much may be held in all, for an owner with `own` bytes after `bytes` more, so that he gets them.
    fn most_for(&self, share: &Holds, own: usize, bytes: usize) -> usize {
        // One more than there are: a newcomer finds room.
        let whole = self.stock.limit() / (self.stock.shares().count() + 1);
        let bytes = share.bytes.saturating_add(bytes);
        let is_below_share = bytes <= whole;
        if bytes <= whole / limits::SHARE_BEYOND_LIMIT {
            // Others may have passed the limit with what could not be refused any more. All shares together take no
            // more than this part of it beyond that.
            usize::MAX
        } else if share.is_divided && own > whole / share.owners.max(1) {
            self.stock.free_limit()
        } else if is_below_share {
            self.stock.limit()
        } else if share.is_divided {
            self.stock.part_limit()
        } else {
            self.stock.free_limit()
        }
    }

    /// This shard may hold `all` bytes, whoever they are for.
    fn take_for_anyone(&mut self, all: usize) -> bool {
        if self.shared_bytes > 0 && self.stock.taken() <= self.stock.free_limit() {
            self.free_bytes += std::mem::take(&mut self.shared_bytes);
        }
        let missing = all.saturating_sub(self.free_bytes);
        let taken = self.take(missing, self.stock.free_limit());
        self.free_bytes += taken.unwrap_or(0);
        taken.is_some()
    }

    /// This shard may hold `all` bytes for an owner for whom no more than `most` may be held in all.
    fn take_for_sharer(&mut self, all: usize, most: usize) -> bool {
        let missing = all.saturating_sub(self.free_bytes + self.shared_bytes);
        let taken = self.take(missing, most);
        self.shared_bytes += taken.unwrap_or(0);
        taken.is_some()
    }

    /// Takes so many bytes of the stock: whole steps, where there is room for them.
    fn take(&mut self, missing: usize, most: usize) -> Option<usize> {
        let steps = missing.checked_next_multiple_of(self.stock.step())?;
        let sizes = [steps, missing];
        let taken = sizes
            .into_iter()
            .find(|bytes| self.stock.take(*bytes, most));
        self.moved_bytes += taken.unwrap_or(0);
        taken
    }

    #[cold]
    fn settle(&mut self, bytes: usize, taken: usize) -> bool {
        if bytes > taken {
            self.freed_bytes = self.freed_bytes.saturating_sub(bytes - taken);
            if !self.take_for_anyone(bytes) {
                let missing = bytes.saturating_sub(self.free_bytes + self.shared_bytes);
                self.stock.take_anyway(missing);
                self.moved_bytes += missing;
                self.shared_bytes += missing;
            }
            return false;
        }
        let back = taken - bytes - self.stock.step();
        let of_shared = back.min(self.shared_bytes);
        self.shared_bytes -= of_shared;
        self.free_bytes -= back - of_shared;
        self.stock.give_back(back);
        self.moved_bytes += back;
        self.freed_bytes += back;
        let is_much = self.freed_bytes >= limits::FREED_BYTES_MUCH;
        if is_much {
            self.freed_bytes = 0;
        }
        is_much
    }

    /// Counts a refusal. `Some`: it is to be told of, since this owner's last one that was is a while ago.
    pub fn refuse(&mut self, id: OwnerId, why: Refused, now_ms: u64) -> Option<OwnerReport> {
        self.refused[why as usize] += 1;
        let owner = self.owner_mut(id);
        owner.refused += 1;
        if now_ms < owner.told_from_ms {
            return None;
        }
        owner.told_from_ms = now_ms + limits::DROPS_LOGGED_EVERY_MS;
        Some(report(self.owner(id)))
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
        all.into_iter().take(count).map(report).collect()
    }

    /// Panics where sums contradict each other. `booked` has what the shard's own things take, by owner, counted anew;
    /// for tests.
    pub fn check_invariants(&self, booked: &HashMap<OwnerId, usize>) {
        let mut plain = 0;
        for (index, owner) in self.owners.iter().enumerate() {
            let Some(owner) = owner else { continue };
            let id = OwnerId(index as u32);
            let own = own_bytes(&owner.name);
            let held = booked.get(&id).copied().unwrap_or(0);
            assert_eq!(owner.plain, own + held, "of {}", owner.name);
            assert_eq!(self.find(&owner.name), Some(id));
            assert!(owner.uses > 0 || self.lingering.contains(&id));
            plain += owner.plain;
        }
        assert_eq!(plain, self.plain);
        let mut told: HashMap<Sharer, (usize, usize)> = HashMap::new();
        for owner in self.owners.iter().flatten() {
            let (bytes, owners) = told.entry(owner.sharer()).or_default();
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

/// What a share holds, as one question about it needs it.
struct Holds {
    bytes: usize,
    owners: usize,
    /// Among the owners who have a part of it.
    is_divided: bool,
}

fn owner_share(owner: &Owner) -> Holds {
    Holds {
        bytes: (owner.share.bytes() + owner.bytes()).saturating_sub(owner.told_bytes),
        owners: owner.share.owners(),
        is_divided: owner.source.is_some(),
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

    fn book(limit: u64) -> Book {
        Book::new(sync::Arc::new(Stock::new(limit, 1)))
    }

    #[test]
    fn above_the_free_part_only_those_below_their_share_get_more() {
        let mut book = book(1_000_000);
        let (greedy, modest) = (
            book.open("user greedy", None),
            book.open("user modest", None),
        );
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
    fn who_holds_little_is_served_though_others_have_passed_the_limit() {
        let mut book = book(1_000_000);
        let greedy = book.open("user greedy", None);
        let modest = book.open("user modest", None);
        book.add(greedy, 1_200_000); // Not asked for: it was there already.
        book.tidy();
        assert!(book.stock.taken() > 1_000_000);
        assert!(!book.may_take(greedy, 1));
        while book.may_take(modest, 1_000) {
            book.add(modest, 1_000);
        }
        let got = book.owner(modest).plain;
        assert!((30_000..=1_000_000 / 3 / 8).contains(&got), "{got}");
    }

    #[test]
    fn an_owner_stays_as_long_as_a_payload_of_his_is_held() {
        let mut book = book(1_000_000);
        let id = book.open("client id a", Some(Source::UNKNOWN));
        let mut payload = Payload::new(&[0; 1000]);
        payload.book(book.account(id), 1000);
        let held = payload.clone();
        drop(payload);
        assert_eq!(book.payload_bytes(), 1000);
        book.close(id);
        book.tidy();
        assert_eq!(book.owners(), 1);
        assert_eq!(book.open("client id a", Some(Source::UNKNOWN)), id);
        book.close(id);
        drop(held);
        book.tidy();
        book.tidy();
        assert_eq!((book.owners(), book.bytes()), (0, 0));
        book.check_invariants(&HashMap::new());
    }

    #[test]
    fn many_client_ids_of_one_address_have_one_share() {
        let mut book = book(1_000_000);
        let [here, there] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(|v4| Source::of(v4.into()));
        let greedy: Vec<OwnerId> = (0..99)
            .map(|number| book.open(&format!("client id {number}"), Some(here)))
            .collect();
        for id in greedy.iter().cycle().take(10_000) {
            if book.may_take(*id, 1_000) {
                book.add(*id, 1_000);
            }
        }
        assert!(book.bytes() > 780_000 && !book.may_take(greedy[0], 1_000));
        // Another address: a third of all is his, though he is one of a hundred owners.
        let modest = book.open("client id modest", Some(there));
        let before = book.bytes();
        while book.may_take(modest, 1_000) {
            book.add(modest, 1_000);
        }
        let got = book.bytes() - before;
        assert!(got > 150_000, "{got}");
        assert!(book.bytes() <= 1_000_000);
        assert!(!book.may_come("client id new", Some(here), 5_000));
        // The refusals of one address are told of once a minute, whatever client ids it thinks up.
        assert!(book.refuse_newcomer("client id x", here, 0).is_some());
        assert!(book.refuse_newcomer("client id y", here, 59_999).is_none());
        let told = book.refuse_newcomer("client id z", here, 60_000);
        assert_eq!(told.map(|told| told.refused), Some(3));
        assert_eq!(book.refused()[Refused::Session as usize], 3);
    }

    /// Takes in pieces of 1,000 bytes as much as it gets, ten times over, each owner in turn.
    fn fill(books: &mut [Book], owners: &[(usize, OwnerId)]) {
        for (at, id) in owners.iter().cycle().take(owners.len() * 10_000) {
            if books[*at].may_take(*id, 1_000) {
                books[*at].add(*id, 1_000);
                books[*at].tidy();
            }
        }
    }

    fn held(books: &[Book]) -> usize {
        books.iter().map(Book::bytes).sum()
    }

    #[test]
    fn the_client_ids_of_one_address_have_one_share_together() {
        let [here, there] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(|v4| Source::of(v4.into()));
        for shards in [1, 4] {
            let stock = sync::Arc::new(Stock::new(1_000_000, shards));
            let book = || Book::new(sync::Arc::clone(&stock));
            let mut books: Vec<Book> = (0..shards).map(|_| book()).collect();
            // One takes what anyone may, which is more than a share of all; then the others come.
            let first = (0, books[0].open("client id first", Some(here)));
            fill(&mut books, &[first]);
            assert!((780_000..=800_000).contains(&held(&books)));
            let others: Vec<_> = (0..15)
                .map(|number| {
                    let name = format!("client id {number}");
                    (
                        number % shards,
                        books[number % shards].open(&name, Some(here)),
                    )
                })
                .collect();
            fill(&mut books, &others);
            let greedy = held(&books);
            assert!((880_000..=900_000).contains(&greedy), "{greedy}");
            for (at, id) in &others {
                assert!(!books[*at].may_take(*id, 20_000));
            }
            // What is left is for those at another address, on whatever shard they are.
            let at = shards - 1;
            let modest = (at, books[at].open("client id modest", Some(there)));
            fill(&mut books, &[modest]);
            let got = held(&books) - greedy;
            assert!(got > 80_000, "{got}");
            assert!(stock.taken() <= 1_000_000);
        }
    }

    #[test]
    fn shards_that_grow_in_the_same_turn_know_of_one_another() {
        let stock = sync::Arc::new(Stock::new(1_000_000, 4));
        let mut books: Vec<Book> = (0..4)
            .map(|_| Book::new(sync::Arc::clone(&stock)))
            .collect();
        let owners: Vec<OwnerId> = books
            .iter_mut()
            .map(|book| book.open("user greedy", None))
            .collect();
        // As a message is taken: nothing is asked while memory is not short.
        for _ in 0..1_000 {
            for (book, id) in books.iter_mut().zip(&owners) {
                if !book.is_short() {
                    book.add(*id, 1_000);
                }
            }
        }
        let held = held(&books);
        assert!((780_000..=804_000).contains(&held), "{held}");
    }

    #[test]
    fn an_owner_in_four_shards_has_one_share() {
        for user in [true, false] {
            let stock = sync::Arc::new(Stock::new(1_000_000, 4));
            let mut books: Vec<Book> = (0..4)
                .map(|_| Book::new(sync::Arc::clone(&stock)))
                .collect();
            let source = |last: u8| (!user).then(|| Source::of([192, 0, 2, last].into()));
            // Eight others hold all that anyone may.
            let others: Vec<_> = (0..8)
                .map(|n| (n % 4, books[n % 4].open(&format!("{n}"), source(n as u8))))
                .collect();
            fill(&mut books, &others);
            let before = held(&books);
            assert!(before >= 760_000, "{before}");
            // Of ten shares one is his, wherever his connections are.
            let greedy: Vec<_> = (0..4)
                .map(|at| {
                    let name = if user {
                        "user greedy".into()
                    } else {
                        format!("client id {at}")
                    };
                    (at, books[at].open(&name, source(99)))
                })
                .collect();
            fill(&mut books, &greedy);
            let got = held(&books) - before;
            assert!((80_000..=110_000).contains(&got), "{got}");
            // A share counts what is freed, too.
            let (at, id) = greedy[0];
            let own = books[at].owner(id).plain - 1_000;
            books[at].sub(id, own);
            books[at].tidy();
            fill(&mut books, &greedy[1..]);
            let got = held(&books) - before;
            // Of an address each client id has its part alone.
            let least = if user { 80_000 } else { 60_000 };
            assert!((least..=110_000).contains(&got), "{got}");
            for (at, id) in others.iter().chain(&greedy) {
                let book = &mut books[*at];
                let owner = book.owner(*id);
                let own = owner.plain - own_bytes(&owner.name);
                book.sub(*id, own);
                book.close(*id);
            }
            assert_eq!((held(&books), stock.shares().count()), (0, 0));
        }
    }

    #[test]
    fn a_shard_uses_what_others_leave_and_gives_it_back() {
        let stock = sync::Arc::new(Stock::new(1_000_000, 2));
        let mut busy = Book::new(sync::Arc::clone(&stock));
        let mut idle = Book::new(sync::Arc::clone(&stock));
        let greedy = busy.open("user greedy", None);
        let modest = idle.open("user modest", None);
        while busy.may_take(greedy, 10_000) {
            busy.add(greedy, 10_000);
            busy.tidy();
        }
        assert!(
            (750_000..=800_000).contains(&busy.bytes()),
            "{}",
            busy.bytes()
        );
        while idle.may_take(modest, 10_000) {
            idle.add(modest, 10_000);
            idle.tidy();
        }
        assert!(idle.bytes() > 150_000, "{}", idle.bytes());
        assert!(stock.taken() <= 1_000_000);
        busy.sub(greedy, 700_000);
        busy.tidy();
        assert!(stock.taken() < 350_000, "{}", stock.taken());
        assert!(!idle.is_short() && idle.may_take(modest, 400_000));
    }
}
