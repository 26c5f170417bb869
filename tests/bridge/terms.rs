//! The terms of a bridge out of lines of a configuration.

use mqttfast::bridge::Terms;
use mqttfast::config::mosquitto::{self, Files, Look, Unreadable};
use std::path::Path;

struct OneFile<'a>(&'a str);

impl Files for OneFile<'_> {
    fn read(&self, path: &Path, _bytes_max: usize) -> Result<Vec<u8>, Unreadable> {
        match path == Path::new("test.conf") {
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

/// The terms of the bridge that these lines below a `connection` make.
pub fn terms(lines: &str) -> Terms {
    let text = format!("listener 1883\nconnection test\naddress 127.0.0.1\n{lines}");
    let read = mosquitto::read(Path::new("test.conf"), &OneFile(&text)).expect("a good file");
    Terms::new(&read.bridges[0], "host")
}
