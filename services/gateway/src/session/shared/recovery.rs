//! The stream of a channel as its options let a subscriber have it: what is kept, whether it can recover, whether its position is
//! tracked, whether it gets joins and leaves. `docs/protocols/client.md` §5 and §9.

use gorani_auth::ChannelOptions;
use gorani_broker::Retention;

/// The retention of a channel with these options.
pub fn retention(options: &ChannelOptions) -> Retention {
    Retention { size: options.history_size, ttl: options.history_ttl }
}

/// Features of a subscription that a client asks for. The options of the channel allow or force them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::session) struct RequestedFeatures {
    /// To recover what it missed.
    pub(in crate::session) recovery: bool,
    /// To be notified of a gap.
    pub(in crate::session) positioning: bool,
    /// To get joins and leaves.
    pub(in crate::session) join_leave: bool,
}

impl RequestedFeatures {
    /// All that the options allow: for subscriptions that do not name features.
    pub(in crate::session) const ALL: Self = Self { recovery: true, positioning: true, join_leave: true };
    /// For subscriptions that a backend makes. Joins and leaves only where the options force them: a channel that is in the
    /// tokens of 10,000 users would else bring each of them the joins of all others, which none of them asked for.
    pub(in crate::session) const BY_SERVER: Self = Self { join_leave: false, ..Self::ALL };
}

/// Features that a subscription has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) struct SubscriptionFeatures {
    /// Its client may recover what it missed.
    pub(in crate::session) recoverable: bool,
    /// Its position in the stream is tracked. Always, where it is recoverable.
    pub(in crate::session) positioned: bool,
    /// It gets joins and leaves.
    pub(in crate::session) join_leave: bool,
}

impl SubscriptionFeatures {
    /// The one rule of recovery and positioning, for every protocol.
    pub(in crate::session) fn granted(options: &ChannelOptions, requested: RequestedFeatures) -> Self {
        let recoverable = options.force_recovery || (options.allow_recovery && requested.recovery);
        let positioned = options.force_positioning || (options.allow_positioning && requested.positioning);
        Self {
            recoverable: recoverable && options.has_history(),
            positioned: (recoverable || positioned) && options.has_history(),
            join_leave: options.join_leave && (options.force_push_join_leave || requested.join_leave),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Every combination of the options and requests that matter.
    fn each(check: impl Fn(&ChannelOptions, RequestedFeatures, SubscriptionFeatures)) {
        for bits in 0..1024_u32 {
            let is = |bit: u32| bits & (1 << bit) != 0;
            let options = ChannelOptions {
                allow_recovery: is(0),
                force_recovery: is(1),
                allow_positioning: is(2),
                force_positioning: is(3),
                join_leave: is(4),
                force_push_join_leave: is(5),
                history_size: if is(6) { 10 } else { 0 },
                history_ttl: Duration::from_secs(60),
                ..ChannelOptions::default()
            };
            let requested = RequestedFeatures { recovery: is(7), positioning: is(8), join_leave: is(9) };
            check(&options, requested, SubscriptionFeatures::granted(&options, requested));
        }
    }

    #[test]
    fn a_subscription_recovers_where_it_is_forced_to_or_asks_for_what_is_allowed() {
        each(|options, requested, granted| {
            let expected = match (options.has_history(), options.force_recovery, options.allow_recovery) {
                (false, _, _) => false,
                (true, true, _) => true,
                (true, false, allowed) => allowed && requested.recovery,
            };
            assert_eq!(granted.recoverable, expected, "{options:?} {requested:?}");
        });
    }

    #[test]
    fn a_position_is_tracked_wherever_something_can_be_recovered_or_the_options_let_a_client_ask_for_it() {
        each(|options, requested, granted| {
            let is_tracked =
                options.force_positioning || (options.allow_positioning && requested.positioning);
            let expected = granted.recoverable || (is_tracked && options.has_history());
            assert_eq!(granted.positioned, expected, "{options:?} {requested:?}");
        });
    }

    #[test]
    fn a_subscription_hears_of_others_where_there_is_something_to_hear_and_it_asks_or_is_forced_to() {
        each(|options, requested, granted| {
            let expected = options.join_leave && (requested.join_leave || options.force_push_join_leave);
            assert_eq!(granted.join_leave, expected, "{options:?} {requested:?}");
        });
    }

    #[test]
    fn without_history_nothing_is_tracked_whatever_the_options_say() {
        each(|options, requested, granted| {
            if !options.has_history() {
                assert!(!granted.recoverable && !granted.positioned, "{options:?} {requested:?}");
            }
        });
    }
}
