//! Where the broker remembers: may it write there, is there room, and how long does the disk take?

use super::Finding;
use super::files::Reader;
use crate::config::{Config, Durability, Listener, StoreConfig};
use crate::io::store::place::Wanted;
use crate::io::words::units;
use crate::limits;
use nix::sys::statvfs::statvfs;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub fn look(config: &Config, reader: &Reader, found: &mut Vec<Finding>) {
    if config.store.persistence == Some(false) {
        let what = "a restart forgets sessions and retained messages: persistence is off";
        return found.push(Finding::fine(what));
    }
    let port = config.listeners.first().map_or(0, Listener::port);
    let wanted = Wanted::of(&config.store, port);
    let Some(folder) = wanted.directory() else {
        let what = "a restart forgets sessions and retained messages: the store has no place";
        return found.push(Finding::fine(what));
    };
    // Without a slash at its end, behind which no file is seen.
    let folder: PathBuf = folder.components().collect();
    // The first that is there: the others are made.
    let Some(there) = folder.ancestors().find(|path| path.exists()) else {
        return;
    };
    let shown = folder.display();
    let may = reader.may(there, 3) && there.is_dir();
    // What a start as root makes, it gives to the user it becomes.
    if there.is_file() {
        found.push(
            Finding::fault(format!(
                "the store cannot be in {shown}: {} is a file",
                there.display()
            ))
            .why("a restart would forget sessions and retained messages, or the start is refused")
            .mend("remove the file, or name another place with --store-dir"),
        );
        return;
    }
    let is_made = there != folder && nix::unistd::geteuid().is_root();
    if !(may || is_made) {
        let name = &reader.name;
        found.push(
            Finding::fault(format!(
                "the store in {shown} cannot be written by the user {name}"
            ))
            .why("a restart would forget sessions and retained messages, or the start is refused")
            .mend(format!("sudo install -d -m 700 -o {name} {shown}")),
        );
        return;
    }
    if let Ok(system) = statvfs(there) {
        // Less than 64 bits each on some boards.
        #[allow(clippy::unnecessary_cast)]
        let free = system.blocks_available() as u64 * system.fragment_size() as u64;
        if free < 2 * limits::STORE_RESERVE_FROM_BYTES {
            found.push(
                Finding::warning(format!(
                    "the disk of the store in {shown} has {} left",
                    units::bytes(free)
                ))
                .why("on a full disk messages that must be kept are refused, or wait")
                .mend("make room there, or name another place with --store-dir"),
            );
        }
    }
    if let Some(ms) = sync_ms(there) {
        speed(&config.store, ms, found);
    }
}

/// What a power cut may cost, by how long a sync takes.
fn speed(store: &StoreConfig, ms: u64, found: &mut Vec<Finding>) {
    let window = store.window_ms;
    // A commit should take a small part of the time between two.
    let wanted = (ms * 4)
        .next_multiple_of(100)
        .clamp(100, limits::STORE_WINDOW_MS_MOST);
    if store.durability == Durability::Batched && wanted > window {
        found.push(
            Finding::warning(format!("the disk of the store takes {ms} ms for a sync"))
                .why(format!("that is much of the {window} ms between two of them, so answers wait for the disk"))
                .mend(format!("add --store-window {wanted}, or use a faster disk")),
        );
    } else {
        found.push(Finding::fine(format!(
            "the disk of the store takes {ms} ms for a sync, which suits --store-window {window}"
        )));
    }
}

/// The median of some syncs of a page. `None`: who runs this may not write there.
fn sync_ms(folder: &Path) -> Option<u64> {
    const TIMES: usize = 5;
    let path = folder.join(format!(".mqttfast-doctor-{}", std::process::id()));
    let mut taken = Vec::new();
    let mut measure = || -> std::io::Result<()> {
        let mut file = File::create_new(&path)?;
        for _ in 0..TIMES {
            file.write_all(&[0; 4096])?;
            let started = Instant::now();
            file.sync_data()?;
            taken.push(started.elapsed().as_millis() as u64);
        }
        Ok(())
    };
    let measured = measure();
    let _ = fs::remove_file(&path);
    measured.ok()?;
    taken.sort_unstable();
    taken.get(TIMES / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::doctor::Level;

    #[test]
    fn a_disk_that_is_too_slow_for_the_window_is_found() {
        let of = |durability, window_ms, ms| {
            let store = StoreConfig {
                durability,
                window_ms,
                ..StoreConfig::default()
            };
            let mut found = Vec::new();
            speed(&store, ms, &mut found);
            found.remove(0)
        };
        let slow = of(Durability::Batched, 100, 40);
        assert_eq!(slow.level, Level::Warning);
        assert!(
            slow.mend
                .is_some_and(|mend| mend.contains("--store-window 200"))
        );
        for (durability, window_ms, ms) in [
            (Durability::Batched, 100, 25),
            (Durability::Batched, 10_000, 9_000),
            (Durability::Lazy, 100, 400),
        ] {
            assert_eq!(of(durability, window_ms, ms).level, Level::Fine);
        }
    }
}
