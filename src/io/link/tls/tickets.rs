//! Tickets: what a Client shows to come back without a whole handshake. The broker keeps nothing of it but keys.
//!
//! A ticket is sealed with the newest key and opened with any; a new key comes every
//! [`limits::TLS_TICKET_KEY_S`], and each opens tickets for twice that time. The keys are kept in a file of the store's
//! directory, so that after a restart not every Client needs a whole handshake at once.
//!
//! ```text
//! ticket:  name of the key (16) | nonce (12) | sealed state | tag (16)
//! file:    MAGIC, then each key, the newest first: made at, seconds since 1970 (8, little endian) | name | key (32)
//! ```
//!
//! Tickets of one listener are none at another whose Clients are checked otherwise: the [`Scope`] is sealed with them.

use crate::limits;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use rustls::server::ProducesTickets;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

const NAME_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
const ENTRY_BYTES: usize = 8 + NAME_BYTES + KEY_BYTES;
/// How the file begins.
const MAGIC: &[u8; 16] = b"mqttfast tickets";
/// Keys that are kept: the newest, and those whose tickets still count.
const KEYS_MAX: usize = 3;

struct Key {
    made_s: u64,
    name: [u8; NAME_BYTES],
    secret: [u8; KEY_BYTES],
    key: LessSafeKey,
}

impl Key {
    /// `None`: the system gives no random numbers.
    fn new(made_s: u64) -> Option<Key> {
        let (mut name, mut secret) = ([0; NAME_BYTES], [0; KEY_BYTES]);
        getrandom::fill(&mut name).ok()?;
        getrandom::fill(&mut secret).ok()?;
        Key::of(made_s, name, secret)
    }

    fn of(made_s: u64, name: [u8; NAME_BYTES], secret: [u8; KEY_BYTES]) -> Option<Key> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &secret).ok()?;
        Some(Key {
            made_s,
            name,
            secret,
            key: LessSafeKey::new(key),
        })
    }

    fn age_s(&self, now_s: u64) -> u64 {
        now_s.saturating_sub(self.made_s)
    }
}

/// The keys of all listeners, the newest first. Without any, no tickets are given.
#[derive(Default)]
pub struct Keys {
    keys: Mutex<Arc<[Key]>>,
}

impl Keys {
    /// Takes the keys that a file has, in the place of those there are. Keys that are too old, or come from the future,
    /// are left out; a file without any changes nothing.
    pub fn take(&self, bytes: &[u8], now_s: u64) {
        let entries = bytes.strip_prefix(MAGIC).unwrap_or_default();
        let read = |entry: &[u8]| {
            let (made, rest) = entry.split_first_chunk::<8>()?;
            let (name, rest) = rest.split_first_chunk::<NAME_BYTES>()?;
            let secret = rest.try_into().ok()?;
            Key::of(u64::from_le_bytes(*made), *name, secret)
        };
        let keys = entries.chunks_exact(ENTRY_BYTES).filter_map(read);
        let keys = keys.filter(|key| key.made_s <= now_s);
        let keys = keys.filter(|key| key.age_s(now_s) < 2 * limits::TLS_TICKET_KEY_S);
        let keys: Arc<[Key]> = keys.take(KEYS_MAX).collect();
        if !keys.is_empty() {
            *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = keys;
        }
    }

    /// The file that [`Keys::take`] reads.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for key in self.keys().iter() {
            bytes.extend_from_slice(&key.made_s.to_le_bytes());
            bytes.extend_from_slice(&key.name);
            bytes.extend_from_slice(&key.secret);
        }
        bytes
    }

    /// Makes a new key if the newest is too old, and forgets those whose time is over. `true`: the keys are others now.
    pub fn rotate(&self, now_s: u64) -> bool {
        let keys = self.keys();
        let newest = keys.first().map(|key| key.age_s(now_s));
        if newest.is_some_and(|age| age < limits::TLS_TICKET_KEY_S) {
            return false;
        }
        let Some(new) = Key::new(now_s) else {
            return false;
        };
        let again = |key: &Key| Key::of(key.made_s, key.name, key.secret);
        let old = keys
            .iter()
            .filter(|key| key.age_s(now_s) < 2 * limits::TLS_TICKET_KEY_S);
        let keys = [new].into_iter().chain(old.filter_map(again));
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = keys.take(KEYS_MAX).collect();
        true
    }

    fn keys(&self) -> Arc<[Key]> {
        Arc::clone(&self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Connections that may come back by each other's tickets: their listeners check Clients in the same way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scope([u8; 32]);

impl Scope {
    /// Of all that matters in checking a Client.
    pub fn of(parts: &[&[u8]]) -> Scope {
        let mut all = Vec::new();
        for part in parts {
            all.extend_from_slice(&(part.len() as u64).to_le_bytes());
            all.extend_from_slice(part);
        }
        let mut scope = [0; 32];
        scope.copy_from_slice(digest(&SHA256, &all).as_ref());
        Scope(scope)
    }
}

/// Seals and opens the tickets of a scope.
pub struct Tickets {
    keys: Arc<Keys>,
    scope: Scope,
}

impl Tickets {
    /// By these keys.
    pub fn new(keys: Arc<Keys>, scope: Scope) -> Tickets {
        Tickets { keys, scope }
    }

    fn sealed_with(&self, name: &[u8; NAME_BYTES]) -> Aad<[u8; NAME_BYTES + 32]> {
        let mut all = [0; NAME_BYTES + 32];
        all[..NAME_BYTES].copy_from_slice(name);
        all[NAME_BYTES..].copy_from_slice(&self.scope.0);
        Aad::from(all)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        !self.keys.keys().is_empty()
    }

    fn lifetime(&self) -> u32 {
        // The newest key opens tickets for as long again as it seals them.
        limits::TLS_TICKET_KEY_S as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.keys();
        let key = keys.first()?;
        // A random nonce: a number would tell how many Clients there are. 2^32 tickets of one key are far away.
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        key.key
            .seal_in_place_append_tag(nonce_used, self.sealed_with(&key.name), &mut sealed)
            .ok()?;
        let mut ticket = Vec::with_capacity(NAME_BYTES + NONCE_LEN + sealed.len());
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(&nonce);
        ticket.append(&mut sealed);
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.keys.keys();
        let key = keys.iter().find(|key| key.name == *name)?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = key
            .key
            .open_in_place(nonce, self.sealed_with(name), &mut sealed);
        opened.ok().map(|plain| plain.to_vec())
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn made(now_s: u64) -> Arc<Keys> {
        let keys = Keys::default();
        assert!(keys.rotate(now_s));
        Arc::new(keys)
    }

    #[test]
    fn a_ticket_is_opened_in_its_scope_alone() {
        let keys = made(DAY);
        let [one, other] = [b"one", b"two"].map(|scope| {
            let scope = Scope::of(&[scope]);
            Tickets::new(Arc::clone(&keys), scope)
        });
        let ticket = one.encrypt(b"state").unwrap();
        assert_eq!(one.decrypt(&ticket).unwrap(), b"state");
        assert_eq!(other.decrypt(&ticket), None);
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(one.decrypt(&changed), None);
            assert_eq!(one.decrypt(&ticket[..at]), None);
        }
    }

    #[test]
    fn keys_rotate_and_old_ones_open_for_a_time() {
        let keys = made(DAY);
        let tickets = Tickets::new(Arc::clone(&keys), Scope::of(&[]));
        let ticket = tickets.encrypt(b"state").unwrap();
        assert!(!keys.rotate(DAY + limits::TLS_TICKET_KEY_S - 1));
        assert!(keys.rotate(DAY + limits::TLS_TICKET_KEY_S));
        assert_eq!(tickets.decrypt(&ticket).unwrap(), b"state");
        let newer = tickets.encrypt(b"newer").unwrap();
        assert!(keys.rotate(DAY + 2 * limits::TLS_TICKET_KEY_S));
        assert_eq!(tickets.decrypt(&ticket), None);
        assert_eq!(tickets.decrypt(&newer).unwrap(), b"newer");
    }

    #[test]
    fn keys_outlive_a_restart_but_not_their_time() {
        let keys = made(DAY);
        let ticket = Tickets::new(Arc::clone(&keys), Scope::of(&[])).encrypt(b"state");
        let file = keys.write();
        let read = |bytes: &[u8], now_s| {
            let keys = Keys::default();
            keys.take(bytes, now_s);
            let tickets = Tickets::new(Arc::new(keys), Scope::of(&[]));
            tickets.decrypt(ticket.as_ref().unwrap())
        };
        assert_eq!(read(&file, DAY + 5).unwrap(), b"state");
        assert_eq!(read(&file, DAY + 2 * limits::TLS_TICKET_KEY_S), None);
        assert_eq!(read(&file, DAY - 1), None);
        assert_eq!(read(b"something else", DAY), None);
        assert_eq!(read(&file[..file.len() - 1], DAY), None);
        let none = Tickets::new(Arc::default(), Scope::of(&[]));
        assert!(!none.enabled() && none.encrypt(b"state").is_none());
    }
}
