//! The wire form of a session's messages: its protocol, and the framing of its transport. With what a worker shares among equal
//! ones: numbers for them, and compressors.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use bytes::{Bytes, BytesMut};
use gorani_protocol::{
    client::ClientForm,
    websocket::{self, Deflater, Opcode},
};

use super::message_headers::MessageHeaders;

/// The wire form of a session's messages. Sessions with equal encodings share the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Encoding {
    /// The protocol of a message.
    pub protocol: Protocol,
    /// The transport's framing around it.
    pub framing: Framing,
}

impl Encoding {
    /// The same, for a subscription with a format of its own.
    pub fn with_format(&self, format: &SubscriptionFormat) -> Self {
        let protocol = match format {
            SubscriptionFormat::OfSession => self.protocol.clone(),
            SubscriptionFormat::Stomp(headers) => Protocol::Stomp(headers.clone()),
        };
        Self { protocol, framing: self.framing }
    }

    /// True if its transport carries text alone: a reply becomes a JSON string once more.
    pub fn is_text_only(&self) -> bool {
        self.framing.is_text_only()
    }
}

/// The format in which one subscription gets the messages of its channel.
#[derive(Debug, Clone, Default)]
pub enum SubscriptionFormat {
    /// The format of its session's protocol.
    #[default]
    OfSession,
    /// STOMP: with the headers of the session's subscriptions of the channel.
    Stomp(Arc<MessageHeaders>),
}

/// The protocol of a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// The client protocol, in one of its forms.
    Client(ClientForm),
    /// STOMP: frames as the session's subscriptions of the channel show them. Equal headers share their bytes, and most
    /// clients of an application have equal ones.
    Stomp(Arc<MessageHeaders>),
    /// The protocol's objects alone, for receivers without commands.
    Plain,
    /// The same, each after a line that says how far it brings its receiver: see [`crate::format::position`].
    WithPositions,
    /// An embedder's own: it is never subscribed to channels.
    Embedded,
}

impl Protocol {
    /// The form of the client protocol; JSON for everything else.
    pub fn form(&self) -> ClientForm {
        if let Self::Client(form) = self { *form } else { ClientForm::Json }
    }
}

/// The framing of a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// WebSocket frames.
    WebSocket,
    /// WebSocket frames, with messages from a size on deflated.
    WebSocketDeflate {
        /// Window of the negotiated extension: 8–15.
        window_bits: u8,
    },
    /// Nothing around a message: a stream of bytes.
    Raw,
    /// A line for each message.
    Lines,
    /// A server-sent event for each message.
    Events,
    /// The same for [`Protocol::WithPositions`]: the line before an object is the event's id, for receivers of this channel alone.
    EventsWithIds,
    /// SockJS over HTTP: lists of messages, which each response makes frames of as its transport has them.
    SockJs,
    /// SockJS over WebSocket: a SockJS frame in a WebSocket frame for each message.
    SockJsWebSocket {
        /// Window of the negotiated extension, 8–15, where messages are deflated.
        deflate_window_bits: Option<u8>,
    },
}

impl Framing {
    /// True if binary messages cannot be sent as they are.
    pub fn is_text_only(self) -> bool {
        matches!(self, Self::SockJs | Self::SockJsWebSocket { .. })
    }

    /// The compression that was agreed on, for operators.
    pub fn compression(self) -> &'static str {
        match self {
            Self::WebSocketDeflate { .. } | Self::SockJsWebSocket { deflate_window_bits: Some(_) } => {
                "permessage-deflate"
            }
            _ => "identity",
        }
    }
}

/// Level 1 of 9: a push server spends its time on delivery; higher levels gain a few percent on small JSON.
const DEFLATE_LEVEL: u32 = 1;

/// Larger messages are sent as they are: to compress one takes some 10 ms a MiB, and the worker's other connections wait for
/// it. Decision record 0027.
const DEFLATE_MAX_BYTES: usize = 256 * 1024;

/// The compressors of one worker: one for each window that its connections have agreed on.
#[derive(Default)]
pub(super) struct Deflaters {
    by_window: Vec<(u8, Deflater)>,
    /// Smaller messages are sent as they are.
    threshold_bytes: usize,
}

impl Deflaters {
    pub(super) fn new(threshold_bytes: usize) -> Self {
        Self { by_window: Vec::new(), threshold_bytes }
    }

    /// True if a message of so many bytes is to be deflated, provided that makes it smaller.
    pub(super) fn takes(&self, bytes: usize) -> bool {
        (self.threshold_bytes..=DEFLATE_MAX_BYTES).contains(&bytes)
    }

    fn of(&mut self, window_bits: u8) -> Option<&mut Deflater> {
        let known = self.by_window.iter().position(|(bits, _)| *bits == window_bits);
        let index = known.unwrap_or(self.by_window.len());
        if known.is_none() {
            self.by_window.push((window_bits, Deflater::new(window_bits, DEFLATE_LEVEL)));
        }
        self.by_window.get_mut(index).map(|(_, deflater)| deflater)
    }

    /// A WebSocket frame, deflated if that is worth it.
    pub(super) fn frame(&mut self, window_bits: u8, opcode: Opcode, message: &[u8], out: &mut BytesMut) {
        if !self.takes(message.len()) {
            return websocket::encode::frame(opcode, message, false, out);
        }
        if let Some(deflater) = self.of(window_bits) {
            deflater.frame(opcode, message, out);
        }
    }

    /// A part of a message, deflated if that is worth it.
    pub(super) fn deflate(&mut self, window_bits: u8, part: &[u8]) -> Option<Bytes> {
        if !self.takes(part.len()) {
            return None;
        }
        let mut out = BytesMut::new();
        self.of(window_bits)?.compress(part, &mut out).then(|| out.freeze())
    }
}

/// Values that many share under a small number, kept as long as they are used: a lookup by number costs the same however many
/// there are. Each value was made for a key, and equal keys share it.
///
/// Bounded by its users: an entry goes with the last [`Interner::release`], and its number is used again.
pub(super) struct Interner<K, V> {
    ids: HashMap<K, u32>,
    entries: Vec<Option<Interned<K, V>>>,
    free: Vec<u32>,
}

struct Interned<K, V> {
    key: K,
    users: u32,
    value: V,
}

impl<K, V> Default for Interner<K, V> {
    fn default() -> Self {
        Self { ids: HashMap::new(), entries: Vec::new(), free: Vec::new() }
    }
}

impl<K: Clone + Eq + Hash, V> Interner<K, V> {
    /// The number of a key for one more user; its value is made if the key is new.
    pub(super) fn acquire(&mut self, key: &K, make: impl FnOnce() -> V) -> u32 {
        if let Some(id) = self.ids.get(key) {
            if let Some(Some(entry)) = self.entries.get_mut(*id as usize) {
                entry.users += 1;
            }
            return *id;
        }
        let entry = Some(Interned { key: key.clone(), users: 1, value: make() });
        let id = self.free.pop().unwrap_or_else(|| u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        match self.entries.get_mut(id as usize) {
            Some(slot) => *slot = entry,
            None => self.entries.push(entry),
        }
        self.ids.insert(key.clone(), id);
        id
    }

    /// One user less. Returns the value if that was the last.
    pub(super) fn release(&mut self, id: u32) -> Option<V> {
        let slot = self.entries.get_mut(id as usize)?;
        let entry = slot.as_mut()?;
        entry.users -= 1;
        if entry.users > 0 {
            return None;
        }
        let entry = slot.take()?;
        self.ids.remove(&entry.key);
        self.free.push(id);
        if self.ids.is_empty() {
            // Give the capacity back: the many that were here may not come again.
            *self = Self::default();
        }
        Some(entry.value)
    }

    /// The key of a number.
    pub(super) fn key(&self, id: u32) -> Option<&K> {
        self.entries.get(id as usize)?.as_ref().map(|entry| &entry.key)
    }

    /// The value of a number, and how many use it.
    pub(super) fn get(&self, id: u32) -> Option<(&V, u32)> {
        self.entries.get(id as usize)?.as_ref().map(|entry| (&entry.value, entry.users))
    }

    /// The value of a number, to change.
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut V> {
        self.entries.get_mut(id as usize)?.as_mut().map(|entry| &mut entry.value)
    }

    /// The number of keys that have a number.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_one_compressor_however_often_it_is_used() {
        let mut deflaters = Deflaters::new(0);
        for _ in 0..3 {
            for window_bits in [15, 9, 12] {
                assert!(deflaters.deflate(window_bits, &[b'x'; 100]).is_some());
            }
        }
        assert_eq!(deflaters.by_window.iter().map(|(bits, _)| *bits).collect::<Vec<_>>(), [15, 9, 12]);
    }

    #[test]
    fn a_part_is_deflated_from_the_threshold_up_to_the_limit() {
        let mut deflaters = Deflaters::new(600);
        let sizes = [599, 600, DEFLATE_MAX_BYTES, DEFLATE_MAX_BYTES + 1];
        let deflated = sizes.map(|bytes| deflaters.deflate(15, &vec![b'x'; bytes]).is_some());
        assert_eq!(deflated, [false, true, true, false]);
    }

    #[test]
    fn equal_keys_share_a_number_until_the_last_user_goes() {
        let mut interner: Interner<String, usize> = Interner::default();
        let first = interner.acquire(&"a".to_owned(), || 1);
        assert_eq!(interner.acquire(&"a".to_owned(), || 2), first);
        let other = interner.acquire(&"b".to_owned(), || 3);
        assert_ne!(first, other);
        assert_eq!(interner.get(first), Some((&1, 2)));
        assert_eq!(interner.release(first), None);
        assert_eq!(interner.release(first), Some(1));
        assert_eq!(interner.get(first), None);
        assert_eq!(interner.key(other), Some(&"b".to_owned()));
        // The number is used again, so the table is as large as the most keys there ever were at a time.
        assert_eq!(interner.acquire(&"c".to_owned(), || 4), first);
        assert_eq!(interner.release(first), Some(4));
        assert_eq!(interner.release(other), Some(3));
        assert_eq!((interner.len(), interner.entries.len()), (0, 0));
    }
}
