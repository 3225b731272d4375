//! The number of subscriptions of this node in a namespace, for what is told before an option of it changes.

use super::{ClusterMember, peers::ClusterError};

/// Channels of one page.
const PAGE_CHANNELS: usize = 1000;
/// Pages at most: the count is for a person, who does not wait for millions of channels.
const PAGES: usize = 200;

/// Subscriptions that were counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SubscriptionCount {
    /// So many, or more if not all channels were looked at.
    pub subscriptions: usize,
    /// True if all channels were looked at.
    pub is_whole: bool,
}

impl ClusterMember {
    /// Counts the subscriptions of this node's clients to the channels of a namespace.
    ///
    /// # Errors
    /// The workers do not answer.
    pub async fn local_subscriptions(&self, namespace: &str) -> Result<SubscriptionCount, ClusterError> {
        let mut count = SubscriptionCount { subscriptions: 0, is_whole: true };
        // A private channel has its sign before the namespace.
        for pattern in [format!("{namespace}:*"), format!("${namespace}:*")] {
            let mut after = String::new();
            let mut pages = 0;
            loop {
                let page = self.local_channels(Some(&pattern), &after, PAGE_CHANNELS).await?;
                count.subscriptions += page.entries.values().sum::<usize>();
                let is_last = page.cut_at.is_none() && page.entries.len() < PAGE_CHANNELS;
                let Some(last) = page.cut_at.or_else(|| page.entries.into_keys().next_back()) else { break };
                pages += 1;
                if is_last {
                    break;
                }
                if pages == PAGES {
                    count.is_whole = false;
                    break;
                }
                after = last;
            }
        }
        Ok(count)
    }
}
