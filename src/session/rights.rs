//! What is known of one Client's rights: what the rules in force said of it last, and when the log told of a refusal.

use crate::acl::{Acl, Act, Reach, Recall, Standing, Verdict};
use crate::limits;
use crate::time::Time;

/// See the module. Belongs to one Session, whose names do not change; a Session has none before the first question.
#[derive(Debug, Default)]
pub struct ClientRights {
    /// The number of the rules that were asked, and the Client's part of them.
    known: Option<(u32, Standing)>,
    read: Recall,
    write: Recall,
    /// No refusal is told before this time.
    told_until: Time,
    /// Refusals that were not told since the last one that was.
    untold: u32,
}

impl ClientRights {
    /// [`Acl::may`]. `generation` is another one for each table that the Client's listener is given.
    #[inline]
    pub fn may(
        &mut self,
        (generation, acl): (u32, &Acl),
        user: Option<&str>,
        client: &str,
        act: Act,
        name: &str,
    ) -> Verdict {
        let standing = self.standing((generation, acl), user, client);
        let recall = match act {
            Act::Read => &mut self.read,
            Act::Write => &mut self.write,
        };
        recall.may(generation, acl, standing, user, client, act, name)
    }

    /// [`Acl::reach`] of a Topic Filter, for reading; and the number of rules that were looked at.
    pub fn reach(
        &mut self,
        (generation, acl): (u32, &Acl),
        user: Option<&str>,
        client: &str,
        filter: &str,
    ) -> (Reach, usize) {
        let standing = self.standing((generation, acl), user, client);
        let reach = acl.reach(standing, user, client, Act::Read, filter);
        (reach, acl.rules_for(standing))
    }

    #[inline]
    fn standing(
        &mut self,
        (generation, acl): (u32, &Acl),
        user: Option<&str>,
        client: &str,
    ) -> Standing {
        match self.known {
            Some((known, standing)) if known == generation => standing,
            _ => {
                let standing = acl.standing(user, client);
                self.known = Some((generation, standing));
                standing
            }
        }
    }

    /// Something was refused. `Some`: it is to be told, with the number of refusals since that were not.
    pub fn note_refusal(&mut self, now: Time) -> Option<u32> {
        if now < self.told_until {
            self.untold = self.untold.saturating_add(1);
            return None;
        }
        self.told_until = now + limits::DENIALS_TOLD_EVERY_MS;
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_once_a_second_with_the_number_of_the_others() {
        let mut rights = ClientRights::default();
        let mut note = |ms| rights.note_refusal(Time(ms));
        assert_eq!(note(5), Some(0));
        assert_eq!(note(6), None);
        assert_eq!(note(1004), None);
        assert_eq!(note(1005), Some(2));
        assert_eq!(note(9000), Some(0));
    }

    #[test]
    fn a_new_table_is_asked_anew() {
        let table = |text: &str| Acl::parse(text.as_bytes()).unwrap();
        let (ann, bert) = (table("user ann\ntopic a"), table("user bert\ntopic a"));
        let mut rights = ClientRights::default();
        for act in [Act::Read, Act::Write] {
            for (generation, acl, wanted) in [(1, &ann, true), (2, &bert, false), (3, &ann, true)] {
                let verdict = rights.may((generation, acl), Some("ann"), "c", act, "a");
                assert_eq!(verdict.is_allowed(), wanted, "{generation} {act:?}");
                let (reach, rules) = rights.reach((generation, acl), Some("ann"), "c", "a/#");
                let expected = [Reach::Nothing, Reach::Some][usize::from(wanted)];
                assert_eq!((reach, rules), (expected, usize::from(wanted)));
            }
        }
    }
}
