//! Topic Aliases towards a Client: short numbers for the Topic Names that its connection gets most. [v5 3.3.2.3.4]
//!
//! Only Clients that announce a Topic Alias Maximum have them. A topic without an alias takes the least recently used
//! alias. So a connection with few topics sends each name once, and one with many topics loses three bytes a message.
//! Finding one costs `O(aliases)` comparisons, of which `limits::OUTWARD_ALIASES_MAX` bounds the number.

use crate::limits::OUTWARD_ALIASES_MAX;

/// The aliases of one connection.
#[derive(Debug)]
pub struct OutwardAliases {
    /// By alias - 1.
    entries: Vec<Entry>,
    aliases_max: usize,
    /// Number of uses so far.
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    topic: Box<str>,
    last_use: u64,
}

/// How a message names its topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alias {
    /// The Client knows the alias: the packet leaves the name out.
    Known(u16),
    /// The packet has the name too, and the Client learns the alias. The alias is in force after
    /// [`OutwardAliases::define`], which says that the packet was sent.
    New(u16),
}

impl OutwardAliases {
    /// For a Client with this Topic Alias Maximum; `None` if that is 0.
    pub fn new(topic_alias_maximum: u16) -> Option<OutwardAliases> {
        let aliases_max = usize::from(topic_alias_maximum).min(OUTWARD_ALIASES_MAX);
        (aliases_max > 0).then_some(OutwardAliases {
            entries: Vec::new(),
            aliases_max,
            uses: 0,
        })
    }

    /// The alias for a message of this topic; from 1 to the Client's maximum. [v5 MQTT-3.1.2-26, MQTT-3.1.2-27]
    pub fn choose(&mut self, topic: &str) -> Alias {
        self.uses += 1;
        if let Some(at) = self.entries.iter().position(|entry| *entry.topic == *topic) {
            self.entries[at].last_use = self.uses;
            return Alias::Known(at as u16 + 1);
        }
        if self.entries.len() < self.aliases_max {
            return Alias::New(self.entries.len() as u16 + 1);
        }
        let entries = self.entries.iter().enumerate();
        let oldest = entries.min_by_key(|(_, entry)| entry.last_use);
        Alias::New(oldest.map_or(0, |(at, _)| at) as u16 + 1)
    }

    /// Memory of the names.
    pub fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.topic.len()).sum()
    }

    /// The packet with a new alias and its name is on its way.
    pub fn define(&mut self, alias: u16, topic: &str) {
        let entry = Entry {
            topic: topic.into(),
            last_use: self.uses,
        };
        let at = usize::from(alias) - 1;
        assert!(at < self.aliases_max && at <= self.entries.len());
        if at == self.entries.len() {
            self.entries.push(entry);
        } else {
            self.entries[at] = entry;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_gives_way() {
        let mut aliases = OutwardAliases::new(2).expect("2 is more than none");
        for (topic, wanted) in [
            ("a", Alias::New(1)),
            ("b", Alias::New(2)),
            ("a", Alias::Known(1)),
            ("c", Alias::New(2)),
            ("a", Alias::Known(1)),
            ("b", Alias::New(2)),
            ("c", Alias::New(1)),
        ] {
            let alias = aliases.choose(topic);
            assert_eq!(alias, wanted, "{topic}");
            if let Alias::New(alias) = alias {
                aliases.define(alias, topic);
            }
        }
    }

    #[test]
    fn what_was_not_sent_is_not_defined() {
        let mut aliases = OutwardAliases::new(u16::MAX).expect("more than none");
        assert_eq!(aliases.choose("a"), Alias::New(1));
        assert_eq!(aliases.choose("a"), Alias::New(1));
        for number in 0..2 * OUTWARD_ALIASES_MAX {
            let topic = number.to_string();
            if let Alias::New(alias) = aliases.choose(&topic) {
                assert!(usize::from(alias) <= OUTWARD_ALIASES_MAX);
                aliases.define(alias, &topic);
            }
        }
        assert!(OutwardAliases::new(0).is_none());
    }
}
