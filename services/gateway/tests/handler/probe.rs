//! A handler that tells the test what it is called with, and does what the messages say.

use std::{
    error::Error,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, ThreadId},
};

use gorani::{Disconnect, Gorani, HandlerResult, SessionHandle, WebSocketHandler, settings::Settings};

use crate::node::{Node, TIME_LIMIT, settings};

/// One callback, as the test sees it.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) session: String,
    pub(crate) what: String,
    pub(crate) thread: ThreadId,
}

/// Calls that may wait for the test.
const CALLS: usize = 10_000;

pub(crate) struct Probe {
    calls: SyncSender<Call>,
    handles: SyncSender<SessionHandle>,
    panics_at: &'static str,
}

impl Probe {
    fn note(&self, session: &SessionHandle, what: impl Into<String>) {
        let what = what.into();
        let name = what.split(' ').next().unwrap().to_owned();
        let call = Call { session: session.id().to_owned(), what, thread: thread::current().id() };
        self.calls.send(call).unwrap();
        assert!(name != self.panics_at, "as the test wants it");
    }
}

impl WebSocketHandler for Probe {
    fn opened(&mut self, session: &SessionHandle) -> HandlerResult {
        self.handles.send(session.clone())?;
        self.note(session, "opened");
        Ok(())
    }

    fn text(&mut self, session: &SessionHandle, text: &str) -> HandlerResult {
        self.note(session, format!("text {text}"));
        match text {
            "fail" => return Err("as the test wants it".into()),
            "panic" => panic!("as the test wants it"),
            "close" => session.close(4000, "asked to")?,
            "flood" => while session.send_binary(vec![0; 64 * 1024]).is_ok() {},
            "flood from outside" => {
                let session = session.clone();
                thread::spawn(move || while session.send_binary(vec![0; 1024]).is_ok() {});
            }
            text => session.send_text(text)?,
        }
        Ok(())
    }

    fn error(&mut self, session: &SessionHandle, error: &(dyn Error + 'static)) {
        self.note(session, format!("error {error}"));
    }

    fn closed(&mut self, session: &SessionHandle, status: &Disconnect) {
        self.note(session, format!("closed {} {}", status.code, status.reason));
    }
}

/// A node with a [`Probe`] on `/probe`.
pub(crate) struct Bench {
    pub(crate) node: Node,
    pub(crate) calls: Receiver<Call>,
    pub(crate) handles: Receiver<SessionHandle>,
}

impl Bench {
    pub(crate) fn start() -> Self {
        Self::start_with(settings(), "")
    }

    pub(crate) fn start_with(settings: Settings, panics_at: &'static str) -> Self {
        let (calls, seen) = sync_channel(CALLS);
        let (handles, given) = sync_channel(CALLS);
        let factory = move || Probe { calls: calls.clone(), handles: handles.clone(), panics_at };
        let node = Node::start(settings, |node: Gorani| node.handler("/probe", factory));
        Self { node, calls: seen, handles: given }
    }

    /// The next call.
    pub(crate) fn call(&self) -> String {
        self.calls.recv_timeout(TIME_LIMIT).unwrap().what
    }

    /// The calls until `closed`, that one included.
    pub(crate) fn until_closed(&self) -> Vec<String> {
        let mut calls = Vec::new();
        while !calls.last().is_some_and(|call: &String| call.starts_with("closed")) {
            calls.push(self.call());
        }
        calls
    }

    /// Stops the node and gives the calls that were still made: none may follow `closed`.
    pub(crate) fn stop(mut self) -> Vec<String> {
        self.node.stop();
        self.calls.try_iter().map(|call| call.what).collect()
    }
}
