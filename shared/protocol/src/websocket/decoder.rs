//! The decoder: the bytes of one connection in, in whatever pieces, and its messages out. RFC 6455 §5 and §6.2,
//! RFC 7692 §6.2; `docs/protocols/websocket.md` §5 to §8, §12.
//!
//! Between messages a decoder is three words and holds no memory. What arrives in one piece is lent from the read
//! buffer; what does not is kept in one box, which is given back with the message. Memory grows with
//! the bytes that arrive, never with a length that is announced.

use std::ops::Range;

use super::{
    CloseFrame, ProtocolError, WebSocketEvent, WebSocketMessageKind,
    deflate::inflate,
    frame::{ExpectedFrame, FrameHeader, Opcode},
    input::{Input, Lent, PartialFrame, PartialInput, PartialMessage, checked_prefix},
};

/// Turns one client's bytes into [`WebSocketEvent`]s.
///
/// After a close frame and after an error nothing more comes of it: all further input is discarded.
#[derive(Debug)]
pub struct WebSocketDecoder {
    max_message_bytes: usize,
    partial: Option<Box<PartialInput>>,
    deflate: bool,
    partial_messages: bool,
    finished: bool,
}

/// An event before it borrows: what it is and where its bytes are.
enum Ready {
    Control(Opcode, PayloadRange),
    Message(WebSocketMessageKind, PayloadRange),
    Fragment { kind: WebSocketMessageKind, place: PayloadRange, last: bool },
}

enum PayloadRange {
    Input(Range<usize>),
    Partial(Lent),
}

impl WebSocketDecoder {
    /// A decoder of messages of at most `max_message_bytes` (after decompression); with permessage-deflate if it was
    /// negotiated; handing on parts of messages as they arrive if `partial_messages`. Compressed messages are always
    /// whole: a window per connection would be needed to inflate them piece by piece.
    #[must_use]
    pub fn new(max_message_bytes: usize, deflate: bool, partial_messages: bool) -> Self {
        Self { max_message_bytes, partial: None, deflate, partial_messages, finished: false }
    }

    /// The next event in `input`, or `None` when all of it is taken and more is needed. To be called until it is
    /// `None`, so that what the last event borrowed is given back.
    ///
    /// # Errors
    /// The first violation of the protocol; the connection is to be closed with its code.
    pub fn next<'e>(
        &'e mut self,
        input: &'e mut Input<'_>,
    ) -> Result<Option<WebSocketEvent<'e>>, ProtocolError> {
        self.give_back();
        if self.finished {
            input.discard();
            return Ok(None);
        }
        let ready = match self.advance(input) {
            Ok(Some(ready)) => ready,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.finished = true;
                self.partial = None;
                input.discard();
                return Err(error);
            }
        };
        if let (
            Ready::Control(_, PayloadRange::Partial(lent))
            | Ready::Message(_, PayloadRange::Partial(lent))
            | Ready::Fragment { place: PayloadRange::Partial(lent), .. },
            Some(partial),
        ) = (&ready, &mut self.partial)
        {
            partial.lent = *lent;
        }
        let Self { partial, finished, .. } = self;
        let event = lend(ready, partial.as_deref(), input);
        *finished = matches!(event, Err(_) | Ok(WebSocketEvent::Close(_)));
        event.map(Some)
    }

    /// The bytes of memory held for what is incomplete: 0 for a connection that is idle.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.held_bytes())
    }

    /// Takes back what the last event borrowed, and gives back the memory of what is complete.
    fn give_back(&mut self) {
        let Some(partial) = &mut self.partial else { return };
        partial.give_back();
        if partial.is_idle() || self.finished {
            self.partial = None;
        }
    }

    /// Reads on until something is ready or the input is used up.
    fn advance(&mut self, input: &mut Input<'_>) -> Result<Option<Ready>, ProtocolError> {
        loop {
            let frame = match self.partial.as_mut().and_then(|partial| partial.frame.take()) {
                Some(frame) => frame,
                None => {
                    let Some(header) = self.read_header(input)? else { return Ok(None) };
                    match self.open(header, input)? {
                        Opened::Ready(ready) => return Ok(Some(ready)),
                        Opened::Frame(frame) => frame,
                    }
                }
            };
            let ready = if frame.opcode.is_control() {
                self.read_control(frame, input)
            } else if self.hands_on_fragments() {
                self.read_fragment(frame, input)?
            } else {
                self.read_data(frame, input)?
            };
            if ready.is_some() {
                return Ok(ready);
            }
            if input.is_empty() {
                if self.partial.as_ref().is_some_and(|partial| partial.is_idle()) {
                    self.partial = None;
                }
                return Ok(None);
            }
        }
    }

    fn partial(&mut self) -> &mut PartialInput {
        self.partial.get_or_insert_default()
    }

    fn message(&self) -> Option<&PartialMessage> {
        self.partial.as_ref().and_then(|partial| partial.message.as_ref())
    }

    fn hands_on_fragments(&self) -> bool {
        self.partial_messages && self.message().is_some_and(|message| !message.compressed)
    }

    fn expected(&self) -> ExpectedFrame {
        let limit = self.max_message_bytes as u64;
        let compressed_limit = compressed_limit(limit);
        let (inside_message, room) = match self.message() {
            Some(message) if message.compressed => (true, compressed_limit.saturating_sub(message.announced)),
            Some(message) => (true, limit.saturating_sub(message.announced)),
            None => (false, limit),
        };
        ExpectedFrame {
            deflate: self.deflate,
            inside_message,
            room,
            compressed_room: compressed_limit,
            max_message_bytes: self.max_message_bytes,
        }
    }

    /// The next header: from the input alone, or from what is kept and the input.
    fn read_header(&mut self, input: &mut Input<'_>) -> Result<Option<FrameHeader>, ProtocolError> {
        let expected = self.expected();
        let kept = self.partial.as_ref().map_or(0, |partial| partial.header.length);
        if kept == 0 {
            if let Some((header, length)) = FrameHeader::parse(input.rest(), &expected)? {
                input.skip(length);
                return Ok(Some(header));
            }
            if input.is_empty() {
                return Ok(None);
            }
        }
        let partial = self.partial();
        let added = partial.header.push(input.rest());
        let parsed = FrameHeader::parse(partial.header.bytes(), &expected)?;
        let Some((header, length)) = parsed else {
            input.skip(added);
            return Ok(None);
        };
        partial.header.length = 0;
        input.skip(length.saturating_sub(kept));
        Ok(Some(header))
    }

    /// A new frame: ready at once if it arrived whole and is all there is, else the state to read its payload with.
    fn open(&mut self, header: FrameHeader, input: &mut Input<'_>) -> Result<Opened, ProtocolError> {
        let FrameHeader { opcode, fin, compressed, length, mask } = header;
        let whole = usize::try_from(length).ok().filter(|length| *length <= input.remaining());
        match (whole, opcode.opens()) {
            (Some(length), _) if opcode.is_control() => {
                return Ok(Opened::Ready(Ready::Control(
                    opcode,
                    PayloadRange::Input(input.take(length, mask)),
                )));
            }
            (Some(length), Some(kind)) if fin && !compressed => {
                return Ok(Opened::Ready(Ready::Message(
                    kind,
                    PayloadRange::Input(input.take(length, mask)),
                )));
            }
            (Some(payload), Some(kind)) if fin => {
                let range = input.take(payload, mask);
                let mut message = PartialMessage::new(kind, compressed, length);
                message.data = inflate(kind, input.slice(range), self.max_message_bytes)?;
                self.partial().message = Some(message);
                return Ok(Opened::Ready(Ready::Message(kind, PayloadRange::Partial(Lent::Message))));
            }
            (_, Some(kind)) => self.partial().message = Some(PartialMessage::new(kind, compressed, length)),
            (_, None) => {
                if let Some(message) = &mut self.partial().message
                    && !opcode.is_control()
                {
                    message.announced += length;
                }
            }
        }
        Ok(Opened::Frame(PartialFrame { opcode, fin, mask, outstanding: length }))
    }

    /// Collects the payload of a ping, pong or close frame.
    fn read_control(&mut self, mut frame: PartialFrame, input: &mut Input<'_>) -> Option<Ready> {
        let range = frame.take(usize::MAX, input);
        let partial = self.partial();
        partial.control.extend_from_slice(input.slice(range));
        if frame.outstanding > 0 {
            partial.frame = Some(frame);
            return None;
        }
        Some(Ready::Control(frame.opcode, PayloadRange::Partial(Lent::Control)))
    }

    /// Collects a message.
    fn read_data(
        &mut self,
        mut frame: PartialFrame,
        input: &mut Input<'_>,
    ) -> Result<Option<Ready>, ProtocolError> {
        let max_message_bytes = self.max_message_bytes;
        let partial = self.partial();
        let message = partial.message.as_mut().ok_or(ProtocolError::UnexpectedContinuation)?;
        let range = frame.take(usize::MAX, input);
        message.push(input.slice(range), frame.fin.then_some(frame.outstanding))?;
        if frame.outstanding > 0 {
            partial.frame = Some(frame);
            return Ok(None);
        }
        if !frame.fin {
            return Ok(None);
        }
        if message.compressed {
            message.data = inflate(message.kind, &message.data, max_message_bytes)?;
        } else {
            message.check_end()?;
        }
        Ok(Some(Ready::Message(message.kind, PayloadRange::Partial(Lent::Message))))
    }

    /// Hands on what arrived of a message, text between two characters. A character that was cut in two is put
    /// together and handed on alone.
    fn read_fragment(
        &mut self,
        mut frame: PartialFrame,
        input: &mut Input<'_>,
    ) -> Result<Option<Ready>, ProtocolError> {
        let partial = self.partial();
        let message = partial.message.as_mut().ok_or(ProtocolError::UnexpectedContinuation)?;
        let kind = message.kind;
        let joins = !message.split.is_empty();
        let most = if joins { message.split.lacks() } else { usize::MAX };
        let mut range = frame.take(most, input);
        let ends = frame.outstanding == 0 && frame.fin;

        let mut whole_characters = range.len();
        if joins {
            message.split.push(input.slice(range.clone()));
            whole_characters = checked_prefix(message.split.bytes())?;
        } else if kind == WebSocketMessageKind::Text {
            whole_characters = checked_prefix(input.slice(range.clone()))?;
            let rest = range.start + whole_characters..range.end;
            message.split.push(input.slice(rest));
            range.end = range.start + whole_characters;
        }
        let split_remains = if joins { whole_characters == 0 } else { !message.split.is_empty() };
        if ends && split_remains {
            return Err(ProtocolError::InvalidUtf8);
        }
        let place = if joins { PayloadRange::Partial(Lent::Character) } else { PayloadRange::Input(range) };
        if ends && !joins {
            partial.message = None;
        } else if frame.outstanding > 0 {
            partial.frame = Some(frame);
        }
        if whole_characters == 0 && !ends {
            return Ok(None);
        }
        let place = match place {
            PayloadRange::Partial(_) if ends => PayloadRange::Partial(Lent::Message),
            place => place,
        };
        Ok(Some(Ready::Fragment { kind, place, last: ends }))
    }
}

enum Opened {
    Ready(Ready),
    Frame(PartialFrame),
}

/// Most bytes that the frames of a compressed message may announce in all: zlib's own bound for what a message of the limit's
/// size can become when it does not compress.
fn compressed_limit(limit: u64) -> u64 {
    limit.saturating_add(limit / 8).saturating_add(limit / 64).saturating_add(64)
}

/// Makes the event from the part where its bytes are.
fn lend<'e>(
    ready: Ready,
    partial: Option<&'e PartialInput>,
    input: &'e Input<'_>,
) -> Result<WebSocketEvent<'e>, ProtocolError> {
    let bytes = |place| match place {
        PayloadRange::Input(range) => input.slice(range),
        PayloadRange::Partial(lent) => partial.map_or(&[][..], |partial| partial.lent(lent)),
    };
    Ok(match ready {
        Ready::Control(Opcode::Ping, place) => WebSocketEvent::Ping(bytes(place)),
        Ready::Control(Opcode::Pong, place) => WebSocketEvent::Pong(bytes(place)),
        Ready::Control(_, place) => WebSocketEvent::Close(CloseFrame::parse(bytes(place))?),
        Ready::Message(WebSocketMessageKind::Binary, place) => WebSocketEvent::Binary(bytes(place)),
        Ready::Message(WebSocketMessageKind::Text, place) => WebSocketEvent::Text(
            simdutf8::basic::from_utf8(bytes(place)).map_err(|_| ProtocolError::InvalidUtf8)?,
        ),
        Ready::Fragment { kind, place, last } => WebSocketEvent::Fragment { kind, data: bytes(place), last },
    })
}
