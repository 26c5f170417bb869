//! The files that a broker reads and writes: passwords, rules, certificates, the log, the file with its number. Each by
//! the code of a start; and whether the user of the service may read them again at a reload.

use super::{Finding, Level, refused};
use crate::config::mosquitto::LogDestination;
use crate::config::{Address, Config, Tls};
use crate::io::console::shown;
use crate::io::helpers::bridge::host_name;
use crate::io::helpers::certificates::Certificates;
use crate::io::helpers::rules;
use crate::io::link::tls::look::{Certificate, Names};
use crate::io::user::RunAs;
use crate::passwd::PasswordFile;
use nix::unistd::{Gid, Uid, User, geteuid, getgrouplist};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, File};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Who reads and writes.
pub struct Reader {
    /// Login name.
    pub name: String,
    uid: Uid,
    groups: Vec<Gid>,
    /// It is who runs this.
    is_me: bool,
}

impl Reader {
    /// By the configuration, the service, or who runs this.
    pub fn of(config: &Config, service: Option<&str>, found: &mut Vec<Finding>) -> Reader {
        let of_config = RunAs::of(config.user.as_ref()).ok().flatten();
        let wanted = of_config.map(|run_as| run_as.name);
        let wanted = wanted.or_else(|| service.map(str::to_owned));
        let me = geteuid();
        let known = match &wanted {
            Some(name) => User::from_name(name).ok().flatten(),
            None => User::from_uid(me).ok().flatten(),
        };
        if let (Some(name), None) = (&wanted, &known) {
            found.push(
                Finding::fault(format!("there is no user {name} on this machine"))
                    .why("the service cannot run as this user")
                    .mend(format!("sudo useradd --system --no-create-home {name}")),
            );
        }
        match known {
            Some(user) => {
                let name = CString::new(user.name.as_str()).unwrap_or_default();
                Reader {
                    groups: getgrouplist(&name, user.gid).unwrap_or_else(|_| vec![user.gid]),
                    is_me: user.uid == me,
                    uid: user.uid,
                    name: user.name,
                }
            }
            None => Reader {
                name: me.to_string(),
                uid: me,
                groups: Vec::new(),
                is_me: true,
            },
        }
    }

    /// May read the file, or with `wanted` 2 write there, with all folders on the way.
    pub fn may(&self, path: &Path, wanted: u32) -> bool {
        if self.uid.is_root() {
            return true;
        }
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let has = |path: &Path, right: u32| {
            let Ok(metadata) = path.metadata() else {
                return false;
            };
            let mode = metadata.mode();
            let bits = if metadata.uid() == self.uid.as_raw() {
                mode >> 6
            } else if self.groups.contains(&Gid::from_raw(metadata.gid())) {
                mode >> 3
            } else {
                mode
            };
            bits & right == right
        };
        has(&path, wanted) && path.ancestors().skip(1).all(|folder| has(folder, 1))
    }
}

pub fn look(config: &Config, reader: &Reader, lan: &[IpAddr], found: &mut Vec<Finding>) {
    let before = found.len();
    let passwords = distinct(config.listeners.iter().filter_map(|l| l.passwd.clone()));
    let mut users = BTreeSet::new();
    for path in &passwords {
        password_file(path, config, &mut users, found);
        rights(path, reader, found);
    }
    for path in &distinct(config.listeners.iter().filter_map(|l| l.acl.clone())) {
        let users = (!passwords.is_empty()).then_some(&users);
        rules_file(path, config, users, found);
        rights(path, reader, found);
    }
    for listener in &config.listeners {
        if let Some(tls) = &listener.transport.tls {
            let alone = Config {
                listeners: vec![listener.clone()],
                ..config.clone()
            };
            certificates(&alone, tls, reader, lan, found);
        }
    }
    written(config, reader, found);
    if found[before..].iter().all(|of| of.level == Level::Fine) {
        found.push(Finding::fine(format!(
            "the user {} may read and write all files that are named",
            reader.name
        )));
    }
}

fn distinct(paths: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    paths.collect::<BTreeSet<_>>().into_iter().collect()
}

fn password_file(
    path: &Path,
    config: &Config,
    users: &mut BTreeSet<String>,
    found: &mut Vec<Finding>,
) {
    let file = match PasswordFile::load(path) {
        Ok(file) => file,
        Err(error) => return found.push(refused(&error)),
    };
    let is_needed = config
        .listeners
        .iter()
        .any(|l| l.passwd.as_deref() == Some(path) && !l.settings.anonymous);
    let is_empty = file.is_empty();
    if is_empty && is_needed {
        let shown = path.display();
        found.push(
            Finding::fault(format!("password file {shown}: there is no user in it"))
                .why("nobody can log in")
                .mend(format!("sudo mqttfast passwd {shown} NAME")),
        );
    }
    for warning in file.warnings(path) {
        // It is told above, or nobody needs one.
        if is_empty && warning.contains(" has no users") {
            continue;
        }
        found.push(
            Finding::warning(warning)
                .why("who stands there cannot log in, or others could read the file"),
        );
    }
    users.extend(file.users().map(|(_, name, _)| name.to_owned()));
}

fn rules_file(
    path: &Path,
    config: &Config,
    users: Option<&BTreeSet<String>>,
    found: &mut Vec<Finding>,
) {
    let acl = match rules::read_file(path) {
        Ok(acl) => acl,
        Err(faults) => {
            for fault in faults.sentences() {
                found.push(refused(&fault));
            }
            return;
        }
    };
    for warning in acl.warnings() {
        let text = format!(
            "ACL file {}:{}: {}",
            path.display(),
            warning.line,
            warning.text
        );
        found.push(Finding::warning(text).why("the rule does something else than it seems to say"));
    }
    let Some(users) = users else {
        // That nobody may connect at all is told already.
        if !config.listeners.iter().any(|l| l.settings.anonymous) {
            return;
        }
        found.push(
            Finding::warning(format!(
                "ACL file {}: there is no password file beside it",
                path.display()
            ))
            .why("nobody checks user names, so anyone may come as any user of the rules")
            .mend("add a password file: --passwd FILE, or write: password_file FILE"),
        );
        return;
    };
    let mut unknown: Vec<&str> = acl.users().filter(|user| !users.contains(*user)).collect();
    unknown.sort_unstable();
    if !unknown.is_empty() {
        found.push(
            Finding::warning(format!(
                "ACL file {}: users without a password: {}",
                path.display(),
                unknown.join(", ")
            ))
            .why("their rules are for nobody, as they cannot log in; perhaps a name is misspelt")
            .mend("correct the name, or add the user: mqttfast passwd FILE NAME"),
        );
    }
}

fn certificates(
    alone: &Config,
    tls: &Tls,
    reader: &Reader,
    lan: &[IpAddr],
    found: &mut Vec<Finding>,
) {
    let is_open = alone
        .listeners
        .iter()
        .any(|listener| match &listener.address {
            Address::Tcp { hosts, .. } => hosts.beyond_loopback().is_some(),
            Address::Unix(_) => false,
        });
    match Certificates::load(alone) {
        Ok((_, warnings)) => {
            for warning in warnings {
                found.push(
                    Finding::warning(warning)
                        .why("clients refuse such a certificate, or will before long"),
                );
            }
        }
        Err(error) => return found.push(refused(&error)),
    }
    for pair in &tls.certificates {
        rights(&pair.key, reader, found);
        rights(&pair.certificate, reader, found);
        let Some(certificate) = Certificate::read(&pair.certificate) else {
            continue;
        };
        let file = pair.certificate.display();
        let names = certificate.names.filter(|_| certificate.version == 3);
        let Some(names) = names else {
            found.push(
                Finding::warning(format!(
                    "{file}: the certificate has no host name (subjectAltName)"
                ))
                .why("clients that check names refuse it, whatever its CN says")
                .mend("make it anew with: -addext subjectAltName=DNS:NAME,IP:ADDRESS"),
            );
            continue;
        };
        found.extend(named(&pair.certificate, &names, is_open, lan, &host_name()));
    }
}

/// The names of a certificate against those of this machine. A name that only a name server knows may be right: it is
/// told, and not doubted.
fn named(path: &Path, names: &Names, is_open: bool, lan: &[IpAddr], host: &str) -> Option<Finding> {
    let file = path.display();
    let all: Vec<String> = (names.hosts.iter().cloned())
        .chain(names.addresses.iter().map(IpAddr::to_string))
        .collect();
    if all.is_empty() {
        return None;
    }
    let listed = shown::whole(&all.join(", "));
    let is_here = |name: &String| name == "localhost" || name.ends_with(".localhost");
    let mut addresses = names.addresses.iter();
    let finding = if !is_open || names.hosts.iter().any(|name| !is_here(name)) {
        let text =
            format!("{file}: clients must be given one of the names of the certificate: {listed}");
        return Some(Finding::fine(text));
    } else if addresses.clone().all(IpAddr::is_loopback) {
        Finding::warning(format!(
            "{file}: the certificate is for this machine alone: {listed}"
        ))
        .why("clients on other machines refuse it, as they connect by another name")
    } else if !lan.is_empty() && !addresses.any(|address| lan.contains(address)) {
        let own: Vec<String> = lan.iter().map(IpAddr::to_string).collect();
        Finding::warning(format!(
            "{file}: the certificate is for {listed}, and this machine has {}",
            own.join(", ")
        ))
        .why("clients refuse it, as they connect by another address")
    } else {
        return None;
    };
    let mut wanted: Vec<String> = vec![format!("DNS:{host}"), format!("DNS:{host}.local")];
    wanted.extend(lan.iter().map(|address| format!("IP:{address}")));
    let wanted = wanted.join(",");
    Some(finding.mend(format!(
        "make it anew with: -addext subjectAltName={wanted}"
    )))
}

/// A file that was read now may not be readable when it is read again.
fn rights(path: &Path, reader: &Reader, found: &mut Vec<Finding>) {
    if reader.is_me || !path.exists() || reader.may(path, 4) {
        return;
    }
    let (file, name) = (path.display(), &reader.name);
    found.push(
        Finding::fault(format!("{file} may not be read by the user {name}"))
            .why("the broker runs as this user, and reads the file at its start or at a reload")
            .mend(format!("sudo chgrp {name} {file} && sudo chmod 640 {file}")),
    );
}

/// Files that the broker writes: their folders must be there.
fn written(config: &Config, reader: &Reader, found: &mut Vec<Finding>) {
    let mut named: Vec<&Path> = config
        .pid_file
        .iter()
        .map(|file| file.value.as_path())
        .collect();
    let pid_files = named.len();
    if let Some(logging) = &config.logging {
        named.extend(logging.destinations.iter().filter_map(|to| match to {
            LogDestination::File(path) => Some(path.as_path()),
            _ => None,
        }));
    }
    for (index, path) in named.into_iter().enumerate() {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        // Root writes the first before it becomes another.
        let may = match reader.is_me || index < pid_files {
            true => {
                fs::metadata(folder).is_ok()
                    && (!path.exists() || File::options().append(true).open(path).is_ok())
            }
            false => reader.may(folder, 3) || path.exists() && reader.may(path, 2),
        };
        if !may {
            let (folder, name) = (folder.display(), &reader.name);
            found.push(
                Finding::fault(format!(
                    "{} cannot be written by the user {name}",
                    path.display()
                ))
                .why("its folder is not there, or is not this user's")
                .mend(format!("sudo install -d -o {name} {folder}")),
            );
        }
    }
}
