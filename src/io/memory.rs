//! How much memory there is for this process: that of the machine, or of its control group if that is less.

use crate::limits;
use std::fs;
use std::path::Path;

/// What all Clients together may hold unless the operator says: a quarter of what there is, and not less than
/// [`limits::MEMORY_BYTES_LEAST`].
pub fn limit_default() -> u64 {
    (there_is() / 4).max(limits::MEMORY_BYTES_LEAST)
}

/// In bytes.
pub fn there_is() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo");
    let machine = machine.ok().and_then(|text| total_of(&text));
    let group = fs::read_to_string("/proc/self/cgroup");
    let group = group.ok().and_then(|text| group_limit(&text));
    match (machine, group) {
        (Some(machine), Some(group)) => machine.min(group),
        (Some(bytes), None) | (None, Some(bytes)) => bytes,
        (None, None) => limits::MEMORY_BYTES_DEFAULT,
    }
}

/// MemTotal of `/proc/meminfo`, in bytes.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

/// The least limit of the groups named in `/proc/self/cgroup` and of those above them, in either of the kernel's two
/// interfaces. A container sees its own group at the root, by whatever path it is named.
fn group_limit(cgroup: &str) -> Option<u64> {
    let limits = cgroup.lines().filter_map(|line| {
        let (root, file, path) = group_of(line)?;
        let root = Path::new(root);
        let group = root.join(path);
        let groups = group
            .ancestors()
            .take_while(|group| group.starts_with(root));
        let limits = groups.filter_map(|group| {
            let text = fs::read_to_string(group.join(file)).ok()?;
            text.trim().parse().ok()
        });
        limits.min()
    });
    limits.min()
}

/// Of a line `ID:CONTROLLERS:/PATH`: where the groups of its interface are, the file with the limit, and the path.
fn group_of(line: &str) -> Option<(&'static str, &'static str, &str)> {
    let (controllers, path) = line.split_once(':')?.1.split_once(":/")?;
    if controllers.is_empty() {
        return Some(("/sys/fs/cgroup", "memory.max", path));
    }
    // The older interface: without a limit the file has a number larger than any memory.
    let is_memory = controllers.split(',').any(|name| name == "memory");
    is_memory.then_some(("/sys/fs/cgroup/memory", "memory.limit_in_bytes", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_the_machine_is_read() {
        let text = "MemTotal:         524288 kB\nMemFree:  1 kB\n";
        assert_eq!(total_of(text), Some(512 << 20));
        assert_eq!(total_of("MemFree: 1 kB"), None);
        assert!(limit_default() >= limits::MEMORY_BYTES_LEAST);
    }

    #[test]
    fn groups_are_found_in_both_interfaces() {
        let newer = ("/sys/fs/cgroup", "memory.max", "system.slice/a.service");
        assert_eq!(group_of("0::/system.slice/a.service"), Some(newer));
        let older = (
            "/sys/fs/cgroup/memory",
            "memory.limit_in_bytes",
            "docker/0123",
        );
        assert_eq!(group_of("9:memory:/docker/0123"), Some(older));
        assert_eq!(group_of("4:cpu,cpuacct:/docker/0123"), None);
        assert_eq!(group_of("nonsense"), None);
    }
}
