//! `GET /connection/poll`: what is new since a position, at once, or as soon as there is something. Each answer says from
//! where to ask on, so nothing is missed between two polls. `specs/http-transports.md`, items 1 and 2.
//!
//! A poll that does not wait reads history. One that waits is a session like a stream's, which ends with its first
//! publications: while it waits it is an entry in the hub, and costs neither a thread nor a request to the broker.

mod news;

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use bytes::{Bytes, BytesMut};
use gorani_protocol::client::bare;

use self::news::{Budget, News};
use super::{
    door::Door, if_none_match::IfNoneMatch, query::Query, receiving::open_session, refusal::Refusal,
    wish::wish,
};
use crate::{
    disconnect::{ErrorCode, Refused},
    hub::fanout::{Encoding, Framing, Protocol},
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
        uni::{UniSession, Unreadable, Wish},
    },
    transport::{
        head::is_head,
        held::{
            opening::Local,
            pipe::Head,
            polled::{Poll, Polled},
        },
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
    /// The answers that the client has.
    known: IfNoneMatch,
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
    let query = Query::parse(request.query_string());
    let mut wish = wish(request.headers(), &query, &[], &node.policy.rules)?;
    let known = IfNoneMatch::parse(request.headers());
    if wish.positions == Positions::default() && !wish.is_unreadable {
        // Who has an answer has come as far as it says.
        wish.is_unreadable = known.is_unreadable();
        wish.positions = known.positions().unwrap_or_default();
    }
    let limit = query.number("limit")?.unwrap_or(u64::from(settings.limit));
    let limit = limit.clamp(1, u64::from(node.settings.client.history_max));
    let wait = Duration::from_secs(query.number("wait")?.unwrap_or(0)).min(settings.max_wait);
    // Whatever there is to say, somebody who names `*` or asks for the head alone does not want it: there is nothing to wait
    // for.
    let wait = if known.is_any() || is_head(request) { Duration::ZERO } else { wait };
    let most_bytes = node.settings.client.reply_max_bytes;
    Ok(Asked { wish, limit: usize::try_from(limit).unwrap_or(usize::MAX), most_bytes, wait, known })
}

async fn answer(door: &Door, asked: Asked) -> Result<HttpResponse, Refusal> {
    let node = &door.local.node;
    let traits = TransportTraits { dialect: Dialect::Tracked, ..TransportTraits::default() };
    let limit = node.login_limit(door.peer);
    let policy = node.policy.clone();
    let (session, channels) = UniSession::poll(policy, traits, &asked.wish, limit, asked.wait, Now::read())?;
    if channels.is_empty() {
        return Err(Refusal::bad_request("no channels: name some (channels=a,b), or send a token that does"));
    }
    let kept: Vec<_> = channels
        .iter()
        .map(|readable| {
            Ok((readable, readable.retention.map_err(|why| cannot_poll(&readable.channel, why))?))
        })
        .collect::<Result<_, Refusal>>()?;
    let knows_all = channels.iter().all(|readable| readable.since.is_some());
    if !asked.wait.is_zero()
        && knows_all
        && let Some(response) = wait(door, &asked, session).await?
    {
        return Ok(response);
    }
    let budget = Budget { publications: asked.limit, bytes: asked.most_bytes as u64 };
    let mut polled = Polled::default();
    let mut object = BytesMut::new();
    for News { channel, publications, position, unrecovered } in news::read(node, &kept, budget).await? {
        if let Some(why) = unrecovered {
            polled.lost(&channel, why);
        }
        for publication in publications {
            object.clear();
            bare::publication(&channel, &publication_view(&publication), &mut object);
            polled.push(&object);
        }
        polled.positions.set(&channel, position);
    }
    let permit = match polled.bytes() {
        bytes if bytes < LARGE_REPLY_BYTES => None,
        bytes => Some(node.memory.try_reply(bytes).ok_or(ErrorCode::TOO_MANY_REQUESTS)?),
    };
    let (head, body) = polled.answer(&asked.known, None);
    Ok(respond(door, head, node.memory.reply(body, permit)))
}

/// Says why a channel cannot be polled.
fn cannot_poll(channel: &str, why: Unreadable) -> Refusal {
    let sentence = match why {
        Unreadable::NoHistory => {
            format!(
                "channel {channel} keeps no history to read from, so it cannot be polled: receive it as a stream"
            )
        }
        Unreadable::NotAllowed => format!(
            "channel {channel} cannot be polled: its options let this client neither recover (allow_recovery) nor read its history (allow_history_for_client, allow_history_for_subscriber): receive it as a stream"
        ),
    };
    Refusal::new(ErrorCode::NOT_AVAILABLE, sentence).with_reason(why.reason())
}

/// Waits for something new. `None` where what was missed cannot be recovered, or not now: it must be read from history then.
async fn wait(door: &Door, asked: &Asked, session: UniSession) -> Result<Option<HttpResponse>, Refusal> {
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
    let positions = asked.wish.positions.clone();
    let writer = Poll::new(positions, asked.limit, asked.most_bytes, asked.known.clone(), waiting);
    let encoding = Encoding { protocol: Protocol::Tracked, framing: Framing::Lines };
    let body = open_session(door, &POLL, encoding, session, writer)?;
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
