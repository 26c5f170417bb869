//! What can only be seen when everything is said: files that are missing, listeners that are in each other's way, and
//! who may come in.

use super::drafts::{Drafts, Section};
use super::files::{Files, Look};
use super::listener::{Address, Family, Listener, Protocol};
use super::note::{At, Exit, Place};
use super::statements::{Notes, Statements};
use super::table::edits;
use std::path::{Path, PathBuf};

/// Names beside a missing file that are looked at for a similar one.
const SIBLINGS_MAX: usize = 1000;

pub(super) fn listeners(listeners: &[Listener], notes: &mut Notes, files: &dyn Files) {
    for (index, listener) in listeners.iter().enumerate() {
        let before = listeners[..index]
            .iter()
            .find(|other| collide(other, listener));
        if let Some(before) = before {
            in_each_others_way(before, listener, listeners, notes);
        }
    }
    let mut looked_at: Vec<&Path> = Vec::new();
    for listener in listeners {
        let security = &listener.security;
        let tls = listener.tls.as_ref();
        let of_tls = |file: fn(&super::Tls) -> Option<&At<PathBuf>>| tls.and_then(file);
        let wanted = [
            (
                "password_file",
                security.password_file.as_ref(),
                Exit::Unreadable,
                Look::File,
            ),
            (
                "acl_file",
                security.acl_file.as_ref(),
                Exit::Unreadable,
                Look::File,
            ),
            (
                "certfile",
                of_tls(|tls| Some(&tls.certificate)),
                Exit::Start,
                Look::File,
            ),
            (
                "keyfile",
                of_tls(|tls| Some(&tls.key)),
                Exit::Start,
                Look::File,
            ),
            (
                "cafile",
                of_tls(|tls| tls.ca_file.as_ref()),
                Exit::Start,
                Look::File,
            ),
            (
                "crlfile",
                of_tls(|tls| tls.revoked.as_ref()),
                Exit::Start,
                Look::File,
            ),
            (
                "capath",
                of_tls(|tls| tls.ca_folder.as_ref()),
                Exit::Start,
                Look::Folder,
            ),
        ];
        for (option, file, exit, look) in wanted {
            if let Some(file) = file.filter(|file| !looked_at.contains(&file.value.as_path())) {
                must_be_there(option, file, exit, look, notes, files);
                looked_at.push(&file.value);
            }
        }
    }
}

/// Would the second not get its address? A name and the address it leads to are not told apart here.
fn collide(one: &Listener, other: &Listener) -> bool {
    match (&one.address, &other.address) {
        (Address::Unix(one), Address::Unix(other)) => one == other,
        (
            Address::Tcp {
                port: a,
                host: one_host,
            },
            Address::Tcp {
                port: b,
                host: other_host,
            },
        ) => {
            let families = [one.family, other.family];
            let apart = families == [Some(Family::Ipv4), Some(Family::Ipv6)]
                || families == [Some(Family::Ipv6), Some(Family::Ipv4)];
            let interfaces = one.interface.as_ref().zip(other.interface.as_ref());
            let elsewhere = interfaces.is_some_and(|(one, other)| one.value != other.value);
            let everywhere =
                |host: &Option<String>| host.as_deref().is_none_or(|host| host == "0.0.0.0");
            let plain = |host: &Option<String>| {
                host.as_deref().map(|host| match host {
                    "localhost" => "127.0.0.1".to_owned(),
                    host => host.to_owned(),
                })
            };
            let v6 = |host: &Option<String>| host.as_deref().is_some_and(|host| host.contains(':'));
            let overlap = match (everywhere(one_host), everywhere(other_host)) {
                (true, true) => true,
                (true, false) => !v6(other_host) || one_host.is_none(),
                (false, true) => !v6(one_host) || other_host.is_none(),
                (false, false) => plain(one_host) == plain(other_host),
            };
            a == b && overlap && !apart && !elsewhere
        }
        _ => false,
    }
}

fn in_each_others_way(before: &Listener, listener: &Listener, all: &[Listener], notes: &mut Notes) {
    let (Some(first), Some(place)) = (&before.place, &listener.place) else {
        return;
    };
    // The default listener comes last. Its options were meant for a listener that is there.
    let is_last = all.last().is_some_and(|last| std::ptr::eq(last, listener));
    let address = match &listener.address {
        Address::Tcp { port, .. } => format!("port {port}"),
        Address::Unix(path) => path.display().to_string(),
        Address::Loopback { .. } => return,
    };
    let above = is_last && (place.file != first.file || place.line < first.line);
    let reason = if above {
        format!(
            "the line makes a listener on {address}, as it stands above the one in {first}: move it below that"
        )
    } else {
        format!("{address} is taken by the listener in {first}: remove one of the two")
    };
    notes.fault(Exit::Start, place, reason, None);
}

fn must_be_there(
    option: &str,
    file: &At<PathBuf>,
    exit: Exit,
    wanted: Look,
    notes: &mut Notes,
    files: &dyn Files,
) {
    let path = file.value.display();
    let reason = match (files.look(&file.value), wanted) {
        (Look::File, Look::File) | (Look::Folder, Look::Folder) => return,
        (Look::Missing, _) => format!("{path} does not exist"),
        (Look::Forbidden, _) => format!("{path} may not be read by this user"),
        (Look::Folder, _) => format!("{path} is a folder"),
        (Look::File, _) => format!("{path} is no folder"),
    };
    let similar = sibling(&file.value, files);
    let instead = similar.map(|path| format!("{option} {}", path.display()));
    notes.fault(exit, &file.place, reason, instead);
}

/// A file beside a missing one whose name is much like its own.
fn sibling(path: &Path, files: &dyn Files) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent()?;
    let mut names = files.list(folder).ok()?;
    names.sort();
    let begins_alike = |other: &str| {
        let pairs = name.bytes().zip(other.bytes());
        pairs.take_while(|(one, other)| one == other).count() >= 4
    };
    let alike = |other: &&String| edits(name, other, 2) <= 2 || begins_alike(other);
    let is_file = |other: &&String| files.look(&folder.join(other)) == Look::File;
    let names = names
        .iter()
        .take(SIBLINGS_MAX)
        .filter(alike)
        .filter(is_file);
    let nearest = names.min_by_key(|other| edits(name, other, 10))?;
    Some(folder.join(nearest))
}

/// Options of listeners above the first one, in a file that has no default listener.
pub(super) fn lost_default_options(said: &Statements, notes: &mut Notes) {
    for option in [
        "allow_anonymous",
        "acl_file",
        "auto_id_prefix",
        "tls_version",
        "mount_point",
    ] {
        if let Some(place) = said.place(option) {
            let text = format!(
                "`{option}` above the first `listener` belongs to no listener: move it below the listener it is for"
            );
            notes.warn(place, text);
        }
    }
}

/// Says what surprises: doors that are open or shut to everybody because of a line that is missing.
pub(super) fn who_may_come_in(listeners: &[Listener], drafts: &Drafts, notes: &mut Notes) {
    let shut = |listener: &&Listener| {
        let by_certificate = listener
            .tls
            .as_ref()
            .is_some_and(|tls| tls.user_name.is_some());
        !listener.security.anonymous
            && listener.security.password_file.is_none()
            && !by_certificate
            && listener.protocol != Protocol::HttpApi
    };
    if let Some(listener) = listeners.iter().find(shut) {
        let place = place_of(listener, drafts);
        let said = drafts.global.flag("allow_anonymous").is_some();
        let why = if said {
            ""
        } else {
            ", since Mosquitto 2.0 without a line as well"
        };
        let text = format!(
            "nobody can connect here: anonymous Clients may not{why}, and there is no `password_file`"
        );
        notes.remark(&place, text);
    }
    let half_open = |listener: &&Listener| {
        listener.security.anonymous && listener.security.password_file.is_some()
    };
    for listener in listeners.iter().filter(half_open) {
        let loopback = matches!(listener.address, Address::Loopback { .. });
        let said = drafts.global.flag("allow_anonymous").is_some();
        if loopback
            && !said
            && let Some(file) = &listener.security.password_file
        {
            let text = "Clients without a user name may come in too, as there is no `listener`, and no `allow_anonymous false`";
            notes.warn_instead(&file.place, text, "allow_anonymous false".to_owned());
        }
    }
    for listener in listeners.iter().filter(|listener| listener.tls.is_none()) {
        let of = |section: &&Section| Some(&section.place) == listener.place.as_ref();
        let said = drafts
            .listeners
            .iter()
            .find(of)
            .map_or(&drafts.default, |section| &section.said);
        for option in [
            "tls_version",
            "crlfile",
            "disable_client_cert_date_checks",
            "max_fragment_size",
        ] {
            if let Some(place) = said.place(option) {
                notes.no_effect(
                    place,
                    format!("`{option}` has no effect without `certfile` and `keyfile`"),
                );
            }
        }
    }
}

fn place_of(listener: &Listener, drafts: &Drafts) -> Place {
    listener.place.clone().unwrap_or_else(|| Place {
        file: drafts
            .files
            .first()
            .map_or_else(String::new, |file| file.display().to_string())
            .into(),
        line: 0,
    })
}
