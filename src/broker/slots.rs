//! Values in numbered slots. A generation tells one use of a slot from the next.

use crate::ids::{ConnectionId, GroupId, SessionId};
use std::num::NonZeroU32;

/// An id made of a slot's index and the generation of its use.
pub trait SlotId: Copy {
    fn new(index: u32, generation: u32) -> Self;
    fn index(self) -> usize;
    fn generation(self) -> u32;
}

macro_rules! slot_id {
    ($id:ty) => {
        impl SlotId for $id {
            fn new(index: u32, generation: u32) -> Self {
                Self { index, generation }
            }
            fn index(self) -> usize {
                self.index as usize
            }
            fn generation(self) -> u32 {
                self.generation
            }
        }
    };
}
slot_id!(ConnectionId);
slot_id!(GroupId);

impl SlotId for SessionId {
    fn new(index: u32, generation: u32) -> Self {
        let generation = NonZeroU32::new(generation).expect("`Slots::add` gives no 0");
        Self { index, generation }
    }
    fn index(self) -> usize {
        self.index as usize
    }
    fn generation(self) -> u32 {
        self.generation.get()
    }
}

struct Slot<T> {
    generation: u32,
    value: Option<Box<T>>,
}

/// Values by id. An id of an earlier use finds nothing.
pub struct Slots<I, T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    count: usize,
    id: std::marker::PhantomData<I>,
}

impl<I, T> Default for Slots<I, T> {
    fn default() -> Self {
        Slots {
            slots: Vec::new(),
            free: Vec::new(),
            count: 0,
            id: std::marker::PhantomData,
        }
    }
}

impl<I: SlotId, T> Slots<I, T> {
    /// Values held.
    pub fn count(&self) -> usize {
        self.count
    }

    #[inline]
    pub fn get(&self, id: I) -> Option<&T> {
        let slot = self.slots.get(id.index())?;
        if slot.generation == id.generation() {
            slot.value.as_deref()
        } else {
            None
        }
    }

    #[inline]
    pub fn get_mut(&mut self, id: I) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.index())?;
        if slot.generation == id.generation() {
            slot.value.as_deref_mut()
        } else {
            None
        }
    }

    /// Puts a value where its id, chosen by someone else, says. The slot must be free.
    pub fn put(&mut self, id: I, value: T) {
        while self.slots.len() <= id.index() {
            self.slots.push(Slot {
                generation: 0,
                value: None,
            });
        }
        let slot = &mut self.slots[id.index()];
        assert!(slot.value.is_none(), "a slot holds one value at a time");
        slot.generation = id.generation();
        slot.value = Some(Box::new(value));
        self.count += 1;
    }

    /// Puts a value into a slot of our choice. Its generation is never 0.
    pub fn add(&mut self, value: T) -> I {
        let index = self.free.pop().unwrap_or(self.slots.len() as u32);
        let generation = self
            .slots
            .get(index as usize)
            .map_or(1, |slot| slot.generation.checked_add(1).unwrap_or(1));
        let id = I::new(index, generation);
        self.put(id, value);
        id
    }

    /// Takes a value out; the slot may be put to use again by its owner.
    pub fn remove(&mut self, id: I) -> Option<Box<T>> {
        let slot = self.slots.get_mut(id.index())?;
        if slot.generation != id.generation() {
            return None;
        }
        let value = slot.value.take()?;
        self.count -= 1;
        Some(value)
    }

    /// Makes a slot of [`Slots::add`] reusable, after `remove`.
    pub fn release(&mut self, id: I) {
        self.free.push(id.index() as u32);
    }

    /// Slots of [`Slots::add`] that hold nothing and are not free for the next value; for tests.
    pub fn withheld(&self) -> usize {
        self.slots.len() - self.count - self.free.len()
    }

    /// The id that now lives in a slot.
    pub fn id_at(&self, index: u32) -> Option<I> {
        let slot = self.slots.get(index as usize)?;
        slot.value.as_ref().map(|_| I::new(index, slot.generation))
    }

    /// All indices ever used are below this.
    pub fn end(&self) -> u32 {
        self.slots.len() as u32
    }

    /// All ids, by rising index.
    pub fn ids(&self) -> Vec<I> {
        (0..self.slots.len() as u32)
            .filter_map(|index| self.id_at(index))
            .collect()
    }
}
