//! From the handler to the session: calls the callbacks, contains what fails in them, and sends what they sent.

use std::{
    any::Any,
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::Context,
    time::Duration,
};

use tokio::time::Instant;

use super::{Admission, HandlerResult, Part, SessionHandle, WebSocketHandler};
use crate::{
    disconnect::Disconnect,
    session::{
        Action, Actions, Handshake, Incoming, MessageKind, Now, Outcome, Session, Signal, Ticket,
        session_methods, shared::deadlines::Pings,
    },
    session_command::SessionCommand,
};

/// Limits and times of a handler's session.
#[derive(Debug, Clone, Copy)]
pub struct HandlerLimits {
    /// Bytes that may wait for the client.
    pub outbox_max_bytes: usize,
    /// Time between pings.
    pub ping_interval: Duration,
    /// Time for the answer to a ping.
    pub pong_timeout: Duration,
}

/// A handler as a session.
pub struct HandlerSession<H: WebSocketHandler> {
    /// Absent when `closed` was called.
    handler: Option<H>,
    handle: SessionHandle,
    pings: Pings,
    ping_interval: Duration,
    pong_timeout: Duration,
    stage: HandlerStage,
}

/// The stage of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HandlerStage {
    /// `opened` was not called; neither will `closed` be.
    New,
    /// Messages flow.
    Open,
    /// Only `closed` is to come.
    Ended,
}

impl<H: WebSocketHandler> HandlerSession<H> {
    /// A session of this handler, with the id and what the guard gave it.
    pub fn new(
        handler: H,
        id: Arc<str>,
        handshake: Handshake,
        admission: Admission,
        limits: HandlerLimits,
    ) -> Self {
        Self {
            handler: Some(handler),
            handle: SessionHandle::new(id, handshake, admission, limits.outbox_max_bytes),
            pings: Pings::default(),
            ping_interval: limits.ping_interval,
            pong_timeout: limits.pong_timeout,
            stage: HandlerStage::New,
        }
    }

    /// The session, as handlers get it.
    pub fn handle(&self) -> &SessionHandle {
        &self.handle
    }

    /// Calls back, and moves what was sent meanwhile into the turn's actions.
    fn call(
        &mut self,
        name: &'static str,
        actions: &mut Actions,
        callback: impl FnOnce(&mut H, &SessionHandle) -> HandlerResult,
    ) {
        let Some(handler) = self.handler.as_mut().filter(|_| self.stage == HandlerStage::Open) else {
            return;
        };
        let handle = &self.handle;
        handle.queue().begin_callback();
        let result = contained(name, handle, || callback(handler, handle));
        let failed = match result {
            Some(Ok(())) => false,
            Some(Err(error)) => {
                tracing::error!(session = handle.id(), callback = name, %error, "handler failed");
                true
            }
            None => true,
        };
        self.drain(actions);
        if failed {
            self.end(Disconnect::HANDLER_FAILED, actions);
        }
    }

    fn drain(&mut self, actions: &mut Actions) {
        if self.stage == HandlerStage::Open && self.handle.queue().drain(actions) {
            self.stage = HandlerStage::Ended;
        }
    }

    fn timer(&mut self, now: Instant, actions: &mut Actions) {
        if self.pings.is_unanswered(now) {
            self.end(Disconnect::NO_PONG, actions);
        } else if self.stage == HandlerStage::Open
            && self.pings.take_due(self.ping_interval, Some(self.pong_timeout), now)
        {
            actions.push(Action::Ping);
        }
    }

    /// Ends the session, if it has not ended yet.
    fn end(&mut self, disconnect: Disconnect, actions: &mut Actions) {
        if self.stage == HandlerStage::Open {
            self.ending();
            actions.close(disconnect);
        }
    }
}

/// Runs an embedder's code; `None` if it panicked, which is logged.
fn contained<R>(name: &'static str, handle: &SessionHandle, code: impl FnOnce() -> R) -> Option<R> {
    // What a panic may leave half done is the handler, and of that nothing is called any more but `closed`.
    catch_unwind(AssertUnwindSafe(code))
        .inspect_err(|panic| {
            tracing::error!(
                session = handle.id(),
                callback = name,
                panic = panic_message(&**panic),
                "handler panicked"
            );
        })
        .map_err(forget_panic)
        .ok()
}

/// The message of a panic, if it is text.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("not a text")
}

/// Lets go of what a panic carried. Anything but a text could panic again when it is dropped, outside of all care.
pub(crate) fn forget_panic(panic: Box<dyn Any + Send>) {
    if !panic.is::<&str>() && !panic.is::<String>() {
        std::mem::forget(panic);
    }
}

impl<H: WebSocketHandler> Session for HandlerSession<H> {
    session_methods!(none: is_blocked has_connected has_more resume input_bytes has_left);

    fn opened(&mut self, now: Now, actions: &mut Actions) {
        self.stage = HandlerStage::Open;
        self.pings.start(self.ping_interval, now.instant);
        let user = self.handle.shared_principal().unwrap_or_default();
        actions.push(Action::Identify { user, client: self.handle.shared_id() });
        self.call("opened", actions, |handler, session| handler.opened(session));
    }

    fn message(&mut self, message: Incoming<'_>, _now: Now, actions: &mut Actions) {
        self.pings.take_pong();
        match message {
            Incoming::Text(text) => {
                self.call("text", actions, |handler, session| handler.text(session, text));
            }
            Incoming::Binary(data) => {
                self.call("binary", actions, |handler, session| handler.binary(session, data));
            }
            Incoming::Part { text, data, last } => {
                let kind = if text { MessageKind::Text } else { MessageKind::Binary };
                let part = Part { kind, data, last };
                self.call("partial", actions, |handler, session| handler.partial(session, part));
            }
        }
    }

    fn signal(&mut self, signal: Signal, now: Now, actions: &mut Actions) {
        // What was sent before the news goes out before its consequences.
        self.drain(actions);
        match signal {
            Signal::Timer => self.timer(now.instant, actions),
            Signal::Disconnect(disconnect) => self.end(disconnect, actions),
            // A handler's session is in no channel, and its life does not hang on a token.
            Signal::Command(command) if !command.concerns_session(None) => {}
            Signal::Command(command) => match &*command {
                SessionCommand::Disconnect { disconnect, .. } => self.end(disconnect.clone(), actions),
                SessionCommand::Refresh { expired: true, .. } => self.end(Disconnect::EXPIRED, actions),
                SessionCommand::Refresh { expired: false, .. }
                | SessionCommand::Subscribe { .. }
                | SessionCommand::Unsubscribe { .. } => {}
            },
            Signal::Insufficient(_)
            | Signal::EpochEnded(_)
            | Signal::Ping(_)
            | Signal::Describe(_)
            | Signal::CheckPermission(_) => {}
        }
    }

    /// Nothing that a handler's session asks for has an outcome.
    fn outcome(&mut self, _ticket: Ticket, _outcome: Outcome, _now: Now, _actions: &mut Actions) {}

    fn pong(&mut self, _now: Now) {
        self.pings.take_pong();
    }

    fn poll_outside(&mut self, task: &mut Context<'_>, actions: &mut Actions) {
        self.handle.queue().register(task.waker());
        self.drain(actions);
    }

    fn deadline(&self) -> Option<Instant> {
        self.pings.deadline().filter(|_| self.stage == HandlerStage::Open)
    }

    fn principal(&self) -> Option<Arc<str>> {
        self.handle.shared_principal()
    }

    fn ending(&mut self) {
        if self.stage == HandlerStage::Open {
            self.stage = HandlerStage::Ended;
            self.handle.queue().shut();
        }
    }

    fn failed(&mut self, error: &(dyn Error + 'static)) {
        if self.stage != HandlerStage::Open {
            return;
        }
        self.ending();
        let Some(handler) = &mut self.handler else { return };
        let handle = &self.handle;
        contained("error", handle, || handler.error(handle, error));
    }

    fn closed(&mut self, disconnect: &Disconnect) {
        if self.stage == HandlerStage::New {
            return;
        }
        self.ending();
        let Some(mut handler) = self.handler.take() else { return };
        let handle = &self.handle;
        contained("closed", handle, || handler.closed(handle, disconnect));
        contained("drop", handle, || drop(handler));
    }
}

impl<H: WebSocketHandler> Drop for HandlerSession<H> {
    /// Calls `closed` of a handler whose connection was dropped without a close message, as when a thread ends.
    fn drop(&mut self) {
        self.closed(&Disconnect::ABNORMAL);
        if let Some(handler) = self.handler.take() {
            contained("drop", &self.handle, || drop(handler));
        }
    }
}
