//! Local time for the log: the time zone of `TZ` or of this machine, read once at the start.

use std::fmt::Write;
use tz::{TimeZone, UtcDateTime};

/// When the offset from UTC changes, and to what.
pub struct Zone {
    zone: TimeZone,
    /// Seconds to add to UTC after the last change that `zone` knows, where it has no rule for later ones.
    last: i32,
}

impl Zone {
    /// The zone of this machine: `TZ` if it names a file of the time zone database or is a rule such as
    /// `CET-1CEST,M3.5.0,M10.5.0/3`, without it `/etc/localtime`; UTC where that cannot be read.
    pub fn local() -> Zone {
        let named = std::env::var("TZ").ok().filter(|name| !name.is_empty());
        let zone = match named {
            Some(name) => TimeZone::from_posix_tz(&name),
            None => TimeZone::local(),
        };
        zone.map_or_else(|_| Zone::utc(), Zone::new)
    }

    /// UTC, for where the machine's own time zone cannot be read.
    pub fn utc() -> Zone {
        Zone::new(TimeZone::utc())
    }

    fn new(zone: TimeZone) -> Zone {
        let known = zone.as_ref();
        let kind = known.transitions().last();
        let kind = kind.map_or(0, |change| change.local_time_type_index());
        let last = known.local_time_types()[kind].ut_offset();
        Zone { zone, last }
    }

    /// The local time, as if it were UTC, and its offset from UTC in seconds. `None`: no calendar has the year.
    pub fn local_time(&self, utc_s: i64) -> Option<(UtcDateTime, i32)> {
        let kind = self.zone.find_local_time_type(utc_s);
        let offset = kind.map_or(self.last, |kind| kind.ut_offset());
        let time = UtcDateTime::from_timespec(utc_s.saturating_add(offset.into()), 0);
        Some((time.ok()?, offset))
    }

    /// Appends `2026-01-31 23:59:59`.
    pub fn append_time(&self, utc_s: i64, out: &mut String) {
        // The year is within 32 bits for any clock there is.
        if let Some((time, _)) = self.local_time(utc_s) {
            let _ = write!(
                out,
                "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
                time.year(),
                time.month(),
                time.month_day(),
                time.hour(),
                time.minute(),
                time.second()
            );
        }
    }
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
        Zone::new(TimeZone::from_posix_tz(text).unwrap())
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
        assert_eq!(shown(&Zone::utc(), -1), "1969-12-31 23:59:59");
    }

    /// What a TZif file of one transition holds, with this footer [RFC 9636].
    fn file(footer: &[u8]) -> Vec<u8> {
        let header = |transitions: u32, types: u32, letters: u32| {
            let mut bytes = b"TZif2".to_vec();
            bytes.resize(32, 0);
            for count in [transitions, types, letters] {
                bytes.extend(count.to_be_bytes());
            }
            bytes
        };
        let kinds = [0, 0, 0, 60, 0, 0, 0, 0, 14, 16, 0, 0];
        // Version 2 has everything again with times of 64 bits.
        let mut bytes = header(0, 1, 4);
        bytes.extend(&kinds[..6]);
        bytes.extend(b"XYZ\0");
        bytes.extend(header(1, 2, 4));
        bytes.extend(1000i64.to_be_bytes());
        bytes.push(1);
        bytes.extend(kinds);
        bytes.extend(b"XYZ\0");
        bytes.extend(footer);
        bytes
    }

    #[test]
    fn transitions_of_a_file_come_before_its_rule() {
        for footer in [&b"\nXYZ-1\n"[..], b"\n\n"] {
            let zone = Zone::new(TimeZone::from_tz_data(&file(footer)).unwrap());
            assert_eq!(shown(&zone, 999), "1970-01-01 00:17:39");
            assert_eq!(shown(&zone, 1000), "1970-01-01 01:16:40");
        }
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let whole = file(b"\nXYZ-1\n");
        for cut in 0..whole.len() - b"\nXYZ-1\n".len() {
            assert!(TimeZone::from_tz_data(&whole[..cut]).is_err(), "{cut}");
        }
        let mut huge = whole.clone();
        huge[32..36].copy_from_slice(&[0x7F; 4]);
        assert!(TimeZone::from_tz_data(&huge).is_err());
    }
}
