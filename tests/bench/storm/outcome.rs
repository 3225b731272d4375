//! What the clients of a storm saw, and the sums over all of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::subscriber::Publication;

/// Sentences about what no node should do that are kept; the others are counted.
const COMPLAINTS_KEPT: usize = 8;

/// Counts over the clients of one process, as that process tells them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Counts {
    /// Publications received, those of a recovery included.
    pub(super) received: u64,
    /// Those of recoveries.
    pub(super) recovered: u64,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) reordered: u64,
    /// Publications of a position at which another client, or a backend, had another one.
    pub(super) mixed: u64,
    /// Recoveries that the node said it could not do.
    pub(super) told: u64,
    /// Subscriptions that the node ended.
    pub(super) unsubscribed: u64,
    /// Connections that ended, or did not come about, beside those of nodes that were killed.
    pub(super) disconnected: u64,
    /// Clients that did not come to the top of their channel.
    pub(super) behind: u64,
    /// Temporary errors, by code.
    pub(super) refused: BTreeMap<u32, u64>,
    /// The publication at each position: channel, offset, number.
    pub(super) contents: BTreeMap<usize, BTreeMap<u64, u32>>,
    /// Times at which clients whose node was killed were recovered, in nanoseconds of the monotonic clock.
    pub(super) recovered_at: Vec<u64>,
    pub(super) complaints: Vec<String>,
    pub(super) complained: u64,
}

impl Counts {
    pub(super) fn complain(&mut self, complaint: impl FnOnce() -> String) {
        self.complained += 1;
        if self.complaints.len() < COMPLAINTS_KEPT {
            self.complaints.push(complaint());
        }
    }

    pub(super) fn refuse(&mut self, code: u32) {
        *self.refused.entry(code).or_default() += 1;
    }

    /// Notes what a client was given at a position, which must be the same for all.
    pub(super) fn content(&mut self, channel: usize, publication: &Publication) {
        let at = self.contents.entry(channel).or_default();
        let number = *at.entry(publication.offset).or_insert(publication.data);
        self.mixed += u64::from(number != publication.data);
    }

    /// Adds those of another process.
    pub(super) fn add(&mut self, other: Self) {
        self.received += other.received;
        self.recovered += other.recovered;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
        self.mixed += other.mixed;
        self.told += other.told;
        self.unsubscribed += other.unsubscribed;
        self.disconnected += other.disconnected;
        self.behind += other.behind;
        for (code, count) in other.refused {
            *self.refused.entry(code).or_default() += count;
        }
        for (channel, contents) in other.contents {
            for (offset, data) in contents {
                self.content(channel, &Publication { data, offset });
            }
        }
        self.recovered_at.extend(other.recovered_at);
        self.complained += other.complained;
        self.complaints.extend(other.complaints);
        self.complaints.truncate(COMPLAINTS_KEPT);
    }

    /// True if every client had everything once and in order, and nothing happened that should not.
    pub(super) fn is_good(&self) -> bool {
        let wrong =
            [self.lost, self.doubled, self.reordered, self.mixed, self.told, self.behind, self.complained];
        wrong.iter().all(|count| *count == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_publication_at_the_same_position_is_counted_also_across_processes() {
        let publication = |data, offset| Publication { data, offset };
        let (mut one, mut other) = (Counts::default(), Counts::default());
        one.content(3, &publication(1, 1));
        one.content(3, &publication(1, 1));
        other.content(3, &publication(2, 1));
        other.content(4, &publication(9, 1));
        assert!(one.is_good() && other.is_good());
        one.add(other);
        assert_eq!(one.mixed, 1);
        assert!(!one.is_good());
    }
}
