//! The encoder of one worker: events are encoded once for each distinct encoding, and the ready bytes are shared by every
//! subscriber.
//!
//! Asked by the hub for each run of events. `docs/architecture.md` §3.4.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::{Bytes, BytesMut};
use gorani_broker::ChannelEvent;
use gorani_protocol::{
    client::plain,
    sockjs, sse,
    websocket::{self, Opcode},
};

use crate::format::{
    encoding::{Deflaters, Encoding, Framing, Interner, Protocol, SubscriptionFormat},
    message_frames::{MessageFrames, SubscriptionCopy},
    message_headers::MessageKind,
    position,
    views::{info_view, publication_view},
};

/// Names an encoding on its worker while it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodingId(u32);

/// An encoding that subscriptions have.
struct Prepared {
    /// The bytes of the current run.
    ready: Option<Bytes>,
    /// For STOMP: the subscriptions that get a message.
    copies: Box<[SubscriptionCopy]>,
}

/// Turns runs of events, and messages of one session, into ready bytes.
#[derive(Default)]
pub struct Encoder {
    /// The encodings of all subscriptions, so that what a run became is found by number, however many there are.
    encodings: Interner<Encoding, Prepared>,
    /// Encodings that the current run has bytes for: rarely more than two.
    ready: Vec<u32>,
    frames: MessageFrames,
    deflaters: Deflaters,
    message: BytesMut,
    /// A SockJS frame before it becomes a WebSocket frame.
    frame: BytesMut,
}

impl Encoder {
    /// An encoder that leaves messages below the threshold uncompressed.
    pub fn new(deflate_threshold_bytes: usize) -> Self {
        Self { deflaters: Deflaters::new(deflate_threshold_bytes), ..Self::default() }
    }

    /// The number of an encoding, for one more subscription.
    pub fn acquire(&mut self, encoding: &Encoding) -> EncodingId {
        let frames = &mut self.frames;
        EncodingId(self.encodings.acquire(encoding, || {
            let copies = match &encoding.protocol {
                Protocol::Stomp(headers) => frames.acquire(headers, encoding.framing),
                _ => Box::default(),
            };
            Prepared { ready: None, copies }
        }))
    }

    /// A subscription of this encoding is gone.
    pub fn release(&mut self, id: EncodingId) {
        if let Some(prepared) = self.encodings.release(id.0) {
            self.frames.release(&prepared.copies);
        }
    }

    /// The number of the encoding that has another format, for the same subscription.
    pub fn change_format(&mut self, id: EncodingId, format: &SubscriptionFormat) -> EncodingId {
        let Some(encoding) = self.encodings.key(id.0).map(|encoding| encoding.with_format(format)) else {
            return id;
        };
        let changed = self.acquire(&encoding);
        self.release(id);
        changed
    }

    /// Begins a new run: what was shared before is forgotten.
    pub fn begin(&mut self) {
        for id in self.ready.drain(..) {
            if let Some(prepared) = self.encodings.get_mut(id) {
                prepared.ready = None;
            }
        }
        self.frames.begin();
    }

    /// Encodings that share the bytes of the current run, and those bytes together.
    pub fn run_size(&self) -> (usize, usize) {
        let ready = self.ready.iter().filter_map(|id| self.encodings.get(*id)?.0.ready.as_ref());
        let (mut encodings, mut bytes) = (0, 0);
        for shared in ready {
            encodings += 1;
            bytes += shared.len();
        }
        (encodings, bytes)
    }

    /// The bytes of the current run in an encoding, if another subscriber has them already.
    #[inline]
    pub fn ready(&self, id: EncodingId) -> Option<&Bytes> {
        self.encodings.get(id.0)?.0.ready.as_ref()
    }

    /// Makes the bytes of the current run in an encoding and hands them to `push`, message by message if they are not shared.
    ///
    /// Each call of `push` gets the head and the rest of what belongs together; the rest is empty where all is in the head. It
    /// returns false if nothing more is taken.
    pub fn encode_run(
        &mut self,
        id: EncodingId,
        channel: &str,
        run: &[ChannelEvent],
        mut push: impl FnMut(Bytes, Bytes) -> bool,
    ) {
        let Some((prepared, users)) = self.encodings.get(id.0) else { return };
        let Some(encoding) = self.encodings.key(id.0) else { return };
        let bytes = if let Protocol::Stomp(_) = encoding.protocol {
            let framing = encoding.framing;
            // Bytes that are not shared are not kept either, and need not be in one piece: but a list of SockJS has to be.
            let splits = users == 1 && framing != Framing::SockJs;
            let mut pairs = self.frames.pairs(&prepared.copies, (framing, run, splits), &mut self.deflaters);
            if users == 1 {
                pairs.all(|(own, shared)| push(own, shared));
                return;
            }
            pairs.next().map(|(whole, _)| whole).unwrap_or_default()
        } else {
            let encoding = encoding.clone();
            self.encode(&encoding, channel, run)
        };
        if let Some(prepared) = self.encodings.get_mut(id.0) {
            prepared.ready = Some(bytes.clone());
            self.ready.push(id.0);
        }
        push(bytes, Bytes::new());
    }

    /// The bytes of events for one session. A session of STOMP shows nothing without its subscriptions.
    pub fn encode(&mut self, encoding: &Encoding, channel: &str, run: &[ChannelEvent]) -> Bytes {
        let mut out = BytesMut::new();
        let mut message = std::mem::take(&mut self.message);
        if !matches!(encoding.protocol, Protocol::Stomp(_)) {
            let kind = MessageKind::from(encoding.protocol.form());
            for event in run {
                message.clear();
                encode_event(&encoding.protocol, channel, event, &mut message);
                self.frame_message(encoding.framing, kind, &message, &mut out);
            }
        }
        self.message = message;
        out.freeze()
    }

    /// Wraps one message of this kind.
    pub fn frame_message(&mut self, framing: Framing, kind: MessageKind, message: &[u8], out: &mut BytesMut) {
        match kind {
            MessageKind::Text => self.frame_text(framing, message, out),
            MessageKind::Binary => self.frame_binary(framing, message, out),
        }
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

    /// The bytes before a message that the framing leaves as it is, so that a large one need not be copied behind them.
    /// `None` where the framing changes the message or puts something after it.
    pub fn head(&self, framing: Framing, kind: MessageKind, bytes: usize) -> Option<Bytes> {
        let is_as_it_is = match framing {
            Framing::Raw => return Some(Bytes::new()),
            Framing::WebSocket => true,
            Framing::WebSocketDeflate { .. } => !self.deflaters.takes(bytes),
            Framing::Lines
            | Framing::Events
            | Framing::EventsWithIds
            | Framing::SockJs
            | Framing::SockJsWebSocket { .. } => false,
        };
        let opcode = match kind {
            MessageKind::Text => Opcode::Text,
            MessageKind::Binary => Opcode::Binary,
        };
        is_as_it_is.then(|| {
            let mut out = Vec::with_capacity(websocket::encode::header_bytes(bytes));
            websocket::encode::header(opcode, bytes, false, &mut out);
            out.into()
        })
    }

    fn frame(&mut self, framing: Framing, opcode: Opcode, message: &[u8], out: &mut BytesMut) {
        match framing {
            Framing::WebSocket => websocket::encode::frame(opcode, message, false, out),
            Framing::WebSocketDeflate { window_bits } => {
                self.deflaters.frame(window_bits, opcode, message, out)
            }
            Framing::Raw => out.extend_from_slice(message),
            Framing::Lines => {
                out.reserve(message.len() + 1);
                out.extend_from_slice(message);
                out.extend_from_slice(b"\n");
            }
            Framing::Events => sse::event(message, out),
            Framing::EventsWithIds => {
                for (position, object) in position::objects(message) {
                    if !position.is_empty() {
                        sse::id(position, out);
                    }
                    sse::event(object, out);
                }
            }
            Framing::SockJs => sockjs::frame::push_message(out, message),
            Framing::SockJsWebSocket { deflate_window_bits } => {
                let mut frame = std::mem::take(&mut self.frame);
                frame.clear();
                sockjs::frame::write_message(&mut frame, message);
                match deflate_window_bits {
                    Some(window_bits) => self.deflaters.frame(window_bits, opcode, &frame, out),
                    None => websocket::encode::frame(opcode, &frame, false, out),
                }
                self.frame = frame;
            }
        }
    }
}

/// Writes what a protocol says of an event.
fn encode_event(protocol: &Protocol, channel: &str, event: &ChannelEvent, out: &mut BytesMut) {
    match (protocol, event) {
        (Protocol::Client(form), ChannelEvent::Publication(publication)) => {
            form.push_publication(channel, &publication_view(publication), out);
        }
        (Protocol::Client(form), ChannelEvent::Join(info)) => {
            form.push_join(channel, &info_view(info), out);
        }
        (Protocol::Client(form), ChannelEvent::Leave(info)) => {
            form.push_leave(channel, &info_view(info), out);
        }
        (Protocol::Plain, event) => encode_plain(channel, event, out),
        (Protocol::WithPositions, event) => {
            if let ChannelEvent::Publication(publication) = event
                && publication.offset > 0
            {
                position::write(channel, publication.offset, &publication.epoch, out);
            }
            out.extend_from_slice(b"\n");
            encode_plain(channel, event, out);
        }
        (Protocol::Stomp(_) | Protocol::Embedded, _) => {}
    }
}

fn encode_plain(channel: &str, event: &ChannelEvent, out: &mut BytesMut) {
    match event {
        ChannelEvent::Publication(publication) => {
            plain::publication(channel, &publication_view(publication), out)
        }
        ChannelEvent::Join(info) => plain::join(channel, &info_view(info), out),
        ChannelEvent::Leave(info) => plain::leave(channel, &info_view(info), out),
    }
}

#[cfg(test)]
mod tests;
