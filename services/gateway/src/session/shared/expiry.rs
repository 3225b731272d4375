//! Expiry of connections and subscriptions: from the Unix seconds of a token to a deadline and back.
//! `docs/protocols/client.md` §10.

use std::time::Duration;

use tokio::time::Instant;

use crate::session::Now;

/// A year: far beyond any connection, and safe to add to an `Instant`.
pub(in crate::session) const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The end of something that expires at this time in Unix seconds, with `grace` for its refresh.
pub(in crate::session) fn end_of(expires_at: Option<u64>, grace: Duration, now: Now) -> Option<Instant> {
    let left = |at: u64| Duration::from_secs(at.saturating_sub(now.unix_s())).min(FAR);
    expires_at.map(|at| now.instant + left(at) + grace)
}

/// True if this time in Unix seconds has passed.
pub(in crate::session) fn has_expired(expires_at: Option<u64>, now: Now) -> bool {
    expires_at.is_some_and(|at| at <= now.unix_s())
}

/// Seconds from now until this time in Unix seconds, as clients get them; 0 where there is none.
pub(in crate::session) fn ttl(expires_at: Option<u64>, now: Now) -> u32 {
    let left = expires_at.map_or(0, |at| at.saturating_sub(now.unix_s()));
    u32::try_from(left).unwrap_or(u32::MAX)
}

/// True if a deadline has come.
pub(in crate::session) fn is_due(deadline: Option<Instant>, now: Now) -> bool {
    deadline.is_some_and(|deadline| deadline <= now.instant)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn now() -> Now {
        Now { unix_ms: 1_000_000, ..Now::read() }
    }

    #[test]
    fn what_expires_ends_after_the_grace_and_what_never_expires_never() {
        let now = now();
        for (expires_at, left) in [(1060, 60), (1000, 0), (1, 0)] {
            let end = now.instant + Duration::from_secs(left) + GRACE;
            assert_eq!(end_of(Some(expires_at), GRACE, now), Some(end), "{expires_at}");
            assert_eq!(ttl(Some(expires_at), now), u32::try_from(left).unwrap_or_default());
            assert_eq!(has_expired(Some(expires_at), now), left == 0, "{expires_at}");
        }
        assert_eq!(end_of(None, GRACE, now), None);
        assert_eq!(ttl(None, now), 0);
        assert!(!has_expired(None, now));
    }

    #[test]
    fn the_farthest_times_overflow_nothing() {
        let now = now();
        assert_eq!(end_of(Some(u64::MAX), GRACE, now), Some(now.instant + FAR + GRACE));
        assert_eq!(ttl(Some(u64::MAX), now), u32::MAX);
    }
}
