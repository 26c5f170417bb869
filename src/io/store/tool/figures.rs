//! What is in a store, counted.

use super::bar::Bar;
use super::failure::Failure;
use crate::io::store::database::{self, FILE_NAME};
use crate::io::store::journal::{self, Left};
use crate::io::store::place;
use crate::io::store::rebuild;
use crate::limits;
use crate::store::image::Image;
use crate::store::row::{self, Stage};
use crate::store::{Identity, Table};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rows of a table and their bytes.
#[derive(Clone, Copy, Default)]
pub struct Sum {
    pub rows: u64,
    pub bytes: u64,
}

/// What waits for one Client.
pub struct Queue {
    pub client_id: String,
    pub messages: u64,
    pub bytes: u64,
}

/// See the module.
pub struct Figures {
    pub directory: PathBuf,
    /// Files of the store's directory that are the store's: name and bytes.
    pub files: Vec<(String, u64)>,
    /// Journals of the store, wherever they are.
    pub journals: Vec<(PathBuf, u64)>,
    /// What could not be looked at.
    pub notes: Vec<String>,
    pub image: Image,
    pub tables: BTreeMap<Table, Sum>,
    /// Sessions whose Client was connected when the store was written last.
    pub connected: u64,
    /// Deliveries that wait to be sent.
    pub queued: u64,
    /// Deliveries that were sent and not completed.
    pub in_flight: u64,
    /// The longest, by bytes.
    pub queues: Vec<Queue>,
}

impl Figures {
    /// Reads the files of a store that nobody has open.
    pub fn read(directory: &Path) -> Result<Figures, Failure> {
        let (image, left, notes) = read(directory)?;
        Ok(Figures::of(directory, image, &left, notes))
    }

    fn of(directory: &Path, image: Image, left: &[Left], notes: Vec<String>) -> Figures {
        let mut figures = Figures {
            directory: directory.to_owned(),
            files: files(directory),
            journals: (left.iter())
                .map(|left| (left.path().to_owned(), left.bytes.len() as u64))
                .collect(),
            notes,
            tables: BTreeMap::new(),
            connected: 0,
            queued: 0,
            in_flight: 0,
            queues: Vec::new(),
            image,
        };
        figures.count();
        figures
    }

    fn count(&mut self) {
        let mut queues = BTreeMap::<u64, Sum>::new();
        let rows = self.image.tables.rows();
        for ((table, id), row) in rows {
            let bytes = (row.text.len() + row.body.len()) as u64;
            let sum = self.tables.entry(*table).or_default();
            sum.rows += 1;
            sum.bytes += bytes;
            match table {
                Table::Session => {
                    let holder = row::read_session(*id, row.as_ref());
                    self.connected += u64::from(holder.is_ok_and(|holder| holder.connected));
                }
                Table::Delivery => {
                    let delivery = row::read_delivery(*id, row.as_ref());
                    match delivery.map(|delivery| delivery.stage) {
                        Ok(Stage::Queued) => self.queued += 1,
                        _ => self.in_flight += 1,
                    }
                    let shared = rows.get(&(Table::Message, row.message));
                    let queue = queues.entry(row.session).or_default();
                    queue.rows += 1;
                    queue.bytes += bytes + shared.map_or(0, |shared| shared.body.len() as u64);
                }
                _ => {}
            }
        }
        let mut queues: Vec<(u64, Sum)> = queues.into_iter().collect();
        queues.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.bytes));
        for (session, sum) in queues.into_iter().take(limits::STORE_QUEUES_TOLD) {
            if let Some(row) = rows.get(&(Table::Session, session)) {
                self.queues.push(Queue {
                    client_id: row.text.to_string(),
                    messages: sum.rows,
                    bytes: sum.bytes,
                });
            }
        }
    }

    pub fn sum(&self, table: Table) -> Sum {
        self.tables.get(&table).copied().unwrap_or_default()
    }

    /// Bytes that a new file would not have.
    pub fn free_bytes(&self) -> u64 {
        self.image.free_pages * u64::from(limits::STORE_PAGE_BYTES)
    }
}

/// What the files hold, the journals that were read, and what could not be looked at.
pub fn read(directory: &Path) -> Result<(Image, Vec<Left>, Vec<String>), Failure> {
    let path = directory.join(FILE_NAME);
    let named = |text: &dyn std::fmt::Display| Failure::new(format!("{}: {text}", path.display()));
    database::look_at_head(&path).map_err(|refusal| named(&refusal))?;
    let bytes = fs::metadata(&path).map_or(0, |file| file.len());
    let mut bar = Bar::new("reading the file");
    bar.begin(bytes >= limits::STORE_LONG_BYTES);
    let salvaged = rebuild::read(&path).map_err(|refusal| named(&refusal))?;
    if salvaged.rows.is_empty() && salvaged.meta.is_empty() && bytes > 0 {
        return Err(named(&"nothing in it is of a store of mqttfast"));
    }
    let mut notes = Vec::new();
    let mut left = Vec::new();
    if let Some(identity) = salvaged.sixteen("identity") {
        let earlier = salvaged.meta.get("journals").cloned();
        let folders = place::journal_folders(directory, earlier);
        left = journal::left_in(folders, Identity(identity), &mut notes);
    }
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|error| named(&error))?;
    let journals: Vec<(u8, &[u8])> = (left.iter())
        .map(|left| (left.shard, left.bytes.as_slice()))
        .collect();
    let image = Image::of(salvaged, &journals, key);
    Ok((image, left, notes))
}

/// The store's files in its directory, by name.
fn files(directory: &Path) -> Vec<(String, u64)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<(String, u64)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let ours = name.starts_with(FILE_NAME) || name == "reserve";
            let bytes = entry.metadata().ok()?.len();
            ours.then_some((name, bytes))
        })
        .collect();
    files.sort();
    files
}
