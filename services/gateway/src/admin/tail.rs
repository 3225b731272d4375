//! `GET tail`: what comes through a channel, and what happens to a user's sessions, as it comes: NDJSON, or server-sent events.
//! `docs/admin.md`; decision record 63.
//!
//! The journey of a request: [`request`] → a slot of [`TAILS_MAX`] → [`channel`] listens at the broker's delivery, [`user`] asks the
//! event logs of all nodes once a second → [`output`], whose bounded channel is the body of the response. A reader that does not read
//! fills it; then the tail stands still, and what it misses is skipped and counted.

mod channel;
mod line;
mod matched;
mod output;
mod request;
mod user;

use std::{convert::Infallible, sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{ACCEPT, CACHE_CONTROL, HeaderName, HeaderValue},
};
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{MissedTickBehavior, interval},
};

use self::{
    channel::ChannelWatch,
    output::{ReaderGone, TailOutput},
    request::TailRequest,
    user::UserWatch,
};
use super::{
    access::AdminCaller,
    answer::Parameters,
    error::{AdminError, DATA_HEADERS},
    state::{Admin, TAILS_MAX},
};

/// Lines that wait for the reader of a tail.
const WAITING_LINES: usize = 16;
/// Interval of everything that is no event: asking for a user's events, telling what was skipped, showing that the node is there.
const TICK: Duration = Duration::from_secs(1);

/// A tail that runs.
struct RunningTail {
    channel: Option<ChannelWatch>,
    user: Option<UserWatch>,
    admin: Arc<Admin>,
    /// The session of who asks: a logout ends the tail.
    session: Option<String>,
    _slot: OwnedSemaphorePermit,
}

/// Opens a tail.
///
/// # Errors
/// It makes no sense, goes beyond the right, there are too many, or the broker does not deliver the channel.
pub(super) async fn open(
    admin: &Arc<Admin>,
    caller: &AdminCaller,
    request: &HttpRequest,
    parameters: &Parameters,
) -> Result<HttpResponse, AdminError> {
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let asked = TailRequest::parse(parameters, accept)?;
    if asked.with_contents && !caller.grant.contents {
        return Err(AdminError::Forbidden("this needs the right contents"));
    }
    let slot = admin.tails.clone().try_acquire_owned().map_err(|_| AdminError::TooManyTails(TAILS_MAX))?;
    let channel = match &asked.channel {
        Some(channel) => Some(ChannelWatch::open(admin, channel, &asked).await?),
        None => None,
    };
    let user = asked.user.as_ref().map(|user| UserWatch::new(admin, user, &asked));
    if asked.with_contents {
        let target = asked.channel.as_deref().or(asked.user.as_deref()).unwrap_or_default();
        admin.audit_action(caller, "tail", target, Ok(()), Duration::ZERO);
    }
    let (lines, mut body) = mpsc::channel(WAITING_LINES);
    let tail = RunningTail {
        channel,
        user,
        admin: admin.clone(),
        session: caller.session.as_ref().map(|session| session.id.clone()),
        _slot: slot,
    };
    let content_type = asked.framing.content_type();
    admin.node.tasks.spawn(tail.run(TailOutput::new(lines, asked.framing), asked.length));
    let body = stream::poll_fn(move |context| body.poll_recv(context)).map(Ok::<_, Infallible>);
    let mut response = HttpResponse::Ok().content_type(content_type).streaming(body);
    for (name, value) in DATA_HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    // A proxy on the way hands on each line as it comes.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

impl RunningTail {
    /// Writes lines until the time is over, the reader or the node goes, or the session of the reader ends.
    async fn run(mut self, mut output: TailOutput, length: Duration) {
        let draining = self.admin.node.lifecycle.draining();
        let closed = output.closed();
        let logout = logout(self.admin.clone(), self.session.take());
        let cause = tokio::select! {
            Err(ReaderGone) = self.write(&mut output) => return,
            () = closed => return,
            () = draining => "draining",
            () = tokio::time::sleep(length) => "time",
            () = logout => "logged_out",
        };
        output.end(cause);
    }

    async fn write(&mut self, output: &mut TailOutput) -> Result<Infallible, ReaderGone> {
        if let Some(user) = &mut self.user {
            user.begin().await;
        }
        let began = json!({
            "kind": "began",
            "node": &*self.admin.node.policy.node_name,
            "position": self.channel.as_ref().and_then(ChannelWatch::position),
            "known_since": self.user.as_ref().and_then(UserWatch::known_since),
        });
        output.line(&began).await?;
        if let Some(channel) = &mut self.channel {
            channel.begin(output).await?;
        }
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = async {
                match &self.channel {
                    Some(channel) => channel.next().await,
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                event = next => Some(event),
                _ = ticks.tick() => None,
            };
            match (event, &mut self.channel) {
                (Some(event), Some(channel)) => channel.event(event, output).await?,
                (_, channel) => {
                    if let Some(channel) = channel {
                        channel.write_skipped(output).await?;
                    }
                    if let Some(user) = &mut self.user {
                        user.poll(output).await?;
                    }
                    output.keep_alive().await?;
                }
            }
        }
    }
}

/// Resolves after a logout of the session.
async fn logout(admin: Arc<Admin>, session: Option<String>) {
    let Some(session) = session else { return std::future::pending().await };
    while !admin.ended.is_ended(&session) {
        tokio::time::sleep(TICK).await;
    }
}
