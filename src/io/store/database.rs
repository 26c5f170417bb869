//! The tables in SQLite: one file and its write-ahead log, opened by one process and one thread.
//!
//! Settings and why: small pages, as a lone message costs a page or two; `synchronous=FULL`, so that a commit is on
//! the disk when it returns; `locking_mode=EXCLUSIVE`, so that no second broker and no shared memory comes in; our own
//! checkpoints, made when nobody waits.

use crate::limits;
use crate::store::row::Column;
use crate::store::{Applier, Moment, Row, RowRef, Scan, State, Table, Tables};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params_from_iter};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The name of the file in the store's directory.
pub const FILE_NAME: &str = "mqttfast.db";

/// "mqfs", in the header of the file.
const APPLICATION_ID: i64 = 0x6D71_6673;
/// The version of the tables. A higher one was written by a later broker. 2 has `batch`.
const SCHEMA_VERSION: i64 = 2;

/// What a database says when it is asked.
#[derive(Debug)]
pub enum Refusal {
    /// Another process has it open.
    Locked,
    /// A later broker wrote it.
    Newer { version: i64 },
    /// It is a database of another program.
    Foreign,
    /// No room on the disk, or the file is as large as it may be.
    Full,
    /// The disk refused, or may be read only.
    Disk(String),
    /// The file is not as it was written.
    Damaged(String),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Refusal {
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Refusal::Locked,
            Some(ErrorCode::DiskFull) => Refusal::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Refusal::Damaged(text),
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::OutOfMemory,
            ) => Refusal::Disk(text),
            // Tables that are missing, columns of another type: not what we made.
            _ => Refusal::Damaged(text),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Locked => f.write_str("another process has it open"),
            Refusal::Newer { version } => write!(
                f,
                "it was written by a later mqttfast (version {version} of its tables, this one knows {SCHEMA_VERSION})"
            ),
            Refusal::Foreign => f.write_str("it is a database of another program"),
            Refusal::Full => f.write_str("no room is left"),
            Refusal::Disk(text) | Refusal::Damaged(text) => f.write_str(text),
        }
    }
}

/// `application_id` and `user_version` of a first page. [SQLite, "Database File Format", 1.3]
fn said_by(page: &[u8]) -> Option<(i64, i64)> {
    let number = |at: usize| {
        let four = page.get(at..)?.first_chunk()?;
        Some(i64::from(i32::from_be_bytes(*four)))
    };
    Some((number(68)?, number(60)?))
}

/// The first page of a file says that it is a store's, of a version that is known here.
pub fn is_of_a_store(page: &[u8]) -> bool {
    said_by(page).is_some_and(|(application, version)| {
        application == APPLICATION_ID && (1..=SCHEMA_VERSION).contains(&version)
    })
}

/// Looks at the head of a file without SQLite.
///
/// Errors: it cannot be read, or a later broker wrote it.
pub fn look_at_head(path: &Path) -> Result<(), Refusal> {
    let mut head = [0; 100];
    let read = fs::File::open(path).and_then(|mut file| file.read(&mut head));
    read.map_err(|error| Refusal::Disk(error.to_string()))?;
    match said_by(&head) {
        Some((APPLICATION_ID, version)) if version > SCHEMA_VERSION => {
            Err(Refusal::Newer { version })
        }
        _ => Ok(()),
    }
}

/// See the module.
pub struct Database {
    connection: Connection,
    path: PathBuf,
    /// By [`Table::index`].
    statements: [Statements; Table::ALL.len()],
    /// Of the tables in the file. The first transaction makes those that an older version does not have.
    version: i64,
}

impl Database {
    /// Opens the file, or makes it with empty tables.
    pub fn open(path: &Path) -> Result<Database, Refusal> {
        // SQLite would make it readable for others.
        let made = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path);
        made.map_err(|error| Refusal::Disk(error.to_string()))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.set_prepared_statement_cache_capacity(3 * Table::ALL.len() + 8);
        let mut database = Database {
            connection,
            path: path.to_owned(),
            statements: Statements::all(),
            version: 0,
        };
        database.set_up()?;
        Ok(database)
    }

    fn set_up(&mut self) -> Result<(), Refusal> {
        let page = limits::STORE_PAGE_BYTES;
        self.pragma(&format!("page_size={page}"))?;
        self.pragma("locking_mode=EXCLUSIVE")?;
        self.pragma("journal_mode=WAL")?;
        self.pragma("synchronous=FULL")?;
        self.pragma("wal_autocheckpoint=0")?;
        self.pragma(&format!(
            "journal_size_limit={}",
            limits::STORE_LOG_BYTES_MOST
        ))?;
        self.pragma(&format!("cache_size=-{}", limits::STORE_CACHE_BYTES / 1024))?;
        self.pragma("temp_store=MEMORY")?;
        self.pragma("trusted_schema=OFF")?;
        self.pragma("cell_size_check=ON")?;
        let application = self.number("PRAGMA application_id")?;
        let version = self.number("PRAGMA user_version")?;
        match (application, version) {
            (0, 0) if self.number("SELECT count(*) FROM sqlite_schema")? == 0 => {
                self.begin()?; // It makes them.
                self.end()
            }
            (APPLICATION_ID, 1..=SCHEMA_VERSION) => {
                self.version = version;
                Ok(())
            }
            (APPLICATION_ID, version) => Err(Refusal::Newer { version }),
            _ => Err(Refusal::Foreign),
        }
    }

    /// The file grows to this and no more. One that is larger stays as it is.
    pub fn limit(&self, bytes_max: u64) -> Result<(), Refusal> {
        let pages = bytes_max / u64::from(limits::STORE_PAGE_BYTES);
        self.pragma(&format!("max_page_count={pages}"))
    }

    /// Makes the tables that the file does not have, inside a transaction of the caller.
    fn make_tables(&self) -> Result<(), Refusal> {
        let mut sql = String::new();
        for table in Table::ALL
            .into_iter()
            .filter(|table| table.since() > self.version)
        {
            sql += &format!("CREATE TABLE {} (id INTEGER PRIMARY KEY", table.name());
            for column in table.columns() {
                sql += &match column {
                    Column::Session => ", session INTEGER".to_owned(),
                    Column::Message => ", message INTEGER".to_owned(),
                    Column::Text(name) => format!(", {name} TEXT"),
                };
            }
            sql += ", body BLOB);";
        }
        if self.version == 0 {
            sql += "CREATE TABLE meta (key TEXT PRIMARY KEY, value);";
            sql += &format!("PRAGMA application_id={APPLICATION_ID};");
        }
        sql += &format!("PRAGMA user_version={SCHEMA_VERSION};");
        Ok(self.connection.execute_batch(&sql)?)
    }

    fn pragma(&self, text: &str) -> Result<(), Refusal> {
        let mut statement = self.connection.prepare(&format!("PRAGMA {text}"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(())
    }

    fn number(&self, sql: &str) -> Result<i64, Refusal> {
        Ok(self.connection.query_row(sql, [], |row| row.get(0))?)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A blob of `meta`; `None`: it was never put.
    pub fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, Refusal> {
        let sql = "SELECT value FROM meta WHERE key = ?";
        let mut statement = self.connection.prepare_cached(sql)?;
        let value = statement.query_row([key], |row| row.get(0));
        Ok(value.optional()?)
    }

    /// A value that is there is written over: to replace the row would write a page of the index too, in each commit.
    pub fn put_meta(&self, key: &str, value: &[u8]) -> Result<(), Refusal> {
        let sql = "UPDATE meta SET value = ? WHERE key = ?";
        let mut statement = self.connection.prepare_cached(sql)?;
        if statement.execute((value, key))? == 0 {
            let sql = "INSERT INTO meta (key, value) VALUES (?, ?)";
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.execute((key, value))?;
        }
        Ok(())
    }

    /// Begins a transaction. The first one makes the tables that an older file, or a new one, does not have.
    pub fn begin(&self) -> Result<(), Refusal> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        match self.version < SCHEMA_VERSION {
            true => self.make_tables(),
            false => Ok(()),
        }
    }

    /// The changes since `begin` are on the disk when this returns.
    pub fn end(&mut self) -> Result<(), Refusal> {
        self.connection.execute_batch("COMMIT")?;
        self.version = SCHEMA_VERSION;
        Ok(())
    }

    /// The changes since `begin` never were. Where the transaction is over already, nothing is done.
    fn roll_back(&self) {
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }

    /// What waits in an applier goes to the disk, all of it or as much as is due, or nothing does.
    pub fn commit(
        &mut self,
        applier: &mut Applier,
        now: Moment,
        all: bool,
        clean: bool,
    ) -> Result<(), Refusal> {
        let result = self
            .begin()
            .and_then(|()| applier.commit(now, all, clean, self))
            .and_then(|()| self.end());
        if result.is_err() {
            self.roll_back();
        }
        result
    }

    /// Pages in the write-ahead log, and how many of them are in the file.
    pub fn logged(&self) -> Result<(u64, u64), Refusal> {
        let mut statement = self
            .connection
            .prepare_cached("PRAGMA wal_checkpoint(NOOP)")?;
        let pages: (i64, i64) = statement.query_row([], |row| Ok((row.get(1)?, row.get(2)?)))?;
        let (logged, moved) = pages;
        Ok((logged.unsigned_abs(), moved.unsigned_abs()))
    }

    /// Gives the write-ahead log its blocks. While a log grows, each commit makes the file system write where it has
    /// grown, which is as much again as the commit. What follows the last commit in a log is never read, zeros or not.
    ///
    /// A disk that has no room for it is no trouble: then the log grows with its commits.
    pub fn grow_log(&self) {
        let mut path = self.path.as_os_str().to_owned();
        path.push("-wal");
        let grow = |file: &fs::File| {
            let bytes = file.metadata()?.len();
            let more = limits::STORE_LOG_BYTES_LEAST.saturating_sub(bytes);
            let grown = file.write_all_at(&vec![0; more as usize], bytes);
            if grown.is_err() {
                file.set_len(bytes)?;
            }
            file.sync_all()
        };
        let _ = fs::OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|file| grow(&file));
    }

    /// Closes it. An error says that something is not on the disk.
    pub fn close(self) -> Result<(), Refusal> {
        self.connection
            .close()
            .map_err(|(_, error)| Refusal::from(error))
    }

    /// Moves the write-ahead log into the file, so that the log is written again from its beginning.
    pub fn checkpoint(&self) -> Result<(), Refusal> {
        self.pragma("wal_checkpoint(RESTART)")
    }

    /// As `checkpoint`, and leaves an empty log.
    pub fn checkpoint_whole(&self) -> Result<(), Refusal> {
        self.pragma("wal_checkpoint(TRUNCATE)")
    }
}

/// The names of the columns beside `id`.
fn columns(table: Table) -> Vec<&'static str> {
    let mut names: Vec<&str> = table
        .columns()
        .iter()
        .map(|column| match column {
            Column::Session => "session",
            Column::Message => "message",
            Column::Text(name) => name,
        })
        .collect();
    names.push("body");
    names
}

/// The statements about one table.
struct Statements {
    put: String,
    get: String,
    scan: String,
    delete: String,
}

impl Statements {
    fn of(table: Table) -> Statements {
        let (name, columns) = (table.name(), columns(table));
        let places = ", ?".repeat(columns.len());
        let columns = columns.join(", ");
        Statements {
            put: format!("INSERT OR REPLACE INTO {name} (id, {columns}) VALUES (?{places})"),
            get: format!("SELECT id, {columns} FROM {name} WHERE id = ?"),
            scan: format!("SELECT id, {columns} FROM {name} ORDER BY id"),
            delete: format!("DELETE FROM {name} WHERE id = ?"),
        }
    }

    /// Of all tables, so that no text is made for a row.
    fn all() -> [Statements; Table::ALL.len()] {
        Table::ALL.map(Statements::of)
    }
}

/// A row as a query gives it. Values of another type than ours are empty, which their checksum does not forgive.
fn row_of<'a>(table: Table, row: &'a rusqlite::Row<'_>) -> Result<(u64, RowRef<'a>), Refusal> {
    let id = row.get::<_, i64>(0)?;
    let mut found = RowRef {
        session: 0,
        message: 0,
        text: "",
        body: &[],
    };
    for (index, column) in table.columns().iter().enumerate() {
        match (column, row.get_ref(index + 1)?) {
            (Column::Session, ValueRef::Integer(number)) => found.session = number as u64,
            (Column::Message, ValueRef::Integer(number)) => found.message = number as u64,
            (Column::Text(_), ValueRef::Text(text)) => {
                found.text = std::str::from_utf8(text).unwrap_or("");
            }
            _ => {}
        }
    }
    if let ValueRef::Blob(body) = row.get_ref(table.columns().len() + 1)? {
        found.body = body;
    }
    Ok((id as u64, found))
}

impl Tables for Database {
    type Error = Refusal;

    fn get(&mut self, table: Table, id: u64) -> Result<Option<Row>, Refusal> {
        let sql = &self.statements[table.index()].get;
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([id as i64])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let (_, row) = row_of(table, row)?;
        Ok(Some(row.to_row()))
    }

    fn put(&mut self, table: Table, id: u64, row: RowRef<'_>) -> Result<(), Refusal> {
        let mut statement = self
            .connection
            .prepare_cached(&self.statements[table.index()].put)?;
        let id = ValueRef::Integer(id as i64);
        let columns = table.columns().iter().map(|column| match column {
            Column::Session => ValueRef::Integer(row.session as i64),
            Column::Message => ValueRef::Integer(row.message as i64),
            Column::Text(_) => ValueRef::Text(row.text.as_bytes()),
        });
        let body = ValueRef::Blob(row.body);
        let values = std::iter::once(id).chain(columns).chain([body]);
        statement.execute(params_from_iter(
            values.map(rusqlite::types::ToSqlOutput::Borrowed),
        ))?;
        Ok(())
    }

    fn delete(&mut self, table: Table, id: u64) -> Result<(), Refusal> {
        let sql = &self.statements[table.index()].delete;
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.execute([id as i64])?;
        Ok(())
    }

    fn put_state(&mut self, state: &State) -> Result<(), Refusal> {
        self.put_meta("state", &state.to_bytes())
    }
}

impl Scan for Database {
    type Error = Refusal;

    fn scan(&mut self, table: Table, each: &mut dyn FnMut(u64, RowRef<'_>)) -> Result<(), Refusal> {
        if table.since() > self.version {
            return Ok(());
        }
        let mut statement = self
            .connection
            .prepare(&self.statements[table.index()].scan)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (id, row) = row_of(table, row)?;
            each(id, row);
        }
        Ok(())
    }
}
