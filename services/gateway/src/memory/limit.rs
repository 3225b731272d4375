//! The default of the memory budget: a share of what the container or the machine has.

use std::{fs, path::Path};

/// Share of the memory that the budget takes, in percent. The rest is for connections themselves, small outboxes, the
/// allocator's fragments and the kernel's socket buffers, which a container's limit counts too.
const SHARE_PERCENT: usize = 60;
/// Memory to reckon with where the system does not tell: 1 GiB, a small container.
const UNKNOWN_BYTES: usize = 1 << 30;
/// Requests that wait for Redis may take this part of the budget at most. What is sent is there twice for a while: as a
/// command and in the buffer of its connection.
const PENDING_DIVISOR: usize = 8;

/// The budget in bytes: `max_bytes` if it is set, else a share of the memory of the container or the machine.
pub fn budget_bytes(max_bytes: usize) -> usize {
    if max_bytes > 0 {
        return max_bytes;
    }
    available_bytes(|path| fs::read_to_string(path).ok()).unwrap_or(UNKNOWN_BYTES) / 100 * SHARE_PERCENT
}

/// Bytes that requests to Redis may take while they wait: what their own setting says, within their part of the budget.
pub fn pending_bytes(max_pending_bytes: usize, budget_bytes: usize) -> usize {
    max_pending_bytes.min(budget_bytes / PENDING_DIVISOR)
}

/// The smallest of the limits of this process's control groups (versions 2 and 1) and the machine's memory, as `read`
/// shows the files of the system.
fn available_bytes(read: impl Fn(&Path) -> Option<String>) -> Option<usize> {
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| machine_bytes(&text));
    let mut found: Vec<usize> = machine.into_iter().collect();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (top, file) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        // A group is bound by the groups around it too. In a container its own group is mounted at the top.
        let own = Path::new(group.trim_start_matches('/'));
        let limits = own.ancestors().filter_map(|group| read(&Path::new(top).join(group).join(file)));
        // `max` stands for no limit.
        found.extend(limits.filter_map(|text| text.trim().parse::<usize>().ok()));
    }
    found.into_iter().min()
}

fn machine_bytes(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: usize = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: (&str, &str) = ("/proc/meminfo", "MemTotal:       8000 kB\nMemFree: 1 kB\n");

    fn available(files: &[(&str, &str)]) -> Option<usize> {
        let text = |path: &Path| files.iter().find(|(known, _)| Path::new(known) == path);
        available_bytes(|path| text(path).map(|(_, text)| (*text).to_owned()))
    }

    #[test]
    fn the_tightest_group_or_the_machine_decides() {
        assert_eq!(available(&[]), None);
        assert_eq!(available(&[MEMINFO]), Some(8_192_000));
        let nested = [
            MEMINFO,
            ("/proc/self/cgroup", "0::/a/b\n"),
            ("/sys/fs/cgroup/a/memory.max", "500000\n"),
            ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
        ];
        assert_eq!(available(&nested), Some(500_000));
        let old = [
            MEMINFO,
            ("/proc/self/cgroup", "5:memory:/docker/x\n4:cpu:/\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "300000\n"),
        ];
        assert_eq!(available(&old), Some(300_000));
    }

    #[test]
    fn a_setting_wins_over_what_the_system_has() {
        assert_eq!(budget_bytes(12_345), 12_345);
        assert!(budget_bytes(0) > 0);
    }

    #[test]
    fn requests_that_wait_for_redis_stay_within_their_part_of_the_budget() {
        assert_eq!(pending_bytes(1000, 1 << 20), 1000);
        assert_eq!(pending_bytes(1 << 20, 8000), 1000);
    }
}
