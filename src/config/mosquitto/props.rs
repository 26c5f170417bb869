//! What must hold of configurations, as functions of arbitrary bytes: called by the tests with chance and by `fuzz/`
//! with worse. They panic where it does not hold.

use super::files::{Files, Look, Unreadable};
use super::note::{Note, Place};
use super::{Address, Mosquitto, describe, read};
use crate::language::Language;
use crate::limits;
use crate::random::damaged;
use std::path::Path;

const MAIN: &str = "/m/mosquitto.conf";
const INCLUDED: &str = "/m/conf.d";
/// Line ends of this many bytes end the main file and begin the included ones.
const BETWEEN: &[u8] = b"\n%%\n";

/// The main file, and up to three of `/m/conf.d`, cut at lines of `%%`.
struct Parts<'a>(Vec<&'a [u8]>);

impl<'a> Parts<'a> {
    fn new(data: &'a [u8]) -> Parts<'a> {
        let mut parts = Vec::new();
        let mut rest = data;
        while parts.len() < 3
            && let Some(at) = find(rest, BETWEEN)
        {
            parts.push(&rest[..at]);
            rest = &rest[at + BETWEEN.len()..];
        }
        parts.push(rest);
        Parts(parts)
    }

    fn index(&self, path: &Path) -> Option<usize> {
        let path = path.to_str()?;
        if path == MAIN {
            return Some(0);
        }
        let name = path
            .strip_prefix(INCLUDED)?
            .strip_prefix('/')?
            .strip_suffix(".conf")?;
        name.parse()
            .ok()
            .filter(|index| (1..self.0.len()).contains(index))
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

impl Files for Parts<'_> {
    fn read(&self, path: &Path, bytes_max: usize) -> Result<Vec<u8>, Unreadable> {
        let index = self.index(path).ok_or(Unreadable::Missing)?;
        match self.0[index].len() <= bytes_max {
            true => Ok(self.0[index].to_vec()),
            false => Err(Unreadable::TooLarge),
        }
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>, Unreadable> {
        match folder.to_str() {
            Some(INCLUDED) => Ok((1..self.0.len())
                .map(|index| format!("{index}.conf"))
                .collect()),
            _ => Err(Unreadable::Missing),
        }
    }

    fn look(&self, path: &Path) -> Look {
        match path.to_str() {
            Some(INCLUDED | "/m") => Look::Folder,
            // Some files are there, and some are not.
            Some("/m/passwd" | "/m/acl" | "/m/ca" | "/m/crt" | "/m/key" | "passwd") => Look::File,
            _ if self.index(path).is_some() => Look::File,
            _ => Look::Missing,
        }
    }
}

/// The bytes are a configuration, or are refused with places that are there. What is taken makes sense; damage opens
/// nothing.
pub fn configurations_are_taken_or_refused(data: &[u8]) {
    let parts = Parts::new(data);
    let is_there = |place: &Place| {
        let index = parts
            .index(Path::new(&*place.file))
            .expect("a file that is there");
        let lines = parts.0[index].split(|&byte| byte == b'\n').count();
        assert!(place.line as usize <= lines, "{place} of {lines} lines");
        place.line > 0
    };
    let told = |notes: &[Note]| {
        assert!(notes.len() <= limits::CONFIGURATION_NOTES_MAX);
        for note in notes {
            // The file as a whole is meant where a line is missing.
            is_there(&note.place);
            assert!(!note.text.is_empty() && !note.to_string().is_empty());
        }
    };
    match read(Path::new(MAIN), &parts) {
        Ok(taken) => {
            told(&taken.notes);
            makes_sense(&taken);
            opens_only_what_was_said(&taken, data);
            damage_opens_nothing(&taken, data);
            assert!(
                describe(&taken, Language::English).starts_with("Reads\n  /m/mosquitto.conf\n")
            );
            for (_, place) in &taken.said {
                assert!(is_there(place));
            }
            for note in taken.not_yet(&[]).unwrap_or_else(|refused| refused.faults) {
                is_there(&note.place);
            }
        }
        Err(refused) => {
            assert!(!refused.faults.is_empty());
            told(&refused.faults);
            told(&refused.notes);
            assert!(refused.faults.iter().all(|fault| is_there(&fault.place)));
            assert!([1, 3, 13].contains(&refused.exit.code()));
        }
    }
}

fn makes_sense(taken: &Mosquitto) {
    assert!(!taken.listeners.is_empty() && !taken.files.is_empty());
    assert!(taken.files.len() <= limits::CONFIGURATION_FILES_MAX);
    for listener in &taken.listeners {
        match &listener.address {
            Address::Tcp { port, .. } | Address::Loopback { port } => assert_ne!(*port, 0),
            Address::Unix(path) => assert!(!path.as_os_str().is_empty()),
        }
        assert!(listener.qos_max <= 2);
        if let Some(tls) = &listener.tls {
            let has_ca = tls.ca_file.is_some() || tls.ca_folder.is_some();
            assert!(has_ca || !tls.client_certificate_required);
            assert!(tls.client_certificate_required || tls.user_name.is_none());
        }
    }
    for bridge in &taken.bridges {
        assert!(!bridge.addresses.is_empty());
        assert!(bridge.restart_base_s >= 1 && bridge.restart_cap_s >= bridge.restart_base_s);
        assert!(bridge.topics.iter().all(|topic| topic.qos <= 2));
    }
}

/// What is open, each a way to come in or to see more.
fn openness(taken: &Mosquitto) -> [bool; 5] {
    let any = |is: &dyn Fn(&super::Listener) -> bool| taken.listeners.iter().any(is);
    let everywhere = |address: &Address| match address {
        Address::Tcp { host, .. } => host.as_deref().is_none_or(|host| host == "0.0.0.0"),
        _ => false,
    };
    [
        any(&|l| l.security.anonymous),
        any(&|l| l.security.anonymous && everywhere(&l.address)),
        any(&|l| l.security.acl_file.is_none()),
        any(&|l| l.tls.is_none()),
        any(&|l| {
            l.tls
                .as_ref()
                .is_none_or(|tls| !tls.client_certificate_required)
        }),
    ]
}

/// One byte put in, or written over another within a line, that belongs into no configuration: the file is refused, or
/// opens no more than before. At places that follow from the bytes.
fn damage_opens_nothing(taken: &Mosquitto, data: &[u8]) {
    for damaged in damaged(data, &[0, 1, 0xFF, b'='], |byte, _| byte != b'%') {
        let parts = Parts::new(&damaged);
        // What cuts the files apart is no line of theirs.
        if parts.0.len() != Parts::new(data).0.len() {
            continue;
        }
        let Ok(now) = read(Path::new(MAIN), &parts) else {
            continue;
        };
        let pairs = openness(taken).into_iter().zip(openness(&now));
        for (which, (before, now)) in pairs.enumerate() {
            assert!(before || !now, "a damaged line opens, {which}");
        }
    }
}

/// Nobody comes in from the network without a login unless a line says so in Mosquitto's own words.
fn opens_only_what_was_said(taken: &Mosquitto, data: &[u8]) {
    let to_network = |address: &Address| !matches!(address, Address::Loopback { .. });
    let open =
        |listener: &super::Listener| listener.security.anonymous && to_network(&listener.address);
    if taken.listeners.iter().any(open) {
        let said = data.split(|&byte| byte == b'\n').any(|line| {
            let line = line.trim_ascii_start();
            let words: Vec<&[u8]> = line
                .split(|&byte| byte == b' ')
                .filter(|word| !word.is_empty())
                .collect();
            let name = words
                .first()
                .is_some_and(|name| name.ends_with(b"allow_anonymous"));
            name && words.get(1).is_some_and(|word| {
                let word = word.trim_ascii_end();
                word.starts_with(b"true") || word.starts_with(b"1")
            })
        });
        assert!(said, "open to the network, and no line says so");
    }
}
