//! Destinations and the channels behind them: the one module where the two vocabularies meet. `docs/protocols/stomp.md` §4.
//!
//! ```text
//! /topic/chat:lobby        the channel chat:lobby
//! /user/queue/orders       the channel orders#42, for user 42 who asks
//! /user/43/queue/orders    the channel orders#43, to send to
//! /user/a%2Fb/queue/orders the channel orders#a/b: a user's id is percent-encoded, and decoded once
//! /queue/jobs              the work queue jobs
//! /app/orders:create       the method orders:create, which the backend answers
//! ```

use std::borrow::Cow;

use gorani_auth::{ChannelNameError, personal_channel};

const TOPIC: &str = "/topic/";
const QUEUE: &str = "/queue/";
const USER: &str = "/user/";
const APP: &str = "/app/";
/// The part between a user and the name of the channel.
const USER_QUEUE: &str = "queue/";

/// The target that a destination names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Destination<'a> {
    /// A channel, whose messages go to all its subscribers.
    Channel(Cow<'a, str>),
    /// A work queue: each message goes to one of its consumers.
    Queue(&'a str),
    /// A method of the backend.
    Method(&'a str),
}

/// Why a text is no destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum DestinationError {
    /// The prefix is unknown.
    #[error("unknown destination: /topic/…, /queue/…, /user/queue/… and /app/… are served")]
    Prefix,
    /// A user destination of a session without a user, or of a user whose name cannot stand in a channel's.
    #[error("a user destination needs a user, and a name without # and ,")]
    User,
    /// `/user/queue/queue/…`: the channel `queue/…` of the sender, or a channel of the user `queue`.
    #[error("whose destination it is cannot be told: write %71ueue for the user queue")]
    Ambiguous,
    /// A `%` in a user's id that is not followed by two hexadecimal digits, or bytes that are no text.
    #[error("the user's id is not percent-encoded: write %25 for %")]
    Encoding,
    /// Nothing behind the prefix, or too much.
    #[error("the destination has no name")]
    Name,
}

/// The target that `text` names for a subscription of this user.
pub(super) fn to_subscribe<'a>(text: &'a str, user: &str) -> Result<Destination<'a>, DestinationError> {
    match text.strip_prefix(USER) {
        Some(rest) => {
            let name = rest.strip_prefix(USER_QUEUE).ok_or(DestinationError::Prefix)?;
            personal(name, user)
        }
        None => shared(text),
    }
}

/// The destination that `text` names for one who sends. Whom it reaches is never a guess: an id is decoded once, and whole,
/// and what could be read as two users is refused.
pub(super) fn to_send<'a>(text: &'a str, sender: &str) -> Result<Destination<'a>, DestinationError> {
    let Some(rest) = text.strip_prefix(USER) else { return shared(text) };
    if let Some(name) = rest.strip_prefix(USER_QUEUE) {
        return if name.starts_with(USER_QUEUE) {
            Err(DestinationError::Ambiguous)
        } else {
            personal(name, sender)
        };
    }
    let (user, name) = rest.split_once('/').ok_or(DestinationError::Prefix)?;
    let name = name.strip_prefix(USER_QUEUE).ok_or(DestinationError::Prefix)?;
    personal(name, &decoded(user)?)
}

fn shared(text: &str) -> Result<Destination<'_>, DestinationError> {
    if let Some(name) = text.strip_prefix(TOPIC) {
        return if name.is_empty() {
            Err(DestinationError::Name)
        } else {
            Ok(Destination::Channel(name.into()))
        };
    }
    if let Some(method) = text.strip_prefix(APP) {
        return if method.is_empty() { Err(DestinationError::Name) } else { Ok(Destination::Method(method)) };
    }
    match text.strip_prefix(QUEUE) {
        Some("") => Err(DestinationError::Name),
        Some(name) => Ok(Destination::Queue(name)),
        None => Err(DestinationError::Prefix),
    }
}

/// The destination to which a client subscribes for replies to what it sends to a method.
pub(super) fn reply_queue(text: &str) -> String {
    format!("{USER}{USER_QUEUE}{}", text.strip_prefix(APP).unwrap_or(text))
}

/// The method whose replies come to a subscription of this destination.
pub(super) fn method_of_queue(text: &str) -> Option<&str> {
    text.strip_prefix(USER)?.strip_prefix(USER_QUEUE).filter(|method| !method.is_empty())
}

fn personal<'a>(name: &str, user: &str) -> Result<Destination<'a>, DestinationError> {
    match personal_channel(name, user) {
        Ok(channel) => Ok(Destination::Channel(channel.into())),
        Err(ChannelNameError::Empty) => Err(DestinationError::Name),
        Err(_) => Err(DestinationError::User),
    }
}

/// A user's id without its percent-encoding (RFC 3986, 2.1), as clients write it that put ids into paths.
fn decoded(user: &str) -> Result<Cow<'_, str>, DestinationError> {
    if !user.contains('%') {
        return Ok(user.into());
    }
    let mut bytes = Vec::with_capacity(user.len());
    let mut rest = user.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = match (first, behind) {
            (b'%', [high, low, behind @ ..]) => {
                bytes.push(hexadecimal(*high)? << 4 | hexadecimal(*low)?);
                behind
            }
            (b'%', _) => return Err(DestinationError::Encoding),
            (byte, behind) => {
                bytes.push(*byte);
                behind
            }
        };
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| DestinationError::Encoding)
}

fn hexadecimal(digit: u8) -> Result<u8, DestinationError> {
    let value = char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    value.ok_or(DestinationError::Encoding)
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy as _;

    use super::*;

    fn channel(name: &str) -> Result<Destination<'_>, DestinationError> {
        Ok(Destination::Channel(name.into()))
    }

    #[test]
    fn item_55_a_topic_is_the_channel_of_its_name() {
        assert_eq!(to_subscribe("/topic/chat:lobby", ""), channel("chat:lobby"));
        assert_eq!(to_send("/topic/a/b", "42"), channel("a/b"));
        assert_eq!(to_send("/topic/채팅:고라니 방", "42"), channel("채팅:고라니 방"));
        assert_eq!(to_send("/topic/", "42"), Err(DestinationError::Name));
    }

    #[test]
    fn item_55_a_queue_is_a_work_queue() {
        assert_eq!(to_subscribe("/queue/jobs", ""), Ok(Destination::Queue("jobs")));
        assert_eq!(to_send("/queue/", ""), Err(DestinationError::Name));
    }

    #[test]
    fn a_destination_of_app_is_a_method_with_its_slashes() {
        assert_eq!(to_send("/app/orders:create", "42"), Ok(Destination::Method("orders:create")));
        assert_eq!(to_subscribe("/app/a/b", ""), Ok(Destination::Method("a/b")));
        assert_eq!(to_send("/app/", "42"), Err(DestinationError::Name));
        assert_eq!(to_send("/app", "42"), Err(DestinationError::Prefix));
        assert_eq!(reply_queue("/app/a/b"), "/user/queue/a/b");
        assert_eq!(method_of_queue("/user/queue/a/b"), Some("a/b"));
        assert_eq!(method_of_queue("/user/queue/"), None);
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
    fn item_55_the_id_of_a_user_is_decoded_once() {
        for (written, meant) in [
            ("a%2fb", "a/b"),
            ("a%252Fb", "a%2Fb"),
            ("a%25252Fb", "a%252Fb"),
            ("4%32", "42"),
            ("a%40b.c", "a@b.c"),
            ("oauth:4%3A2", "oauth:4:2"),
            ("%71ueue", "queue"),
            ("50%25", "50%"),
            ("%20", " "),
            ("%C3%BC", "ü"),
            ("%EC%82%AC%EC%9A%A9%EC%9E%90", "사용자"),
            ("사용자", "사용자"),
        ] {
            assert_eq!(reaches(written), Ok(format!("orders#{meant}")), "{written}");
        }
        for wrong in ["50%", "50%2", "50%zz", "%+1", "% 1", "%%", "%ff", "%C3"] {
            assert_eq!(reaches(wrong), Err(DestinationError::Encoding), "{wrong}");
        }
        // Decoded, they would name other users too, or none.
        for wrong in ["", "43%2C42", "43%2342", "43%00", "43%0A", "%C2%85", "%EF%BF%BD"] {
            assert_eq!(reaches(wrong), Err(DestinationError::User), "{wrong}");
        }
        // The name behind it is taken as it is.
        assert_eq!(to_send("/user/43/queue/a%2342", ""), channel("a%2342#43"));
        assert_eq!(to_send("/user/43/queue/a#42", ""), Err(DestinationError::User));
        assert_eq!(to_subscribe("/user/queue/a%2342", "43"), channel("a%2342#43"));
    }

    #[test]
    fn item_55_a_destination_that_could_be_read_as_two_users_is_refused_to_who_sends() {
        assert_eq!(to_send("/user/queue/queue/orders", "42"), Err(DestinationError::Ambiguous));
        assert_eq!(to_send("/user/%71ueue/queue/orders", "42"), channel("orders#queue"));
        assert_eq!(to_send("/user/42/queue/queue/orders", "42"), channel("queue/orders#42"));
        // A subscription is always one's own.
        assert_eq!(to_subscribe("/user/queue/queue/orders", "42"), channel("queue/orders#42"));
    }

    fn encoded(user: &str) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~!*'()".contains(&byte);
        let sign = |byte: u8| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") };
        if user == "queue" { "%71ueue".to_owned() } else { user.bytes().map(sign).collect() }
    }

    /// The channel of a subscription to `/user/queue/orders`.
    fn subscribes_to(user: &str) -> Result<String, DestinationError> {
        match to_subscribe("/user/queue/orders", user)? {
            Destination::Channel(channel) => Ok(channel.into_owned()),
            Destination::Queue(queue) => Ok(format!("the queue {queue}")),
            Destination::Method(method) => Ok(format!("the method {method}")),
        }
    }

    fn reaches(user: &str) -> Result<String, DestinationError> {
        match to_send(&format!("/user/{user}/queue/orders"), "42")? {
            Destination::Channel(channel) => Ok(channel.into_owned()),
            Destination::Queue(queue) => Ok(format!("the queue {queue}")),
            Destination::Method(method) => Ok(format!("the method {method}")),
        }
    }

    const PIECES: [&str; 18] = [
        "%", "2F", "25", "23", "2C", "/", "#", ",", "queue", "user", ":", "$", "a", "42", "ü", " ", "방",
        "\u{85}",
    ];

    /// Ids with many characters that have a special meaning.
    fn id() -> impl proptest::strategy::Strategy<Value = String> {
        proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..6)
            .prop_map(|pieces| pieces.concat())
    }

    proptest::proptest! {
        #[test]
        fn what_is_sent_to_an_encoded_id_reaches_exactly_that_user(user in id(), other in id()) {
            // Every user that can subscribe can be reached, and no other user gets it.
            match subscribes_to(&user) {
                Ok(channel) => {
                    proptest::prop_assert_eq!(reaches(&encoded(&user)), Ok(channel.clone()));
                    if other != user {
                        proptest::prop_assert_ne!(subscribes_to(&other), Ok(channel));
                    }
                }
                Err(_) => proptest::prop_assert_eq!(reaches(&encoded(&user)), Err(DestinationError::User)),
            }
        }

        #[test]
        fn whatever_stands_for_an_id_reaches_one_user_at_most(written in id()) {
            // More than an id would be more than one part of a path.
            let written = written.replace('/', "");
            if let Ok(channel) = reaches(&written) {
                let users: Vec<&str> = gorani_auth::ChannelName::parse(&channel).users().collect();
                proptest::prop_assert_eq!(users.len(), 1);
                proptest::prop_assert_eq!(reaches(&encoded(users[0])), Ok(channel.clone()));
            }
        }
    }

    #[test]
    fn item_55_any_other_prefix_is_an_error() {
        for text in
            ["", "chat", "/exchange/a/b", "topic/a", "/user/42", "/user/42/topic/a", "/user/a/b/queue/c"]
        {
            assert_eq!(to_send(text, "42"), Err(DestinationError::Prefix), "{text}");
        }
        assert_eq!(to_subscribe("/user/43/queue/orders", "42"), Err(DestinationError::Prefix));
    }
}
