//! MESSAGE frames of STOMP for many subscriptions: all but the first header, which has the subscription's id, is made
//! once for all ids, and each subscription costs its own few bytes.

use bytes::{Bytes, BytesMut};
use gorani_broker::ChannelEvent;
use gorani_protocol::{
    sockjs,
    websocket::{self, Deflater, Opcode, deflate::STORED_BLOCK_BYTES},
};

use crate::format::{
    encoding::{Deflaters, Framing, Interner},
    message_headers::{self, FrameStyle, MessageHeaders, MessageKind, SubscriptionHeaders},
};

/// From this size on, what frames share is put behind each start as it is; below, a copy costs less than one more piece to
/// write. By measurement: see the decision record 0027.
const SPLIT_FROM_BYTES: usize = 1024;
/// Memory that is kept for the next message.
const KEPT_BYTES: usize = 64 * 1024;
/// Bytes of the brackets and quotes of SockJS, at most.
const BRACKET_BYTES: usize = 8;

/// The inputs that the frames of a subscription depend on, besides its id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct FrameKind {
    pub(super) style: FrameStyle,
    /// Destination and acknowledgements; the id is left out.
    pub(super) subscription: SubscriptionHeaders,
    pub(super) framing: Framing,
}

impl FrameKind {
    pub(super) fn all(headers: &MessageHeaders, framing: Framing) -> impl Iterator<Item = Self> {
        headers.subscriptions.iter().map(move |subscription| Self {
            style: headers.style,
            subscription: SubscriptionHeaders { id: None, ..subscription.clone() },
            framing,
        })
    }
}

/// One subscription of a session's headers.
pub(super) struct SubscriptionCopy {
    /// Number of its [`FrameKind`].
    pub(super) kind: u32,
    /// The beginning of its frames, as the framing has it.
    pub(super) start: Box<[u8]>,
}

/// The part that the frames of one publication share.
pub(super) struct SharedFrames {
    opcode: Opcode,
    /// The bytes behind the start, as the framing has them.
    rest: Bytes,
    /// The same, deflated, if the framing deflates it and it becomes smaller.
    deflated: Option<Bytes>,
}

/// The bytes before and after a message in a frame of SockJS.
fn brackets(framing: Framing) -> (&'static [u8], &'static [u8]) {
    match framing {
        Framing::SockJs => (b"", b","),
        Framing::SockJsWebSocket { .. } => (b"a[", b"]"),
        // STOMP is carried by nothing else: over lines and events it would not be readable.
        _ => (b"", b""),
    }
}

fn is_web_socket(framing: Framing) -> bool {
    use Framing::{SockJsWebSocket, WebSocket, WebSocketDeflate};
    matches!(framing, WebSocket | WebSocketDeflate { .. } | SockJsWebSocket { .. })
}

/// Writes `text` as the inside of a JSON string.
fn escape(text: &[u8], out: &mut BytesMut) {
    let start = out.len();
    sockjs::frame::write_string(out, text);
    // The quotes stand around the whole, which is put together of two such pieces.
    let end = out.len() - 1;
    out.copy_within(start + 1..end, start);
    out.truncate(end - 1);
}

/// The beginning of the frames of a subscription.
pub(super) fn start(subscription: &SubscriptionHeaders, style: FrameStyle, framing: Framing) -> Box<[u8]> {
    let mut plain = BytesMut::new();
    subscription.write_start(style, &mut plain);
    if !framing.is_text_only() {
        return plain[..].into();
    }
    let mut out = BytesMut::from(brackets(framing).0);
    out.extend_from_slice(b"\"");
    escape(&plain, &mut out);
    out[..].into()
}

impl SharedFrames {
    /// From what follows the start: a frame's headers and its body.
    fn new(rest: &[u8], is_text: bool, framing: Framing, deflaters: &mut Deflaters) -> Self {
        let mut out = BytesMut::with_capacity(rest.len() + BRACKET_BYTES);
        if framing.is_text_only() {
            // The frame must stay one, also if the body is not text.
            escape(String::from_utf8_lossy(rest).as_bytes(), &mut out);
            out.extend_from_slice(b"\"");
            out.extend_from_slice(brackets(framing).1);
        } else {
            out.extend_from_slice(rest);
        }
        let rest = out.freeze();
        let deflated = match framing {
            Framing::WebSocketDeflate { window_bits }
            | Framing::SockJsWebSocket { deflate_window_bits: Some(window_bits) } => {
                deflaters.deflate(window_bits, &rest)
            }
            _ => None,
        };
        let opcode = if is_text || framing.is_text_only() { Opcode::Text } else { Opcode::Binary };
        Self { opcode, rest, deflated }
    }

    /// The piece behind what [`SharedFrames::write_head`] writes.
    fn rest(&self) -> &Bytes {
        self.deflated.as_ref().unwrap_or(&self.rest)
    }

    /// Bytes of the frame that begins with this start.
    fn frame_bytes(&self, start: &[u8], framing: Framing) -> usize {
        if !is_web_socket(framing) {
            return start.len() + self.rest.len();
        }
        let payload = self.payload_bytes(start);
        websocket::encode::header_bytes(payload) + payload
    }

    fn payload_bytes(&self, start: &[u8]) -> usize {
        let around = if self.deflated.is_some() { STORED_BLOCK_BYTES } else { 0 };
        around + start.len() + self.rest().len()
    }

    /// Writes the frame up to [`SharedFrames::rest`].
    fn write_head(&self, start: &[u8], framing: Framing, out: &mut Vec<u8>) {
        if is_web_socket(framing) {
            let payload = self.payload_bytes(start);
            websocket::encode::header(self.opcode, payload, self.deflated.is_some(), out);
        }
        match self.deflated {
            Some(_) => Deflater::stored_block(start, out),
            None => out.extend_from_slice(start),
        }
    }
}

/// The frames of the current run, and the kinds of frames that subscriptions have.
#[derive(Default)]
pub(super) struct MessageFrames {
    /// Per kind, the shared frames of the run's publications, in order; empty until they are asked for.
    kinds: Interner<FrameKind, Vec<SharedFrames>>,
    /// Kinds whose frames are made.
    made: Vec<u32>,
    /// Messages without a position in a stream, for the ids that STOMP gives them.
    serial: u64,
    /// The serial of the run's first message.
    first_serial: Option<u64>,
    message_id: String,
    message: BytesMut,
}

impl MessageFrames {
    /// The number of kinds of frames.
    #[cfg(test)]
    pub(super) fn kinds(&self) -> usize {
        self.kinds.len()
    }

    /// Begins a new run.
    pub(super) fn begin(&mut self) {
        for kind in self.made.drain(..) {
            if let Some(shared) = self.kinds.get_mut(kind) {
                *shared = Vec::new();
            }
        }
        self.first_serial = None;
    }

    /// The subscriptions of a headers, for one more user of each kind.
    pub(super) fn acquire(&mut self, headers: &MessageHeaders, framing: Framing) -> Box<[SubscriptionCopy]> {
        let kinds = &mut self.kinds;
        let copies =
            FrameKind::all(headers, framing).zip(&headers.subscriptions).map(|(kind, subscription)| {
                SubscriptionCopy {
                    kind: kinds.acquire(&kind, Vec::new),
                    start: start(subscription, headers.style, framing),
                }
            });
        copies.collect()
    }

    /// Ends what [`MessageFrames::acquire`] began.
    pub(super) fn release(&mut self, copies: &[SubscriptionCopy]) {
        for copy in copies {
            self.kinds.release(copy.kind);
        }
    }

    /// Makes the frames of a run, each once for each of the copies, and hands them out from the first on: pairs of what is
    /// the subscription's own and, where `splits`, a large part that is shared and not copied, which leaves behind it. The
    /// second of a pair is empty where all is in the first.
    pub(super) fn pairs(
        &mut self,
        copies: &[SubscriptionCopy],
        (framing, run, splits): (Framing, &[ChannelEvent], bool),
        deflaters: &mut Deflaters,
    ) -> impl Iterator<Item = (Bytes, Bytes)> {
        for copy in copies {
            self.make(copy.kind, run, deflaters);
        }
        let publications = run.iter().filter(|event| matches!(event, ChannelEvent::Publication(_))).count();
        let kinds = &self.kinds;
        let mut frames = (0..publications).flat_map(move |index| {
            copies.iter().filter_map(move |copy| Some((copy, kinds.get(copy.kind)?.0.get(index)?)))
        });
        let is_split = move |shared: &SharedFrames| splits && shared.rest().len() >= SPLIT_FROM_BYTES;
        std::iter::from_fn(move || {
            // With the exact capacity, the bytes need no allocation besides their own.
            let mut bytes = 0;
            for (copy, shared) in frames.clone() {
                bytes += shared.frame_bytes(&copy.start, framing);
                if is_split(shared) {
                    bytes -= shared.rest().len();
                    break;
                }
            }
            let mut out = Vec::with_capacity(bytes);
            for (copy, shared) in frames.by_ref() {
                shared.write_head(&copy.start, framing, &mut out);
                if is_split(shared) {
                    return Some((out.into(), shared.rest().clone()));
                }
                out.extend_from_slice(shared.rest());
            }
            (!out.is_empty()).then(|| (out.into(), Bytes::new()))
        })
    }

    /// Makes what the frames of a kind share, unless that is done.
    fn make(&mut self, kind: u32, run: &[ChannelEvent], deflaters: &mut Deflaters) {
        let Some((shared, _)) = self.kinds.get(kind) else { return };
        if !shared.is_empty() {
            return;
        }
        let Some(FrameKind { style, subscription, framing }) = self.kinds.key(kind) else { return };
        let first = *self.first_serial.get_or_insert(self.serial + 1);
        self.serial = self.serial.max(first + run.len() as u64 - 1);
        let publications = run.iter().filter_map(|event| match event {
            ChannelEvent::Publication(publication) => Some(publication),
            ChannelEvent::Join(_) | ChannelEvent::Leave(_) => None,
        });
        let shared = publications.zip(first..).map(|(publication, serial)| {
            message_headers::write_message_id(publication, serial, &mut self.message_id);
            self.message.clear();
            let delivery = message_headers::DeliveryHeaders::default();
            subscription.write_rest(*style, publication, &self.message_id, delivery, &mut self.message);
            let is_text = message_headers::message_kind(publication, *style) == MessageKind::Text;
            SharedFrames::new(&self.message, is_text, *framing, deflaters)
        });
        let shared: Vec<SharedFrames> = shared.collect();
        if self.message.capacity() > KEPT_BYTES {
            self.message = BytesMut::new();
        }
        if let Some(made) = self.kinds.get_mut(kind) {
            *made = shared;
        }
        self.made.push(kind);
    }
}

#[cfg(test)]
mod tests;
