//! The response of `uni_sse`: events whose ids say how far they bring their reader ([`crate::format::position`]).
//! `docs/protocols/http.md` §10.
//!
//! The encoder makes the events once for all receivers of a channel, so their ids name that channel alone. A browser sends
//! back the last id only: [`EventIds`] completes the ids of a receiver of several channels, and leaves others as they are.

use std::{collections::BTreeMap, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use gorani_protocol::{client::plain, sse};
use memchr::memchr;
use rand::RngExt;

use crate::http_session::{pipe::PipeWriter, writer::ResponseWriter};
use crate::{disconnect::Disconnect, outbox::Outbox, random};

/// A browser that lost the stream comes back after this, at least…
const RETRY_MIN: Duration = Duration::from_millis(500);
/// …and this at most, so that those who lost it together do not come together.
const RETRY_MAX: Duration = Duration::from_millis(3000);

/// Events with ids: each says how far it brings its reader in all its channels.
#[derive(Debug, Default)]
pub struct EventIdWriter {
    has_begun: bool,
    ids: EventIds,
}

impl ResponseWriter for EventIdWriter {
    fn write(&mut self, outbox: &Outbox, pipe: &PipeWriter) {
        if !outbox.is_empty() && !std::mem::replace(&mut self.has_begun, true) {
            let mut out = BytesMut::new();
            sse::retry(random::rng().random_range(RETRY_MIN..RETRY_MAX), &mut out);
            pipe.push(out.freeze());
        }
        pipe.fill(|| Some(self.ids.complete(outbox.pop()?)));
    }

    fn ping(&mut self) -> Bytes {
        Bytes::from_static(sse::COMMENT)
    }

    fn close_message(&mut self, reason: &Disconnect, pipe: &PipeWriter) {
        let (mut object, mut out) = (BytesMut::new(), BytesMut::new());
        plain::disconnect(u32::from(reason.code), &reason.reason, &mut object);
        sse::event(&object, &mut out);
        pipe.push(out.freeze());
    }
}

/// The last event id of a receiver: its entries `channel.offset.epoch` by the text that stands for the channel.
#[derive(Debug, Default)]
struct EventIds(BTreeMap<Box<str>, String>);

impl EventIds {
    /// Takes in the ids of a chunk of events, and completes those that do not name all channels. The bytes stay shared
    /// where nothing has to be completed.
    fn complete(&mut self, chunk: Bytes) -> Bytes {
        let mut completed: Option<BytesMut> = None;
        let mut rest: &[u8] = &chunk;
        while !rest.is_empty() {
            let (event, behind) = rest.split_at(event_length(rest));
            let id = event.strip_prefix(sse::ID).and_then(|line| {
                let (id, data) = line.split_at_checked(memchr(b'\n', line)?)?;
                Some((std::str::from_utf8(id).ok()?, data))
            });
            match id {
                Some((id, data)) if self.advance(id) < self.0.len() => {
                    let done = chunk.len() - rest.len();
                    let out = completed.get_or_insert_with(|| self.room(&chunk, done));
                    out.extend_from_slice(sse::ID);
                    self.write(out);
                    out.extend_from_slice(data);
                }
                _ => {
                    if let Some(out) = &mut completed {
                        out.extend_from_slice(event);
                    }
                }
            }
            rest = behind;
        }
        completed.map_or(chunk, BytesMut::freeze)
    }

    /// Notes the entries of an id, and returns their number.
    fn advance(&mut self, id: &str) -> usize {
        let (mut rest, mut count) = (id, 0);
        while let Some((entry, channel)) = first_entry(rest) {
            match self.0.get_mut(channel) {
                Some(known) => {
                    known.clear();
                    known.push_str(entry);
                }
                None => _ = self.0.insert(channel.into(), entry.to_owned()),
            }
            count += 1;
            rest = rest.get(entry.len() + 1..).unwrap_or_default();
        }
        count
    }

    /// A buffer for the completed chunk, with what stands before the first id that is not complete.
    fn room(&self, chunk: &[u8], done: usize) -> BytesMut {
        let id_bytes: usize = self.0.values().map(|entry| entry.len() + 1).sum();
        let mut out = BytesMut::with_capacity(chunk.len() + id_bytes);
        out.extend_from_slice(chunk.get(..done).unwrap_or_default());
        out
    }

    /// Appends the whole id.
    fn write(&self, out: &mut BytesMut) {
        for (index, entry) in self.0.values().enumerate() {
            if index > 0 {
                out.put_u8(b'.');
            }
            out.extend_from_slice(entry.as_bytes());
        }
    }
}

/// The first entry of an id, `channel.offset.epoch`, and its channel.
fn first_entry(id: &str) -> Option<(&str, &str)> {
    let (channel, rest) = id.split_once('.')?;
    let (offset, rest) = rest.split_once('.')?;
    let epoch = rest.split('.').next()?;
    let entry = id.get(..channel.len() + offset.len() + epoch.len() + 2)?;
    Some((entry, channel))
}

/// Bytes of the first event: up to and with the empty line.
fn event_length(events: &[u8]) -> usize {
    let mut length = 0;
    while let Some(line) = events.get(length..).and_then(|rest| memchr(b'\n', rest)) {
        length += line + 1;
        if line == 0 {
            return length;
        }
    }
    events.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::http_session::pipe::pipe;

    fn completed(ids: &mut EventIds, chunk: &'static str) -> String {
        String::from_utf8(ids.complete(Bytes::from_static(chunk.as_bytes())).to_vec()).unwrap()
    }

    #[test]
    fn events_of_one_channel_stay_the_bytes_that_all_its_receivers_share() {
        let mut ids = EventIds::default();
        for chunk in [
            "id: a.1.e\ndata: {\"connect\":{}}\n\n",
            "id: a.2.e\ndata: 1\n\nid: a.3.e\ndata: 2\ndata: 3\n\n",
            "data: a join, which has no id\n\nid: a.4.e\ndata: 4\n\n",
        ] {
            let shared = Bytes::from_static(chunk.as_bytes());
            let same = ids.complete(shared.clone());
            assert_eq!((same.as_ptr(), same.len()), (shared.as_ptr(), shared.len()));
        }
        let mut id = BytesMut::new();
        ids.write(&mut id);
        assert_eq!(id, b"a.4.e".as_slice());
    }

    #[test]
    fn every_id_names_all_channels_of_a_receiver_however_the_events_come() {
        let mut ids = EventIds::default();
        assert_eq!(completed(&mut ids, "id: b.1.e.a.7.f\ndata: c\n\n"), "id: b.1.e.a.7.f\ndata: c\n\n");
        assert_eq!(
            completed(&mut ids, "data: j\n\nid: b.2.e\ndata: 1\n\ndata: k\n\nid: b.3.e\ndata: 2\n\n"),
            "data: j\n\nid: a.7.f.b.2.e\ndata: 1\n\ndata: k\n\nid: a.7.f.b.3.e\ndata: 2\n\n"
        );
        assert_eq!(completed(&mut ids, "id: a.8.g\ndata: x\n\n"), "id: a.8.g.b.3.e\ndata: x\n\n");
    }

    #[test]
    fn a_channel_that_joins_later_is_named_from_then_on() {
        let mut ids = EventIds::default();
        assert_eq!(completed(&mut ids, "id: a.1.e\ndata: 1\n\n"), "id: a.1.e\ndata: 1\n\n");
        assert_eq!(completed(&mut ids, "id: b.1.e\ndata: 1\n\n"), "id: a.1.e.b.1.e\ndata: 1\n\n");
        assert_eq!(completed(&mut ids, "id: a.2.e\ndata: 2\n\n"), "id: a.2.e.b.1.e\ndata: 2\n\n");
    }

    #[test]
    fn a_stream_begins_with_the_time_after_which_its_browser_comes_back() {
        let (writer, reader) = pipe();
        let (outbox, mut events) = (Outbox::new(1000), EventIdWriter::default());
        for chunk in ["id: a.1.e\ndata: 1\n\n", "data: 2\n\n"] {
            outbox.push(Bytes::from_static(chunk.as_bytes())).unwrap();
        }
        events.write(&outbox, &writer);
        assert!(reader.try_chunk().unwrap().starts_with(b"retry: "));
        assert_eq!(reader.try_chunk().unwrap(), b"id: a.1.e\ndata: 1\n\n".as_slice());
        assert_eq!(reader.try_chunk().unwrap(), b"data: 2\n\n".as_slice());
        assert_eq!(reader.try_chunk(), None);
    }
}
