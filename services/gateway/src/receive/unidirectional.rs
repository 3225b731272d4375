//! Receiving without an SDK: `uni_http_stream` (an object a line) and `uni_sse` (an event for each object, whose id says
//! how far it brings its reader). `docs/protocols/http.md` §9, §10.

use std::{collections::BTreeMap, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, StatusCode, header},
    web,
};
use bytes::{BufMut, Bytes, BytesMut};
use gorani_protocol::{client::plain, sse};
use memchr::{memchr, memchr_iter};
use rand::RngExt;

use super::{
    client_stream::{EVENTS_TYPE, LINES_TYPE},
    query::{Query, receive_query},
};
use crate::{
    disconnect::Disconnect,
    format::encoding::{Encoding, Framing, Protocol},
    http::{
        is_head,
        refusal::HttpRefusal,
        request_context::{ReceiverSession, RequestContext, answer},
    },
    http_session::{
        WorkerContext,
        pipe::{PipeReader, PipeWriter, ended},
        writer::{ResponseWriter, StreamWriter},
    },
    metrics::TransportLabel,
    outbox::Outbox,
    random,
    session::{
        Now,
        client::{
            OutputFormat, TransportTraits,
            receiver::{self, ReceiveQuery, UniSession},
        },
    },
};

static UNI_HTTP_STREAM: TransportLabel = TransportLabel::new("uni_http_stream");
static UNI_SSE: TransportLabel = TransportLabel::new("uni_sse");
/// A browser that lost the stream comes back after this, at least…
const RETRY_MIN: Duration = Duration::from_millis(500);
/// …and this at most, so that those who lost it together do not come together.
const RETRY_MAX: Duration = Duration::from_millis(3000);

/// `GET` or `POST /connection/uni_http_stream`.
pub async fn uni_http_stream(
    request: HttpRequest,
    payload: web::Payload,
    local: web::Data<WorkerContext>,
) -> HttpResponse {
    answer(&request, &local, async |context| {
        let most = local.node.policy.get().settings.message_max_bytes;
        let body = context.body(payload, most).await?;
        let receive_query = read_query(context, &body)?;
        if is_head(&request) {
            check(context, &receive_query)?;
            return Ok(context.stream(LINES_TYPE, ended()));
        }
        let encoding = Encoding { protocol: Protocol::Plain, framing: Framing::Lines };
        let writer = Box::new(StreamWriter::BareLines);
        let body = open(context, &UNI_HTTP_STREAM, encoding, OutputFormat::Plain, receive_query, writer)?;
        begun(context, &body).await?;
        Ok(context.stream_session(LINES_TYPE, body))
    })
    .await
}

/// `GET` or `POST /connection/uni_sse`.
pub async fn uni_sse(
    request: HttpRequest,
    payload: web::Payload,
    local: web::Data<WorkerContext>,
) -> HttpResponse {
    answer(&request, &local, async |context| {
        let answered = stream_events(context, payload).await;
        if is_event_source(context)
            && let Err(refusal) = &answered
            && !refusal.is_temporary()
        {
            // An EventSource reads no body; this is the status that tells it not to come back.
            refusal.count(&local.node);
            return Ok(context.response(StatusCode::NO_CONTENT).finish());
        }
        answered
    })
    .await
}

async fn stream_events(
    context: &RequestContext<'_>,
    payload: web::Payload,
) -> Result<HttpResponse, HttpRefusal> {
    let body = context.body(payload, context.local.node.policy.get().settings.message_max_bytes).await?;
    let receive_query = read_query(context, &body)?;
    if is_head(context.request) {
        check(context, &receive_query)?;
        return Ok(context.stream(EVENTS_TYPE, ended()));
    }
    let writer = Box::new(EventIdWriter::default());
    let encoding = Encoding { protocol: Protocol::WithPositions, framing: Framing::EventsWithIds };
    let body = open(context, &UNI_SSE, encoding, OutputFormat::WithPositions, receive_query, writer)?;
    begun(context, &body).await?;
    Ok(context.stream_session(EVENTS_TYPE, body))
}

fn read_query(context: &RequestContext<'_>, body: &[u8]) -> Result<ReceiveQuery, HttpRefusal> {
    let query = Query::parse(context.request.query_string());
    receive_query(context.request.headers(), &query, body, &context.local.node.policy.get().rules)
}

/// True if a receiver would be let in.
fn check(context: &RequestContext<'_>, receive_query: &ReceiveQuery) -> Result<(), HttpRefusal> {
    context.check_capacity()?;
    let node = &context.local.node;
    Ok(receiver::check(
        node.policy.get(),
        receive_query,
        node.admission.login_limit(context.peer),
        Now::read(),
    )?)
}

fn open(
    context: &RequestContext<'_>,
    transport: &'static TransportLabel,
    encoding: Encoding,
    format: OutputFormat,
    receive_query: ReceiveQuery,
    writer: Box<dyn ResponseWriter>,
) -> Result<PipeReader, HttpRefusal> {
    let node = &context.local.node;
    let traits = TransportTraits { format, ..TransportTraits::default() };
    let session = UniSession::new(node.policy.get(), traits, receive_query, Now::read());
    let session = session.with_login_limit(node.admission.login_limit(context.peer));
    let session = Box::new(session.with_calls(context.calls(transport, "json")));
    context.open(ReceiverSession { session, transport, encoding, writer, id: None, commands: Vec::new() })
}

/// Waits until the session has begun.
async fn begun(context: &RequestContext<'_>, body: &PipeReader) -> Result<(), HttpRefusal> {
    match body.begun().await {
        Some(Err(refused)) => {
            Err(HttpRefusal::of_connect(refused, &context.local.node.policy.get().settings))
        }
        Some(Ok(_)) | None => Ok(()),
    }
}

/// True if a browser's `EventSource` asks: it says what it reads, and cannot post.
fn is_event_source(context: &RequestContext<'_>) -> bool {
    context.request.method() != Method::POST
        && context.header(header::ACCEPT.as_str()).is_some_and(|accept| accept.contains("text/event-stream"))
}

/// Events with ids: each says how far it brings its reader in all its channels ([`crate::format::position`]).
///
/// The encoder makes the events once for all receivers of a channel, so their ids name that channel alone. A browser sends back
/// the last id only: [`EventIds`] completes the ids of a receiver of several channels, and leaves others as they are.
#[derive(Debug, Default)]
struct EventIdWriter {
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
    let mut dots = memchr_iter(b'.', id.as_bytes());
    let (channel_end, _offset_end) = (dots.next()?, dots.next()?);
    let entry_end = dots.next().unwrap_or(id.len());
    Some((id.get(..entry_end)?, id.get(..channel_end)?))
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
