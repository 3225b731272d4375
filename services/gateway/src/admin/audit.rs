//! The audit log: every login, logout and action is one line of the target `gorani::audit`, and the last of them are kept for the
//! page. Never a payload. The level of the log does not silence it ([`crate::telemetry`]).

use std::{collections::VecDeque, net::IpAddr};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Lines that are kept in memory.
const KEPT: usize = 1000;
/// Bytes of what an action was done to, at most: the names of channels and users come from clients.
const TARGET_MAX_BYTES: usize = 512;

/// The way by which somebody acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditSource {
    /// The session of a person.
    Page,
    /// A key of `admin.keys`.
    Key,
    /// A command beside the node.
    Cli,
    /// A signal of the system.
    Signal,
}

impl AuditSource {
    const fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Key => "key",
            Self::Cli => "cli",
            Self::Signal => "signal",
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Milliseconds since the Unix epoch.
    pub at: u64,
    /// Name of the node.
    pub node: String,
    /// Name of who acts; empty where it is not known.
    pub who: String,
    /// `viewer`, `operator`, or nothing.
    pub role: String,
    /// The way by which it came.
    pub source: AuditSource,
    /// Address of the client.
    pub address: Option<IpAddr>,
    /// `login`, `logout`, `disconnect`, …
    pub action: String,
    /// The target of the action.
    pub target: String,
    /// `ok`, or the code of the error.
    pub result: String,
    /// Milliseconds that it took.
    pub ms: u64,
}

/// The last lines of this node.
#[derive(Default)]
pub struct AuditLog(Mutex<VecDeque<AuditRecord>>);

impl AuditLog {
    /// Writes a line.
    pub fn write(&self, mut record: AuditRecord) {
        if record.target.len() > TARGET_MAX_BYTES {
            let end = record.target.floor_char_boundary(TARGET_MAX_BYTES);
            record.target.truncate(end);
        }
        tracing::info!(
            target: "gorani::audit",
            node = record.node,
            who = record.who,
            role = record.role,
            source = record.source.name(),
            address = record.address.map(tracing::field::display),
            action = record.action,
            on = record.target,
            result = record.result,
            ms = record.ms,
            "audit"
        );
        let mut kept = self.0.lock();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(record);
    }

    /// The lines that are kept, the last one first.
    pub fn records(&self) -> Vec<AuditRecord> {
        self.0.lock().iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(action: &str, target: &str) -> AuditRecord {
        AuditRecord {
            at: 1,
            node: "n1".to_owned(),
            who: "on-call".to_owned(),
            role: "operator".to_owned(),
            source: AuditSource::Key,
            address: None,
            action: action.to_owned(),
            target: target.to_owned(),
            result: "ok".to_owned(),
            ms: 0,
        }
    }

    #[test]
    fn the_last_thousand_lines_are_kept_and_a_target_has_its_bounds() {
        let log = AuditLog::default();
        for number in 0..KEPT + 5 {
            log.write(record(&number.to_string(), &"고".repeat(1000)));
        }
        let records = log.records();
        assert_eq!(records.len(), KEPT);
        assert_eq!(records.first().map(|record| record.action.as_str()), Some("1004"));
        assert!(records.iter().all(|record| record.target.len() <= TARGET_MAX_BYTES));
    }
}
