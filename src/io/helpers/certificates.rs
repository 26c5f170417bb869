//! The certificates of all TLS listeners: read at the start, and again when the operator asks.

use crate::config::Config;
use crate::io::disk::Disk;
use crate::io::link::Wrapping;
use crate::io::link::tls::server::Server;
use crate::io::link::tls::terms::Terms;
use crate::io::link::tls::tickets::Keys;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the listeners show, by their number; copies share it.
#[derive(Clone)]
pub struct Certificates {
    servers: Arc<[Option<Arc<Server>>]>,
    keys: Arc<Keys>,
}

/// What was read again, and is not in force yet: by the listener's number.
pub struct Renewed {
    terms: Vec<Option<Terms>>,
    /// What the operator should be told, a line each.
    pub warnings: Vec<String>,
}

impl Certificates {
    /// Reads the files of all listeners. Also what the operator should be told of them, a line each.
    ///
    /// Errors: one sentence with file and remedy.
    pub fn load(config: &Config) -> Result<(Certificates, Vec<String>), String> {
        let keys = Arc::new(Keys::default());
        let has_tls = config.listeners.iter().any(|l| l.transport.tls.is_some());
        if has_tls {
            keys.rotate(now_s().unsigned_abs());
        }
        let Renewed { terms, warnings } = read(config, &keys)?;
        let server = |terms| Arc::new(Server::new(terms));
        let servers = terms.into_iter().map(|terms| terms.map(server)).collect();
        Ok((Certificates { servers, keys }, warnings))
    }

    /// What lies between socket and MQTT, by the listener's number.
    pub fn wrappings(&self, config: &Config) -> Vec<Wrapping> {
        let listeners = config.listeners.iter().zip(self.servers.iter());
        listeners
            .map(|(listener, server)| Wrapping::of(&listener.transport, server.clone()))
            .collect()
    }

    /// Some listener has TLS.
    pub fn are_any(&self) -> bool {
        self.servers.iter().any(Option::is_some)
    }

    /// Reads the files again, for the same listeners. Nothing changes before [`Certificates::exchange`].
    ///
    /// Errors: one sentence with file and remedy.
    pub fn prepare(&self, config: &Config) -> Result<Renewed, String> {
        read(config, &self.keys)
    }

    /// Puts what was read in force: handshakes that begin from now on go by it.
    pub fn exchange(&self, renewed: Renewed) {
        for (server, terms) in self.servers.iter().zip(renewed.terms) {
            if let (Some(server), Some(terms)) = (server, terms) {
                server.exchange(terms);
            }
        }
    }
}

fn read(config: &Config, keys: &Arc<Keys>) -> Result<Renewed, String> {
    let mut terms = Vec::new();
    let mut warnings = Vec::new();
    for listener in &config.listeners {
        let Some(tls) = &listener.transport.tls else {
            terms.push(None);
            continue;
        };
        let mut read = Terms::read(tls, &Disk, keys, now_s()).map_err(|why| {
            let place = listener.place.as_ref();
            place.map_or_else(|| why.clone(), |place| format!("{place}: {why}"))
        })?;
        for warning in std::mem::take(&mut read.warnings) {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        terms.push(Some(read));
    }
    Ok(Renewed { terms, warnings })
}

/// Seconds since 1970.
fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}
