//! The digests of a password file, and how a password is held against one.
//!
//! ```text
//! $6$<salt>$<digest>                       SHA-512 once over password, then salt (not the `$6$` of crypt(3))
//! $7$<iterations>$<salt>$<digest>          PBKDF2-HMAC-SHA512
//! $argon2id$v=19$<cost>$<salt>$<digest>    Argon2id, see `argon2id`
//! ```
//!
//! Salt and digest of the first two are base64 in the standard alphabet with padding; the salt has 12 bytes
//! (`mosquitto_passwd` up to 2.0) or 64 (from 2.1), the digest 64.

use super::argon2id::{self, Cost};
use super::fault::LineFault;
use crate::limits;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha512};
use std::fmt;
use subtle::ConstantTimeEq;

/// Bytes of either digest.
const DIGEST_BYTES: usize = 64;
/// Bytes of a salt `mqttfast passwd` draws: the length that every version of Mosquitto reads.
pub const SALT_BYTES: usize = 12;
/// The other length in use, written by Mosquitto 2.1.
const SALT_LONG_BYTES: usize = 64;

/// Which digest to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// `$6$`: one SHA-512, as Mosquitto up to 1.6 wrote it. Fast to guess; only for such old brokers.
    Sha512,
    /// `$7$`: PBKDF2-HMAC-SHA512 with this many iterations, 1..=[`limits::PASSWORD_ITERATIONS_MAX`].
    Pbkdf2 {
        /// Each one makes a guess dearer, and each login too.
        iterations: u32,
    },
    /// `$argon2id$`: a guess takes memory as well, and so does a login. Mosquitto reads it from 2.1 on.
    Argon2id(Cost),
}

/// The second field of a line: a scheme, a salt and the digest of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash {
    scheme: Scheme,
    salt: Box<[u8]>,
    digest: Box<[u8]>,
}

impl Hash {
    /// Computes the digest of `password` with a salt of the caller's drawing; `None`: there is no memory for it.
    pub fn new(scheme: Scheme, password: &[u8], salt: [u8; SALT_BYTES]) -> Option<Hash> {
        Some(Hash {
            scheme,
            digest: digest(scheme, password, &salt, DIGEST_BYTES)?,
            salt: Box::new(salt),
        })
    }

    /// Costs as much to verify as any of its scheme, and is nobody's: its digest was not computed.
    pub(super) fn of_nobody(scheme: Scheme) -> Hash {
        Hash {
            scheme,
            salt: Box::new([0; SALT_BYTES]),
            digest: Box::new([0; DIGEST_BYTES]),
        }
    }

    /// Reads the second field of a line, already without blanks around it.
    ///
    /// Errors name the part that is wrong; a field that does not start with `$` is `PlainText`.
    pub fn parse(text: &str) -> Result<Hash, LineFault> {
        if text.is_empty() {
            return Err(LineFault::NoPassword);
        }
        let Some(rest) = text.strip_prefix('$') else {
            return Err(LineFault::PlainText);
        };
        let (scheme, rest) = rest.split_once('$').ok_or(LineFault::UnknownScheme)?;
        let (scheme, rest) = match scheme {
            "6" => (Scheme::Sha512, rest),
            "7" => {
                let (iterations, rest) = rest.split_once('$').ok_or(LineFault::MissingField)?;
                let iterations = parse_iterations(iterations)?;
                (Scheme::Pbkdf2 { iterations }, rest)
            }
            "argon2id" => {
                let (cost, salt, digest) = argon2id::parse(rest)?;
                return Ok(Hash {
                    scheme: Scheme::Argon2id(cost),
                    salt,
                    digest,
                });
            }
            "argon2i" | "argon2d" => return Err(LineFault::Argon2),
            _ => return Err(LineFault::UnknownScheme),
        };
        let (salt, digest) = rest.split_once('$').ok_or(LineFault::MissingField)?;
        let salt = STANDARD.decode(salt).map_err(|_| LineFault::Salt)?;
        if salt.len() != SALT_BYTES && salt.len() != SALT_LONG_BYTES {
            return Err(LineFault::Salt);
        }
        let digest = STANDARD.decode(digest).map_err(|_| LineFault::Digest)?;
        if digest.len() != DIGEST_BYTES {
            return Err(LineFault::Digest);
        }
        Ok(Hash {
            scheme,
            salt: salt.into(),
            digest: digest.into(),
        })
    }

    /// Is this the digest of `password`? Takes the same time for any answer: the digests are compared without a branch.
    /// Without the memory for it no password is right.
    pub fn verify(&self, password: &[u8]) -> bool {
        let found = digest(self.scheme, password, &self.salt, self.digest.len());
        found.is_some_and(|found| found.ct_eq(&self.digest).into())
    }

    /// What made the digest, and for `$7$` its iterations.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }
}

/// The field as a line of the file holds it.
impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Sha512 => write!(f, "$6$")?,
            Scheme::Pbkdf2 { iterations } => write!(f, "$7${iterations}$")?,
            Scheme::Argon2id(cost) => {
                return f.write_str(&argon2id::show(cost, &self.salt, &self.digest));
            }
        }
        write!(
            f,
            "{}${}",
            STANDARD.encode(&self.salt),
            STANDARD.encode(&self.digest)
        )
    }
}

/// Shows the scheme alone: digests do not belong in a log.
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({:?})", self.scheme)
    }
}

/// Decimal digits alone: `u32::from_str` would take a `+` too.
fn parse_iterations(text: &str) -> Result<u32, LineFault> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(LineFault::Iterations);
    }
    match text.parse::<u32>() {
        Ok(0) => Err(LineFault::Iterations),
        Ok(iterations) if iterations <= limits::PASSWORD_ITERATIONS_MAX => Ok(iterations),
        // Digits that do not fit in 32 bits are too many all the more.
        Ok(_) | Err(_) => Err(LineFault::IterationsTooMany),
    }
}

/// Iterations this thread has hashed so far: what a check costs, without a clock.
#[cfg(test)]
pub(super) fn iterations_done() -> u64 {
    ITERATIONS_DONE.get()
}

#[cfg(test)]
thread_local! {
    static ITERATIONS_DONE: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// `bytes`: [`DIGEST_BYTES`], but for Argon2id as many as are wanted. `None`: there is no memory for it.
fn digest(scheme: Scheme, password: &[u8], salt: &[u8], bytes: usize) -> Option<Box<[u8]>> {
    #[cfg(test)]
    ITERATIONS_DONE.set(
        ITERATIONS_DONE.get()
            + match scheme {
                Scheme::Sha512 | Scheme::Argon2id(_) => 1,
                Scheme::Pbkdf2 { iterations } => u64::from(iterations),
            },
    );
    match scheme {
        Scheme::Sha512 => {
            let mut hash = Sha512::new();
            hash.update(password);
            hash.update(salt);
            Some(Box::from(&hash.finalize()[..]))
        }
        Scheme::Pbkdf2 { iterations } => {
            let found =
                pbkdf2::pbkdf2_hmac_array::<Sha512, DIGEST_BYTES>(password, salt, iterations);
            Some(Box::new(found))
        }
        Scheme::Argon2id(cost) => {
            let mut tag = vec![0; bytes].into_boxed_slice();
            argon2id::digest(cost, password, salt, &mut tag).then_some(tag)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by mosquitto_passwd 2.0.11 for `alice` / `secret` and `old` / `oldpw`.
    const PBKDF2: &str = "$7$101$dJRVb0YElmDAtSWM$LGtgXLEgC1nJ/xzVh3QQNF4LzoAYc79t3AZ6WktAyZeu9eyDX10vVhkkMqwFwuYAdL+hQg/pZ6ah35YIfE5Xbg==";
    const SHA512: &str = "$6$PeS/X1OZ/ASKpDs/$w3n3MEI696QaTsBk12qY58as69W/BiBDNQlXlBEiTmBib5zzBb6ChmVjS1SZd8IQxbrADluvoFIZ9mE60VSQew==";

    #[test]
    fn vectors_of_mosquitto_verify_and_print_unchanged() {
        for (text, password) in [(PBKDF2, "secret"), (SHA512, "oldpw")] {
            let hash = Hash::parse(text).unwrap();
            assert!(hash.verify(password.as_bytes()));
            assert!(!hash.verify(b"wrong"));
            assert!(!hash.verify(b""));
            assert_eq!(hash.to_string(), text);
        }
    }

    /// Made by argon2-cffi 25.1 with the reference implementation in C: cost, salt and tag as of Mosquitto 2.1, and
    /// others.
    #[test]
    fn vectors_of_the_reference_of_argon2_verify_and_print_unchanged() {
        for (text, password) in [
            (
                "$argon2id$v=19$m=47104,t=1,p=1$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw$jN8KVtBuy9rOg+xx4HEO7K//Ei2hf4aegEDgCD4okj4rugUys2dVUsAyHcBFDFrGlWl198NIEs4dtHiTXPgqvA",
                "secret",
            ),
            (
                "$argon2id$v=19$m=64,t=3,p=2$MDEyMzQ1Njc4OWFiY2RlZg$GrJAdNS+Vom7dZtm9omNBWNoY5rRSDuOXq/pUS61CD8",
                "naïf€",
            ),
        ] {
            let hash = Hash::parse(text).unwrap();
            assert!(hash.verify(password.as_bytes()));
            assert!(!hash.verify(b"wrong") && !hash.verify(b""));
            assert_eq!(hash.to_string(), text);
        }
        let hash = Hash::new(Scheme::Argon2id(argon2id::COST), b"pass", [7; SALT_BYTES]).unwrap();
        let read = Hash::parse(&hash.to_string()).unwrap();
        assert!(read == hash && read.verify(b"pass") && !read.verify(b"passe"));
    }

    #[test]
    fn a_salt_of_64_bytes_verifies() {
        let salt = [0xA5; SALT_LONG_BYTES];
        for scheme in [Scheme::Sha512, Scheme::Pbkdf2 { iterations: 3 }] {
            let written = Hash {
                scheme,
                salt: Box::new(salt),
                digest: digest(scheme, b"pass", &salt, DIGEST_BYTES).unwrap(),
            };
            let read = Hash::parse(&written.to_string()).unwrap();
            assert!(read == written && read.verify(b"pass") && !read.verify(b"passe"));
        }
    }

    #[test]
    fn what_is_written_is_read_for_any_iterations() {
        for iterations in [1, 2, 101, 1000, 4097] {
            let hash = Hash::new(
                Scheme::Pbkdf2 { iterations },
                "naïf€".as_bytes(),
                [7; SALT_BYTES],
            )
            .unwrap();
            let read = Hash::parse(&hash.to_string()).unwrap();
            assert!(read == hash && read.verify("naïf€".as_bytes()));
        }
    }

    #[test]
    fn every_part_that_is_wrong_is_named() {
        let (salt, digest) = ("dJRVb0YElmDAtSWM", "A".repeat(86) + "==");
        let long = "A".repeat(85) + "B==";
        let tag = "A".repeat(43);
        for (text, fault) in [
            (String::new(), LineFault::NoPassword),
            ("secret".into(), LineFault::PlainText),
            ("$".into(), LineFault::UnknownScheme),
            ("$6".into(), LineFault::UnknownScheme),
            (format!("$5${salt}${digest}"), LineFault::UnknownScheme),
            (
                format!("$argon2i$v=19$m=64,t=1,p=1${salt}${tag}"),
                LineFault::Argon2,
            ),
            (
                format!("$argon2id$v=19$m=64,t=1,p=1${salt}"),
                LineFault::Argon2Field,
            ),
            (
                format!("$argon2id$v=16$m=64,t=1,p=1${salt}${tag}"),
                LineFault::Argon2Field,
            ),
            (
                format!("$argon2id$m=64,t=1,p=1${salt}${tag}"),
                LineFault::Argon2Field,
            ),
            (
                format!("$argon2id$v=19$m=64,t=1${salt}${tag}"),
                LineFault::Argon2Field,
            ),
            (
                format!("$argon2id$v=19$t=1,m=64,p=1${salt}${tag}"),
                LineFault::Argon2Field,
            ),
            (
                format!("$argon2id$v=19$m=64,t=0,p=1${salt}${tag}"),
                LineFault::Argon2Field,
            ),
            (
                format!("$argon2id$v=19$m=64,t=1,p=0${salt}${tag}"),
                LineFault::Argon2Field,
            ),
            (
                format!("$argon2id$v=19$m=15,t=1,p=2${salt}${tag}"),
                LineFault::Argon2Field,
            ),
            (
                format!("$argon2id$v=19$m=+64,t=1,p=1${salt}${tag}"),
                LineFault::Argon2Field,
            ),
            (
                format!("$argon2id$v=19$m=64,t=1,p=1,k=1${salt}${tag}"),
                LineFault::Argon2Field,
            ),
            (
                format!("$argon2id$v=19$m=64,t=1,p=1${salt}${tag}$"),
                LineFault::Argon2Field,
            ),
            (
                format!("$argon2id$v=19$m=64,t=1,p=1$dJRV${tag}"),
                LineFault::Argon2Field,
            ),
            (
                format!("$argon2id$v=19$m=64,t=1,p=1${salt}=${tag}"),
                LineFault::Argon2Field,
            ),
            (
                format!("$argon2id$v=19$m=64,t=1,p=1${salt}$AAAA"),
                LineFault::Argon2Field,
            ),
            (
                format!("$argon2id$v=19$m=65537,t=1,p=1${salt}${tag}"),
                LineFault::Argon2TooMuch,
            ),
            (
                format!("$argon2id$v=19$m=65536,t=5,p=1${salt}${tag}"),
                LineFault::Argon2TooMuch,
            ),
            (
                format!("$argon2id$v=19$m=64,t=99999999999,p=1${salt}${tag}"),
                LineFault::Argon2TooMuch,
            ),
            (
                format!("$argon2id$v=19$m=64,t=1,p=9${salt}${tag}"),
                LineFault::Argon2TooMuch,
            ),
            ("$6$".into(), LineFault::MissingField),
            (format!("$6${salt}"), LineFault::MissingField),
            (format!("$7${salt}"), LineFault::MissingField),
            (format!("$7$101${salt}"), LineFault::MissingField),
            (format!("$7$${salt}${digest}"), LineFault::Iterations),
            (format!("$7$0${salt}${digest}"), LineFault::Iterations),
            (format!("$7$-1${salt}${digest}"), LineFault::Iterations),
            (format!("$7$+1${salt}${digest}"), LineFault::Iterations),
            (
                format!("$7$500001${salt}${digest}"),
                LineFault::IterationsTooMany,
            ),
            (
                format!("$7$99999999999999999999${salt}${digest}"),
                LineFault::IterationsTooMany,
            ),
            (format!("$7$1$${digest}"), LineFault::Salt),
            (format!("$7$1$dJRV${digest}"), LineFault::Salt),
            (format!("$7$1$dJRVb0YE!mDAtSWM${digest}"), LineFault::Salt),
            (format!("$7$1${salt}$"), LineFault::Digest),
            (format!("$7$1${salt}${}", &digest[..86]), LineFault::Digest),
            (format!("$7$1${salt}${digest}$"), LineFault::Digest),
            (format!("$7$1${salt}${long}"), LineFault::Digest),
            (format!("$6${salt}${}", &digest[..84]), LineFault::Digest),
        ] {
            assert_eq!(Hash::parse(&text).unwrap_err(), fault, "{text}");
        }
    }
}
