//! Local time for the log, from the machine's time zone file (RFC 9636), read once at the start.
//!
//! The C library's `localtime` would need unsafe code and a lock; a log needs the offset now and the rule that follows.

use std::fmt::Write;
use std::fs;

/// When the offset from UTC changes, and to what.
pub struct Zone {
    /// Seconds since 1970 and the offset in seconds from then on, ascending.
    transitions: Vec<(i64, i64)>,
    /// Offset before the first transition.
    first: i64,
    /// What holds after the last.
    rule: Option<Rule>,
}

/// A POSIX rule such as `CET-1CEST,M3.5.0,M10.5.0/3`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Rule {
    standard: i64,
    /// Offset of summer time, its begin and its end.
    summer: Option<(i64, Change, Change)>,
}

/// `Mmonth.week.weekday/seconds`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Change {
    month: i64,
    week: i64,
    weekday: i64,
    seconds: i64,
}

const DAY_S: i64 = 86_400;

impl Zone {
    /// The zone of this machine: `TZ` if it names a file of the time zone database, else `/etc/localtime`, else UTC.
    pub fn local() -> Zone {
        let named = std::env::var("TZ").ok().filter(|name| !name.is_empty());
        let path = match &named {
            Some(name) => {
                let name = name.trim_start_matches(':');
                if name.contains("..") {
                    return Zone::utc();
                }
                std::path::Path::new("/usr/share/zoneinfo").join(name)
            }
            None => "/etc/localtime".into(),
        };
        let file = fs::read(path).ok();
        file.and_then(|bytes| Zone::parse(&bytes))
            .unwrap_or_else(Zone::utc)
    }

    pub fn utc() -> Zone {
        Zone {
            transitions: Vec::new(),
            first: 0,
            rule: None,
        }
    }

    /// Reads a time zone file of version 2 or later.
    fn parse(bytes: &[u8]) -> Option<Zone> {
        // Version 2 repeats everything with 64-bit times behind the block of version 1.
        let first = Header::parse(bytes, 4)?;
        let second = Header::parse(bytes.get(first.end..)?, 8)?;
        let body = bytes.get(first.end + HEADER_BYTES..)?;
        let (indices, types) = (second.times * 8, second.times * 9);
        let offset = |kind: usize| {
            let start = types + kind * 6;
            Some(i64::from(be_i32(body.get(start..start + 4)?)?))
        };
        let mut transitions = Vec::new();
        for index in 0..second.times {
            let at = body.get(index * 8..index * 8 + 8)?;
            let at = i64::from_be_bytes(at.try_into().ok()?);
            let kind = usize::from(*body.get(indices + index)?);
            transitions.push((at, offset(kind)?));
        }
        let footer = bytes.get(first.end + second.end..)?;
        let footer = std::str::from_utf8(footer).ok()?;
        Some(Zone {
            transitions,
            first: offset(0)?,
            rule: Rule::parse(footer.trim_matches('\n')),
        })
    }

    /// Seconds to add to UTC.
    fn offset(&self, utc_s: i64) -> i64 {
        let after = self.transitions.partition_point(|(at, _)| *at <= utc_s);
        if after == self.transitions.len()
            && let Some(rule) = self.rule
        {
            return rule.offset(utc_s);
        }
        match after {
            0 => self.first,
            after => self.transitions[after - 1].1,
        }
    }

    /// Appends `2026-01-31 23:59:59`.
    pub fn append_time(&self, utc_s: i64, out: &mut String) {
        let local = utc_s + self.offset(utc_s);
        let (days, seconds) = (local.div_euclid(DAY_S), local.rem_euclid(DAY_S));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let _ = write!(
            out,
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"
        );
    }
}

const HEADER_BYTES: usize = 44;
/// Of anything a file counts; real ones stay below a thousand. Their sums fit in 32 bits, which is a `usize` on small boards.
const COUNT_MAX: usize = 1 << 20;

struct Header {
    times: usize,
    /// Bytes of header and block.
    end: usize,
}

impl Header {
    fn parse(bytes: &[u8], time_bytes: usize) -> Option<Header> {
        if bytes.get(..4)? != b"TZif" || *bytes.get(4)? < b'2' {
            return None;
        }
        let count = |index: usize| {
            let start = 20 + index * 4;
            let count = usize::try_from(be_i32(bytes.get(start..start + 4)?)?).ok()?;
            (count <= COUNT_MAX).then_some(count)
        };
        let (utc, standard, leaps) = (count(0)?, count(1)?, count(2)?);
        let (times, types, letters) = (count(3)?, count(4)?, count(5)?);
        let block = times * (time_bytes + 1)
            + types * 6
            + letters
            + leaps * (time_bytes + 4)
            + standard
            + utc;
        Some(Header {
            times,
            end: HEADER_BYTES + block,
        })
    }
}

fn be_i32(bytes: &[u8]) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.try_into().ok()?))
}

impl Rule {
    fn parse(text: &str) -> Option<Rule> {
        let (zones, changes) = match text.split_once(',') {
            Some((zones, changes)) => (zones, Some(changes)),
            None => (text, None),
        };
        let rest = skip_name(zones)?;
        let (standard, rest) = seconds(rest)?;
        // POSIX counts westwards.
        let standard = -standard;
        let Some(changes) = changes else {
            return rest.is_empty().then_some(Rule {
                standard,
                summer: None,
            });
        };
        let rest = skip_name(rest)?;
        let offset = match rest {
            "" => standard + 3600,
            rest => -seconds(rest)?.0,
        };
        let (begin, end) = changes.split_once(',')?;
        Some(Rule {
            standard,
            summer: Some((offset, Change::parse(begin)?, Change::parse(end)?)),
        })
    }

    fn offset(&self, utc_s: i64) -> i64 {
        let Some((summer, begin, end)) = self.summer else {
            return self.standard;
        };
        let (year, _, _) = civil((utc_s + self.standard).div_euclid(DAY_S));
        let begin = begin.local_s(year) - self.standard;
        let end = end.local_s(year) - summer;
        let is_summer = if begin < end {
            (begin..end).contains(&utc_s)
        } else {
            !(end..begin).contains(&utc_s)
        };
        if is_summer { summer } else { self.standard }
    }
}

/// The text behind a zone's name, `CET` or `<+0330>`.
fn skip_name(text: &str) -> Option<&str> {
    if let Some(quoted) = text.strip_prefix('<') {
        return quoted.split_once('>').map(|(_, rest)| rest);
    }
    let rest = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    (rest.len() < text.len()).then_some(rest)
}

/// `[+-]hours[:minutes[:seconds]]` and the text behind it.
fn seconds(text: &str) -> Option<(i64, &str)> {
    let (sign, text) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != ':')
        .unwrap_or(text.len());
    let mut total = 0;
    for (part, unit) in text[..end].split(':').zip([3600, 60, 1]) {
        total += part.parse::<i64>().ok()? * unit;
    }
    Some((sign * total, &text[end..]))
}

impl Change {
    fn parse(text: &str) -> Option<Change> {
        let (date, at) = match text.split_once('/') {
            Some((date, at)) => (date, seconds(at)?.0),
            None => (text, 2 * 3600),
        };
        let mut parts = date.strip_prefix('M')?.split('.');
        let mut part = || parts.next()?.parse::<i64>().ok();
        Some(Change {
            month: part()?,
            week: part()?,
            weekday: part()?,
            seconds: at,
        })
    }

    /// Local seconds since 1970 of this change in `year`.
    fn local_s(&self, year: i64) -> i64 {
        let first = days(year, self.month, 1);
        // 1970-01-01 was a Thursday, day 4 of a week that begins on Sunday.
        let weekday = (first + 4).rem_euclid(7);
        let mut day = first + (self.weekday - weekday).rem_euclid(7) + (self.week - 1) * 7;
        let next_month = match self.month {
            12 => days(year + 1, 1, 1),
            month => days(year, month + 1, 1),
        };
        // Week 5 means the last.
        while day >= next_month {
            day -= 7;
        }
        day * DAY_S + self.seconds
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar; years begin in March while we count.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(zone: &Zone, utc_s: i64) -> String {
        let mut out = String::new();
        zone.append_time(utc_s, &mut out);
        out
    }

    fn ruled(text: &str) -> Zone {
        Zone {
            rule: Some(Rule::parse(text).unwrap()),
            ..Zone::utc()
        }
    }

    #[test]
    fn dates_go_both_ways() {
        for day in (-200_000..200_000).step_by(37) {
            let (year, month, of_month) = civil(day);
            assert_eq!(days(year, month, of_month), day);
        }
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
    }

    #[test]
    fn rules_hold_on_both_sides_of_a_change() {
        let berlin = ruled("CET-1CEST,M3.5.0,M10.5.0/3");
        assert_eq!(shown(&berlin, 1_774_745_999), "2026-03-29 01:59:59");
        assert_eq!(shown(&berlin, 1_774_746_000), "2026-03-29 03:00:00");
        assert_eq!(shown(&berlin, 1_792_889_999), "2026-10-25 02:59:59");
        assert_eq!(shown(&berlin, 1_792_890_000), "2026-10-25 02:00:00");
        let sydney = ruled("AEST-10AEDT,M10.1.0,M4.1.0/3");
        assert_eq!(shown(&sydney, 1_767_225_600), "2026-01-01 11:00:00");
        assert_eq!(shown(&sydney, 1_782_864_000), "2026-07-01 10:00:00");
        let tehran = ruled("<+0330>-3:30");
        assert_eq!(shown(&tehran, 0), "1970-01-01 03:30:00");
    }

    #[test]
    fn a_damaged_file_is_utc_at_worst() {
        let header = |version: u8| {
            let mut bytes = b"TZif".to_vec();
            bytes.push(version);
            bytes.resize(HEADER_BYTES, 0);
            bytes
        };
        assert!(Zone::parse(b"").is_none());
        assert!(Zone::parse(&header(b'1')).is_none());
        assert!(Zone::parse(&header(b'2')).is_none());
        let mut bytes = header(b'2');
        bytes.extend(header(b'2'));
        let mut huge = bytes.clone();
        huge[HEADER_BYTES + 32..HEADER_BYTES + 36].copy_from_slice(&[0x7F; 4]);
        assert!(Zone::parse(&huge).is_none());
        assert!(Zone::parse(&bytes).is_none(), "not even one offset");
    }

    #[test]
    fn transitions_of_a_file_come_before_its_rule() {
        let mut bytes = b"TZif2".to_vec();
        bytes.resize(HEADER_BYTES, 0);
        let mut second = bytes.clone();
        second[32..36].copy_from_slice(&1u32.to_be_bytes());
        second[36..40].copy_from_slice(&2u32.to_be_bytes());
        second.extend(1000i64.to_be_bytes());
        second.push(1);
        second.extend([0, 0, 0, 60, 0, 0, 0, 0, 14, 16, 0, 0]);
        bytes.extend(second);
        bytes.extend(b"\nXYZ-2\n");
        let zone = Zone::parse(&bytes).unwrap();
        assert_eq!(zone.offset(999), 60);
        assert_eq!(zone.offset(1000), 7200);
        let zone = Zone { rule: None, ..zone };
        assert_eq!(zone.offset(1000), 3600);
    }
}
