//! `GET /connection/poll`: what is new since a position, at once, or as soon as there is something. Each answer says from
//! where to ask on, so nothing is missed between two polls. `specs/http-transports.md`, items 1 and 2.
//!
//! A poll that does not wait reads history. One that waits is a session like a stream's, which ends with its first
//! publications: while it waits it is an entry in the hub, and costs neither a thread nor a request to the broker.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use bytes::{Bytes, BytesMut};
use gorani_broker::{HistoryPage, HistoryQuery, Position, Publication, Retention};
use gorani_protocol::client::bare;

use super::{
    door::Door,
    receiving::open_session,
    refusal::Refusal,
    wish::{Query, parse_position, wish},
};
use crate::{
    disconnect::{ErrorCode, Refused},
    hub::{fanout::Protocol, read_budget::ReadSource},
    memory::LARGE_REPLY_BYTES,
    metrics::TransportLabel,
    node::{
        Node,
        admission::{refusals::Cause, share::Exhausted},
    },
    session::{
        Now,
        client::{Dialect, TransportTraits, views::publication_view},
        position::Positions,
        uni::{Readable, UniSession, Wish, readable},
    },
    transport::held::{
        opening::Local,
        pipe::Head,
        polled::{Poll, Polled},
    },
};

static POLL: TransportLabel = TransportLabel::brief("poll");

/// What a poll asks for.
struct Asked {
    wish: Wish,
    /// Publications in an answer at most.
    limit: usize,
    /// Bytes of publications in an answer at most.
    most_bytes: usize,
    /// How long it waits where nothing is new.
    wait: Duration,
    /// The answer that the client has.
    known: Option<String>,
}

/// Answers a poll.
pub async fn poll(request: HttpRequest, local: web::Data<Local>) -> HttpResponse {
    let door = match Door::of(&request, &local) {
        Ok(door) => door,
        Err(refusal) => return refusal.response(),
    };
    match asked(&request, &local.node) {
        Ok(asked) => answer(&door, asked).await,
        Err(refusal) => Err(refusal),
    }
    .unwrap_or_else(|refusal| door.refuse(&refusal))
}

fn asked(request: &HttpRequest, node: &Node) -> Result<Asked, Refusal> {
    let settings = &node.settings.poll;
    let query = Query::parse(request.query_string())?;
    let mut wish = wish(request.headers(), &query, &[])?;
    let known = request.headers().get(header::IF_NONE_MATCH).and_then(|tag| tag.to_str().ok());
    let known = known.map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"').to_owned());
    if let Some(known) = &known
        && wish.positions == Positions::default()
        && let Ok(positions) = parse_position(known)
    {
        // Who has an answer has come as far as it says.
        wish.positions = positions;
    }
    let limit = query.number("limit")?.unwrap_or(u64::from(settings.limit));
    let limit = limit.clamp(1, u64::from(node.settings.client.history_max));
    let wait = Duration::from_secs(query.number("wait")?.unwrap_or(0)).min(settings.max_wait);
    let most_bytes = node.settings.client.reply_max_bytes;
    Ok(Asked { wish, limit: usize::try_from(limit).unwrap_or(usize::MAX), most_bytes, wait, known })
}

async fn answer(door: &Door, asked: Asked) -> Result<HttpResponse, Refusal> {
    let node = &door.local.node;
    let channels = readable(&node.policy, &asked.wish, node.login_limit(door.peer), Now::read())?;
    if channels.is_empty() {
        return Err(Refusal::bad_request("no channels: name some (channels=a,b), or send a token that does"));
    }
    if let Some(Readable { channel, .. }) = channels.iter().find(|channel| channel.retention.is_none()) {
        return Err(Refusal::new(
            ErrorCode::NOT_AVAILABLE,
            format!(
                "channel {channel} keeps no history to read from, so it cannot be polled: receive it as a stream"
            ),
        ));
    }
    let knows_all = channels.iter().all(|channel| asked.wish.positions.get(&channel.channel).is_some());
    if !asked.wait.is_zero()
        && knows_all
        && let Some(response) = wait(door, &asked).await?
    {
        return Ok(response);
    }
    let polled = read(node, &asked, &channels).await?;
    let permit = match polled.bytes() {
        bytes if bytes < LARGE_REPLY_BYTES => None,
        bytes => Some(node.memory.try_reply(bytes).ok_or(ErrorCode::TOO_MANY_REQUESTS)?),
    };
    let (head, body) = polled.answer(asked.known.as_deref(), None);
    Ok(respond(door, head, node.memory.reply(body, permit)))
}

/// Waits for something new. `None` where what was missed cannot be recovered, or not now: it must be read from history then.
async fn wait(door: &Door, asked: &Asked) -> Result<Option<HttpResponse>, Refusal> {
    let node = &door.local.node;
    let network = door.network();
    let waiting = door.local.directory.begin_poll(network, node.settings.poll.max_waiting);
    let waiting = waiting.map_err(|exhausted| {
        let (cause, sentence) = match exhausted {
            Exhausted::All => (Cause::Polls, "too many polls wait here"),
            Exhausted::Network => (Cause::PollsOfAddress, "too many polls from this address wait"),
        };
        node.refused(cause, network);
        Refusal::new(ErrorCode::TOO_MANY_REQUESTS, sentence)
    })?;
    let traits = TransportTraits { dialect: Dialect::Tracked, ..TransportTraits::default() };
    let session =
        UniSession::new(node.policy.clone(), traits, asked.wish.clone(), Now::read()).for_poll(asked.wait);
    let positions = asked.wish.positions.clone();
    let writer = Poll::new(positions, asked.limit, asked.most_bytes, asked.known.clone(), waiting);
    let body = open_session(door, &POLL, Protocol::Tracked, session, writer)?;
    match body.begun().await {
        Some(Ok(head)) => Ok(Some(respond(door, head, node.memory.reply(body.collect().await, None)))),
        // What was missed in all channels together may be more than may be replayed at a time; an answer holds a part of it.
        Some(Err(Refused::Error(ErrorCode::UNRECOVERABLE_POSITION | ErrorCode::TOO_MANY_REQUESTS))) => {
            Ok(None)
        }
        Some(Err(refused)) => Err(refused.into()),
        // The worker ends.
        None => Err(ErrorCode::UNAVAILABLE.into()),
    }
}

fn respond(door: &Door, head: Head, body: Bytes) -> HttpResponse {
    let status = StatusCode::from_u16(head.status).unwrap_or_default();
    let mut response = door.response(status);
    if let Some(tag) = head.tag {
        response.insert_header((header::ETAG, format!("\"{tag}\"")));
    }
    if status == StatusCode::NOT_MODIFIED {
        return response.finish();
    }
    response.content_type("application/json").body(body)
}

/// Reads what is new in each channel from history.
async fn read(node: &Arc<Node>, asked: &Asked, channels: &[Readable]) -> Result<Polled, Refusal> {
    let mut polled = Polled::default();
    let mut left_bytes = node.settings.client.reply_max_bytes as u64;
    for Readable { channel, retention } in channels {
        let retention = retention.unwrap_or_default();
        let left = if left_bytes == 0 { 0 } else { asked.limit.saturating_sub(polled.len()) };
        let most = Most { publications: clamp(left), bytes: left_bytes };
        let since = asked.wish.positions.get(channel);
        let (publications, position) = match since {
            Some(since) if left == 0 => (Vec::new(), since.clone()),
            Some(since) => match read_since(node, channel, since, most, retention).await? {
                Some(news) => news,
                None => {
                    polled.lost(channel);
                    read_latest(node, channel, most, retention).await?
                }
            },
            None => read_latest(node, channel, most, retention).await?,
        };
        let mut object = BytesMut::new();
        for publication in publications {
            left_bytes = left_bytes.saturating_sub(publication.content_bytes());
            object.clear();
            bare::publication(channel, &publication_view(&publication), &mut object);
            polled.push(&object);
        }
        polled.positions.set(channel, position);
    }
    Ok(polled)
}

/// What one channel may still bring to an answer.
#[derive(Clone, Copy)]
struct Most {
    publications: u32,
    bytes: u64,
}

impl Most {
    fn query(self, since: Option<u64>, reverse: bool) -> HistoryQuery {
        HistoryQuery { limit: self.publications, since, reverse, max_bytes: Some(self.bytes) }
    }
}

type News = (Vec<Arc<Publication>>, Position);

/// What follows a position, without a gap; `None` if there is one.
async fn read_since(
    node: &Arc<Node>,
    channel: &Arc<str>,
    since: &Position,
    most: Most,
    retention: Retention,
) -> Result<Option<News>, Refusal> {
    let query = most.query(Some(since.offset), false);
    let page = node.history(ReadSource::Client, channel, query, retention).await.map_err(ErrorCode::from)?;
    if !page.continues(since) {
        return Ok(None);
    }
    let HistoryPage { publications, top, .. } = page;
    let mut offset = since.offset;
    for publication in &publications {
        if publication.offset != offset + 1 {
            return Ok(None);
        }
        offset = publication.offset;
    }
    if publications.is_empty() && top.offset != since.offset {
        return Ok(None);
    }
    Ok(Some((publications, Position { offset, epoch: top.epoch })))
}

/// The latest publications, the oldest first.
async fn read_latest(
    node: &Arc<Node>,
    channel: &Arc<str>,
    most: Most,
    retention: Retention,
) -> Result<News, Refusal> {
    let query = most.query(None, true);
    let HistoryPage { mut publications, top, .. } =
        node.history(ReadSource::Client, channel, query, retention).await.map_err(ErrorCode::from)?;
    publications.reverse();
    Ok((publications, top))
}

fn clamp(limit: usize) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX)
}
