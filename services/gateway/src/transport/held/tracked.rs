//! Writing what is tracked: every object comes after a line with how far it brings its reader
//! ([`crate::session::position`]). Here the two become an event with an id, or the answer to a poll.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gorani_protocol::{client::bare, sse};
use rand::RngExt;

use super::{pipe::PipeWriter, writer::Writer};
use crate::{disconnect::Disconnect, outbox::Outbox, random, session::position::Positions};

/// A browser that lost the stream comes back after this, at least…
const RETRY_MIN: Duration = Duration::from_millis(500);
/// …and this at most, so that those who lost it together do not come together.
const RETRY_MAX: Duration = Duration::from_millis(3000);

/// The objects of a chunk: how far each brings its reader (empty: no further), and itself.
pub(super) fn objects(chunk: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    let mut lines = chunk.split(|byte| *byte == b'\n');
    std::iter::from_fn(move || {
        let position = lines.next()?;
        let object = lines.next()?;
        Some((std::str::from_utf8(position).unwrap_or_default(), object))
    })
}

/// Events with ids: each says how far it brings its reader in all its channels.
#[derive(Debug, Default)]
pub struct TrackedEvents {
    positions: Positions,
}

impl Writer for TrackedEvents {
    fn write(&mut self, outbox: &Outbox, pipe: &PipeWriter) {
        let mut out = BytesMut::new();
        while pipe.has_room()
            && let Some(chunk) = outbox.pop()
        {
            for (position, object) in objects(&chunk) {
                if is_connect(object) {
                    sse::retry(random::rng().random_range(RETRY_MIN..RETRY_MAX), &mut out);
                }
                if !position.is_empty() {
                    self.positions.advance(position);
                    sse::id(&self.positions.to_string(), &mut out);
                }
                sse::event(object, &mut out);
            }
            pipe.push(out.split().freeze());
        }
    }

    fn ping(&mut self) -> Bytes {
        Bytes::from_static(sse::COMMENT)
    }

    fn last_words(&mut self, reason: &Disconnect, pipe: &PipeWriter) {
        let (mut object, mut out) = (BytesMut::new(), BytesMut::new());
        bare::disconnect(u32::from(reason.code), &reason.reason, &mut object);
        sse::event(&object, &mut out);
        pipe.push(out.freeze());
    }
}

/// Whether it is the first object of all.
pub(super) fn is_connect(object: &[u8]) -> bool {
    object.starts_with(br#"{"connect":"#)
}
