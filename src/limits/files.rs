//! Bounds of the files that operators write.

// Password file

/// Bytes of a password file: about 400,000 users.
pub const PASSWORD_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Skipped lines of a file that are remembered with their cause; the others are counted.
pub const PASSWORD_LINES_SKIPPED_KEPT: usize = 1000;
/// Skipped lines that the log shows one by one.
pub const PASSWORD_LINES_SKIPPED_TOLD: usize = 10;
const _: () = assert!(PASSWORD_LINES_SKIPPED_TOLD < PASSWORD_LINES_SKIPPED_KEPT);
/// Users one line of the log names.
pub const PASSWORD_USERS_TOLD: usize = 10;
/// Iterations of PBKDF2 that a line of the file may ask for: less than half a second a check on a server, one to two on
/// a small board. A line with more is skipped, because each check of it would delay all others.
pub const PASSWORD_ITERATIONS_MAX: u32 = 500_000;
/// Iterations `mqttfast passwd` writes: those of `mosquitto_passwd` 2.1.
pub const PASSWORD_ITERATIONS_DEFAULT: u32 = 1000;
/// Memory that a check of an `$argon2id$` line may take, in KiB; one is checked at a time. Lines of Mosquitto 2.1 take
/// 46 MiB.
pub const ARGON2_MEMORY_KIB_MAX: u32 = 64 * 1024;
/// What `mqttfast passwd --argon2` writes, as Mosquitto 2.1 does.
pub const ARGON2_MEMORY_KIB_DEFAULT: u32 = 47_104;
const _: () = assert!(ARGON2_MEMORY_KIB_DEFAULT <= ARGON2_MEMORY_KIB_MAX);
/// KiB that all passes of one check may go over: as long as half a million iterations of PBKDF2, about.
pub const ARGON2_WORK_KIB_MAX: u64 = 4 * ARGON2_MEMORY_KIB_MAX as u64;
/// Lanes of such a line, which are computed one after the other.
pub const ARGON2_LANES_MAX: u32 = 8;
/// User names and passwords are MQTT fields with a length of two bytes.
pub const USER_NAME_BYTES_MAX: usize = 65_535;
/// Bytes of the longest Password field. [v5 §3.1.3.6]
pub const PASSWORD_BYTES_MAX: usize = 65_535;
/// How long `mqttfast passwd` waits for another one that writes in the same directory.
pub const PASSWORD_LOCK_WAIT_MS: u64 = 10_000;

// ACL file

/// Rules that `mqttfast explain` shows for one Topic Filter.
pub const EXPLAINED_RULES_MAX: usize = 20;
/// How long a reload waits for shards to have put new rules in force, before it is told as done.
pub const RELOAD_WAIT_MS: u64 = 1000;
/// A Client's refusals are told in the log at most once in this time.
pub const DENIALS_TOLD_EVERY_MS: u64 = 1000;
/// Bytes of an ACL file: the largest known has some 80 lines.
pub const ACL_FILE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Faulty lines shown at once.
pub const ACL_FAULTS_MAX: usize = 20;
/// Lines without effect that are shown; the others are counted.
pub const ACL_WARNINGS_MAX: usize = 100;

// mosquitto.conf

/// Bytes of a configuration and all it includes: the commented template of Mosquitto has 40 KiB.
pub const CONFIGURATION_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Files of one configuration.
pub const CONFIGURATION_FILES_MAX: usize = 1000;
/// How deep files may include each other; a line that goes deeper is left out with a warning.
pub const CONFIGURATION_DEPTH_MAX: usize = 10;
/// Faults, and other notes, shown for one configuration.
pub const CONFIGURATION_NOTES_MAX: usize = 100;
