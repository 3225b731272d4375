//! The next connects of users after their disconnects.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Enough, EvidenceScan};
use crate::event_log::{
    event::{RecoveryResult, SessionChange, SubscriptionChange},
    query::ReturnOfUser,
};

impl EvidenceScan<'_> {
    /// For each user and time the first connect of the user that is not before it.
    pub(super) async fn returns(&self, of: &[(String, u64)]) -> Vec<Option<ReturnOfUser>> {
        let mut by_user: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, (user, _)) in of.iter().enumerate() {
            by_user.entry(user).or_default().push(index);
        }
        let mut found: Vec<Option<ReturnOfUser>> = vec![None; of.len()];
        // A client that ended in the millisecond in which it connected did not return.
        let mut ended: HashSet<Arc<str>> = HashSet::new();
        self.each(
            |log| &log.sessions,
            |event| {
                let Some(indexes) = by_user.get(&*event.user) else { return Enough::No };
                for index in indexes {
                    let (Some((_, since)), Some(found)) = (of.get(*index), found.get_mut(*index)) else {
                        continue;
                    };
                    match &event.change {
                        SessionChange::Ended(_) if event.at == *since => {
                            ended.insert(event.client.clone());
                        }
                        // Newest first: the last one that is after the time stays.
                        SessionChange::Connected if event.at >= *since && !ended.contains(&event.client) => {
                            let client = event.client.to_string();
                            *found = Some(ReturnOfUser { at: event.at, client, recovered: None });
                        }
                        _ => {}
                    }
                }
                Enough::No
            },
        )
        .await;
        let mut recovered: HashMap<String, Option<bool>> =
            found.iter().flatten().map(|connect| (connect.client.clone(), None)).collect();
        self.each(
            |log| &log.subscriptions,
            |event| {
                if let SubscriptionChange::Began { recovery, .. } = event.change
                    && recovery != RecoveryResult::NotAsked
                    && let Some(all) = recovered.get_mut(&*event.client)
                {
                    *all = Some(all.unwrap_or(true) && recovery == RecoveryResult::Recovered);
                }
                Enough::No
            },
        )
        .await;
        for connect in found.iter_mut().flatten() {
            connect.recovered = recovered.get(&connect.client).copied().flatten();
        }
        found
    }
}
