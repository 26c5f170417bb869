//! Open files: every connection is one, and the broker keeps some for itself.

use crate::broker::LogLevel;
use crate::io::helpers::log::Log;
use crate::io::start_error::StartError;
use crate::limits;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use std::fs;

/// Raises the limit of open files as far as this process may.
pub fn raise_limit(log: &Log) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_err() {
        let text = format!("the limit of open files stays at {soft}");
        log.line(LogLevel::Warning, text);
    }
}

/// How many connections can be served at a time, and the limit of open files it follows from. Called when everything
/// else is open.
///
/// Errors: not even one connection can be served.
pub fn places(shards: usize, wanted: Option<usize>) -> Result<(usize, rlim_t), StartError> {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    // Less one: the descriptor of the directory that is being read here.
    let open = fs::read_dir("/proc/self/fd").map_or(64, |entries| entries.count() - 1);
    let own = open + limits::FILES_KEPT_FREE + limits::EXTRA_CONNECTIONS + shards;
    let room = usize::try_from(limit)
        .unwrap_or(usize::MAX)
        .saturating_sub(own);
    if room == 0 {
        return Err(StartError::new(format!(
            "the limit of open files is {limit} and the broker needs {own} for itself: raise LimitNOFILE= or ulimit -n"
        )));
    }
    Ok((wanted.unwrap_or(room).min(room), limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_granted_as_far_as_there_are_files() {
        let (room, limit) = places(1, None).unwrap();
        assert!(room > 0 && (room as rlim_t) < limit);
        assert_eq!(places(1, Some(10)).unwrap().0, 10.min(room));
        let (most, _) = places(1, Some(usize::MAX)).unwrap();
        // Other tests of this process open and close files meanwhile.
        assert!(most as rlim_t <= limit - limits::FILES_KEPT_FREE as rlim_t);
    }
}
