//! The stream of a channel, as its options let subscribers have it.

use gorani_auth::ChannelOptions;
use gorani_broker::Retention;

/// The retention of a channel with these options.
pub fn retention(options: &ChannelOptions) -> Retention {
    Retention { size: options.history_size, ttl: options.history_ttl }
}
