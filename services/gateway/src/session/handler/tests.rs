//! The adapter from the handler to the session, without IO: what is called when, what fails and where it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod callbacks;
mod queue;

use std::{error::Error, sync::Arc, task::Context, time::Duration};

use actix_http::header::HeaderMap;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    Admission, HandlerResult, HandlerSession, Part, SessionHandle, WebSocketHandler, adapter::HandlerLimits,
};
use crate::{
    disconnect::Disconnect,
    session::{Action, Actions, Handshake, Incoming, MessageKind, Now, Session, Signal},
};

/// Bytes that may wait in these tests.
const OUTBOX_BYTES: usize = 1000;
const PING_INTERVAL: Duration = Duration::from_secs(25);
const PONG_TIMEOUT: Duration = Duration::from_secs(8);

/// Records the calls it gets, and does what a message says.
struct Diary {
    calls: Arc<Mutex<Vec<String>>>,
    fails_at: &'static str,
    panics_at: &'static str,
}

impl Diary {
    fn note(&self, call: String) -> HandlerResult {
        let name = call.split(' ').next().unwrap_or_default().to_owned();
        self.calls.lock().push(call);
        assert!(name != self.panics_at, "as the test wants it");
        if name == self.fails_at { Err("as the test wants it".into()) } else { Ok(()) }
    }
}

impl WebSocketHandler for Diary {
    fn opened(&mut self, session: &SessionHandle) -> HandlerResult {
        session.send_text("welcome")?;
        self.note("opened".to_owned())
    }

    fn text(&mut self, session: &SessionHandle, text: &str) -> HandlerResult {
        if let Some(echo) = text.strip_prefix("echo ") {
            session.send_text(echo)?;
        }
        if text == "close" {
            session.close(4000, "asked to")?;
        }
        self.note(format!("text {text}"))
    }

    fn binary(&mut self, session: &SessionHandle, data: &[u8]) -> HandlerResult {
        session.send_binary(data.to_vec())?;
        self.note(format!("binary {}", data.len()))
    }

    fn partial(&mut self, _session: &SessionHandle, part: Part<'_>) -> HandlerResult {
        self.note(format!("partial {:?} {} {}", part.kind, part.data.len(), part.last))
    }

    fn error(&mut self, session: &SessionHandle, error: &(dyn Error + 'static)) {
        let _ = self.note(format!("error {error} {}", session.is_open()));
    }

    fn closed(&mut self, session: &SessionHandle, status: &Disconnect) {
        let _ = self.note(format!("closed {} {} {}", status.code, status.reason, session.is_open()));
    }
}

impl Drop for Diary {
    fn drop(&mut self) {
        let _ = self.note("dropped".to_owned());
    }
}

/// A session under test, and the calls that its handler got.
struct TestHandlerSession {
    session: Option<HandlerSession<Diary>>,
    handle: SessionHandle,
    calls: Arc<Mutex<Vec<String>>>,
    now: Instant,
}

/// The output of one turn.
#[derive(Debug, Default, PartialEq)]
struct Turn {
    sent: Vec<String>,
    pings: usize,
    closed: Option<Disconnect>,
}

impl Turn {
    fn sent(messages: &[&str]) -> Self {
        Self { sent: messages.iter().map(ToString::to_string).collect(), ..Self::default() }
    }

    fn then_closed(self, disconnect: Disconnect) -> Self {
        Self { closed: Some(disconnect), ..self }
    }
}

fn handshake() -> Handshake {
    Handshake {
        path: "/chat".to_owned(),
        query: "room=1".to_owned(),
        headers: HeaderMap::new(),
        peer: None,
        local: None,
        is_secure: false,
        subprotocol: Some("my-team-custom"),
    }
}

impl TestHandlerSession {
    fn new() -> Self {
        Self::failing("", "")
    }

    fn failing(fails_at: &'static str, panics_at: &'static str) -> Self {
        let calls: Arc<Mutex<Vec<String>>> = Arc::default();
        let diary = Diary { calls: calls.clone(), fails_at, panics_at };
        let limits = HandlerLimits {
            outbox_max_bytes: OUTBOX_BYTES,
            ping_interval: PING_INTERVAL,
            pong_timeout: PONG_TIMEOUT,
        };
        let mut admission = Admission::default();
        admission.set_principal("42");
        let session = HandlerSession::new(diary, "s1".into(), handshake(), admission, limits);
        Self { handle: session.handle().clone(), session: Some(session), calls, now: Instant::now() }
    }

    fn opened() -> Self {
        let mut tested = Self::new();
        assert_eq!(tested.open(), Turn::sent(&["welcome"]));
        tested.calls.lock().clear();
        tested
    }

    fn turn(&mut self, step: impl FnOnce(&mut dyn Session, Now, &mut Actions)) -> Turn {
        let mut actions = Actions::default();
        let now = Now { instant: self.now, unix_ms: 0 };
        step(self.session.as_mut().unwrap(), now, &mut actions);
        let mut turn = Turn::default();
        actions.drain_messages(|kind, message| match kind {
            MessageKind::Text => turn.sent.push(String::from_utf8(message.to_vec()).unwrap()),
            MessageKind::Binary => turn.sent.push(format!("{message:?}")),
        });
        for action in actions.take_list() {
            match action {
                Action::Identify { user, client } => assert_eq!((&*user, &*client), ("42", "s1")),
                Action::Ping => turn.pings += 1,
                Action::Close(disconnect) => {
                    assert_eq!(turn.closed.replace(disconnect), None, "closed twice");
                }
                other => panic!("{other:?}"),
            }
        }
        turn
    }

    fn open(&mut self) -> Turn {
        self.turn(|session, now, actions| session.opened(now, actions))
    }

    fn receive(&mut self, message: Incoming<'_>) -> Turn {
        self.turn(|session, now, actions| session.message(message, now, actions))
    }

    fn text(&mut self, text: &str) -> Turn {
        self.receive(Incoming::Text(text))
    }

    fn signal(&mut self, signal: Signal) -> Turn {
        self.turn(|session, now, actions| session.signal(signal, now, actions))
    }

    /// A turn of the actor for what came through handles.
    fn look_outside(&mut self) -> Turn {
        let mut task = Context::from_waker(std::task::Waker::noop());
        self.turn(|session, _, actions| session.poll_outside(&mut task, actions))
    }

    fn close(&mut self, disconnect: &Disconnect) {
        self.session.as_mut().unwrap().closed(disconnect);
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock())
    }
}
