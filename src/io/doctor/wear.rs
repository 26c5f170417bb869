//! What a store costs the flash it is on: what is written a day, and how long a card lasts by that.
//!
//! The broker knows what its store has written since its start. What all programs of the machine have written to that
//! disk is the kernel's count, `/sys/dev/block/MAJOR:MINOR/stat`. A card writes more than it is told to, and by how
//! much its maker does not say: so the years are at best.

use super::Finding;
use crate::io::console::shown::number;
use crate::limits;
use nix::sys::stat::{major, minor};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const DAY_S: u64 = 86_400;
/// A broker that has just started says nothing of a day.
const UPTIME_LEAST_S: u64 = 600;
/// How often a cell of cheap flash can be erased.
const ERASE_CYCLES: u64 = 3_000;
/// A card of which nothing is known.
const CARD_BYTES: u64 = 32_000_000_000;
/// A card that lasts fewer years than this should be spared.
const YEARS_FEW: u64 = 3;
/// The unit of the kernel's counts, whatever the disk has.
const SECTOR_BYTES: u64 = 512;

/// The disk of a folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Disk {
    bytes: u64,
    /// By all programs, a day.
    written_a_day: u64,
}

/// By the answer of `status`.
pub fn look(status: &Value, found: &mut Vec<Finding>) {
    let store = &status["store"];
    let uptime_s = number(status, "uptime_s");
    if store.is_null() || uptime_s < UPTIME_LEAST_S {
        return;
    }
    let written_a_day = a_day(number(store, "written_bytes"), uptime_s);
    let folder = store["directory"].as_str().map(Path::new);
    found.push(wear(written_a_day, folder.and_then(disk)));
}

fn a_day(bytes: u64, seconds: u64) -> u64 {
    let a_day = u128::from(bytes) * u128::from(DAY_S) / u128::from(seconds.max(1));
    u64::try_from(a_day).unwrap_or(u64::MAX)
}

/// Decimal, as cards are sold.
fn size(bytes: u64) -> String {
    let amount = bytes as f64;
    if amount >= 0.95e9 {
        format!("{:.1} GB", amount / 1e9)
    } else {
        format!("{:.1} MB", amount / 1e6)
    }
}

/// `written_a_day`: bytes of the store.
fn wear(written_a_day: u64, disk: Option<Disk>) -> Finding {
    let bytes = disk.map_or(CARD_BYTES, |disk| disk.bytes);
    let all = disk.map_or(0, |disk| disk.written_a_day).max(written_a_day);
    let most = u128::from(bytes) * u128::from(ERASE_CYCLES);
    let years = most / u128::from(all.max(1)) / 365;
    let lasts = match years {
        0 => "less than a year".to_owned(),
        1 => "1 year".to_owned(),
        100.. => "more than 100 years".to_owned(),
        years => format!("{years} years"),
    };
    let (a_day, card) = (size(written_a_day), size(bytes));
    let cycles = ERASE_CYCLES;
    let what = match disk {
        Some(disk) => format!(
            "the store writes about {a_day} a day, all programs of this machine {} to that disk; a card of its {card} lasts {lasts} at {cycles} erase cycles",
            size(disk.written_a_day.max(written_a_day))
        ),
        None => format!(
            "the store writes about {a_day} a day; a card of {card} lasts {lasts} at {cycles} erase cycles"
        ),
    };
    if years >= u128::from(YEARS_FEW) {
        return Finding::fine(what);
    }
    let finding = Finding::warning(what)
        .why("a worn card loses what it holds, or cannot be written any more");
    match written_a_day >= all / 2 {
        true => finding.mend(format!(
            "add --store-window {}, so that topics that change often are written less often, or put the store on another disk with --store-dir",
            limits::STORE_WINDOW_MS_MOST
        )),
        false => finding.mend("most of it is not the broker's: `sudo iotop -ao` shows who writes"),
    }
}

/// `None`: it is no disk that the kernel counts for, such as memory or a folder of a container.
fn disk(folder: &Path) -> Option<Disk> {
    let device = fs::metadata(folder).ok()?.dev();
    let numbers = format!("{}:{}", major(device), minor(device));
    let place = fs::canonicalize(PathBuf::from("/sys/dev/block").join(numbers)).ok()?;
    // A partition lies in the folder of its disk.
    let place = match place.join("partition").exists() {
        true => place.parent()?.to_owned(),
        false => place,
    };
    let read = |name| fs::read_to_string(place.join(name)).ok();
    let sectors: u64 = read("size")?.trim().parse().ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime_s: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let written = written_sectors(&read("stat")?)?;
    Some(Disk {
        bytes: sectors.checked_mul(SECTOR_BYTES)?,
        written_a_day: a_day(written.checked_mul(SECTOR_BYTES)?, uptime_s as u64),
    })
}

/// The seventh number of `stat`. [Linux Documentation/block/stat.rst]
fn written_sectors(stat: &str) -> Option<u64> {
    stat.split_whitespace().nth(6)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::doctor::Level;
    use serde_json::json;

    #[test]
    fn a_card_that_will_not_last_is_named() {
        let calm = wear(400_000_000, None);
        assert_eq!(calm.level, Level::Fine);
        assert_eq!(
            calm.what,
            "the store writes about 400.0 MB a day; a card of 32.0 GB lasts more than 100 years at 3000 erase cycles"
        );
        let busy = wear(200_000_000_000, None);
        assert_eq!(busy.level, Level::Warning);
        assert!(busy.what.contains("lasts 1 year at"), "{busy:?}");
        assert!(
            busy.mend
                .is_some_and(|mend| mend.contains("--store-window 10000"))
        );
        let small = Disk {
            bytes: 8_000_000_000,
            written_a_day: 30_000_000_000,
        };
        let others = wear(1_000_000, Some(small));
        assert!(
            others
                .what
                .contains("30.0 GB to that disk; a card of its 8.0 GB lasts 2 years"),
            "{others:?}"
        );
        assert!(
            others
                .mend
                .is_some_and(|mend| mend.contains("not the broker's"))
        );
        assert!(wear(u64::MAX, None).what.contains("less than a year"));
        assert_eq!(
            wear(
                0,
                Some(Disk {
                    bytes: 0,
                    written_a_day: 0
                })
            )
            .level,
            Level::Warning
        );
    }

    #[test]
    fn what_a_broker_says_is_counted_to_a_day() {
        let mut found = Vec::new();
        let store = |written, uptime| json!({ "uptime_s": uptime, "store": { "written_bytes": written, "directory": "/proc" } });
        look(&store(1, 10), &mut found);
        look(&json!({ "uptime_s": 7_200, "store": null }), &mut found);
        assert_eq!(found, []);
        look(&store(50_000_000, 7_200), &mut found);
        assert!(
            found[0]
                .what
                .contains("about 600.0 MB a day; a card of 32.0 GB"),
            "{found:?}"
        );
        assert_eq!(a_day(u64::MAX, 0), u64::MAX);
        assert_eq!(written_sectors("  1 2 3 4 5 6 77 8 9\n"), Some(77));
        assert_eq!(written_sectors("1 2"), None);
    }
}
