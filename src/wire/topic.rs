//! Topic Names and Topic Filters [v5 §4.7, §4.8.2]: their form, their levels, and the plain rule of which
//! filter matches which name. The fast structures are in `crate::topic`; `matches` here is their measure.

use super::Malformed;
use super::cursor::Cursor;
use crate::limits::TOPIC_LEVELS_MAX;

/// Bytes of the longest string that a packet holds. [v5 §1.5.4]
const STRING_BYTES_MAX: usize = u16::MAX as usize;

/// Where a message goes: 1..=65,535 bytes, no wildcard, no U+0000, at most
/// [`TOPIC_LEVELS_MAX`] levels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks a Topic Name. One pass; a second one over names long enough to have too many levels.
    ///
    /// Errors: `EmptyTopic` [v5 MQTT-4.7.3-1]; `WildcardInTopicName` [v5 MQTT-3.3.2-2];
    /// `NulInString` [v5 MQTT-1.5.4-2]; `TooManyTopicLevels`, our own limit; `PacketTooLarge`: no packet could hold it
    /// [v5 MQTT-4.7.3-3].
    #[inline]
    pub fn new(text: &'a str) -> Result<Self, Malformed> {
        if text.len() > STRING_BYTES_MAX {
            return Err(Malformed::PacketTooLarge);
        }
        Self::of_string(text)
    }

    /// The same of a string that came in a packet, or did once: it is not too long.
    #[inline]
    fn of_string(text: &'a str) -> Result<Self, Malformed> {
        let bytes = text.as_bytes();
        if bytes.is_empty() {
            return Err(Malformed::EmptyTopic);
        }
        if has_nul_or_wildcard(bytes) {
            return Err(match memchr::memchr3(b'+', b'#', 0, bytes) {
                Some(index) if bytes[index] == 0 => Malformed::NulInString,
                _ => Malformed::WildcardInTopicName,
            });
        }
        if has_too_many_levels(bytes) {
            return Err(Malformed::TooManyTopicLevels);
        }
        Ok(Self(text))
    }

    /// Reads the Topic Name of a PUBLISH or a Will.
    ///
    /// Errors: those of `new`; `Truncated`; `IllFormedUtf8` [v5 MQTT-1.5.4-1].
    #[inline]
    pub(super) fn decode(cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        Self::of_string(cursor.utf8_string_or_nul()?)
    }

    /// 1..=65,535 bytes of UTF-8, without wildcards.
    #[inline]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Is it one of the names that a leading wildcard does not match? [v5 MQTT-4.7.2-1]
    #[inline]
    pub fn starts_with_dollar(self) -> bool {
        self.0.starts_with('$')
    }
}

/// Is there a U+0000, a `+` or a `#`? Eight bytes at a time: names are short, and starting a search costs more than
/// such a name takes.
#[inline]
fn has_nul_or_wildcard(bytes: &[u8]) -> bool {
    // `+` (0x2B) and `#` (0x23) differ in one bit.
    const EITHER: u64 = u64::from_ne_bytes([!0x08; 8]);
    const HASHES: u64 = u64::from_ne_bytes([b'#'; 8]);
    let in_word = |word: &[u8; 8]| {
        let word = u64::from_ne_bytes(*word);
        has_zero_byte(word) | has_zero_byte((word & EITHER) ^ HASHES)
    };
    let Some(last) = bytes.last_chunk() else {
        return bytes.iter().any(|byte| matches!(byte, 0 | b'+' | b'#'));
    };
    // The last eight may have been looked at in part.
    let (words, _) = bytes.as_chunks();
    let found = words.iter().map(in_word);
    found.fold(in_word(last), |all, one| all | one) != 0
}

/// Not 0 if, and only if, one of the eight bytes is 0: only then does taking one from each byte set a high bit that was
/// not set.
#[inline]
fn has_zero_byte(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH_BITS: u64 = u64::from_ne_bytes([0x80; 8]);
    word.wrapping_sub(ONES) & !word & HIGH_BITS
}

/// Which messages a subscription wants: 1..=65,535 bytes, wildcards in their places, no U+0000, at most
/// [`TOPIC_LEVELS_MAX`] levels. With `$share/name/` before these, a Shared Subscription.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TopicFilter<'a>(&'a str);

/// The first level of every Shared Subscription, with its separator.
const SHARE_PREFIX: &str = "$share/";

impl<'a> TopicFilter<'a> {
    /// Checks a Topic Filter: its form first, then our own limit. `O(bytes)`.
    ///
    /// Errors: `EmptyTopicFilter` [v5 MQTT-4.7.3-1]; `NulInString` [v5 MQTT-1.5.4-2];
    /// `MisplacedWildcard` [v5 MQTT-4.7.1-1, MQTT-4.7.1-2]; `InvalidShareName` and
    /// `NoFilterAfterShareName` [v5 MQTT-4.8.2-1, MQTT-4.8.2-2]; `TooManyFilterLevels`, our own limit;
    /// `PacketTooLarge`: no packet could hold it [v5 MQTT-4.7.3-3].
    pub fn new(text: &'a str) -> Result<Self, Malformed> {
        let bytes = text.as_bytes();
        if bytes.len() > STRING_BYTES_MAX {
            return Err(Malformed::PacketTooLarge);
        }
        if bytes.is_empty() {
            return Err(Malformed::EmptyTopicFilter);
        }
        if memchr::memchr(0, bytes).is_some() {
            return Err(Malformed::NulInString);
        }
        let mut plain = text;
        if let Some(shared) = text.strip_prefix(SHARE_PREFIX) {
            let (name, filter) = shared.split_once('/').unwrap_or((shared, ""));
            if name.is_empty() || name.contains(['+', '#']) {
                return Err(Malformed::InvalidShareName);
            }
            if filter.is_empty() {
                return Err(Malformed::NoFilterAfterShareName);
            }
            plain = filter;
        }
        check_wildcards(plain.as_bytes())?;
        if has_too_many_levels(plain.as_bytes()) {
            return Err(Malformed::TooManyFilterLevels);
        }
        Ok(Self(text))
    }

    /// 1..=65,535 bytes of UTF-8, wildcards only where they fill a level.
    #[inline]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Does it hold `+` or `#`?
    pub fn has_wildcard(self) -> bool {
        memchr::memchr2(b'+', b'#', self.0.as_bytes()).is_some()
    }

    /// Of a Shared Subscription its ShareName and the Topic Filter that follows; else `None` [v5 §4.8.2].
    pub fn share(self) -> Option<(&'a str, &'a str)> {
        self.0.strip_prefix(SHARE_PREFIX)?.split_once('/')
    }
}

/// More than the levels we serve? A text of n bytes has at most n + 1, so short ones need no look.
#[inline]
fn has_too_many_levels(bytes: &[u8]) -> bool {
    bytes.len() >= TOPIC_LEVELS_MAX && memchr::memchr_iter(b'/', bytes).count() >= TOPIC_LEVELS_MAX
}

/// Every wildcard fills its level and `#` is the last [v5 MQTT-4.7.1-1, MQTT-4.7.1-2].
fn check_wildcards(bytes: &[u8]) -> Result<(), Malformed> {
    for index in memchr::memchr2_iter(b'+', b'#', bytes) {
        let starts_level = index == 0 || bytes[index - 1] == b'/';
        let ends_level = match bytes.get(index + 1) {
            None => true,
            Some(&next) => next == b'/' && bytes[index] == b'+',
        };
        if !starts_level || !ends_level {
            return Err(Malformed::MisplacedWildcard);
        }
    }
    Ok(())
}

/// The levels of a Topic Name or Topic Filter, empty ones too: `/a` has two.
pub fn levels(text: &str) -> Levels<'_> {
    Levels { rest: Some(text) }
}

/// See [`levels`].
#[derive(Clone, Debug)]
pub struct Levels<'a> {
    /// What follows the last level given; `None` after the end.
    rest: Option<&'a str>,
}

impl<'a> Iterator for Levels<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        match memchr::memchr(b'/', rest.as_bytes()) {
            Some(index) => {
                self.rest = Some(&rest[index + 1..]);
                Some(&rest[..index])
            }
            None => {
                self.rest = None;
                Some(rest)
            }
        }
    }
}

/// Does this filter, without `$share/name/`, match this name? [v5 §4.7]
///
/// Level by level, without recursion: `O(bytes)`. The rest of a filter from `#` on matches any rest of the
/// name, also none: `sport/#` matches `sport`. A leading wildcard does not match a leading `$`
/// [v5 MQTT-4.7.2-1, v3.1.1 MQTT-4.7.2-1].
pub fn matches(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut name_levels = levels(name);
    for wanted in levels(filter) {
        if wanted == "#" {
            return true;
        }
        match name_levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    name_levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in [
            "a", "/", "//", "a/b", "$SYS/x", " ", "é/ü", "a b", "\u{FEFF}",
        ] {
            assert_eq!(TopicName::new(good).map(TopicName::as_str), Ok(good));
        }
        for (bad, rule) in [
            ("", Malformed::EmptyTopic),
            ("+", Malformed::WildcardInTopicName),
            ("a/#", Malformed::WildcardInTopicName),
            ("a#", Malformed::WildcardInTopicName),
            ("a\0", Malformed::NulInString),
        ] {
            assert_eq!(TopicName::new(bad), Err(rule), "{bad:?}");
        }
        assert!(TopicName::new("$SYS").is_ok_and(TopicName::starts_with_dollar));
        assert!(TopicName::new("a$").is_ok_and(|name| !name.starts_with_dollar()));
    }

    #[test]
    fn nul_and_wildcards_are_found_wherever_they_are() {
        for length in 1..=40 {
            for byte in 0..=255 {
                for at in 0..length {
                    let mut bytes = vec![b'a'; length];
                    bytes[at] = byte;
                    let wanted = matches!(byte, 0 | b'+' | b'#');
                    assert_eq!(has_nul_or_wildcard(&bytes), wanted, "{bytes:?}");
                }
            }
        }
    }

    #[test]
    fn filters_match_as_the_specification_says() {
        for (filter, topic, expected) in [
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("a/+", "a/b/c", false),
            ("#", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("a", "a", true),
            ("a", "b", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn levels_are_limited() {
        let most = "/".repeat(TOPIC_LEVELS_MAX - 1);
        assert_eq!(levels(&most).count(), TOPIC_LEVELS_MAX);
        assert!(TopicName::new(&most).is_ok());
        assert!(TopicFilter::new(&most).is_ok());
        let more = "/".repeat(TOPIC_LEVELS_MAX);
        assert_eq!(TopicName::new(&more), Err(Malformed::TooManyTopicLevels));
        assert_eq!(TopicFilter::new(&more), Err(Malformed::TooManyFilterLevels));
        assert!(TopicName::new(&"a".repeat(65_535)).is_ok());
        assert!(TopicFilter::new(&"a".repeat(65_535)).is_ok());
        let longer = "a".repeat(65_536);
        assert_eq!(TopicName::new(&longer), Err(Malformed::PacketTooLarge));
        assert_eq!(TopicFilter::new(&longer), Err(Malformed::PacketTooLarge));
    }

    #[test]
    fn filters() {
        for good in [
            "a",
            "#",
            "+",
            "/",
            "+/+",
            "a/+/b",
            "a/#",
            "+/#",
            "/#",
            "/+",
            "$SYS/#",
            "$share",
            "$share/g/#",
            "$share/g/a/+",
            "$share/g//",
            "$Share/+",
            "$shared/x",
        ] {
            assert_eq!(TopicFilter::new(good).map(TopicFilter::as_str), Ok(good));
        }
        for (bad, rule) in [
            ("", Malformed::EmptyTopicFilter),
            ("a\0", Malformed::NulInString),
            ("a+", Malformed::MisplacedWildcard),
            ("+a", Malformed::MisplacedWildcard),
            ("a/+b/c", Malformed::MisplacedWildcard),
            ("#/", Malformed::MisplacedWildcard),
            ("a/#/b", Malformed::MisplacedWildcard),
            ("a#", Malformed::MisplacedWildcard),
            ("##", Malformed::MisplacedWildcard),
            ("++", Malformed::MisplacedWildcard),
            ("#+", Malformed::MisplacedWildcard),
            ("$share/", Malformed::InvalidShareName),
            ("$share//a", Malformed::InvalidShareName),
            ("$share/+/a", Malformed::InvalidShareName),
            ("$share/g#/a", Malformed::InvalidShareName),
            ("$share/g", Malformed::NoFilterAfterShareName),
            ("$share/g/", Malformed::NoFilterAfterShareName),
            ("$share/g/a#", Malformed::MisplacedWildcard),
        ] {
            assert_eq!(TopicFilter::new(bad), Err(rule), "{bad:?}");
        }
    }

    #[test]
    fn shared_filters_have_two_parts() {
        let filter = TopicFilter::new("$share/group/a/+").unwrap();
        assert_eq!(filter.share(), Some(("group", "a/+")));
        assert!(filter.has_wildcard());
        assert_eq!(TopicFilter::new("share/a").unwrap().share(), None);
        assert!(!TopicFilter::new("a/b").unwrap().has_wildcard());
    }

    #[test]
    fn levels_keep_empty_ones() {
        assert_eq!(levels("").collect::<Vec<_>>(), [""]);
        assert_eq!(levels("/").collect::<Vec<_>>(), ["", ""]);
        assert_eq!(levels("a//b/").collect::<Vec<_>>(), ["a", "", "b", ""]);
    }

    #[test]
    fn matching_follows_the_examples_of_the_specification() {
        for (filter, name) in [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking"),
            (
                "sport/tennis/player1/#",
                "sport/tennis/player1/score/wimbledon",
            ),
            ("sport/#", "sport"),
            ("#", "a/b/c"),
            ("#", "/"),
            ("sport/tennis/+", "sport/tennis/player1"),
            ("sport/+", "sport/"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("$SYS/#", "$SYS/monitor/Clients"),
            ("$SYS/monitor/+", "$SYS/monitor/Clients"),
            ("a/+/#", "a/b"),
            ("a", "a"),
        ] {
            assert!(matches(filter, name), "{filter} {name}");
        }
        for (filter, name) in [
            ("sport/tennis/+", "sport/tennis/player1/ranking"),
            ("sport/+", "sport"),
            ("+", "/finance"),
            ("#", "$SYS/monitor/Clients"),
            ("+/monitor/Clients", "$SYS/monitor/Clients"),
            ("a", "A"),
            ("a", "/a"),
            ("a/b", "a"),
            ("a", "a/b"),
            ("a/+/#", "a"),
        ] {
            assert!(!matches(filter, name), "{filter} {name}");
        }
    }
}
