//! Who may come in, by which addresses, and who has the ports.

use super::{Finding, refused};
use crate::config::{Address, Config, Hosts, Listener};
use crate::io::holder::Holder;
use crate::io::link::Wrapping;
use crate::io::listener::listen_all;
use nix::ifaddrs::getifaddrs;
use std::net::{IpAddr, SocketAddr};

pub fn look(config: &Config, lan: &[IpAddr], found: &mut Vec<Finding>) {
    let mut ports = Vec::new();
    for listener in &config.listeners {
        if let Some(address) = listener.open_by_mistake() {
            found.push(
                Finding::fault(format!(
                    "--bind {address} lets other machines in without a password"
                ))
                .why("the broker does not start")
                .mend("add --passwd FILE, or --allow-anonymous to allow it"),
            );
            continue;
        }
        who(config, listener, lan, found);
        let port = listener.port();
        if port != 0 && ports.contains(&port) && shares_addresses(config, listener) {
            let place = place(listener);
            found.push(
                Finding::fault(format!("{place}port {port} has another listener already"))
                    .why("the broker does not start")
                    .mend("give each listener a port of its own"),
            );
            continue;
        }
        ports.push(port);
        reached_by(listener, lan, found);
        bind(config, listener, found);
    }
}

fn place(listener: &Listener) -> String {
    match &listener.place {
        Some(place) => format!("{place}: "),
        None => String::new(),
    }
}

/// Another listener of this port has an address of this one, or all.
fn shares_addresses(config: &Config, listener: &Listener) -> bool {
    let hosts = |listener: &Listener| match &listener.address {
        Address::Tcp { hosts, .. } => hosts.addresses(),
        Address::Unix(_) => Vec::new(),
    };
    let mine = hosts(listener);
    let others = config
        .listeners
        .iter()
        .filter(|other| !std::ptr::eq(*other, listener) && other.port() == listener.port());
    let meets = |other: &Listener| {
        let theirs = hosts(other);
        let all = |addresses: &[IpAddr]| addresses.iter().any(IpAddr::is_unspecified);
        all(&mine) || all(&theirs) || theirs.iter().any(|address| mine.contains(address))
    };
    others.into_iter().any(meets)
}

/// Who may connect, and whether they can.
fn who(config: &Config, listener: &Listener, lan: &[IpAddr], found: &mut Vec<Finding>) {
    let place = place(listener);
    let settings = &listener.settings;
    let from_file = config.source.is_some();
    let is_local = matches!(
        &listener.address,
        Address::Tcp {
            hosts: Hosts::Loopback,
            ..
        }
    );
    if listener.passwd.is_none() && !settings.anonymous && !settings.certificate_names {
        found.push(
            Finding::fault(format!("{place}nobody may connect"))
                .why("there is no password file, and clients without a user name are not allowed")
                .mend("write: password_file /etc/mosquitto/passwd, or: allow_anonymous true"),
        );
        return;
    }
    if is_local && listener.passwd.is_some() && from_file && !lan.is_empty() {
        let own: Vec<String> = lan.iter().map(IpAddr::to_string).collect();
        found.push(
            Finding::warning("only programs on this machine can connect, though there are users")
                .why(format!(
                    "without a `listener` line the broker listens on 127.0.0.1 alone, and not on {}",
                    own.join(", ")
                ))
                .mend("write: listener 1883"),
        );
        return;
    }
    let is_loopback =
        |hosts: &Hosts| !hosts.addresses().is_empty() && hosts.beyond_loopback().is_none();
    let from = match &listener.address {
        Address::Tcp { hosts, .. } if !is_loopback(hosts) => "from every machine that reaches it",
        Address::Tcp { .. } | Address::Unix(_) => "from this machine alone",
    };
    found.push(Finding::fine(
        match (&listener.passwd, settings.anonymous) {
            _ if settings.certificate_names => {
                format!("{place}clients with a certificate may connect, {from}")
            }
            (Some(file), true) => format!(
                "{place}clients without a user name may connect, and users of {}, {from}",
                file.display()
            ),
            (Some(file), false) => format!(
                "{place}only users of {} may connect, {from}",
                file.display()
            ),
            (None, _) => format!("{place}anyone may connect, {from}"),
        },
    ));
}

/// By which addresses others reach what listens on all of them.
fn reached_by(listener: &Listener, lan: &[IpAddr], found: &mut Vec<Finding>) {
    let Address::Tcp {
        hosts,
        port,
        family,
    } = &listener.address
    else {
        return;
    };
    let listens = hosts.addresses();
    let is_all = |lan: &IpAddr| {
        listens
            .iter()
            .any(|address| address.is_unspecified() && address.is_ipv4() == lan.is_ipv4())
    };
    let by: Vec<String> = lan
        .iter()
        .filter(|address| is_all(address) && family.is_none_or(|family| family.is_of(address)))
        .map(|address| SocketAddr::new(*address, *port).to_string())
        .collect();
    if !by.is_empty() {
        let place = place(listener);
        found.push(Finding::fine(format!(
            "{place}other machines reach it at {}",
            by.join(", ")
        )));
    }
}

/// The addresses must be this machine's and the port free, or held by a broker that runs already.
fn bind(config: &Config, listener: &Listener, found: &mut Vec<Finding>) {
    let Address::Tcp { port, .. } = &listener.address else {
        return;
    };
    let alone = Config {
        listeners: vec![listener.clone()],
        ..config.clone()
    };
    if let Err(error) = listen_all(&alone, &[Wrapping::default()]) {
        let holder = Holder::of(*port).to_string();
        match error.to_string().contains("is in use") && holder.contains("by mqttfast (process") {
            true => found.push(Finding::fine(format!(
                "port {port} is held by a mqttfast that runs"
            ))),
            false => found.push(refused(&error)),
        }
    }
}

/// Addresses by which other machines may reach this one.
pub fn lan_addresses() -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for interface in getifaddrs().into_iter().flatten() {
        let address = interface.address.as_ref().and_then(|address| {
            let v4 = address
                .as_sockaddr_in()
                .map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| {
                address
                    .as_sockaddr_in6()
                    .map(|address| IpAddr::V6(address.ip()))
            })
        });
        let is_others = |address: &IpAddr| match address {
            IpAddr::V4(address) => !address.is_loopback(),
            IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
        };
        found.extend(address.filter(|address| is_others(address) && !found.contains(address)));
    }
    found
}
