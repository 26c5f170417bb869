//! A new file of what is sound in an old one. The cure of every trouble with the old: damage, a disk that refused a
//! write, pages that are free.
//!
//! The new file is complete and on the disk before it takes the old one's name. A crash leaves the old one, or the new
//! one under its own name, which [`finish_interrupted`] then gives it.

use super::database::{Database, Refusal};
use crate::limits;
use crate::store::salvage::{Salvaged, salvage};
use crate::store::{Row, State, Table, Tables};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What became of an old file.
pub struct Rebuilt {
    pub database: Database,
    /// Rows in the new file.
    pub rows: u64,
    /// Rows of the old one that are damaged.
    pub damaged: u64,
    /// Where the old file is.
    pub kept: PathBuf,
}

/// What a new file is made of.
pub struct New<'a> {
    /// Behind the ids of its rows.
    pub key: [u8; 16],
    /// Of the old one.
    pub meta: &'a BTreeMap<String, Vec<u8>>,
    pub rows: &'a BTreeMap<(Table, u64), Row>,
    pub state: &'a State,
}

fn disk(error: io::Error) -> Refusal {
    match error.raw_os_error() {
        Some(nix::libc::ENOSPC | nix::libc::EDQUOT) => Refusal::Full,
        _ => Refusal::Disk(error.to_string()),
    }
}

/// The file's name with something behind it.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The bytes of a file and of its log. Files that are not there are empty, and blocks that the disk cannot read are
/// zeros.
pub fn read_both(path: &Path) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
    let bytes = |path: &Path| match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) if error.raw_os_error() == Some(nix::libc::EIO) => read_around(path),
        read => read,
    };
    let file = bytes(path).map_err(disk)?;
    let log = bytes(&beside(path, "-wal")).map_err(disk)?;
    Ok((file, log))
}

/// Reads block by block.
fn read_around(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(0)];
    for (index, block) in bytes.chunks_mut(limits::STORE_BLOCK_BYTES).enumerate() {
        let at = (index * limits::STORE_BLOCK_BYTES) as u64;
        if file.read_exact_at(block, at).is_err() {
            block.fill(0);
        }
    }
    Ok(bytes)
}

/// Reads what a file and its log hold, without SQLite. A file that is not there is empty.
pub fn read(path: &Path) -> Result<Salvaged, Refusal> {
    let (file, log) = read_both(path)?;
    Ok(salvage(&file, &log))
}

/// Makes a new file of the sound rows of the old one, and keeps the old one under a name with `why` in it. Nobody may
/// have the old one open.
///
/// Errors: the old one cannot be read or the new one not be written; then the old one has its name.
pub fn rebuild(path: &Path, why: &str) -> Result<Rebuilt, Refusal> {
    let mut salvaged = read(path)?;
    let key = match salvaged.sixteen("key") {
        Some(key) => key,
        None => {
            let mut key = [0; 16];
            getrandom::fill(&mut key).map_err(|error| Refusal::Disk(error.to_string()))?;
            salvaged.rekey(key);
            key
        }
    };
    let new = New {
        key,
        meta: &salvaged.meta,
        rows: &salvaged.rows,
        state: &salvaged.state(),
    };
    let (database, kept) = replace(path, &new, why, &mut |_| {})?;
    Ok(Rebuilt {
        database,
        rows: salvaged.rows.len() as u64,
        damaged: salvaged.damaged.total(),
        kept,
    })
}

/// Writes a new file, sets the old one aside under a name with `why` in it, and opens the new one. `each` is told how
/// many rows are written.
///
/// Errors: as of [`rebuild`].
pub fn replace(
    path: &Path,
    new: &New<'_>,
    why: &str,
    each: &mut dyn FnMut(u64),
) -> Result<(Database, PathBuf), Refusal> {
    let fresh = beside(path, ".new");
    remove_all(&fresh)?;
    if let Err(refusal) = write(&fresh, new, each) {
        // Its blocks are wanted.
        let _ = remove_all(&fresh);
        return Err(refusal);
    }
    let kept = set_aside(path, why).map_err(disk)?;
    fs::rename(&fresh, path).map_err(disk)?;
    sync_folder(path)?;
    Ok((Database::open(path)?, kept))
}

/// A new file that has not got its name before the broker ended, gets it. It is complete: the old one is set aside only
/// then.
pub fn finish_interrupted(path: &Path) -> Result<(), Refusal> {
    let fresh = beside(path, ".new");
    if path.exists() || !fresh.exists() {
        return Ok(());
    }
    for ending in ["-wal", "-shm"] {
        remove(&beside(path, ending))?;
    }
    fs::rename(&fresh, path).map_err(disk)?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> Result<(), Refusal> {
    match path.parent() {
        Some(folder) => File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(disk),
        None => Ok(()),
    }
}

fn remove(path: &Path) -> Result<(), Refusal> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(disk(error)),
        _ => Ok(()),
    }
}

fn remove_all(path: &Path) -> Result<(), Refusal> {
    for ending in ["", "-wal", "-shm"] {
        remove(&beside(path, ending))?;
    }
    Ok(())
}

/// Removes a file that was set aside, and its log.
pub fn forget(kept: &Path) {
    let _ = fs::remove_file(beside(kept, "-wal"));
    let _ = fs::remove_file(kept);
}

/// Writes a whole file, which lies on the disk without a log when this returns.
fn write(path: &Path, new: &New<'_>, each: &mut dyn FnMut(u64)) -> Result<(), Refusal> {
    let mut database = Database::open(path)?;
    database.begin()?;
    database.put_meta("key", &new.key)?;
    // Without its name a store does not know its journals.
    for key in ["identity", "journals"] {
        if let Some(value) = new.meta.get(key) {
            database.put_meta(key, value)?;
        }
    }
    for (done, ((table, id), row)) in new.rows.iter().enumerate() {
        database.put(*table, *id, row.as_ref())?;
        each(done as u64);
    }
    database.put_state(new.state)?;
    database.end()?;
    database.checkpoint_whole()?;
    database.close()
}

/// Renames a file and its log to a name with `why` and the time in it. Of the files set aside for one reason the
/// youngest are kept.
fn set_aside(path: &Path, why: &str) -> io::Result<PathBuf> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ending = format!(".{why}-{}", since.map_or(0, |since| since.as_secs()));
    let kept = beside(path, &ending);
    for part in ["", "-wal"] {
        match fs::rename(beside(path, part), beside(&kept, part)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let _ = fs::remove_file(beside(path, "-shm"));
    forget_old(path, why);
    Ok(kept)
}

fn forget_old(path: &Path, why: &str) {
    let prefix = beside(path, &format!(".{why}-"));
    let (Some(directory), Some(prefix)) = (path.parent(), prefix.file_name()) else {
        return;
    };
    let prefix = prefix.to_string_lossy();
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(&*prefix) && !name.ends_with("-wal"))
        .collect();
    found.sort();
    let old = found.len().saturating_sub(limits::STORE_ASIDE_MAX);
    for name in &found[..old] {
        forget(&directory.join(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::store::whole::Whole;
    use crate::random::SplitMix64;
    use crate::store::batch::{self, Batches};
    use crate::store::image::Image;
    use crate::store::pages::Pages;
    use crate::store::record::{Body, WriteVersion};
    use crate::store::row;
    use crate::store::walk::{Use, Walk};
    use crate::wire::QoS;
    use std::process;

    type Rows = BTreeMap<(Table, u64), Row>;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("mqttfast-{name}-{}", process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    /// A file of 400 retained messages, some longer than a page, with a third of the first 600 deleted again. The last
    /// transactions are in the log alone.
    fn fill(path: &Path) -> Rows {
        let mut database = Database::open(path).expect("a file");
        let mut rows = Rows::new();
        let mut random = SplitMix64::new(7);
        for turn in 0..6 {
            database.begin().expect("begun");
            for _ in 0..100 {
                let id = random.draw() >> 1;
                let topic = format!("t/{id}");
                let bytes = if random.below(9) == 0 { 5_000 } else { 80 };
                let payload: Vec<u8> = (0..random.below(bytes))
                    .map(|_| random.draw() as u8)
                    .collect();
                let body = Body {
                    topic: &topic,
                    passed_on: b"",
                    payload: &payload,
                    qos: QoS::AtLeastOnce,
                    retain: true,
                    expires: 0,
                };
                let version = WriteVersion { clock: 1, shard: 0 };
                let row = row::retained(id, version, &body);
                database
                    .put(Table::Retained, id, row.as_ref())
                    .expect("put");
                rows.insert((Table::Retained, id), row);
            }
            let gone: Vec<_> = rows
                .keys()
                .copied()
                .filter(|_| random.below(6) == 0)
                .collect();
            for (table, id) in gone {
                database.delete(table, id).expect("deleted");
                rows.remove(&(table, id));
            }
            let state = State {
                stamp: turn,
                delivery_number: 5,
                ..State::default()
            };
            database.put_state(&state).expect("put");
            database.put_meta("key", &[4; 16]).expect("put");
            database.put_meta("identity", &[5; 16]).expect("put");
            database.end().expect("committed");
            if turn == 3 {
                database.checkpoint().expect("moved");
            }
        }
        // As a crash leaves it: closing would move the log into the file.
        for ending in ["", "-wal"] {
            let copy = beside(path, ".copy");
            fs::copy(beside(path, ending), beside(&copy, ending)).expect("a copy");
        }
        database.close().expect("closed");
        for ending in ["", "-wal"] {
            let copy = beside(path, ".copy");
            fs::rename(beside(&copy, ending), beside(path, ending)).expect("renamed");
        }
        rows
    }

    #[test]
    fn a_sound_file_gives_exactly_its_rows() {
        let folder = folder("salvage");
        let path = folder.join("a.db");
        let rows = fill(&path);
        let found = read(&path).expect("readable");
        assert!(found.rows == rows, "{} of {}", found.rows.len(), rows.len());
        assert_eq!(found.damaged.total(), 0);
        assert!(found.walk.is_whole(), "{:?}", found.walk);
        let whole = Whole::read(&path).expect("it is whole");
        assert!(whole.is_some());
        assert_eq!(
            (found.state().stamp, found.sixteen("key")),
            (5, Some([4; 16]))
        );
        let rebuilt = rebuild(&path, "damaged").expect("rebuilt");
        assert_eq!(rebuilt.rows, rows.len() as u64);
        assert_eq!(
            rebuilt.database.meta("identity").expect("read"),
            Some(vec![5; 16])
        );
        rebuilt.database.close().expect("closed");
        assert!(read(&path).expect("readable").rows == rows);
        assert!(rebuilt.kept.exists());
        fs::remove_dir_all(folder).expect("removed");
    }

    /// Flipped bits, pages of zeros and of noise, a lost head, cuts: no row that was not there, and the rows of pages
    /// that were not touched.
    #[test]
    fn a_damaged_file_gives_the_rows_of_its_whole_pages() {
        let folder = folder("damage");
        let path = folder.join("a.db");
        let rows = fill(&path);
        let file = fs::read(&path).expect("readable");
        let log = fs::read(beside(&path, "-wal")).expect("readable");
        let mut random = SplitMix64::new(3);
        let page = limits::STORE_PAGE_BYTES as usize;
        for round in 0..300 {
            let (mut file, mut log) = (file.clone(), log.clone());
            let hit = if random.below(3) == 0 {
                &mut log
            } else {
                &mut file
            };
            let at = random.below(hit.len() / page) * page;
            let mut touched = 1;
            match random.below(5) {
                0 => {
                    touched = 1 + random.below(20);
                    for _ in 0..touched {
                        let at = random.below(hit.len());
                        hit[at] ^= 1 << random.below(8);
                    }
                }
                1 => hit[at..at + page].fill(0),
                2 => hit[at..at + page].fill_with(|| random.draw() as u8),
                3 => hit[..100].fill(0xFF),
                _ => {
                    hit.truncate(at);
                    touched = usize::MAX;
                }
            }
            let found = salvage(&file, &log);
            for (key, row) in &found.rows {
                // A row of the log that was cut off may be there in an older form, or though it was deleted.
                if let Some(expected) = rows.get(key) {
                    assert!(row == expected, "round {round}");
                }
            }
            // A page has ten rows, or the middle of a chain of one; without its log a file is older.
            if log.len() == beside_len(&path) && touched < 20 {
                let lost = rows
                    .keys()
                    .filter(|key| !found.rows.contains_key(key))
                    .count();
                assert!(lost <= rows.len() / 2, "round {round}: {lost} lost");
            }
        }
        fs::remove_dir_all(folder).expect("removed");
    }

    /// A retained message of QoS 0.
    fn retained_of(id: u64, payload_bytes: usize) -> Row {
        let body = Body {
            topic: &format!("t/{id}"),
            passed_on: b"",
            payload: &vec![0; payload_bytes],
            qos: QoS::AtMostOnce,
            retain: true,
            expires: 0,
        };
        let version = WriteVersion { clock: 1, shard: 0 };
        row::retained(id, version, &body)
    }

    /// The bytes of a file with these rows.
    fn file_of(path: &Path, rows: &[(Table, u64, Row)]) -> Vec<u8> {
        let mut database = Database::open(path).expect("a file");
        database.begin().expect("begun");
        for (table, id, row) in rows {
            database.put(*table, *id, row.as_ref()).expect("put");
        }
        database.put_state(&State::default()).expect("put");
        database.end().expect("committed");
        database.checkpoint_whole().expect("moved");
        database.close().expect("closed");
        fs::read(path).expect("readable")
    }

    /// The same rows, after the last page of a table is lost.
    fn without_last_page(file: &[u8], table: Table) -> Vec<u8> {
        let walk = Walk::of(&Pages::of(file, &[]));
        let page = limits::STORE_PAGE_BYTES as usize;
        let last =
            (1..=file.len() / page).rfind(|number| walk.use_of(*number as u32) == Use::Rows(table));
        let last = last.expect("pages");
        let mut file = file.to_vec();
        file[(last - 1) * page..last * page].fill(0);
        file
    }

    /// `mqttfast store` says of a page that it is lost: of one with a batch, behind the root of its table, and of the
    /// only page that a table has.
    #[test]
    fn a_lost_page_is_told() {
        let folder = folder("lost");
        let rows: Vec<(u64, Row)> = (1..=60).map(|id| (id, retained_of(id, 100))).collect();
        let packed = Batches::default().pack(rows.iter().map(|(id, row)| (*id, row)));
        let packed = packed.into_iter().map(|(id, row)| (Table::Batch, id, row));
        let few = (1..=3).map(|id| (Table::Retained, id, retained_of(id, 100)));
        let all: Vec<_> = packed.chain(few).collect();
        let file = file_of(&folder.join("a.db"), &all);
        let look = |file: &[u8]| Image::of(salvage(file, &[]), &[], [4; 16]).damage;
        assert!(look(&file).is_none());
        for table in [Table::Batch, Table::Retained] {
            let damage = look(&without_last_page(&file, table));
            assert_eq!(damage.rows_of_pages.of(Some(table)), 1, "{table:?}");
        }
        fs::remove_dir_all(folder).expect("removed");
    }

    /// What is said to fit a row of `batch` lies on one page of the file, and a little more does not.
    #[test]
    fn a_batch_of_one_message_that_fits_is_a_page() {
        let folder = folder("fits");
        let mut largest = 0;
        for payload_bytes in 930..990 {
            let row = retained_of(1, payload_bytes);
            let fits = batch::fits(&row);
            let packed = Batches::default().pack([(1, &row)].into_iter());
            let [(id, batch)] = &packed[..] else {
                panic!("one row");
            };
            let path = folder.join(format!("{payload_bytes}.db"));
            let file = file_of(&path, &[(Table::Batch, *id, batch.clone())]);
            let walk = Walk::of(&Pages::of(&file, &[]));
            let pages = walk.count(Use::Rows(Table::Batch));
            assert_eq!(pages == 1, fits, "{payload_bytes} bytes on {pages} pages");
            largest = if fits { payload_bytes } else { largest };
        }
        assert!((931..989).contains(&largest), "{largest}");
        fs::remove_dir_all(folder).expect("removed");
    }

    fn beside_len(path: &Path) -> usize {
        fs::metadata(beside(path, "-wal")).expect("the log").len() as usize
    }

    #[test]
    fn two_files_set_aside_are_kept() {
        let folder = folder("aside");
        let path = folder.join("a.db");
        for number in 0..5 {
            let name = format!(".damaged-{number}");
            fs::write(beside(&path, &name), "").expect("written");
        }
        forget_old(&path, "damaged");
        let mut left: Vec<_> = fs::read_dir(&folder).expect("readable").flatten().collect();
        left.sort_by_key(|entry| entry.file_name());
        let left: Vec<_> = left.iter().map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["a.db.damaged-3", "a.db.damaged-4"]);
        fs::remove_dir_all(folder).expect("removed");
    }
}
