//! A session over HTTP and the responses that come and go, with a session that echoes what it gets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod closed;
mod mailbox;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use futures_util::FutureExt;

use super::{
    pipe::{PipeReader, PipeWriter, pipe},
    registry::{Busy, DeliveryError, SessionOwner},
    writer::{ResponseWriter, StreamWriter},
    *,
};
use crate::{
    connection::state::OpenedSession,
    format::encoding::{Encoding, Framing, Protocol},
    metrics::TransportLabel,
    node::{Node, admission::permits::SessionSource},
    outbox::Outbox,
    session::{Incoming, MessageKind, Outcome, Session, Ticket, session_methods},
    settings::Settings,
};

static LABEL: TransportLabel = TransportLabel::new("test");
/// Longer than any of this takes.
const SOON: Duration = Duration::from_secs(10);
const TIME_LIMIT: Duration = Duration::from_millis(1500);

/// Echoes what it gets; `end` ends it.
struct Echo {
    is_blocked: Rc<Cell<bool>>,
    /// The codes with which it was closed, and 0 for anything that came after that.
    closed: Rc<RefCell<Vec<u16>>>,
}

impl Session for Echo {
    session_methods!(none: pong poll_outside has_connected has_more resume input_bytes principal has_left failed);

    fn opened(&mut self, _now: Now, _actions: &mut Actions) {}

    fn message(&mut self, message: Incoming<'_>, _now: Now, actions: &mut Actions) {
        match message {
            Incoming::Text("end") => actions.close(Disconnect::new(4001, "asked for")),
            Incoming::Text(text) => {
                actions.message(MessageKind::Text, |out| out.extend_from_slice(text.as_bytes()));
            }
            _ => {}
        }
    }

    fn signal(&mut self, _signal: Signal, _now: Now, _actions: &mut Actions) {}

    fn outcome(&mut self, _ticket: Ticket, _outcome: Outcome, _now: Now, _actions: &mut Actions) {}

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn is_blocked(&self) -> bool {
        self.is_blocked.get()
    }

    fn ending(&mut self) {
        if !self.closed.borrow().is_empty() {
            self.closed.borrow_mut().push(0);
        }
    }

    fn closed(&mut self, disconnect: &Disconnect) {
        self.closed.borrow_mut().push(disconnect.code);
    }
}

/// A session under test.
struct Bench {
    local: WorkerContext,
    is_blocked: Rc<Cell<bool>>,
    closed: Rc<RefCell<Vec<u16>>>,
    id: Arc<str>,
}

impl Bench {
    /// Opens one, and gives the end of its first response.
    async fn open(lifetime: Lifetime, outbox_max_bytes: usize) -> (Self, PipeReader) {
        Self::open_with(lifetime, outbox_max_bytes, Box::new(StreamWriter::Lines)).await
    }

    /// Opens one whose first response ends with what it brings.
    async fn open_once(lifetime: Lifetime) -> (Self, PipeReader) {
        Self::open_with(lifetime, PLENTY, Box::new(Once::default())).await
    }

    async fn open_with(
        lifetime: Lifetime,
        outbox_max_bytes: usize,
        writer: Box<dyn ResponseWriter>,
    ) -> (Self, PipeReader) {
        let node = Node::start(Settings::default()).await.unwrap();
        let worker = node.workers.start();
        let registry = Arc::new(HttpSessionRegistry::new(node.id.clone()));
        let local = WorkerContext { node, worker, registry, is_secure: false };
        let (is_blocked, closed) = Default::default();
        let bench = Self { local, is_blocked, closed, id: HttpSessionRegistry::new_id() };
        let (pipe, reader) = pipe();
        let new_session = NewSession {
            opened: OpenedSession {
                session: Box::new(Echo {
                    is_blocked: bench.is_blocked.clone(),
                    closed: bench.closed.clone(),
                }),
                outbox: Outbox::new(outbox_max_bytes),
                encoding: Encoding { protocol: Protocol::Embedded, framing: Framing::Lines },
                transport: &LABEL,
                protocol: "test",
                peer: None,
                connection: None,
                permit: bench.local.node.admission.acquire_permit(&SessionSource::default()).unwrap(),
            },
            response: Response { pipe, writer },
            lifetime,
            id: Some(bench.id.clone()),
            messages: vec!["first".to_owned().into()],
        };
        assert!(new_session.open(&bench.local).is_ok());
        assert_eq!(read(&reader).await, "first\n");
        (bench, reader)
    }

    fn is_there(&self) -> bool {
        matches!(self.local.registry.owner("", &self.id), SessionOwner::Here)
    }

    /// Brings messages; whether they were taken.
    async fn bring(&self, messages: &[&str]) -> Option<Result<(), Busy>> {
        let (messages, taken) = InboundMessages::new(messages.iter().map(ToString::to_string));
        self.local.registry.deliver(&self.id, SessionRequest::Send(messages)).ok()?;
        taken.await.ok()
    }

    /// Comes for what waits.
    async fn attach(&self) -> PipeReader {
        let (pipe, reader) = pipe();
        match self.local.registry.owner("", &self.id) {
            SessionOwner::Here => {
                self.local.registry.deliver(&self.id, SessionRequest::Attach(response(pipe))).unwrap()
            }
            SessionOwner::Ended(reason) => response(pipe).tell_ended(&reason),
            SessionOwner::Elsewhere(_) | SessionOwner::Nobody => panic!("the session is not there"),
        }
        reader
    }

    async fn ends(&self) {
        let gone = async {
            while self.is_there() {
                actix_rt::time::sleep(Duration::from_millis(5)).await;
            }
        };
        actix_rt::time::timeout(SOON, gone).await.expect("the session ends");
        assert_eq!(self.local.node.admission.connections(), 0);
    }
}

/// A response that ends with the first that it brings.
#[derive(Default)]
struct Once(bool);

impl ResponseWriter for Once {
    fn write(&mut self, outbox: &Outbox, pipe: &PipeWriter) {
        if !self.0
            && let Some(chunk) = outbox.pop()
        {
            pipe.push(chunk);
            self.0 = true;
        }
    }

    fn is_done(&self) -> bool {
        self.0
    }

    fn close_message(&mut self, reason: &Disconnect, pipe: &PipeWriter) {
        StreamWriter::Lines.close_message(reason, pipe);
    }
}

fn response(pipe: PipeWriter) -> Response {
    Response { pipe, writer: Box::new(StreamWriter::Lines) }
}

/// The next piece of a response; empty at its end.
async fn read(reader: &PipeReader) -> String {
    let chunk = std::future::poll_fn(|task| reader.poll_chunk(task));
    let chunk = actix_rt::time::timeout(SOON, chunk).await.expect("the response goes on");
    chunk.map_or_else(String::new, |bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

const OVER_REQUESTS: Lifetime =
    Lifetime::Requests { attach_timeout: TIME_LIMIT, heartbeat: SOON, max_waiting: 1 };
const PLENTY: usize = 1024 * 1024;

#[actix_rt::test]
async fn messages_are_taken_in_their_order_and_answered() {
    let (bench, reader) = Bench::open(OVER_REQUESTS, PLENTY).await;
    assert_eq!(bench.bring(&["a", "b"]).await, Some(Ok(())));
    assert_eq!(bench.bring(&["c"]).await, Some(Ok(())));
    let mut all = String::new();
    while all.len() < 6 {
        all.push_str(&read(&reader).await);
    }
    assert_eq!(all, "a\nb\nc\n");
}

#[actix_rt::test]
async fn a_busy_session_takes_messages_later_and_only_so_many() {
    let (bench, _reader) = Bench::open(OVER_REQUESTS, PLENTY).await;
    bench.is_blocked.set(true);
    let mut waiting: Vec<_> = (0..64).map(|_| Box::pin(bench.bring(&["x"]))).collect();
    for messages in &mut waiting {
        assert!(messages.as_mut().now_or_never().is_none());
    }
    assert_eq!(bench.bring(&["y"]).await, Some(Err(Busy)));
    bench.is_blocked.set(false);
    // Whatever wakes the session lets it look again; here it is another response.
    let _turned_away = bench.attach().await;
    for messages in waiting {
        assert_eq!(messages.await, Some(Ok(())));
    }
}

#[actix_rt::test]
async fn a_session_waits_for_its_next_response_and_brings_what_was_missed() {
    let (bench, reader) = Bench::open_once(OVER_REQUESTS).await;
    assert_eq!(read(&reader).await, "");
    assert_eq!(bench.bring(&["missed"]).await, Some(Ok(())));
    let reader = bench.attach().await;
    assert_eq!(read(&reader).await, "missed\n");
}

#[actix_rt::test]
async fn a_session_of_one_response_ends_with_it() {
    let (bench, reader) = Bench::open(Lifetime::Response, PLENTY).await;
    drop(reader);
    bench.ends().await;
    assert_eq!(bench.bring(&["late"]).await, None);
}

#[actix_rt::test]
async fn a_second_response_waits_a_moment_for_the_end_of_the_first_one() {
    let (bench, first) = Bench::open(OVER_REQUESTS, PLENTY).await;
    let before = Instant::now();
    let turned_away = bench.attach().await;
    assert_eq!(read(&turned_away).await, "");
    assert!(before.elapsed() >= HANDOVER);
    let second = bench.attach().await;
    drop(first);
    // That the first one was broken off counts nevertheless.
    assert!(read(&second).await.contains("1002"));
    assert_eq!(bench.bring(&["late"]).await, None);
    bench.ends().await;
}

#[actix_rt::test]
async fn an_end_that_nobody_was_there_to_hear_is_told_to_the_next_response() {
    let (bench, _reader) = Bench::open_once(OVER_REQUESTS).await;
    assert_eq!(bench.bring(&["before", "end"]).await, Some(Ok(())));
    let reader = bench.attach().await;
    let close_message = "{\"push\":{\"disconnect\":{\"code\":4001,\"reason\":\"asked for\"}}}\n";
    assert_eq!((read(&reader).await, read(&reader).await), ("before\n".to_owned(), close_message.to_owned()));
    assert_eq!(read(&reader).await, "");
    // And to the one after it, for a while.
    assert_eq!(read(&bench.attach().await).await, close_message);
    bench.ends().await;
}

#[actix_rt::test]
async fn a_response_that_is_broken_off_ends_the_session_and_the_next_one_is_told() {
    let (bench, reader) = Bench::open(OVER_REQUESTS, PLENTY).await;
    drop(reader);
    // At once: before the end was seen.
    assert!(read(&bench.attach().await).await.contains("1002"));
    bench.ends().await;
}

#[actix_rt::test]
async fn a_response_that_stalls_ends_the_session_as_slow_and_holds_nothing_up() {
    let (bench, reader) = Bench::open(OVER_REQUESTS, 4096).await;
    let large = "x".repeat(4000);
    let mut brought = 0;
    while bench.bring(&[&large]).await == Some(Ok(())) {
        brought += 1;
        assert!(brought < 1000, "nothing bounds it");
    }
    bench.ends().await;
    // Messages that were on their way are there, in order and whole; then why it ended.
    let mut last = String::new();
    loop {
        match read(&reader).await {
            end if end.is_empty() => break,
            next => last = next,
        }
    }
    assert!(last.contains("3008"), "{last}");
}

#[actix_rt::test]
async fn more_sessions_than_allowed_do_not_wait_for_a_response() {
    let lifetime = Lifetime::Requests { attach_timeout: TIME_LIMIT, heartbeat: SOON, max_waiting: 0 };
    let (bench, _reader) = Bench::open_once(lifetime).await;
    while bench.bring(&[]).await.is_some() {
        tokio::task::yield_now().await;
    }
    let told = bench.attach().await;
    assert!(read(&told).await.contains("3013"), "its client comes back");
    bench.ends().await;
}

#[actix_rt::test]
async fn an_ended_session_holds_no_slot_and_no_actor_while_its_end_is_told() {
    let lifetime = Lifetime::Requests { attach_timeout: SOON, heartbeat: SOON, max_waiting: 1 };
    let (bench, _reader) = Bench::open(lifetime, PLENTY).await;
    assert_eq!(bench.bring(&["end"]).await, Some(Ok(())));
    bench.ends().await;
    assert!(bench.local.registry.is_empty());
    for _ in 0..3 {
        assert!(read(&bench.attach().await).await.contains("4001"));
    }
}

#[actix_rt::test]
async fn what_waits_for_its_client_when_a_session_ends_is_brought_before_the_end_and_holds_no_slot() {
    let lifetime = Lifetime::Requests { attach_timeout: SOON, heartbeat: SOON, max_waiting: 1 };
    let (bench, _reader) = Bench::open_once(lifetime).await;
    assert_eq!(bench.bring(&["before", "end"]).await, Some(Ok(())));
    assert_eq!(bench.local.node.admission.connections(), 0);
    assert!(bench.is_there());
    assert_eq!(read(&bench.attach().await).await, "before\n");
    bench.ends().await;
}

/// A request that opens a session with this id from this address.
fn new_session(local: &WorkerContext, id: &str, address: &str, most: usize) -> (NewSession, PipeReader) {
    let (pipe, reader) = pipe();
    let peer = std::net::SocketAddr::new(address.parse().unwrap(), 1);
    let new_session = NewSession {
        opened: OpenedSession {
            session: Box::new(Echo { is_blocked: Rc::default(), closed: Rc::default() }),
            outbox: Outbox::new(PLENTY),
            encoding: Encoding { protocol: Protocol::Embedded, framing: Framing::Lines },
            transport: &LABEL,
            protocol: "test",
            peer: Some(peer),
            connection: None,
            permit: local
                .node
                .admission
                .acquire_permit(&SessionSource { client: Some(peer.ip()), connection: None })
                .unwrap(),
        },
        response: Response { pipe, writer: Box::new(Once::default()) },
        lifetime: Lifetime::Requests { attach_timeout: SOON, heartbeat: SOON, max_waiting: most },
        id: Some(id.into()),
        messages: vec!["first".to_owned().into()],
    };
    (new_session, reader)
}

#[actix_rt::test]
async fn sessions_of_one_network_do_not_take_every_place_among_those_that_wait() {
    let local = Bench::open(OVER_REQUESTS, PLENTY).await.0.local;
    let open = async |id: String, address| {
        let (new_session, reader) = new_session(&local, &id, address, 100);
        assert!(new_session.open(&local).is_ok());
        while !read(&reader).await.is_empty() {}
    };
    for number in 0..100 {
        open(format!("one{number}"), "192.0.2.1").await;
    }
    // Twenty of a hundred wait; the others have to come back, and hold nothing.
    assert_eq!(local.registry.len(), 20);
    assert!(matches!(local.registry.owner("", "one99"), SessionOwner::Ended(reason) if reason.code == 3013));
    for number in 0..10 {
        open(format!("other{number}"), "192.0.2.2").await;
    }
    assert_eq!(local.registry.len(), 30);
}
