//! `GET /connection/poll`: what is new since a position, at once, or as soon as there is something. Each answer says from
//! where to ask on, so nothing is missed between two polls. `docs/protocols/http.md` §8.
//!
//! A poll that does not wait reads history. One that waits is a session like a stream's, which ends with its first
//! publications: while it waits it is an entry in the hub, and costs neither a thread nor a request to the broker.

mod channel_answer;

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use bytes::{Bytes, BytesMut};
use gorani_protocol::client::plain;

use self::channel_answer::{AnswerBudget, ChannelAnswer};
use super::{
    poll_writer::IfNoneMatch,
    query::{Query, receive_query},
};
use crate::{
    disconnect::{ErrorCode, Refused},
    format::{
        encoding::{Encoding, Framing, Protocol},
        position::Positions,
        views::publication_view,
    },
    http::{
        is_head,
        refusal::HttpRefusal,
        request_context::{self, ReceiverSession, RequestContext},
    },
    http_session::{WorkerContext, pipe::ResponseHead},
    memory::LARGE_REPLY_BYTES,
    metrics::TransportLabel,
    node::{Node, admission::refusals::RefusalCause, client_network::Exhausted},
    receive::poll_writer::{PollAnswer, PollWriter},
    session::{
        Now,
        client::{
            OutputFormat, TransportTraits,
            receiver::{NotPollable, ReceiveQuery, UniSession},
        },
    },
};

static POLL: TransportLabel = TransportLabel::brief("poll");

/// The query of a poll.
struct PollQuery {
    receive_query: ReceiveQuery,
    /// Publications in an answer at most.
    limit: usize,
    /// Bytes of publications in an answer at most.
    most_bytes: usize,
    /// Longest time that it waits while nothing is new.
    wait: Duration,
    /// The answers that the client has.
    known: IfNoneMatch,
}

/// Answers a poll.
pub async fn poll(request: HttpRequest, local: web::Data<WorkerContext>) -> HttpResponse {
    request_context::answer(&request, &local, async |context| {
        let asked = poll_query(&request, &local.node)?;
        answer(context, asked).await
    })
    .await
}

fn poll_query(request: &HttpRequest, node: &Node) -> Result<PollQuery, HttpRefusal> {
    let settings = &node.settings.poll;
    let query = Query::parse(request.query_string());
    let mut receive_query = receive_query(request.headers(), &query, &[], &node.policy.rules)?;
    let known = IfNoneMatch::parse(request.headers());
    if receive_query.positions == Positions::default() && !receive_query.is_unreadable {
        // A client that has an answer has come as far as it says.
        receive_query.is_unreadable = known.is_unreadable();
        receive_query.positions = known.positions().unwrap_or_default();
    }
    let limit = query.number("limit")?.unwrap_or(u64::from(settings.limit));
    let limit = limit.clamp(1, u64::from(node.policy.settings.history_max));
    let wait = Duration::from_secs(query.number("wait")?.unwrap_or(0)).min(settings.max_wait);
    // A request that names `*` or asks for the head alone does not want the answer's content: there is nothing to wait
    // for.
    let wait = if known.is_any() || is_head(request) { Duration::ZERO } else { wait };
    let most_bytes = node.policy.settings.reply_max_bytes;
    Ok(PollQuery {
        receive_query,
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        most_bytes,
        wait,
        known,
    })
}

async fn answer(context: &RequestContext<'_>, asked: PollQuery) -> Result<HttpResponse, HttpRefusal> {
    let node = &context.local.node;
    let traits = TransportTraits { format: OutputFormat::WithPositions, ..TransportTraits::default() };
    let limit = node.admission.login_limit(context.peer);
    let policy = node.policy.clone();
    let (session, channels) =
        UniSession::poll(policy, traits, &asked.receive_query, limit, asked.wait, Now::read())?;
    if channels.is_empty() {
        return Err(HttpRefusal::bad_request(
            "no channels: name some (channels=a,b), or send a token that does",
        ));
    }
    let kept: Vec<_> = channels
        .iter()
        .map(|readable| {
            Ok((readable, readable.retention.map_err(|why| cannot_poll(&readable.channel, why))?))
        })
        .collect::<Result<_, HttpRefusal>>()?;
    let knows_all = channels.iter().all(|readable| readable.since.is_some());
    if !asked.wait.is_zero()
        && knows_all
        && let Some(response) = wait(context, &asked, session).await?
    {
        return Ok(response);
    }
    let budget = AnswerBudget { publications: asked.limit, bytes: asked.most_bytes as u64 };
    let mut polled = PollAnswer::default();
    let mut object = BytesMut::new();
    for ChannelAnswer { channel, publications, position, unrecovered } in
        channel_answer::read(node, &kept, budget).await?
    {
        if let Some(why) = unrecovered {
            polled.lost(&channel, why);
        }
        for publication in publications {
            object.clear();
            plain::publication(&channel, &publication_view(&publication), &mut object);
            polled.push(&object);
        }
        polled.positions.set(&channel, position);
    }
    let permit = match polled.bytes() {
        bytes if bytes < LARGE_REPLY_BYTES => None,
        bytes => Some(node.memory.try_reply(bytes).ok_or(ErrorCode::TOO_MANY_REQUESTS)?),
    };
    let (head, body) = polled.answer(&asked.known, None);
    Ok(respond(context, head, node.memory.reply(body, permit)))
}

/// Says why a channel cannot be polled.
fn cannot_poll(channel: &str, why: NotPollable) -> HttpRefusal {
    let sentence = match why {
        NotPollable::NoHistory => {
            format!(
                "channel {channel} keeps no history to read from, so it cannot be polled: receive it as a stream"
            )
        }
        NotPollable::NotAllowed => format!(
            "channel {channel} cannot be polled: its options let this client neither recover (allow_recovery) nor read its history (allow_history_for_client, allow_history_for_subscriber): receive it as a stream"
        ),
    };
    HttpRefusal::new(ErrorCode::NOT_AVAILABLE, sentence).with_reason(why.reason())
}

/// Waits for something new. `None` where what was missed cannot be recovered, or not now: it must be read from history then.
async fn wait(
    context: &RequestContext<'_>,
    asked: &PollQuery,
    session: UniSession,
) -> Result<Option<HttpResponse>, HttpRefusal> {
    let node = &context.local.node;
    let network = context.network();
    let waiting = context.local.registry.begin_poll(network, node.settings.poll.max_waiting);
    let waiting = waiting.map_err(|exhausted| {
        let (cause, sentence) = match exhausted {
            Exhausted::All => (RefusalCause::Polls, "too many polls wait here"),
            Exhausted::Network => (RefusalCause::PollsOfAddress, "too many polls from this address wait"),
        };
        node.admission.refused(cause, network);
        HttpRefusal::new(ErrorCode::TOO_MANY_REQUESTS, sentence)
    })?;
    let positions = asked.receive_query.positions.clone();
    let writer = PollWriter::new(positions, asked.limit, asked.most_bytes, asked.known.clone(), waiting);
    let encoding = Encoding { protocol: Protocol::WithPositions, framing: Framing::Lines };
    let session = Box::new(session.with_login_limit(node.admission.login_limit(context.peer)));
    let writer = Box::new(writer);
    let opened =
        ReceiverSession { session, transport: &POLL, encoding, writer, id: None, commands: Vec::new() };
    let body = context.open(opened)?;
    match body.begun().await {
        Some(Ok(head)) => Ok(Some(respond(context, head, node.memory.reply(body.collect().await, None)))),
        // All channels together may miss more than may be replayed at a time; an answer holds a part of it.
        Some(Err(Refused::Error(ErrorCode::UNRECOVERABLE_POSITION | ErrorCode::TOO_MANY_REQUESTS))) => {
            Ok(None)
        }
        Some(Err(refused)) => Err(refused.into()),
        // The worker ends.
        None => Err(ErrorCode::UNAVAILABLE.into()),
    }
}

fn respond(context: &RequestContext<'_>, head: ResponseHead, body: Bytes) -> HttpResponse {
    let status = StatusCode::from_u16(head.status).unwrap_or_default();
    let mut response = context.response(status);
    if let Some(tag) = head.tag {
        response.insert_header((header::ETAG, format!("\"{tag}\"")));
    }
    if status == StatusCode::NOT_MODIFIED {
        return response.finish();
    }
    response.content_type("application/json").body(body)
}
