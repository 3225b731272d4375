//! Limits of this machine: open files, connections that wait, tracked connections, memory.

use std::{fs, path::Path};

use super::Finding;
use crate::{server::ConnectionLimits, settings::Settings};

/// Tracked connections from which on new ones may soon be dropped, in percent of the most.
const TRACKED_PERCENT: u64 = 80;

/// Looks at the files of the system below `root`.
pub(super) fn findings(settings: &Settings, root: &Path) -> Vec<Finding> {
    let number =
        |path: &str| -> Option<u64> { fs::read_to_string(root.join(path)).ok()?.trim().parse().ok() };
    let mut findings = vec![open_files(settings)];
    findings.push(backlog(settings, number("proc/sys/net/core/somaxconn")));
    findings.extend(tracked(
        settings,
        number("proc/sys/net/netfilter/nf_conntrack_count"),
        number("proc/sys/net/netfilter/nf_conntrack_max"),
    ));
    let limit = number("sys/fs/cgroup/memory.max");
    findings.push(memory(settings, limit.or_else(|| number("sys/fs/cgroup/memory/memory.limit_in_bytes"))));
    findings
}

fn open_files(settings: &Settings) -> Finding {
    const CHECK: &str = "open_files";
    match ConnectionLimits::warning(&settings.http) {
        None => Finding::fine(CHECK, format!("enough for {} sessions", settings.http.max_connections)),
        Some(warning) => {
            let (text, advice) = warning.split_once(". ").unwrap_or((&warning, ""));
            Finding::bad(CHECK, text, advice)
        }
    }
}

fn backlog(settings: &Settings, somaxconn: Option<u64>) -> Finding {
    const CHECK: &str = "somaxconn";
    let wanted = u64::from(settings.http.backlog);
    match somaxconn {
        None => Finding::unknown(CHECK, "net.core.somaxconn cannot be read", ""),
        Some(most) if most < wanted => Finding::warning(
            CHECK,
            format!("net.core.somaxconn is {most}: that many connections wait, not http.backlog = {wanted}"),
            format!("sysctl -w net.core.somaxconn={wanted}, in a pod as its securityContext.sysctls"),
        ),
        Some(most) => Finding::fine(CHECK, format!("{most}, http.backlog = {wanted}")),
    }
}

/// Nothing where connections are not tracked.
fn tracked(settings: &Settings, count: Option<u64>, most: Option<u64>) -> Option<Finding> {
    const CHECK: &str = "conntrack";
    let most = most?;
    let wanted = u64::try_from(settings.http.max_connections).unwrap_or(u64::MAX);
    let advice = format!(
        "sysctl -w net.netfilter.nf_conntrack_max={}, or do not track the port (NOTRACK)",
        wanted.saturating_mul(2)
    );
    if let Some(count) =
        count.filter(|count| count.saturating_mul(100) > most.saturating_mul(TRACKED_PERCENT))
    {
        let text = format!("{count} of {most} tracked connections are in use: new ones will be dropped");
        return Some(Finding::bad(CHECK, text, advice));
    }
    Some(if most < wanted {
        let text = format!("nf_conntrack_max is {most}, below http.max_connections = {wanted}");
        Finding::warning(CHECK, text, advice)
    } else {
        Finding::fine(CHECK, format!("at most {most} connections are tracked"))
    })
}

fn memory(settings: &Settings, limit: Option<u64>) -> Finding {
    const CHECK: &str = "memory";
    // Limits that mean none are near the largest number, in pages.
    let Some(limit) = limit.filter(|limit| *limit < 1 << 60) else {
        return Finding::fine(CHECK, "no limit for this group of processes");
    };
    let outboxes = u64::try_from(settings.memory.max_bytes).unwrap_or(u64::MAX);
    if outboxes == 0 {
        return Finding::warning(
            CHECK,
            format!("the limit is {limit} bytes, and memory.max_bytes does not bound what clients may hold"),
            format!(
                "set memory.max_bytes to {}, half of the limit, and it closes the slowest clients first",
                limit / 2
            ),
        );
    }
    // The rest of a node needs room too: connections, histories, code.
    if outboxes > limit / 4 * 3 {
        return Finding::bad(
            CHECK,
            format!(
                "memory.max_bytes = {outboxes} is more than three quarters of the limit of {limit} bytes"
            ),
            "lower memory.max_bytes, or raise the limit: the kernel kills a node that reaches it",
        );
    }
    Finding::fine(CHECK, format!("memory.max_bytes = {outboxes} of a limit of {limit} bytes"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::cli::doctor::FindingState;

    fn state(finding: &Finding) -> FindingState {
        finding.state
    }

    #[test]
    fn too_few_waiting_connections_are_a_warning() {
        let settings = Settings::default();
        assert_eq!(state(&backlog(&settings, Some(128))), FindingState::Warning);
        assert_eq!(state(&backlog(&settings, Some(4096))), FindingState::Fine);
        assert_eq!(state(&backlog(&settings, None)), FindingState::Unknown);
    }

    #[test]
    fn tracked_connections_that_are_nearly_used_up_are_bad() {
        let settings = Settings::default();
        let states =
            [(Some(90), Some(100)), (Some(1), Some(65_536)), (Some(1), Some(1 << 20)), (None, Some(1 << 20))]
                .map(|(count, most)| tracked(&settings, count, most).unwrap().state);
        assert_eq!(
            states,
            [FindingState::Bad, FindingState::Warning, FindingState::Fine, FindingState::Fine]
        );
        assert_eq!(tracked(&settings, Some(1), None), None);
    }

    #[test]
    fn the_limit_of_memory_is_compared_with_what_clients_may_hold() {
        let mut settings = Settings::default();
        settings.memory.max_bytes = 800;
        let states =
            [Some(1000), Some(2000), None, Some(u64::MAX)].map(|limit| memory(&settings, limit).state);
        assert_eq!(states, [FindingState::Bad, FindingState::Fine, FindingState::Fine, FindingState::Fine]);
        settings.memory.max_bytes = 0;
        assert_eq!(memory(&settings, Some(1000)).state, FindingState::Warning);
    }

    #[test]
    fn a_system_without_these_files_is_looked_at_all_the_same() {
        let names: Vec<_> = findings(&Settings::default(), Path::new("/nowhere"))
            .iter()
            .map(|finding| finding.check)
            .collect();
        assert_eq!(names, ["open_files", "somaxconn", "memory"]);
    }
}
