//! `$argon2id$` lines: the PHC string that Mosquitto 2.1 writes, and other programs too.
//!
//! ```text
//! $argon2id$v=19$m=47104,t=1,p=1$<salt>$<tag>    m: memory in KiB, t: passes over it, p: lanes; base64, no padding
//! ```
//!
//! A check needs the memory that its line asks for. It is taken for the check and given back after it; whoever calls
//! checks one at a time. What a line may ask for is bounded, so that no line makes a login take the machine's memory
//! or a minute. Cost: about 0.5 ms a MiB and pass on a server, ten times that on a small board.

use super::fault::LineFault;
use crate::limits;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// What a tag costs: all within the limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost {
    /// KiB; at least 8 for each lane.
    pub memory_kib: u32,
    /// Over all of it.
    pub passes: u32,
    /// Each computed after the other here.
    pub lanes: u32,
}

/// What `mqttfast passwd --argon2` writes, and Mosquitto 2.1.
pub const COST: Cost = Cost {
    memory_kib: limits::ARGON2_MEMORY_KIB_DEFAULT,
    passes: 1,
    lanes: 1,
};

/// Bytes of a salt; RFC 9106 wants 8 at least.
const SALT_BYTES: std::ops::RangeInclusive<usize> = 8..=64;
/// Bytes of a tag.
const TAG_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

/// Cost, salt and tag.
type Parts = (Cost, Box<[u8]>, Box<[u8]>);

/// Reads what follows `$argon2id$`.
///
/// Errors: a part that is wrong, or asks for more than the limits.
pub(super) fn parse(rest: &str) -> Result<Parts, LineFault> {
    let mut fields = rest.split('$');
    let mut field = || fields.next().ok_or(LineFault::Argon2Field);
    let (version, cost, salt, tag) = (field()?, field()?, field()?, field()?);
    if fields.next().is_some() || version != "v=19" {
        return Err(LineFault::Argon2Field);
    }
    let cost = parse_cost(cost).ok_or(LineFault::Argon2Field)?;
    let within = cost.memory_kib <= limits::ARGON2_MEMORY_KIB_MAX
        && u64::from(cost.memory_kib) * u64::from(cost.passes) <= limits::ARGON2_WORK_KIB_MAX
        && cost.lanes <= limits::ARGON2_LANES_MAX;
    if !within {
        return Err(LineFault::Argon2TooMuch);
    }
    if cost.passes == 0 || cost.lanes == 0 || cost.memory_kib < 8 * cost.lanes {
        return Err(LineFault::Argon2Field);
    }
    let decode = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
        let bytes = STANDARD_NO_PAD.decode(text).ok()?;
        lengths.contains(&bytes.len()).then(|| bytes.into())
    };
    let salt = decode(salt, SALT_BYTES).ok_or(LineFault::Argon2Field)?;
    let tag = decode(tag, TAG_BYTES).ok_or(LineFault::Argon2Field)?;
    Ok((cost, salt, tag))
}

/// `m=47104,t=1,p=1`, in this order, as the reference implementation reads and writes it.
fn parse_cost(text: &str) -> Option<Cost> {
    let mut parts = text.split(',');
    let mut part = |name: &str| {
        let digits = parts.next()?.strip_prefix(name)?.strip_prefix('=')?;
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        // What does not fit is too much all the more.
        plain.then(|| digits.parse().unwrap_or(u32::MAX))
    };
    let cost = Cost {
        memory_kib: part("m")?,
        passes: part("t")?,
        lanes: part("p")?,
    };
    parts.next().is_none().then_some(cost)
}

/// The field as a line of the file holds it.
pub(super) fn show(cost: Cost, salt: &[u8], tag: &[u8]) -> String {
    let Cost {
        memory_kib,
        passes,
        lanes,
    } = cost;
    format!(
        "$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${}${}",
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(tag)
    )
}

/// Fills `tag`. `false`: the memory for it cannot be had.
pub(super) fn digest(cost: Cost, password: &[u8], salt: &[u8], tag: &mut [u8]) -> bool {
    let Cost {
        memory_kib,
        passes,
        lanes,
    } = cost;
    let Ok(params) = Params::new(memory_kib, passes, lanes, Some(tag.len())) else {
        return false;
    };
    let mut memory: Vec<Block> = Vec::new();
    if memory.try_reserve_exact(params.block_count()).is_err() {
        return false;
    }
    memory.resize(params.block_count(), Block::default());
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2
        .hash_password_into_with_memory(password, salt, tag, &mut memory)
        .is_ok()
}
