//! Bounds of the store.

/// How long the will of a Client that was connected when the broker ended waits for the Client to come back.
pub const RESTORED_WILL_WAIT_S: u32 = 60;

/// A journal of a shard, in memory that outlives the process. What does not fit waits for the disk.
pub const JOURNAL_BYTES: usize = 1024 * 1024;
/// A window of commits is closed early when so much has come.
pub const STORE_WINDOW_BYTES: usize = 256 * 1024;
/// From the first change of a window to its commit, unless the operator says otherwise.
pub const STORE_WINDOW_MS_DEFAULT: u64 = 100;
/// Shorter, and it would be a commit a message.
pub const STORE_WINDOW_MS_LEAST: u64 = 10;
/// Longer, and it would be no durability to speak of.
pub const STORE_WINDOW_MS_MOST: u64 = 10_000;
/// A retained message of QoS 0 is written this long after it came, or with an earlier commit. With `--durability lazy`
/// so is a change that an answer confirms.
pub const STORE_LAZY_MS: u64 = 5_000;
/// A retained message of QoS 0 with `--durability lazy`.
pub const STORE_LAZIER_MS: u64 = 30_000;
/// A topic whose retained message of QoS 0 was written waits so long before it is written again.
pub const STORE_TOPIC_REST_MS: u64 = 30_000;
/// Retained messages of QoS 0 of one commit are written together, in rows that fill a page each.
pub const STORE_BATCH_BYTES: usize = 979;
/// When such rows have so many bytes, the messages go into their table.
pub const STORE_BATCHES_BYTES_MAX: usize = 512 * 1024;
/// The same when they are of so many topics: each may be a page of the table in one commit.
pub const STORE_BATCHES_TOPICS_MAX: usize = 2_000;
/// When the oldest change that an answer confirms has waited so long for the disk, answers wait for the disk too. Two
/// windows, if that is longer.
pub const STORE_LATE_MS: u64 = 1_000;
/// What one shard may have on its way to the disk before its answers wait for the disk.
pub const STORE_WAITING_BYTES_MAX: usize = 2 * 1024 * 1024;
/// A shard is told in steps of so many bytes what waits for the disk.
pub const STORE_WAITING_STEP: usize = 64 * 1024;
/// From so many bytes on, what waits for the disk is in the account book.
pub const STORE_WAITING_BOOKED: usize = 256 * 1024;
/// The store's file, unless the operator says otherwise.
pub const STORE_FILE_BYTES_DEFAULT: u64 = 256 * 1024 * 1024;
/// Smaller, and the write-ahead log would not fit beside it.
pub const STORE_FILE_BYTES_LEAST: u64 = 8 * 1024 * 1024;
/// Real blocks beside the store's file, given back when the disk is full.
pub const STORE_RESERVE_BYTES: u64 = 2 * 1024 * 1024;
/// Bytes of a page of the store's file: the smallest page costs a lone message the least.
pub const STORE_PAGE_BYTES: u32 = 1024;
/// SQLite's own memory for pages.
pub const STORE_CACHE_BYTES: u32 = 1024 * 1024;
/// From this size the write-ahead log is moved into the file of the store.
pub const STORE_LOG_BYTES: u64 = 250 * 1024;
/// The write-ahead log has so many blocks from the start on.
pub const STORE_LOG_BYTES_LEAST: u64 = 320 * 1024;
/// A log that was larger is cut to this.
pub const STORE_LOG_BYTES_MOST: u64 = 1024 * 1024;
/// A commit that the disk refused is tried again after this.
pub const STORE_RETRY_MS: u64 = 1_000;
/// Damaged or broken files of the store that are kept for a person to look at.
pub const STORE_ASIDE_MAX: usize = 2;
/// A store that cannot be written is tried anew after this.
pub const STORE_REBUILD_MS: u64 = 30_000;
/// A store that cannot be written is named in the log as often.
pub const STORE_TOLD_MS: u64 = 60_000;
/// With so much free, the reserve beside the store's file is made again.
pub const STORE_RESERVE_FROM_BYTES: u64 = 8 * 1024 * 1024;
/// A larger file of a store is not walked at the start.
pub const STORE_WALKED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// What a disk that cannot read a file is asked for at a time.
pub const STORE_BLOCK_BYTES: usize = 4096;
/// Reading so much may take long enough that `mqttfast store` says what it does.
pub const STORE_LONG_BYTES: u64 = 16 * 1024 * 1024;
/// Longest queues that `mqttfast store show` names.
pub const STORE_QUEUES_TOLD: usize = 5;
/// From so many bytes of free pages on, `mqttfast store show` advises a new file.
pub const STORE_FREE_BYTES_TOLD: u64 = 8 * 1024 * 1024;
/// Bytes of a mosquitto.db that is imported.
pub const IMPORT_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How long the start waits for a shard that takes what the store remembers.
pub const RESTORE_WAIT_MS: u64 = 60_000;
/// How long the end of the broker waits for the last commit.
pub const STORE_STOP_MS: u64 = 10_000;
/// Parts of a store that a shard is given in one piece at the start.
pub const RESTORED_PARTS_MAX: usize = 256;
