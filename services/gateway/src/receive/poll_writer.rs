//! The answer to a poll: `{"publications":[…],"position":"…"}`, where something is missing with `"unrecovered":["a"]` and
//! `"unrecovered_reasons":{"a":"position_lost"}` ([`Unrecovered::reason`]), from history or from a session that waited.

use bytes::{BufMut, Bytes, BytesMut};
use gorani_protocol::client::{json::write_string, plain};

use crate::http_session::{
    pipe::{PipeWriter, ResponseHead},
    registry::WaitingPoll,
    writer::ResponseWriter,
};
use crate::{
    disconnect::Disconnect,
    format::position::{Positions, Unrecovered, objects},
    outbox::Outbox,
    receive::if_none_match::IfNoneMatch,
};

/// What an answer holds.
#[derive(Debug, Default)]
pub struct PollAnswer {
    /// From where to ask on.
    pub positions: Positions,
    /// Objects, separated by commas.
    objects: BytesMut,
    count: usize,
    /// Channels whose position could not be recovered, and why.
    lost: Vec<(String, Unrecovered)>,
}

impl PollAnswer {
    /// Adds a publication's object.
    pub fn push(&mut self, object: &[u8]) {
        if self.count > 0 {
            self.objects.put_u8(b',');
        }
        self.objects.extend_from_slice(object);
        self.count += 1;
    }

    /// Bytes of the publications.
    pub fn bytes(&self) -> usize {
        self.objects.len()
    }

    /// Publications.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Tells that something is missing in a channel.
    pub fn lost(&mut self, channel: &str, why: Unrecovered) {
        self.lost.push((channel.to_owned(), why));
    }

    /// The answer, to a client that has those that are `known`. Nothing that is lost, and no end, is kept from it.
    pub fn answer(&self, known: &IfNoneMatch, disconnect: Option<&Disconnect>) -> (ResponseHead, BytesMut) {
        let tag = self.positions.to_string();
        if known.matches(&tag) && self.lost.is_empty() && disconnect.is_none() {
            return (ResponseHead { status: 304, tag: Some(tag) }, BytesMut::new());
        }
        let mut out = BytesMut::with_capacity(self.objects.len() + 128);
        out.extend_from_slice(br#"{"publications":["#);
        out.extend_from_slice(&self.objects);
        out.extend_from_slice(br#"],"position":"#);
        write_string(&mut out, &tag);
        if !self.lost.is_empty() {
            out.extend_from_slice(br#","unrecovered":["#);
            for (index, (channel, _)) in self.lost.iter().enumerate() {
                separate(index, &mut out);
                write_string(&mut out, channel);
            }
            out.extend_from_slice(br#"],"unrecovered_reasons":{"#);
            for (index, (channel, why)) in self.lost.iter().enumerate() {
                separate(index, &mut out);
                write_string(&mut out, channel);
                out.put_u8(b':');
                write_string(&mut out, why.reason());
            }
            out.put_u8(b'}');
        }
        if let Some(disconnect) = disconnect {
            let mut object = BytesMut::new();
            plain::disconnect(u32::from(disconnect.code), &disconnect.reason, &mut object);
            // Its one field joins those of the answer.
            out.put_u8(b',');
            out.extend_from_slice(object.get(1..object.len().saturating_sub(1)).unwrap_or_default());
        }
        out.put_u8(b'}');
        (ResponseHead { status: 200, tag: Some(tag) }, out)
    }
}

/// True for the first object of all.
fn is_connect(object: &[u8]) -> bool {
    object.starts_with(br#"{"connect":"#)
}

fn separate(index: usize, out: &mut BytesMut) {
    if index > 0 {
        out.put_u8(b',');
    }
}

/// Writes the answer of a poll that waits: as soon as there are publications, or at the end.
pub struct PollWriter {
    polled: PollAnswer,
    limit: usize,
    most_bytes: usize,
    /// A publication did not fit: those behind it are for the next poll too.
    is_full: bool,
    known: IfNoneMatch,
    is_done: bool,
    _waiting: WaitingPoll,
}

impl PollWriter {
    /// A poll of who has come as far as `positions`; its answer holds so many publications, and so many bytes of them, at most.
    pub fn new(
        positions: Positions,
        limit: usize,
        most_bytes: usize,
        known: IfNoneMatch,
        waiting: WaitingPoll,
    ) -> Self {
        Self {
            // Whatever ends it, the answer says from where to ask on.
            polled: PollAnswer { positions, ..PollAnswer::default() },
            limit,
            most_bytes,
            is_full: false,
            known,
            is_done: false,
            _waiting: waiting,
        }
    }

    /// Whether a publication joins the answer; the first always does.
    fn fits(&mut self, object: &[u8]) -> bool {
        let is_over = self.polled.bytes().saturating_add(object.len()) > self.most_bytes;
        self.is_full |= self.polled.len() >= self.limit || (is_over && !self.polled.is_empty());
        !self.is_full
    }

    fn finish(&mut self, disconnect: Option<&Disconnect>, pipe: &PipeWriter) {
        if !std::mem::replace(&mut self.is_done, true) {
            let (head, body) = self.polled.answer(&self.known, disconnect);
            pipe.begin(Ok(head));
            pipe.push(body.freeze());
        }
    }
}

impl ResponseWriter for PollWriter {
    fn write(&mut self, outbox: &Outbox, pipe: &PipeWriter) {
        while let Some(chunk) = outbox.pop() {
            for (position, object) in objects(&chunk) {
                let is_connect = is_connect(object);
                // Joins and leaves are for streams. What is over the limit, the next poll brings.
                if position.is_empty() || (!is_connect && !self.fits(object)) {
                    continue;
                }
                self.polled.positions.advance(position);
                if !is_connect {
                    self.polled.push(object);
                }
            }
        }
        if !self.polled.is_empty() {
            self.finish(None, pipe);
        }
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn ping(&mut self) -> Bytes {
        Bytes::new()
    }

    fn close_message(&mut self, reason: &Disconnect, pipe: &PipeWriter) {
        self.finish((*reason != Disconnect::NORMAL).then_some(reason), pipe);
    }
}
