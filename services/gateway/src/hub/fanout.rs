//! Fan-out: events are encoded once for each distinct encoding, and the ready bytes are shared by every subscriber.
//!
//! Between a channel's run of events and the outboxes. Design §3.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::{Bytes, BytesMut};
use gorani_broker::Event;
use gorani_protocol::{
    client::{bare, push},
    sockjs, sse,
    websocket::{self, Deflater, Opcode},
};

use crate::{
    hub::subscription::follows,
    session::{
        MessageKind,
        client::views::{info_view, publication_view},
        position,
        stomp::view::{self, View},
    },
};

/// How a session's messages become bytes. Sessions with equal encodings share them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding {
    /// What a message says.
    pub protocol: Protocol,
    /// How the transport wraps it.
    pub framing: Framing,
}

impl Encoding {
    /// The same, for a subscription with a view of its own.
    pub(super) fn showing(&self, view: Option<&Arc<View>>) -> Self {
        let protocol = view.map_or_else(|| self.protocol.clone(), |view| Protocol::Stomp(view.clone()));
        Self { protocol, framing: self.framing }
    }
}

/// The protocol of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// The JSON client protocol.
    Client,
    /// STOMP: frames as the session's subscriptions of the channel show them. Equal views share their bytes, and most
    /// clients of an application have equal ones.
    Stomp(Arc<View>),
    /// Its objects alone, for receivers without commands.
    Bare,
    /// The same, each after a line that says how far it brings its receiver: see [`crate::session::position`].
    Tracked,
    /// An embedder's own: it is never subscribed to channels.
    Embedded,
}

/// The framing of a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// SockJS over HTTP: lists of messages, which each response makes frames of as its transport has them.
    SockJs,
    /// SockJS over WebSocket: a SockJS frame in a WebSocket frame for each message.
    SockJsWebSocket {
        /// Window of the negotiated extension, 8–15, where messages are deflated.
        deflate_window_bits: Option<u8>,
    },
}

impl Framing {
    /// Whether binary messages cannot be sent as they are.
    fn is_text_only(self) -> bool {
        matches!(self, Self::SockJs | Self::SockJsWebSocket { .. })
    }
}

/// A run of events that belong together: publications that follow each other without a gap and exclude nobody, one
/// publication that excludes somebody, or joins and leaves.
pub(super) struct Span<'a> {
    /// Offsets of the first and the last publication and their epoch; absent where there are no offsets.
    pub(super) offsets: Option<(u64, u64, &'a Arc<str>)>,
    /// Client that must not get it; empty for nobody.
    pub(super) excluded: &'a str,
    /// Whether it is joins and leaves.
    pub(super) is_presence: bool,
}

impl<'a> Span<'a> {
    /// Describes a run, as cut by [`Span::length`].
    pub(super) fn of(run: &'a [Event]) -> Self {
        match (run.first(), run.last()) {
            (Some(Event::Publication(first)), Some(Event::Publication(last))) => Self {
                offsets: (first.offset > 0).then_some((first.offset, last.offset, &first.epoch)),
                excluded: &first.exclude_client,
                is_presence: false,
            },
            _ => Self { offsets: None, excluded: "", is_presence: true },
        }
    }

    /// Length of the run at the head of `events`, at least 1.
    pub(super) fn length(events: &[Event]) -> usize {
        let joined = |pair: &[Event]| match pair {
            [Event::Publication(one), Event::Publication(two)] => {
                one.exclude_client.is_empty() && two.exclude_client.is_empty() && follows(one, two)
            }
            [Event::Publication(_), _] | [_, Event::Publication(_)] => false,
            _ => true,
        };
        1 + events.windows(2).take_while(|pair| joined(pair)).count()
    }
}

/// Level 1 of 9: a push server spends its time on delivery; higher levels gain a few percent on small JSON.
const DEFLATE_LEVEL: u32 = 1;

/// Turns runs of events, and messages of one session, into ready bytes.
#[derive(Default)]
pub struct Encoder {
    /// What the current run became, for each encoding seen so far: rarely more than two.
    done: Vec<(Encoding, Bytes)>,
    message: BytesMut,
    /// A SockJS frame before it becomes a WebSocket frame.
    frame: BytesMut,
    deflaters: Vec<(u8, Deflater)>,
    deflate_threshold_bytes: usize,
    /// Messages without a place in a stream, for the ids that STOMP gives them.
    serial: u64,
    message_id: String,
}

impl Encoder {
    /// An encoder that leaves messages below the threshold uncompressed.
    pub fn new(deflate_threshold_bytes: usize) -> Self {
        Self { deflate_threshold_bytes, ..Self::default() }
    }

    /// Begins a new run: what was shared before is forgotten.
    pub(super) fn begin(&mut self) {
        self.done.clear();
    }

    /// The bytes of the current run in this encoding, made on first use.
    pub(super) fn shared(&mut self, encoding: &Encoding, channel: &str, run: &[Event]) -> Bytes {
        if let Some((_, bytes)) = self.done.iter().find(|(known, _)| known == encoding) {
            return bytes.clone();
        }
        let mut out = BytesMut::new();
        let mut message = std::mem::take(&mut self.message);
        for event in run {
            if let Protocol::Stomp(view) = &encoding.protocol {
                self.show(view, event, encoding.framing, &mut message, &mut out);
                continue;
            }
            message.clear();
            encode_event(&encoding.protocol, channel, event, &mut message);
            self.frame_text(encoding.framing, &message, &mut out);
        }
        self.message = message;
        let bytes = out.freeze();
        self.done.push((encoding.clone(), bytes.clone()));
        bytes
    }

    /// A MESSAGE frame for each subscription of a view.
    fn show(
        &mut self,
        view: &View,
        event: &Event,
        framing: Framing,
        message: &mut BytesMut,
        out: &mut BytesMut,
    ) {
        let Event::Publication(publication) = event else { return };
        self.serial += 1;
        let mut message_id = std::mem::take(&mut self.message_id);
        view::write_message_id(publication, self.serial, &mut message_id);
        for shown in &view.shown {
            message.clear();
            shown.write(view.style, publication, &message_id, message);
            match view::message_kind(publication, view.style) {
                MessageKind::Text => self.frame_text(framing, message, out),
                // The frame must stay one, whatever becomes of a body that is no text.
                MessageKind::Binary if framing.is_text_only() => {
                    let text = String::from_utf8_lossy(message);
                    self.frame_text(framing, text.as_bytes(), out);
                }
                MessageKind::Binary => self.frame_binary(framing, message, out),
            }
        }
        self.message_id = message_id;
    }

    /// Wraps one text message.
    pub fn frame_text(&mut self, framing: Framing, message: &[u8], out: &mut BytesMut) {
        self.frame(framing, Opcode::Text, message, out);
    }

    /// Wraps one binary message. SockJS knows text only: there it is base64.
    pub fn frame_binary(&mut self, framing: Framing, message: &[u8], out: &mut BytesMut) {
        if framing.is_text_only() {
            self.frame(framing, Opcode::Text, BASE64.encode(message).as_bytes(), out);
        } else {
            self.frame(framing, Opcode::Binary, message, out);
        }
    }

    fn frame(&mut self, framing: Framing, opcode: Opcode, message: &[u8], out: &mut BytesMut) {
        match framing {
            Framing::WebSocket => websocket::encode::frame(opcode, message, false, out),
            Framing::WebSocketDeflate { window_bits } => self.deflate(window_bits, opcode, message, out),
            Framing::Raw => out.extend_from_slice(message),
            Framing::Lines => {
                out.reserve(message.len() + 1);
                out.extend_from_slice(message);
                out.extend_from_slice(b"\n");
            }
            Framing::Events => sse::event(message, out),
            Framing::SockJs => sockjs::frame::push_message(out, message),
            Framing::SockJsWebSocket { deflate_window_bits } => {
                let mut frame = std::mem::take(&mut self.frame);
                frame.clear();
                sockjs::frame::write_message(&mut frame, message);
                match deflate_window_bits {
                    Some(window_bits) => self.deflate(window_bits, opcode, &frame, out),
                    None => websocket::encode::frame(opcode, &frame, false, out),
                }
                self.frame = frame;
            }
        }
    }

    /// A WebSocket frame, deflated if that is worth it.
    fn deflate(&mut self, window_bits: u8, opcode: Opcode, message: &[u8], out: &mut BytesMut) {
        if message.len() < self.deflate_threshold_bytes {
            return websocket::encode::frame(opcode, message, false, out);
        }
        let known = self.deflaters.iter().position(|(bits, _)| *bits == window_bits);
        let index = known.unwrap_or(self.deflaters.len());
        if known.is_none() {
            self.deflaters.push((window_bits, Deflater::new(window_bits, DEFLATE_LEVEL)));
        }
        if let Some((_, deflater)) = self.deflaters.get_mut(index) {
            deflater.frame(opcode, message, out);
        }
    }
}

/// Writes what a protocol says of an event.
fn encode_event(protocol: &Protocol, channel: &str, event: &Event, out: &mut BytesMut) {
    match (protocol, event) {
        (Protocol::Client, Event::Publication(publication)) => {
            push::push_publication(channel, &publication_view(publication), out);
        }
        (Protocol::Client, Event::Join(info)) => push::push_join(channel, &info_view(info), out),
        (Protocol::Client, Event::Leave(info)) => push::push_leave(channel, &info_view(info), out),
        (Protocol::Bare, event) => encode_bare(channel, event, out),
        (Protocol::Tracked, event) => {
            if let Event::Publication(publication) = event
                && publication.offset > 0
            {
                position::write(channel, publication.offset, &publication.epoch, out);
            }
            out.extend_from_slice(b"\n");
            encode_bare(channel, event, out);
        }
        (Protocol::Stomp(_) | Protocol::Embedded, _) => {}
    }
}

fn encode_bare(channel: &str, event: &Event, out: &mut BytesMut) {
    match event {
        Event::Publication(publication) => bare::publication(channel, &publication_view(publication), out),
        Event::Join(info) => bare::join(channel, &info_view(info), out),
        Event::Leave(info) => bare::leave(channel, &info_view(info), out),
    }
}
