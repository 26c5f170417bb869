//! A fixture in the places where its author had it, as the reader sees it; and the table of options for the document.

use mqttfast::config::mosquitto::{Files, Look, Reload, Scope, Support, Table, Unreadable};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

pub const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mosquitto/fixtures");

pub const MAIN: &str = "/etc/mosquitto/mosquitto.conf";

pub fn read_file(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A fixture as its README says it is installed: `/etc/mosquitto` is the working directory.
pub struct Fixtures(BTreeMap<PathBuf, Vec<u8>>);

impl Fixtures {
    pub fn new(file: &str) -> Fixtures {
        let stem = file.strip_suffix(".conf").unwrap();
        let mut files = BTreeMap::new();
        let bytes = |name: String| fs::read(Path::new(FIXTURES).join(name));
        files.insert(MAIN.into(), bytes(file.to_owned()).unwrap());
        for (ending, name) in [("acl", "acl"), ("passwd", "passwd")] {
            if let Ok(bytes) = bytes(format!("{stem}.{ending}")) {
                files.insert(format!("/etc/mosquitto/{name}").into(), bytes.clone());
                files.insert(format!("/mosquitto/config/{name}").into(), bytes);
            }
        }
        for name in ["ca.crt", "ca.crl", "server.crt", "server.key"] {
            files.insert(format!("/etc/mosquitto/certs/{name}").into(), Vec::new());
        }
        if let Ok(entries) = fs::read_dir(Path::new(FIXTURES).join(format!("{stem}.d"))) {
            for entry in entries {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap();
                files.insert(
                    Path::new("/etc/mosquitto/conf.d").join(name),
                    fs::read(&path).unwrap(),
                );
            }
        }
        Fixtures(files)
    }
}

impl Fixtures {
    /// The lines of the main file.
    pub fn lines(&self) -> Vec<Vec<u8>> {
        let main = &self.0[Path::new(MAIN)];
        main.split(|&byte| byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect()
    }

    pub fn set_lines(&mut self, lines: &[Vec<u8>]) {
        self.0.insert(MAIN.into(), lines.join(&b'\n'));
    }
}

impl Files for Fixtures {
    fn read(&self, path: &Path, bytes_max: usize) -> Result<Vec<u8>, Unreadable> {
        let path = Path::new("/etc/mosquitto").join(path);
        let bytes = self.0.get(&path).ok_or(Unreadable::Missing)?;
        assert!(bytes.len() <= bytes_max);
        Ok(bytes.clone())
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>, Unreadable> {
        // Folders that exist empty on every Debian.
        if self.look(folder) == Look::Missing {
            return Err(Unreadable::Missing);
        }
        let inside = self.0.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect())
    }

    fn look(&self, path: &Path) -> Look {
        let path = Path::new("/etc/mosquitto").join(path);
        if self.0.contains_key(&path) {
            return Look::File;
        }
        let folder = [
            "/etc/mosquitto/conf.d",
            "/mosquitto/data",
            "/var/lib/mosquitto",
        ]
        .map(Path::new);
        let inside = self.0.keys().any(|file| file.starts_with(&path));
        if inside || folder.contains(&path.as_path()) {
            Look::Folder
        } else {
            Look::Missing
        }
    }
}

/// The table of `docs/mosquitto.md`.
pub fn document_table() -> String {
    let mut text = String::from(
        "| option | of | default | at a reload | here | |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for row in Table::get().rows() {
        let of = match row.scope {
            Scope::Global => "broker",
            Scope::Listener => "listener",
            Scope::Security => "broker or listener",
            Scope::Bridge => "bridge",
            Scope::Plugin => "plugin",
        };
        let reload = match row.reload {
            Reload::Yes => "yes",
            Reload::New => "since 2.1",
            Reload::No => "no",
        };
        let support = match row.support {
            Support::Implement if row.differs => "differs",
            Support::Implement => "the same",
            Support::Accept => "no effect",
            Support::Refuse => "refused",
        };
        let same = if row.option == row.name {
            String::new()
        } else {
            format!("= `{}`; ", row.option)
        };
        let default = if row.default.is_empty() {
            String::new()
        } else {
            format!("`{}`", row.default)
        };
        let note = format!("{same}{}", row.note);
        let _ = writeln!(
            text,
            "| `{}` | {of} | {default} | {reload} | {support} | {} |",
            row.name,
            note.trim_end_matches("; ")
        );
    }
    text
}
