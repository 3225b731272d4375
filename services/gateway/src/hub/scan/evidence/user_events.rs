//! New events of a user's sessions, for a tail that asks again and again: a scan ends at the time up to which was told before.

use super::{Enough, EvidenceScan, known_since};
use crate::event_log::{
    event::{SessionEvent, SubscriptionEvent},
    query::{UserEventQuery, UserEvents, later},
};

impl EvidenceScan<'_> {
    pub(super) async fn of_user(&self, query: &UserEventQuery) -> UserEvents {
        let mut found = UserEvents { until: query.until, ..UserEvents::default() };
        let (user, limit) = (&*query.user, query.limit);
        let mut of_session = |event: &SessionEvent| {
            if event.at < query.since {
                return Enough::Yes;
            }
            if query.is_new(event.at) && *event.user == *user {
                if found.sessions.len() < limit {
                    found.sessions.push(event.clone());
                } else {
                    found.skipped += 1;
                }
            }
            Enough::No
        };
        self.each(|log| &log.sessions, &mut of_session).await;
        self.each(|log| &log.refused, &mut of_session).await;
        let of_subscription = |event: &SubscriptionEvent| {
            if event.at < query.since {
                return Enough::Yes;
            }
            let is_of_channel = query.channel.as_deref().is_none_or(|channel| *event.channel == *channel);
            if query.is_new(event.at) && *event.user == *user && is_of_channel {
                if found.subscriptions.len() < limit {
                    found.subscriptions.push(event.clone());
                } else {
                    found.skipped += 1;
                }
            }
            Enough::No
        };
        self.each(|log| &log.subscriptions, of_subscription).await;
        let events = &self.hub.borrow().events;
        let refused = events.refused.known_since(events.began);
        let known = known_since(events);
        found.known_since = later(refused, later(known.sessions, known.subscriptions));
        found
    }
}
