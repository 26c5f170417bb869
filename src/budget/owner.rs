//! One owner in the account book of a shard: what he holds here, and the share that he has, or has a part of.

use super::source::Source;
use crate::buffer::account::{Account, Arc, Total};
use crate::buffer::{Share, Sharer, ShortText};
use crate::limits;
use crate::random::HashState;
use std::cell::OnceCell;
use std::fmt;
use std::hash::BuildHasher;

/// Small, because every Client without a user name is one. What most owners never have lies elsewhere.
#[derive(Debug)]
pub(super) struct Owner {
    pub name: Name,
    share: Arc<Share>,
    /// What the share was told that he holds in this shard.
    pub told_bytes: usize,
    /// Bytes booked here.
    pub plain: usize,
    /// Bytes of payloads; made with the first.
    account: OnceCell<Arc<Account>>,
    /// Connections and Sessions.
    pub uses: u32,
    refusals: Option<Box<Refusals>>,
}

// There is one for each Client.
#[cfg(all(target_pointer_width = "64", not(feature = "loom")))]
const _: () = assert!(size_of::<Option<Owner>>() <= 80);

/// What owners are, as their names begin.
const KINDS: [&str; 4] = ["client id ", "user ", "address ", ""];

/// An owner's name. What most begin with is a number here, so that the rest mostly lies in place.
#[derive(Debug)]
pub(super) struct Name {
    /// Index into [`KINDS`].
    kind: u8,
    rest: ShortText,
}

/// The kind and the rest of a name. Different names have different ones.
fn parts(name: &str) -> (u8, &str) {
    let part = |(kind, begin): (u8, &&str)| Some((kind, name.strip_prefix(*begin)?));
    (0..).zip(&KINDS).find_map(part).unwrap_or((3, name))
}

impl Name {
    fn new(name: &str) -> Name {
        let (kind, rest) = parts(name);
        Name {
            kind,
            rest: ShortText::new(rest),
        }
    }

    /// It is this one.
    pub fn is(&self, name: &str) -> bool {
        let (kind, rest) = parts(name);
        self.kind == kind && *self.rest == *rest
    }

    /// What [`hash`] makes of the same name.
    pub fn hash(&self, hasher: &HashState) -> u64 {
        hasher.hash_one((self.kind, &*self.rest))
    }

    /// Bytes of the whole name.
    fn len(&self) -> usize {
        KINDS[usize::from(self.kind)].len() + self.rest.len()
    }

    /// See [`own_bytes`].
    pub fn own_bytes(&self) -> usize {
        limits::OWNER_BYTES + 2 * self.len()
    }
}

/// Where a name lies in a table.
pub(super) fn hash(hasher: &HashState, name: &str) -> u64 {
    hasher.hash_one(parts(name))
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", KINDS[usize::from(self.kind)], self.rest)
    }
}

/// What was refused an owner.
#[derive(Default, Debug)]
struct Refusals {
    count: u64,
    /// From when on one is told of.
    told_from_ms: u64,
}

impl Owner {
    /// With one use, and nothing booked.
    pub fn new(name: &str, share: Arc<Share>) -> Owner {
        Owner {
            name: Name::new(name),
            share,
            told_bytes: 0,
            plain: 0,
            account: OnceCell::new(),
            uses: 1,
            refusals: None,
        }
    }

    pub fn payload_bytes(&self) -> usize {
        self.account.get().map_or(0, |account| account.bytes())
    }

    pub fn bytes(&self) -> usize {
        self.plain + self.payload_bytes()
    }

    /// Where his payloads count; `all`: the sum of all owners.
    #[inline]
    pub fn account(&self, all: &Arc<Total>) -> &Arc<Account> {
        let account = || Arc::new(Account::new(Arc::clone(all)));
        self.account.get_or_init(account)
    }

    /// It was asked for before.
    #[inline]
    pub fn has_account(&self) -> bool {
        self.account.get().is_some()
    }

    /// Forgets the account of payloads where nothing counts in it.
    pub fn drop_unused_account(&mut self) {
        if self
            .account
            .get()
            .is_some_and(|account| Arc::strong_count(account) == 1)
        {
            self.account.take();
        }
    }

    /// The share he has, or has a part of.
    pub fn share(&self) -> &Arc<Share> {
        &self.share
    }

    /// The address whose share he has a part of. `None`: a share of his own.
    pub fn source(&self) -> Option<Source> {
        match self.share.sharer() {
            Sharer::Address(bits) => Some(Source::of_bits(*bits)),
            Sharer::Name(_) => None,
        }
    }

    /// Tells his share what he holds.
    pub fn tell(&mut self) {
        let bytes = self.bytes();
        self.share.change(self.told_bytes, bytes);
        self.told_bytes = bytes;
    }

    /// He has a part of this share instead. Returns the other one, and what it was told.
    pub fn change_share(&mut self, share: Arc<Share>) -> (Arc<Share>, usize) {
        let left = std::mem::replace(&mut self.share, share);
        let told = std::mem::take(&mut self.told_bytes);
        self.tell();
        (left, told)
    }

    /// Counts a refusal. `true`: it is to be told of, since the last one that was is a while ago.
    pub fn refuse(&mut self, now_ms: u64) -> bool {
        let refusals = self.refusals.get_or_insert_default();
        refusals.count += 1;
        if now_ms < refusals.told_from_ms {
            return false;
        }
        refusals.told_from_ms = now_ms + limits::DROPS_LOGGED_EVERY_MS;
        true
    }

    pub fn report(&self) -> OwnerReport {
        OwnerReport {
            name: self.name.to_string().into(),
            bytes: self.bytes(),
            refused: self.refusals.as_ref().map_or(0, |refusals| refusals.count),
        }
    }
}

/// What an owner takes who holds nothing: his name lies here and, of a user, among the shares.
pub(super) fn own_bytes(name: &str) -> usize {
    limits::OWNER_BYTES + 2 * name.len()
}

/// Whose share the owner of this name has, or has a part of.
pub(super) fn sharer(name: &str, source: Option<Source>) -> Sharer {
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
