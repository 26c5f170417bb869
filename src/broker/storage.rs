//! How the store is, as a shard is told of it: what it makes of that, and what it reports.

/// What the store can do.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Condition {
    /// All.
    #[default]
    Well,
    /// Its disk, or its file, has no room: what is to be stored is refused where an answer can say so, and waits
    /// elsewhere.
    Full,
    /// The disk takes nothing: all is in memory only.
    MemoryOnly,
}

/// The store, as one shard knows it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StoreState {
    /// What it can do.
    pub condition: Condition,
    /// So much of this shard waits for the disk that it takes no more: publishers of what would be stored wait.
    pub behind: bool,
    /// Bytes of this shard's changes that are not on the disk, in steps of
    /// [`STORE_WAITING_STEP`](crate::limits::STORE_WAITING_STEP).
    pub waiting_bytes: usize,
    /// Of the whole store, when this shard was last told.
    pub figures: StoreFigures,
}

/// Sums of the store since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StoreFigures {
    /// Transactions that are on the disk.
    pub commits: u64,
    /// Bytes written to the file and its log. What the file system adds is not known.
    pub bytes_written: u64,
    /// How long the last commit took, in milliseconds.
    pub last_commit_ms: u64,
    /// What a power cut may take of what was acknowledged: the last so many milliseconds.
    pub loss_window_ms: u64,
}
