//! The answer to a poll, from history or from a session that waited, and the answers that a client has already.
//! `docs/protocols/http.md` §8.5.
//!
//! An answer is `{"publications":[…],"position":"…"}`, where something is missing with `"unrecovered":["a"]` and
//! `"unrecovered_reasons":{"a":"position_lost"}` ([`Unrecovered::reason`]). Its entity tag is its position, so `If-None-Match`
//! (RFC 9110 §13.1.2) also says how far the client has come.

use actix_http::header::{HeaderMap, IF_NONE_MATCH};
use bytes::{BufMut, Bytes, BytesMut};
use gorani_protocol::client::{json::write_string, plain};

use crate::{
    disconnect::Disconnect,
    format::position::{Positions, Unrecovered, objects},
    http_session::{
        pipe::{PipeWriter, ResponseHead},
        registry::WaitingPoll,
        writer::ResponseWriter,
    },
    outbox::Outbox,
};

/// The answer to a poll.
#[derive(Debug, Default)]
pub struct PollAnswer {
    /// The positions to go on from.
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

    /// True if there are none.
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

    /// True if a publication joins the answer; the first always does.
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
                // Joins and leaves are for streams. The next poll brings what is over the limit.
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

/// The content of the header `If-None-Match`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IfNoneMatch {
    /// `*`: whatever answer there is.
    is_any: bool,
    /// Entity tags without quotes. The comparison is weak, so a `W/` before one means nothing.
    tags: Vec<String>,
}

impl IfNoneMatch {
    /// Reads the header, all its lines. Text between commas that is no tag is taken as one that somebody forgot to quote.
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut known = Self::default();
        for line in headers.get_all(IF_NONE_MATCH) {
            let line = String::from_utf8_lossy(line.as_bytes());
            let mut rest = line.trim_matches(is_separator);
            while !rest.is_empty() {
                let (tag, behind) = first(rest);
                known.is_any |= rest.split(',').next().is_some_and(|item| item.trim() == "*");
                if !tag.is_empty() {
                    known.tags.push(tag.to_owned());
                }
                rest = behind.trim_start_matches(is_separator);
            }
        }
        known
    }

    /// True if the client has the answer with this tag.
    pub fn matches(&self, tag: &str) -> bool {
        self.is_any || self.tags.iter().any(|known| known == tag)
    }

    /// True if it is `*`, which matches any answer.
    pub fn is_any(&self) -> bool {
        self.is_any
    }

    /// The positions that the client has reached: in each channel the furthest of its answers. `None` without the header, or if
    /// no tag of it is a position though some should be.
    pub fn positions(&self) -> Option<Positions> {
        let read = |tag: &String| Positions::parse(tag).ok();
        self.tags.iter().filter_map(read).reduce(Positions::furthest)
    }

    /// True if the client names answers that are none of ours.
    pub fn is_unreadable(&self) -> bool {
        !self.is_any && !self.tags.is_empty() && self.positions().is_none()
    }
}

fn is_separator(character: char) -> bool {
    matches!(character, ',' | ' ' | '\t')
}

/// The first tag of a list, and what is behind it. In quotes a comma is part of the tag.
fn first(list: &str) -> (&str, &str) {
    let opaque = list.strip_prefix("W/").unwrap_or(list);
    if let Some((tag, behind)) = opaque.strip_prefix('"').and_then(|opaque| opaque.split_once('"')) {
        return (tag, behind);
    }
    let (tag, behind) = list.split_once(',').unwrap_or((list, ""));
    (tag.trim().trim_start_matches("W/").trim_matches('"'), behind)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use actix_http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&str]) -> IfNoneMatch {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IF_NONE_MATCH, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        IfNoneMatch::parse(&headers)
    }

    #[test]
    fn lists_weak_tags_and_several_lines_are_tags() {
        for lines in [
            &[r#""a.1.x", W/"b.2.x""#][..],
            &[r#"W/"a.1.x","b.2.x""#],
            &[r#" , "a.1.x" ,,	W/"b.2.x" , "#],
            &[r#""a.1.x""#, r#"W/"b.2.x""#],
            &["a.1.x, W/b.2.x"],
        ] {
            let known = read(lines);
            assert_eq!(known.tags, ["a.1.x", "b.2.x"], "{lines:?}");
            assert!(known.matches("a.1.x") && known.matches("b.2.x") && !known.matches("a.1"));
            assert_eq!(known.positions(), Some(Positions::parse("a.1.x.b.2.x").unwrap()));
        }
    }

    #[test]
    fn any_is_a_star_and_no_quoted_one() {
        let any = read(&["*"]);
        assert!(any.is_any() && any.matches("a.1.x") && !any.is_unreadable());
        assert_eq!(any.positions(), None);
        for quoted in [r#""*""#, r#"W/"*""#, "**"] {
            assert!(!read(&[quoted]).is_any() && read(&[quoted]).is_unreadable(), "{quoted}");
        }
    }

    #[test]
    fn a_client_with_several_answers_has_come_as_far_as_the_furthest() {
        let known = read(&[r#""a.7.x.b.1.x", "a.5.x.b.9.x""#]);
        assert_eq!(known.positions(), Some(Positions::parse("a.7.x.b.9.x").unwrap()));
        // Of two lives of a stream nobody can tell which is the later one.
        assert_eq!(read(&["a.7.x, a.5.y"]).positions(), Some(Positions::parse("a.5.y").unwrap()));
    }

    #[test]
    fn answers_of_somebody_else_are_no_position() {
        for line in [r#""33a64df5""#, r#"W/"고라니""#, "\"a", r#""a,b""#, "W/a", r#""a.1.x" "#] {
            assert_eq!(read(&[line]).is_unreadable(), !line.contains("a.1.x"), "{line}");
        }
        assert_eq!(read(&[r#""33a64df5", "a.1.x""#]).positions(), Some(Positions::parse("a.1.x").unwrap()));
        // A client that puts its position between quotes has none in the beginning.
        for none in [&[][..], &[""], &[" , "], &[r#""""#], &[r#"W/"""#]] {
            assert!(!read(none).is_unreadable());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_header_and_a_tag_of_ours_is_found_among_others(
            line in "[ -~\u{80}-\u{2ff}]{0,40}",
            others in proptest::collection::vec("[!#-~]{0,10}", 0..4),
            at in 0..4_usize,
        ) {
            let _ = (read(&[&line]).positions(), read(&[&line]).is_unreadable());
            let mut tags: Vec<_> = others.iter().map(|other| format!("W/\"{other}\"")).collect();
            tags.insert(at.min(tags.len()), "\"a.1.x\"".to_owned());
            let known = read(&[&tags.join(", ")]);
            prop_assert!(known.matches("a.1.x") && !known.is_any() && !known.is_unreadable());
        }
    }
}
