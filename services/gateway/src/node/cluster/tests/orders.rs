//! Commands of other nodes: they wait in queues by user, each of them bounded, behind nobody else's.

use std::{cell::RefCell, rc::Rc};

use actix::prelude::*;
use gorani_broker::ChannelEvent;

use super::*;
use crate::node::cluster::rpc::CommandQueues;
use crate::{
    format::encoding::{Encoding, Framing, Protocol},
    hub::{registry::SessionRegistration, worker::Worker},
    outbox::Outbox,
    session::Signal,
    session_command::ServerSubscribe,
};

/// Commands that wait in one queue, and events in an inbox, at most: more than either holds.
const MORE_THAN_FIT: usize = 70_000;

/// Stands for a connection's actor: it keeps the channels that it is asked to subscribe.
#[derive(Clone, Default)]
struct Connection(Rc<RefCell<Vec<String>>>);

impl Actor for Connection {
    type Context = Context<Self>;
}

impl Handler<Signal> for Connection {
    type Result = ();

    fn handle(&mut self, signal: Signal, _: &mut Self::Context) {
        if let Signal::Command(command) = signal
            && let SessionCommand::Subscribe { subscribe, .. } = &*command
        {
            self.0.borrow_mut().push(subscribe.channel.clone());
        }
    }
}

impl Connection {
    fn open(worker: &Worker, user: &str) -> Self {
        let connection = Self::default();
        let key = worker.register(SessionRegistration {
            mailbox: connection.clone().start().recipient(),
            outbox: Outbox::new(1 << 20),
            encoding: Encoding {
                protocol: Protocol::Client(Default::default()),
                framing: Framing::WebSocket,
            },
            transport: "websocket",
            protocol: "json",
            connected_at_ms: 0,
        });
        worker.hub_mut().registry_mut().identify(key, user.into(), format!("client of {user}").into());
        connection
    }

    fn told(&self) -> Vec<String> {
        self.0.borrow().clone()
    }
}

/// A command to subscribe a user to a channel.
fn subscribe(user: &str, channel: &str) -> SessionCommand {
    let target = SessionTarget { user: user.to_owned(), client: None, session: None };
    let subscribe = ServerSubscribe {
        channel: channel.to_owned(),
        info: Bytes::new(),
        data: Bytes::new(),
        recover: None,
        ..ServerSubscribe::default()
    };
    SessionCommand::Subscribe { target, subscribe }
}

async fn settle(holds: impl Fn() -> bool) {
    until("the orders are carried out", holds).await;
}

#[actix_rt::test]
async fn orders_for_one_user_are_carried_out_in_the_order_in_which_they_came() {
    let node = node(TIME_LIMIT).await;
    let worker = node.workers.start();
    let connection = Connection::open(&worker, "42");
    let orders = CommandQueues::start(&node.cluster);
    let channels: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    for (id, channel) in (0..).zip(&channels) {
        assert!(orders.take(OTHER.to_owned(), id, subscribe("42", channel)));
    }
    settle(|| connection.told().len() == channels.len()).await;
    assert_eq!(connection.told(), channels);
}

#[actix_rt::test]
async fn orders_beyond_a_users_queue_are_not_taken_and_those_of_others_are() {
    let node = node(TIME_LIMIT).await;
    let worker = node.workers.start();
    let connections = [Connection::open(&worker, "42"), Connection::open(&worker, "0")];
    let orders = CommandQueues::start(&node.cluster);
    // The tasks that empty the queues have no turn meanwhile.
    let mut taken = 0;
    while orders.take(OTHER.to_owned(), 0, subscribe("42", "a")) {
        taken += 1;
        assert!(taken < MORE_THAN_FIT, "the queue has no bound");
    }
    let others = (0..64).filter(|user| orders.take(OTHER.to_owned(), 0, subscribe(&user.to_string(), "b")));
    assert!(others.count() >= 32, "the users of one queue in sixteen are refused");
    settle(|| connections[0].told().len() == taken).await;
    // There is room again.
    assert!(orders.take(OTHER.to_owned(), 0, subscribe("42", "a")));
}

#[actix_rt::test]
async fn an_order_for_which_there_is_no_room_is_counted_and_not_acknowledged() {
    let node = node(TIME_LIMIT).await;
    let worker = node.workers.start();
    let connection = Connection::open(&worker, "42");
    let orders = 1_000;
    for id in 0..orders {
        let message = Envelope::new(OTHER, id, EnvelopeBody::Order(subscribe("42", "a"))).encode().unwrap();
        // The mailbox of the node is emptied in between.
        tell(&node, message).await;
        if id % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let metrics = &node.metrics.cluster;
    until("every order is acknowledged or counted as dropped", || {
        metrics.sent.get() + metrics.dropped.get() == orders
    })
    .await;
    // Acknowledged is what the session has, and nothing else.
    settle(|| connection.told().len() as u64 == metrics.sent.get()).await;
}

#[actix_rt::test]
async fn orders_that_wait_for_one_workers_inbox_delay_neither_those_of_other_users_nor_answers() {
    // One after the other they would take twice as long as this test waits.
    const WAITING: u64 = 80;
    let timeout = 2 * TIME_LIMIT / u32::try_from(WAITING).unwrap();
    let node = node(timeout).await;
    let worker = node.workers.start();
    let connection = Connection::open(&worker, "42");
    let (release, thread) = blocked_worker(&node);
    let inbox = node.workers.inboxes().pop().unwrap();
    for _ in 0..MORE_THAN_FIT {
        inbox.event(&Arc::from("a"), ChannelEvent::Publication(Arc::default()), Default::default());
    }
    for id in 0..WAITING {
        let command = EnvelopeBody::Order(subscribe(&format!("other{id}"), "a"));
        tell(&node, Envelope::new(OTHER, id, command).encode().unwrap()).await;
    }
    let command = EnvelopeBody::Order(subscribe("42", "a"));
    tell(&node, Envelope::new(OTHER, WAITING, command).encode().unwrap()).await;
    tell(&node, Envelope::new(OTHER, WAITING + 1, EnvelopeBody::Ask(ClusterQuery::Counts)).encode().unwrap())
        .await;
    // The query came last and is answered first, while nobody has acknowledged a command.
    until("the question is answered", || node.metrics.cluster.sent.get() == 1).await;
    until("the worker that has room has the order", || connection.told() == ["a"]).await;
    drop(release);
    thread.join().unwrap();
}
