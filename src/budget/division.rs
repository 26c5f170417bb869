//! How memory is divided when it is short: may an owner have more? See [`crate::buffer::share`] for those among whom.
//!
//! What an owner holds here is told to his share when he asks for more while memory is short, and otherwise one owner
//! after the other, as this shard takes memory and gives it back: O(1) for each 256 bytes of that. So nothing is told
//! with each change, and what another shard knows is late by the few steps that a shard takes at once.

use super::book::Book;
use super::owner::{Owner, own_bytes, sharer};
use super::source::Source;
use crate::ids::OwnerId;
use crate::limits;

impl Book {
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
        owner.share().change(0, bytes);
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

    /// Takes what this shard holds beyond what it has taken, or gives back what it does not need. Returns `true` if
    /// much has been given back.
    #[cold]
    pub(super) fn settle(&mut self, bytes: usize, taken: usize) -> bool {
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

    /// Tells what some owners hold, the next ones in turn.
    #[cold]
    pub(super) fn tell_some(&mut self) {
        let due = self.moved_bytes / limits::MEMORY_BYTES_FOR_AN_OWNER_TOLD;
        self.moved_bytes = 0;
        for _ in 0..due.min(self.owners.len()) {
            self.next_told = (self.next_told + 1) % self.owners.len();
            if let Some(owner) = &mut self.owners[self.next_told] {
                owner.tell();
            }
        }
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
        bytes: (owner.share().bytes() + owner.bytes()).saturating_sub(owner.told_bytes),
        owners: owner.share().owners(),
        is_divided: owner.source().is_some(),
    }
}
