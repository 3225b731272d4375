//! The MESSAGE frames for a session's subscriptions of one channel. Sessions whose headers are equal share the
//! bytes (`message_frames`). `docs/protocols/stomp.md` §5.8 to §5.11.
//!
//! The kind of an outgoing message.

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use bytes::BytesMut;
use gorani_broker::{DataKind, Publication};
use gorani_protocol::{
    client::ClientForm,
    stomp::{ServerCommand, Version, encode},
};

/// The form of a session's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameStyle {
    /// Of the session.
    pub version: Version,
    /// True if the transport carries text alone, as SockJS does: bytes that are not text are sent as base64, and a header
    /// `encoding:base64` says so.
    pub text_only: bool,
    /// True if an EOL follows the NUL of each frame. Over TCP some clients count on it, as other servers send it: php-stomp
    /// takes the byte behind a NUL for the EOL, and would lose the first letter of the next frame.
    pub trailing_eol: bool,
}

impl FrameStyle {
    /// Writes what follows the NUL of a frame.
    pub fn end_frame(self, out: &mut BytesMut) {
        if self.trailing_eol {
            out.extend_from_slice(b"\n");
        }
    }
}

/// The subscriptions of one session to one channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageHeaders {
    /// Of the session.
    pub style: FrameStyle,
    /// In the order in which they were made; a message is sent to each.
    pub subscriptions: Vec<SubscriptionHeaders>,
}

/// The headers of one subscription.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SubscriptionHeaders {
    /// Its id; absent where a client of 1.0 gave none.
    pub id: Option<Box<str>>,
    /// The destination as the client named it.
    pub destination: Box<str>,
    /// True if the client acknowledges messages.
    pub acks: bool,
}

/// A session without subscriptions.
pub const EMPTY: MessageHeaders = MessageHeaders {
    style: FrameStyle { version: Version::V1_2, text_only: false, trailing_eol: false },
    subscriptions: Vec::new(),
};

/// Headers that the server writes itself, and that no publisher may.
const RESERVED: [&str; 17] = [
    "destination",
    "message-id",
    "subscription",
    "ack",
    "content-length",
    CONTENT_TYPE,
    ENCODING,
    "offset",
    "epoch",
    "redelivered",
    "receipt",
    "receipt-id",
    "transaction",
    "user-name",
    "version",
    "heart-beat",
    "session",
];

/// The header, and the tag of a publication that keeps it where the kind of the data does not say it.
pub const CONTENT_TYPE: &str = "content-type";

/// The header of a body that is not subscription as it is.
const ENCODING: &str = "encoding";

/// The content type of a kind of data.
pub fn content_type(kind: DataKind) -> &'static str {
    match kind {
        DataKind::Json => "application/json",
        DataKind::Text => "text/plain;charset=utf-8",
        DataKind::Binary => "application/octet-stream",
    }
}

/// The kind of the MESSAGE frames of a publication: text or binary.
pub fn message_kind(publication: &Publication, style: FrameStyle) -> MessageKind {
    match publication.kind {
        DataKind::Binary if !style.text_only => MessageKind::Binary,
        _ => MessageKind::Text,
    }
}

/// The id of a message: its position in the stream if it has one, else a number that the writer counts.
pub fn write_message_id(publication: &Publication, serial: u64, out: &mut String) {
    use std::fmt::Write as _;
    out.clear();
    // Writing to a string cannot fail.
    let _ = match publication.offset {
        0 => write!(out, "m-{serial}"),
        offset => write!(out, "{}-{offset}", publication.epoch),
    };
}

/// Prefix of an `ack` header for a message of a channel, before its id. Nothing waits for such an acknowledgement.
pub const CHANNEL_ACK: &str = "c-";

/// Headers that differ between the copies of a message.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeliveryHeaders<'a> {
    /// The `ack` header, where it is not that of a channel.
    pub ack: Option<&'a str>,
    /// True if it was delivered before.
    pub redelivered: bool,
    /// Further headers of the server.
    pub more: &'a [(&'a str, &'a str)],
}

impl SubscriptionHeaders {
    /// Writes a publication of a channel as one MESSAGE frame.
    pub fn write(&self, style: FrameStyle, publication: &Publication, message_id: &str, out: &mut BytesMut) {
        self.write_delivery(style, publication, message_id, DeliveryHeaders::default(), out);
    }

    /// Writes a delivery as one MESSAGE frame.
    pub fn write_delivery(
        &self,
        style: FrameStyle,
        publication: &Publication,
        message_id: &str,
        delivery: DeliveryHeaders<'_>,
        out: &mut BytesMut,
    ) {
        out.reserve(publication.data.len() + FRAME_BYTES);
        self.write_start(style, out);
        self.write_rest(style, publication, message_id, delivery, out);
    }

    /// Writes what its MESSAGE frames begin with, up to the id: all in which subscriptions of one destination differ.
    pub fn write_start(&self, style: FrameStyle, out: &mut BytesMut) {
        let frame = encode::frame(ServerCommand::Message, style.version, out);
        if let Some(id) = &self.id {
            let _ = frame.header("subscription", id);
        }
    }

    /// Writes what follows [`SubscriptionHeaders::write_start`], for any id.
    pub fn write_rest(
        &self,
        style: FrameStyle,
        publication: &Publication,
        message_id: &str,
        delivery: DeliveryHeaders<'_>,
        out: &mut BytesMut,
    ) {
        let FrameStyle { version, text_only, .. } = style;
        let tags = &publication.tags;
        let mut frame = encode::more_headers(version, out);
        frame = frame.header("message-id", message_id).header("destination", &self.destination);
        if self.acks && version == Version::V1_2 {
            frame = match delivery.ack {
                Some(ack) => frame.header("ack", ack),
                None => frame.header("ack", &format!("{CHANNEL_ACK}{message_id}")),
            };
        }
        let content_type_tag =
            tags.iter().find(|(name, _)| name == CONTENT_TYPE).map(|(_, value)| value.as_str());
        frame =
            frame.header(CONTENT_TYPE, content_type_tag.unwrap_or_else(|| content_type(publication.kind)));
        if publication.offset > 0 {
            frame = frame.number("offset", publication.offset).header("epoch", &publication.epoch);
        }
        if delivery.redelivered {
            frame = frame.header("redelivered", "true");
        }
        for (name, value) in delivery.more {
            frame = frame.header(name, value);
        }
        let encoded = (text_only && std::str::from_utf8(&publication.data).is_err())
            .then(|| BASE64.encode(&publication.data));
        if encoded.is_some() {
            frame = frame.header(ENCODING, "base64");
        }
        let body = encoded.as_deref().map_or(&*publication.data, str::as_bytes);
        // All that is the server's stands before what publishers chose: of repeated headers the first counts.
        frame = frame.content_length(body.len());
        for (name, value) in tags.iter().filter(|(name, _)| !is_reserved(name)) {
            frame = frame.header(name, value);
        }
        frame.body(body);
        style.end_frame(out);
    }
}

/// True if the server writes this header itself. Lenient readers trim names and ignore their case, so both are ignored here.
pub fn is_reserved(name: &str) -> bool {
    let name = name.trim();
    RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name))
}

/// Bytes of a MESSAGE frame beside its body, mostly.
const FRAME_BYTES: usize = 256;

/// The kind of an outgoing message, for transports that tell text from binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Binary,
}

impl From<ClientForm> for MessageKind {
    fn from(form: ClientForm) -> Self {
        match form {
            ClientForm::Json => Self::Text,
            ClientForm::Protobuf => Self::Binary,
        }
    }
}
