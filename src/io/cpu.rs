//! Which cores the shards run on.

use crate::limits;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// The cores this process may use, in ascending order; not empty.
pub fn allowed() -> nix::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count())
        .filter(|&core| set.is_set(core).unwrap_or(false))
        .collect())
}

/// Shards when the operator asks for no number: one for one or two cores, else one a core.
pub fn shards_default(cores: usize) -> usize {
    match cores {
        0..=2 => 1,
        cores => cores.min(limits::SHARDS_MAX),
    }
}

/// The core of each shard. When there are more shards than cores, they share.
pub fn placement(shards: usize, cores: &[usize]) -> Vec<usize> {
    assert!(!cores.is_empty());
    (0..shards)
        .map(|shard| cores[shard % cores.len()])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_follow_the_cores() {
        let table = [(1, 1), (2, 1), (3, 3), (4, 4), (64, 64), (128, 64)];
        for (cores, shards) in table {
            assert_eq!(shards_default(cores), shards, "{cores} cores");
        }
    }

    #[test]
    fn more_shards_than_cores_share() {
        assert_eq!(placement(1, &[3, 5]), [3]);
        assert_eq!(placement(4, &[3, 5]), [3, 5, 3, 5]);
    }

    #[test]
    fn this_process_runs_somewhere() {
        assert!(!allowed().unwrap().is_empty());
    }
}
