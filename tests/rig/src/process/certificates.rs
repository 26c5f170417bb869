//! Certificates for the tests of TLS, made when they run.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// A folder of certificates and keys that `tests/tls/certificates` makes, once for each test program. It stays in the
/// system's folder for such things.
pub fn certificates() -> &'static Path {
    static FOLDER: OnceLock<std::path::PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // The script would stumble over what is there.
        let folder = super::left_by_nobody("tls");
        fs::create_dir_all(&folder).expect("a folder");
        let script = super::repository().join("tests/tls/certificates");
        let made = Command::new(script).current_dir(&folder).status();
        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert!(made.expect("sh and openssl").success(), "{log}");
        folder
    })
}
