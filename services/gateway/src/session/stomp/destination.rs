//! Destinations and the channels behind them: the one place where the two vocabularies meet. `specs/stomp.md`, item 55.
//!
//! ```text
//! /topic/chat:lobby        the channel chat:lobby
//! /user/queue/orders       the channel orders#42, for user 42 who asks
//! /user/43/queue/orders    the channel orders#43, to send to
//! /queue/jobs              the work queue jobs
//! ```

use std::borrow::Cow;

use gorani_auth::{ChannelNameError, personal_channel};

const TOPIC: &str = "/topic/";
const QUEUE: &str = "/queue/";
const USER: &str = "/user/";
/// Between a user and the name of the channel.
const USER_QUEUE: &str = "queue/";

/// What a destination names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Destination<'a> {
    /// A channel that all its subscribers hear.
    Channel(Cow<'a, str>),
    /// A work queue: each message goes to one of its consumers.
    Queue(&'a str),
}

/// Why a text is no destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum DestinationError {
    /// Not one of ours.
    #[error("unknown destination: /topic/…, /queue/… and /user/queue/… are served")]
    Prefix,
    /// A user destination of a session without a user, or of a user whose name cannot stand in a channel's.
    #[error("a user destination needs a user, and a name without # and ,")]
    User,
    /// Nothing behind the prefix, or too much.
    #[error("the destination has no name")]
    Name,
}

/// What `text` names for a session of this user who subscribes.
pub(super) fn to_subscribe<'a>(text: &'a str, user: &str) -> Result<Destination<'a>, DestinationError> {
    match text.strip_prefix(USER) {
        Some(rest) => {
            let name = rest.strip_prefix(USER_QUEUE).ok_or(DestinationError::Prefix)?;
            personal(name, user)
        }
        None => shared(text),
    }
}

/// What `text` names for one who sends.
pub(super) fn to_send<'a>(text: &'a str, sender: &str) -> Result<Destination<'a>, DestinationError> {
    let Some(rest) = text.strip_prefix(USER) else { return shared(text) };
    if let Some(name) = rest.strip_prefix(USER_QUEUE) {
        return personal(name, sender);
    }
    let (user, name) = rest.split_once('/').ok_or(DestinationError::Prefix)?;
    let name = name.strip_prefix(USER_QUEUE).ok_or(DestinationError::Prefix)?;
    personal(name, &unquoted(user))
}

fn shared(text: &str) -> Result<Destination<'_>, DestinationError> {
    if let Some(name) = text.strip_prefix(TOPIC) {
        return if name.is_empty() {
            Err(DestinationError::Name)
        } else {
            Ok(Destination::Channel(name.into()))
        };
    }
    match text.strip_prefix(QUEUE) {
        Some("") => Err(DestinationError::Name),
        Some(name) => Ok(Destination::Queue(name)),
        None => Err(DestinationError::Prefix),
    }
}

fn personal<'a>(name: &str, user: &str) -> Result<Destination<'a>, DestinationError> {
    match personal_channel(name, user) {
        Ok(channel) => Ok(Destination::Channel(channel.into())),
        Err(ChannelNameError::Empty) => Err(DestinationError::Name),
        Err(_) => Err(DestinationError::User),
    }
}

/// A user id with `%2F` for `/`, as clients write it that put ids into paths.
fn unquoted(user: &str) -> Cow<'_, str> {
    if user.contains('%') { user.replace("%2F", "/").replace("%2f", "/").into() } else { user.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> Result<Destination<'_>, DestinationError> {
        Ok(Destination::Channel(name.into()))
    }

    #[test]
    fn item_55_a_topic_is_the_channel_of_its_name() {
        assert_eq!(to_subscribe("/topic/chat:lobby", ""), channel("chat:lobby"));
        assert_eq!(to_send("/topic/a/b", "42"), channel("a/b"));
        assert_eq!(to_send("/topic/", "42"), Err(DestinationError::Name));
    }

    #[test]
    fn item_55_a_queue_is_a_work_queue() {
        assert_eq!(to_subscribe("/queue/jobs", ""), Ok(Destination::Queue("jobs")));
        assert_eq!(to_send("/queue/", ""), Err(DestinationError::Name));
    }

    #[test]
    fn item_55_a_user_queue_is_the_channel_of_that_user() {
        assert_eq!(to_subscribe("/user/queue/orders", "42"), channel("orders#42"));
        assert_eq!(to_send("/user/43/queue/orders", "42"), channel("orders#43"));
        assert_eq!(to_send("/user/queue/orders", "42"), channel("orders#42"));
        assert_eq!(to_send("/user/a%2Fb/queue/orders", ""), channel("orders#a/b"));
    }

    #[test]
    fn item_55_a_user_queue_needs_a_user_who_can_stand_in_a_channel() {
        assert_eq!(to_subscribe("/user/queue/orders", ""), Err(DestinationError::User));
        assert_eq!(to_send("/user/4,5/queue/orders", ""), Err(DestinationError::User));
        assert_eq!(to_subscribe("/user/queue/orders#43", "42"), Err(DestinationError::User));
        assert_eq!(to_subscribe("/user/queue/", "42"), Err(DestinationError::Name));
    }

    #[test]
    fn item_55_any_other_prefix_is_an_error() {
        for text in [
            "",
            "chat",
            "/app/chat",
            "/exchange/a/b",
            "topic/a",
            "/user/42",
            "/user/42/topic/a",
            "/user/a/b/queue/c",
        ] {
            assert_eq!(to_send(text, "42"), Err(DestinationError::Prefix), "{text}");
        }
        assert_eq!(to_subscribe("/user/43/queue/orders", "42"), Err(DestinationError::Prefix));
    }
}
