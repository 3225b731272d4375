//! Channel names: their syntax, and the meaning of their parts. A name is checked before it is used anywhere
//! else. `docs/protocols/client.md` §9; `docs/architecture.md` §4.2.
//!
//! ```text
//! $chat:room#42,43
//! │└┬─┘ └─┬┘└─┬─┘
//! │ │     │   users: only these may subscribe without a token
//! │ │     name inside the namespace
//! │ namespace: which options apply
//! private: subscribing needs a subscription token
//! ```

/// Default and largest length of a channel name, in bytes of UTF-8: a Hangul syllable has 3, an emoji 4 and more. Redis keys
/// and STOMP headers carry names, so it is kept small.
pub const CHANNEL_NAME_MAX_BYTES: usize = 255;

/// First character of a channel that needs a subscription token.
pub const PRIVATE_PREFIX: char = '$';
/// Ends the namespace.
pub const NAMESPACE_SEPARATOR: char = ':';
/// Begins the list of users.
pub const USER_SEPARATOR: char = '#';
/// Between users.
pub const USER_LIST_SEPARATOR: char = ',';

/// Begins the names of the channels on which nodes wake the consumers of work queues. The broker's `QueueWake` has it too: all
/// versions of a cluster and the keys of Redis agree on it, so no client's channel may begin with it.
const QUEUE_WAKE_PREFIX: &str = "queue wake ";

/// Why a text is no channel name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChannelNameError {
    /// No characters.
    #[error("the channel name is empty")]
    Empty,
    /// More bytes than allowed.
    #[error("the channel name has {bytes} bytes in UTF-8, the limit is {max_bytes}")]
    TooLong {
        /// Length of the name in UTF-8.
        bytes: usize,
        /// The limit it passed.
        max_bytes: usize,
    },
    /// A control character (C0, DEL, C1), or a separator of lines or paragraphs (U+2028, U+2029): a name is one line.
    #[error("the channel name has a control character or a line separator, at byte {at}")]
    ControlCharacter {
        /// Byte index of the character, from 0.
        at: usize,
    },
    /// U+FFFD, which decoders put in the place of bytes that are no UTF-8 and of lone surrogates: two damaged names would be
    /// one channel.
    #[error("the channel name has U+FFFD at byte {at}: it was not valid UTF-8 on its way")]
    NotUtf8 {
        /// Byte index of the character, from 0.
        at: usize,
    },
    /// It begins as the channels of the nodes themselves do.
    #[error("the channel name begins with {QUEUE_WAKE_PREFIX:?}, which is reserved")]
    Reserved,
    /// A personal channel without a user.
    #[error("a personal channel needs a user")]
    NoUser,
    /// A user id that a list of users would read as another user, or as several.
    #[error("this user id or channel cannot form a personal channel: it has `#` or `,`")]
    AmbiguousUser,
}

/// Checks that `name` is a channel name: 1 to `max_bytes` bytes of UTF-8 in any script, without control characters and line
/// separators. `max_bytes` above [`CHANNEL_NAME_MAX_BYTES`] counts as that.
///
/// Names are compared byte by byte, and never normalised: a name in NFC and the same in NFD are two channels. Record 44.
pub fn check_channel_name(name: &str, max_bytes: usize) -> Result<(), ChannelNameError> {
    let max_bytes = max_bytes.min(CHANNEL_NAME_MAX_BYTES);
    if name.is_empty() {
        return Err(ChannelNameError::Empty);
    }
    if name.len() > max_bytes {
        return Err(ChannelNameError::TooLong { bytes: name.len(), max_bytes });
    }
    if let Some((at, refused)) = name.char_indices().find(|(_, character)| !is_name_character(*character)) {
        return Err(if refused == char::REPLACEMENT_CHARACTER {
            ChannelNameError::NotUtf8 { at }
        } else {
            ChannelNameError::ControlCharacter { at }
        });
    }
    if name.starts_with(QUEUE_WAKE_PREFIX) { Err(ChannelNameError::Reserved) } else { Ok(()) }
}

/// True if a channel name may have this character.
pub(crate) fn is_name_character(character: char) -> bool {
    !character.is_control() && !matches!(character, '\u{2028}' | '\u{2029}' | char::REPLACEMENT_CHARACTER)
}

/// A channel name seen by its parts. Borrowed and cheap: nothing is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelName<'a> {
    /// Begins with `$`.
    pub is_private: bool,
    /// Before the first `:`, without `$`; None where there is no `:` before the users. A `:` in a user id (as
    /// in `orders#oauth:42`) does not make a namespace.
    pub namespace: Option<&'a str>,
    /// The rest, without namespace and users.
    pub rest: &'a str,
    /// After the first `#`: the users, still joined by `,`. None for a channel without users of its own.
    users: Option<&'a str>,
}

impl<'a> ChannelName<'a> {
    /// Takes a name apart. Every text has parts, also one that [`check_channel_name`] refuses.
    #[must_use]
    pub fn parse(name: &'a str) -> Self {
        let (is_private, name) = match name.strip_prefix(PRIVATE_PREFIX) {
            Some(name) => (true, name),
            None => (false, name),
        };
        let (name, users) = match name.split_once(USER_SEPARATOR) {
            Some((name, users)) => (name, Some(users)),
            None => (name, None),
        };
        let (namespace, rest) = match name.split_once(NAMESPACE_SEPARATOR) {
            Some((namespace, rest)) => (Some(namespace), rest),
            None => (None, name),
        };
        Self { is_private, namespace, rest, users }
    }

    /// Has the name a list of users (a `#`)?
    #[must_use]
    pub fn is_user_limited(&self) -> bool {
        self.users.is_some()
    }

    /// True if this user is in the list. An anonymous user (empty id) never is, not even in an empty list.
    #[must_use]
    pub fn lists_user(&self, user: &str) -> bool {
        !user.is_empty()
            && self.users.is_some_and(|users| users.split(USER_LIST_SEPARATOR).any(|listed| listed == user))
    }

    /// The users of the list, in order; none for a channel without `#`.
    pub fn users(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.users.into_iter().flat_map(|users| users.split(USER_LIST_SEPARATOR))
    }
}

/// The personal channel of a user: `name#user`. It is formed only here; the publish API, the client
/// protocol and STOMP's `/user/queue/…` all use it (`docs/architecture.md` §4.3).
///
/// Refused when the result would not belong to exactly this user: an empty id, or one with `,` or `#`, or a
/// name that has its own users already; also when the result is no channel name.
pub fn personal_channel(name: &str, user: &str) -> Result<String, ChannelNameError> {
    if name.is_empty() {
        return Err(ChannelNameError::Empty);
    }
    if user.is_empty() {
        return Err(ChannelNameError::NoUser);
    }
    if name.contains(USER_SEPARATOR) || user.contains([USER_SEPARATOR, USER_LIST_SEPARATOR]) {
        return Err(ChannelNameError::AmbiguousUser);
    }
    let channel = format!("{name}{USER_SEPARATOR}{user}");
    check_channel_name(&channel, CHANNEL_NAME_MAX_BYTES)?;
    Ok(channel)
}

#[cfg(test)]
mod tests;
