//! The ACL files of the listeners: read when the broker starts, and again at SIGHUP. All of them or none: with one
//! fault in one of them nothing changes, because half of the rules could open what the other half closes.

use crate::acl::{Acl, Rules};
use crate::config::Config;
use crate::config::mosquitto::{Files, Unreadable};
use crate::io::disk::Disk;
use crate::limits;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which files there are.
pub struct RuleFiles {
    /// By `ListenerId`.
    paths: Vec<Option<PathBuf>>,
    check_retain_source: bool,
    refuse_subscriptions: bool,
}

/// What the files say.
pub struct Read {
    /// What is to be in force.
    pub rules: Arc<Rules>,
    /// Lines with another effect than they seem to have, a sentence each.
    pub warnings: Vec<String>,
    /// A clause for each file.
    pub files: Vec<String>,
}

/// Why a file is not taken.
#[derive(Debug)]
pub enum Faults {
    /// It cannot be read: a sentence.
    Unreadable(String),
    /// Each of its faulty lines, a sentence each, with file, line and the line to write instead.
    Lines(Vec<String>),
}

impl Faults {
    /// A sentence for each fault.
    pub fn sentences(self) -> Vec<String> {
        match self {
            Faults::Unreadable(sentence) => vec![sentence],
            Faults::Lines(sentences) => sentences,
        }
    }
}

impl RuleFiles {
    /// The files that a configuration names.
    pub fn of(config: &Config) -> RuleFiles {
        let listeners = config.listeners.iter();
        RuleFiles {
            paths: listeners
                .map(|listener| listener.acl.clone())
                .chain([config.bridges_acl().cloned()])
                .chain(config.http.iter().map(|http| http.acl.clone()))
                .collect(),
            check_retain_source: config.check_retain_source,
            refuse_subscriptions: config.refuse_subscriptions,
        }
    }

    /// There is a file to read.
    pub fn are_any(&self) -> bool {
        self.paths.iter().any(Option::is_some)
    }

    /// Reads each file once, however many listeners name it.
    ///
    /// Errors: every fault of the first bad file.
    pub fn read(&self) -> Result<Read, Faults> {
        let mut known: Vec<(&Path, Arc<Acl>)> = Vec::new();
        let mut tables = Vec::new();
        let (mut warnings, mut files) = (Vec::new(), Vec::new());
        for path in &self.paths {
            let Some(path) = path else {
                tables.push(None);
                continue;
            };
            if let Some((_, acl)) = known.iter().find(|(other, _)| other == path) {
                tables.push(Some(Arc::clone(acl)));
                continue;
            }
            let acl = read_file(path)?;
            for warning in acl.warnings() {
                let (file, line) = (acl.file(), warning.line);
                warnings.push(format!("ACL file {file}:{line}: {}", warning.text));
            }
            let count = acl.rules().len();
            let rules = if count == 1 { "rule" } else { "rules" };
            files.push(format!("ACL file {}: {count} {rules}", acl.file()));
            let acl = Arc::new(acl);
            known.push((path, Arc::clone(&acl)));
            tables.push(Some(acl));
        }
        let mut rules = Rules::new(tables);
        rules.check_retain_source = self.check_retain_source;
        rules.refuse_subscriptions = self.refuse_subscriptions;
        Ok(Read {
            rules: Arc::new(rules),
            warnings,
            files,
        })
    }
}

/// The table of one file.
///
/// Errors: every fault.
pub fn read_file(path: &Path) -> Result<Acl, Faults> {
    let file = path.display();
    let bytes = bytes_of(path).map_err(Faults::Unreadable)?;
    match Acl::parse(&bytes) {
        Ok(acl) => Ok(acl.named(&file.to_string())),
        Err(refused) => {
            let faults = refused.faults.iter();
            let told =
                faults.map(|fault| format!("ACL file {file}:{}: {}", fault.line, fault.sentence()));
            Err(Faults::Lines(told.collect()))
        }
    }
}

/// What a file holds.
///
/// Errors: it cannot be read; a sentence.
pub fn bytes_of(path: &Path) -> Result<Vec<u8>, String> {
    let refused = |why: &str| format!("ACL file {}: {why}", path.display());
    // Reading a pipe could wait for ever, and an empty one would close everything.
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(refused("is not a regular file; name one"));
    }
    Disk.read(path, limits::ACL_FILE_BYTES_MAX)
        .map_err(|why| match why {
            Unreadable::Missing => refused("is not there; create it, or correct the path"),
            Unreadable::Forbidden => refused(
                "may not be read; give the user that the broker runs as the right to read it",
            ),
            Unreadable::TooLarge => {
                let most = limits::ACL_FILE_BYTES_MAX >> 20;
                refused(&format!("is larger than {most} MiB; make it smaller"))
            }
            Unreadable::Other(error) => refused(&error),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ListenerId;
    use std::fs;

    #[test]
    fn all_files_are_read_or_none() {
        let folder =
            std::env::temp_dir().join(format!("mqttfast-test-rules-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let (one, two) = (folder.join("one"), folder.join("two"));
        fs::write(&one, "user ann\ntopic read a\n").unwrap();
        fs::write(&two, "topic read \"a\"\n").unwrap();
        let paths = [
            Some(one.clone()),
            None,
            Some(two.clone()),
            Some(one.clone()),
        ];
        let files = RuleFiles {
            paths: paths.into(),
            check_retain_source: true,
            refuse_subscriptions: false,
        };
        let read = files.read().unwrap_or_else(|faults| panic!("{faults:?}"));
        let table = |id| {
            read.rules
                .of(ListenerId(id))
                .map(|acl| acl.file().to_owned())
        };
        let name = |path: &Path| Some(path.display().to_string());
        assert_eq!(table(0), name(&one));
        assert_eq!(table(1), None);
        assert_eq!(table(2), name(&two));
        assert_eq!(table(3), name(&one));
        assert_eq!(table(4), None);
        assert!(read.rules.check_retain_source && !read.rules.refuse_subscriptions);
        assert_eq!(read.files.len(), 2);
        let warning = format!(
            "ACL file {}:1: the quotes are part of the topic",
            two.display()
        );
        assert_eq!(read.warnings, [warning]);

        fs::write(&two, "topic read a\ntopic rw b\nuser\n").unwrap();
        let faults = files.read().err().expect("it has faults").sentences();
        let at = |line: u32, rest: &str| format!("ACL file {}:{line}: {rest}", two.display());
        let expected = [
            at(
                2,
                "`rw` is no right: it is one of read, write, readwrite and deny; write instead: topic readwrite b",
            ),
            at(3, "`user` needs a name; write instead: user NAME"),
        ];
        assert_eq!(faults, expected);

        fs::remove_file(&two).unwrap();
        let [fault] = &files.read().err().expect("it is gone").sentences()[..] else {
            panic!("one fault")
        };
        assert!(
            fault.ends_with("is not there; create it, or correct the path"),
            "{fault}"
        );
        fs::create_dir(&two).unwrap();
        let [fault] = &files.read().err().expect("it is a folder").sentences()[..] else {
            panic!("one fault")
        };
        assert!(
            fault.ends_with("is not a regular file; name one"),
            "{fault}"
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}
