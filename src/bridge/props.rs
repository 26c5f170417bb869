//! Bridges of tests and fuzz targets: terms out of lines of a configuration, without a file.

use super::Terms;
use crate::config::mosquitto::{self, Files, Look, Unreadable};
use crate::wire::Version;
use std::path::Path;

const FILE: &str = "test.conf";

struct OneFile<'a>(&'a str);

impl Files for OneFile<'_> {
    fn read(&self, path: &Path, _bytes_max: usize) -> Result<Vec<u8>, Unreadable> {
        match path == Path::new(FILE) {
            true => Ok(self.0.as_bytes().to_vec()),
            false => Err(Unreadable::Missing),
        }
    }

    fn list(&self, _folder: &Path) -> Result<Vec<String>, Unreadable> {
        Err(Unreadable::Missing)
    }

    fn look(&self, _path: &Path) -> Look {
        Look::Missing
    }
}

/// The terms of the bridge that these lines below a `connection` make, on a machine of the name `host`.
pub fn terms(lines: &str) -> Terms {
    let text = format!("listener 1883\nconnection test\naddress 127.0.0.1\n{lines}");
    let read = mosquitto::read(Path::new(FILE), &OneFile(&text)).expect("a good file");
    Terms::new(&read.bridges[0], "host")
}

/// The same, and it speaks this version.
pub fn terms_of(version: Version, lines: &str) -> Terms {
    let name = match version {
        Version::V31 => "mqttv31",
        Version::V311 => "mqttv311",
        Version::V5 => "mqttv50",
    };
    terms(&format!("{lines}bridge_protocol_version {name}\n"))
}
