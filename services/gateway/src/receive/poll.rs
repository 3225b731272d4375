//! `GET /connection/poll`: what is new since a position, at once, or as soon as there is something. Each answer says from
//! where to ask on, so nothing is missed between two polls. `docs/protocols/http.md` §8.
//!
//! A poll that does not wait reads history: as many channels side by side as one connection may read at a time
//! (`client.max_reads`); what they bring joins the answer in the order of the channels. One that waits is a session like a
//! stream's, which ends with its first publications: it is an entry in the hub, and costs neither a thread nor a request to the
//! broker.

mod begin;

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;
use gorani_broker::{HistoryPage, HistoryQuery, Position, Publication, Retention};
use gorani_protocol::client::plain;

use self::begin::{BegunPoll, NewPoll};
use super::{
    poll_writer::{IfNoneMatch, PollAnswer, PollWriter},
    query::{Query, receive_query},
};
use crate::{
    disconnect::{ErrorCode, Refused},
    format::{
        encoding::{Encoding, Framing, Protocol},
        position::{Positions, Unrecovered},
        views::publication_view,
    },
    http::{
        is_head,
        refusal::HttpRefusal,
        request_context::{self, ReceiverSession, RequestContext},
    },
    http_session::{WorkerContext, pipe::ResponseHead},
    hub::history_reads::ReadSource,
    memory::LARGE_REPLY_BYTES,
    metrics::TransportLabel,
    node::{Node, admission::refusals::RefusalCause, client_network::Exhausted},
    session::client::{
        OutputFormat, TransportTraits,
        asked_poll::{NotPollable, PollableChannel},
        receiver::{ReceiveQuery, UniSession},
    },
    settings::PollSettings,
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
pub async fn poll(
    request: HttpRequest,
    local: web::Data<WorkerContext>,
    settings: web::Data<PollSettings>,
) -> HttpResponse {
    request_context::answer(&request, &local, async |context| {
        answer(context, poll_query(&request, &local.node, &settings)?, settings.max_waiting).await
    })
    .await
}

fn poll_query(request: &HttpRequest, node: &Node, settings: &PollSettings) -> Result<PollQuery, HttpRefusal> {
    let query = Query::parse(request.query_string());
    let mut receive_query = receive_query(request.headers(), &query, &[], &node.policy.get().rules)?;
    let known = IfNoneMatch::parse(request.headers());
    if receive_query.positions == Positions::default() && !receive_query.is_unreadable {
        // A client that has an answer has come as far as it says.
        receive_query.is_unreadable = known.is_unreadable();
        receive_query.positions = known.positions().unwrap_or_default();
    }
    let limit = query.number("limit")?.unwrap_or(u64::from(settings.limit));
    let limit = limit.clamp(1, u64::from(node.policy.get().settings.history_max));
    let wait = Duration::from_secs(query.number("wait")?.unwrap_or(0)).min(settings.max_wait);
    // A request that names `*` or asks for the head alone does not want the answer's content: there is nothing to wait
    // for.
    let wait = if known.is_any() || is_head(request) { Duration::ZERO } else { wait };
    Ok(PollQuery {
        receive_query,
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        most_bytes: node.policy.get().settings.reply_max_bytes,
        wait,
        known,
    })
}

async fn answer(
    context: &RequestContext<'_>,
    asked: PollQuery,
    max_waiting: usize,
) -> Result<HttpResponse, HttpRefusal> {
    let node = &context.local.node;
    let traits = TransportTraits { format: OutputFormat::WithPositions, ..TransportTraits::default() };
    let limit = node.admission.login_limit(context.peer);
    let receive_query = asked.receive_query.clone();
    let poll = NewPoll { transport: &POLL, traits, receive_query, limit, wait: asked.wait };
    let begun = poll.begin(context).await;
    let BegunPoll { session, channels, pending: _pending } =
        begun.map_err(|refused| HttpRefusal::of_connect(refused, &node.policy.get().settings))?;
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
        && let Some(response) = wait(context, &asked, session, max_waiting).await?
    {
        return Ok(response);
    }
    let budget = AnswerBudget { publications: asked.limit, bytes: asked.most_bytes as u64 };
    let mut polled = PollAnswer::default();
    let mut object = BytesMut::new();
    for ChannelAnswer { channel, publications, position, unrecovered } in read(node, &kept, budget).await? {
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
    let message = match why {
        NotPollable::NoHistory => {
            format!(
                "channel {channel} keeps no history to read from, so it cannot be polled: receive it as a stream"
            )
        }
        NotPollable::NotAllowed => format!(
            "channel {channel} cannot be polled: its options let no client recover (allow_recovery = false): receive it as a stream"
        ),
    };
    HttpRefusal::new(ErrorCode::NOT_AVAILABLE, message).with_reason(why.reason())
}

/// Waits for something new. `None` where what was missed cannot be recovered, or not now: it must be read from history then.
async fn wait(
    context: &RequestContext<'_>,
    asked: &PollQuery,
    session: UniSession,
    max_waiting: usize,
) -> Result<Option<HttpResponse>, HttpRefusal> {
    let node = &context.local.node;
    let network = context.network();
    let waiting = context.local.registry.begin_poll(network, max_waiting);
    let waiting = waiting.map_err(|exhausted| {
        let (cause, message) = match exhausted {
            Exhausted::All => (RefusalCause::Polls, "too many polls wait here"),
            Exhausted::Network => (RefusalCause::PollsOfAddress, "too many polls from this address wait"),
        };
        node.admission.refused(cause, network);
        HttpRefusal::new(ErrorCode::TOO_MANY_REQUESTS, message)
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

/// The part of one channel in an answer.
struct ChannelAnswer {
    channel: Arc<str>,
    /// In order.
    publications: Vec<Arc<Publication>>,
    /// The position to go on from.
    position: Position,
    /// The client named a position, and does not go on from it: these are the latest.
    unrecovered: Option<Unrecovered>,
}

/// The room that is left in an answer.
#[derive(Clone, Copy)]
struct AnswerBudget {
    publications: usize,
    bytes: u64,
}

impl AnswerBudget {
    fn is_spent(self) -> bool {
        self.publications == 0 || self.bytes == 0
    }

    fn query(self, since: Option<u64>, reverse: bool) -> HistoryQuery {
        let publications = if self.is_spent() { 0 } else { self.publications };
        let limit = u32::try_from(publications).unwrap_or(u32::MAX);
        HistoryQuery { limit, since, reverse, max_bytes: Some(self.bytes) }
    }

    /// Takes as many of these as it allows. The first of all is taken whatever its size, as brokers do.
    fn take<'p>(
        &mut self,
        publications: impl Iterator<Item = &'p Arc<Publication>>,
        is_first: bool,
    ) -> usize {
        let mut taken = 0;
        for publication in publications {
            let bytes = publication.content_bytes();
            if self.is_spent() || (bytes > self.bytes && !(is_first && taken == 0)) {
                break;
            }
            self.publications -= 1;
            self.bytes = self.bytes.saturating_sub(bytes);
            taken += 1;
        }
        taken
    }
}

/// The result of one read.
struct ReadPage {
    publications: Vec<Arc<Publication>>,
    /// Top of the stream, or of the page.
    position: Position,
    /// It follows a position without a gap; else it is the latest.
    since: Option<Position>,
    unrecovered: Option<Unrecovered>,
}

impl ReadPage {
    /// Leaves out what is over the budget: of new publications the end, which the next poll brings; of the latest the beginning.
    fn fit(mut self, budget: &mut AnswerBudget, is_first: bool) -> Self {
        match &self.since {
            Some(since) => {
                let taken = budget.take(self.publications.iter(), is_first);
                if taken < self.publications.len() {
                    self.publications.truncate(taken);
                    let last = self.publications.last();
                    self.position.offset = last.map_or(since.offset, |last| last.offset);
                }
            }
            None => {
                let taken = budget.take(self.publications.iter().rev(), is_first);
                self.publications.drain(..self.publications.len() - taken);
            }
        }
        self
    }
}

/// Reads what is new in each channel.
///
/// # Errors
/// The broker's.
async fn read(
    node: &Arc<Node>,
    channels: &[(&PollableChannel, Retention)],
    budget: AnswerBudget,
) -> Result<Vec<ChannelAnswer>, ErrorCode> {
    let most = node.reads.budget().per_connection();
    read_by(channels, budget, most, |readable, retention, budget| page(node, readable, budget, retention))
        .await
}

/// The same with a reader of its own. `most`: channels that are read side by side.
async fn read_by<'c, F: Future<Output = Result<ReadPage, ErrorCode>>>(
    channels: &[(&'c PollableChannel, Retention)],
    mut budget: AnswerBudget,
    most: usize,
    reader: impl Fn(&'c PollableChannel, Retention, AnswerBudget) -> F,
) -> Result<Vec<ChannelAnswer>, ErrorCode> {
    let mut all = Vec::with_capacity(channels.len());
    let mut is_first = true;
    for side_by_side in channels.chunks(most.max(1)) {
        // Together they bring no more than the budget, and a publication each that is larger than its share.
        let share = AnswerBudget { bytes: budget.bytes.div_ceil(side_by_side.len() as u64), ..budget };
        let pages = side_by_side.iter().map(|(readable, retention)| reader(readable, *retention, share));
        let pages = try_join_all(pages).await?;
        for ((readable, _), page) in side_by_side.iter().zip(pages) {
            let ReadPage { publications, position, unrecovered, .. } = page.fit(&mut budget, is_first);
            is_first &= publications.is_empty();
            all.push(ChannelAnswer {
                channel: readable.channel.clone(),
                publications,
                position,
                unrecovered,
            });
        }
    }
    Ok(all)
}

/// Reads one channel: what follows its position without a gap, else the latest publications, the oldest first.
async fn page(
    node: &Arc<Node>,
    readable: &PollableChannel,
    budget: AnswerBudget,
    retention: Retention,
) -> Result<ReadPage, ErrorCode> {
    let PollableChannel { channel, since, .. } = readable;
    let mut unrecovered = readable.unrecovered;
    if let Some(since) = since {
        if budget.is_spent() {
            let (publications, position) = (Vec::new(), since.clone());
            return Ok(ReadPage { publications, position, since: Some(since.clone()), unrecovered });
        }
        if let Some((publications, position)) = read_since(node, channel, since, budget, retention).await? {
            return Ok(ReadPage { publications, position, since: Some(since.clone()), unrecovered });
        }
        unrecovered = Some(Unrecovered::Lost);
    }
    let query = budget.query(None, true);
    let HistoryPage { mut publications, top, .. } =
        node.reads.history(ReadSource::Client, channel, query, retention).await?;
    publications.reverse();
    Ok(ReadPage { publications, position: top, since: None, unrecovered })
}

/// The publications after a position, without a gap; `None` if there is one.
async fn read_since(
    node: &Arc<Node>,
    channel: &Arc<str>,
    since: &Position,
    budget: AnswerBudget,
    retention: Retention,
) -> Result<Option<(Vec<Arc<Publication>>, Position)>, ErrorCode> {
    let query = budget.query(Some(since.offset), false);
    let page = node.reads.history(ReadSource::Client, channel, query, retention).await?;
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

#[cfg(test)]
mod tests;
