//! The wire form of a session's messages: its protocol, and the framing of its transport.

use std::sync::Arc;

use crate::format::message_headers::MessageHeaders;

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
    /// The JSON client protocol.
    Client,
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
}
