//! The last verdict that a Client got for one kind of act: devices write one Topic Name over and over.
//!
//! A hit compares the names' bytes and asks no table. Nothing is allocated: a name too long for the room is asked for
//! each time.

use super::table::{Acl, Act, Standing, Verdict};

/// Bytes of a Topic Name that is remembered.
const NAME_BYTES_MAX: usize = 55;

/// See the module. Belongs to one Client, whose names do not change, and to one [`Act`].
#[derive(Clone, Debug)]
pub struct Recall {
    /// Which table the verdict is of.
    generation: u32,
    verdict: Option<Verdict>,
    length: u8,
    name: [u8; NAME_BYTES_MAX],
}

impl Default for Recall {
    fn default() -> Recall {
        Recall {
            generation: 0,
            verdict: None,
            length: 0,
            name: [0; NAME_BYTES_MAX],
        }
    }
}

impl Recall {
    /// [`Acl::may`]. `generation` is another one for each table that this Client is given.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "they are those of `Acl::may`")]
    pub fn may(
        &mut self,
        generation: u32,
        acl: &Acl,
        standing: Standing,
        user: Option<&str>,
        client: &str,
        act: Act,
        name: &str,
    ) -> Verdict {
        if let Some(verdict) = self.verdict
            && generation == self.generation
            && self.name.get(..usize::from(self.length)) == Some(name.as_bytes())
        {
            return verdict;
        }
        let verdict = acl.may(standing, user, client, act, name);
        self.remember(generation, name, verdict);
        verdict
    }

    fn remember(&mut self, generation: u32, name: &str, verdict: Verdict) {
        if let Some(room) = self.name.get_mut(..name.len()) {
            room.copy_from_slice(name.as_bytes());
            self.length = name.len() as u8;
            self.generation = generation;
            self.verdict = Some(verdict);
        }
    }
}
