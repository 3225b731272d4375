//! How a held session begins: from a request to the actor.

use std::{collections::VecDeque, net::SocketAddr, rc::Rc, sync::Arc};

use actix::{AsyncContext, Context};
use tokio::time::Instant;

use super::{
    HttpSession, HttpSessionPhase, Lifetime, Response,
    registry::{HttpSessionRegistry, OpenedBy},
    request::InboundMessages,
};
use crate::{
    hub::{fanout::Encoding, registry::SessionRegistration, worker::Worker},
    metrics::TransportLabel,
    node::{ConnectionPermit, Node},
    outbox::Outbox,
    session::{Now, Session},
    transport::{
        action_runner::ActionRunner, connection_state::ConnectionState, forward::Forwarder, mailbox,
    },
};

/// The node as a request on one of its workers meets it.
#[derive(Clone)]
pub struct WorkerContext {
    /// The node.
    pub node: Arc<Node>,
    /// The worker of this thread.
    pub worker: Rc<Worker>,
    /// The node's held sessions.
    pub registry: Arc<HttpSessionRegistry>,
    /// Takes requests for sessions of other nodes to them.
    pub forwarder: Rc<Forwarder>,
    /// Whether the listener speaks TLS.
    pub is_secure: bool,
}

/// A session to be held.
pub struct NewSession {
    /// The session.
    pub session: Box<dyn Session>,
    /// How its messages are encoded.
    pub encoding: Encoding,
    /// Bytes that may wait for it.
    pub outbox_max_bytes: usize,
    /// Label of its counters.
    pub transport: &'static TransportLabel,
    /// What it speaks: `json`, …
    pub protocol: &'static str,
    /// Who asked.
    pub peer: Option<SocketAddr>,
    /// The response of the request that opens it.
    pub response: Response,
    /// How long it lasts.
    pub lifetime: Lifetime,
    /// Its id, if requests come for it.
    pub id: Option<Arc<str>>,
    /// Messages that came with the request.
    pub messages: Vec<String>,
    /// Its place among the node's connections.
    pub place: ConnectionPermit,
}

/// Another request was faster: a session with this id is there already. The response comes back, to be attached to it.
pub struct IdInUse(pub Response);

impl NewSession {
    /// Starts the session's actor on this worker.
    ///
    /// # Errors
    /// If a session with this id is there already.
    pub fn open(self, local: &WorkerContext) -> Result<(), IdInUse> {
        let WorkerContext { node, worker, registry, .. } = local;
        let mut ctx = Context::<HttpSession>::new();
        ctx.set_mailbox_capacity(mailbox::capacity(&node.settings));
        let network = node.network_of(self.peer);
        let opened_by = OpenedBy { principal: self.session.principal(), network };
        if let Some(id) = &self.id
            && !registry.register(id, ctx.address().recipient(), opened_by)
        {
            return Err(IdInUse(self.response));
        }
        self.place.set_actor(ctx.address().recipient());
        let outbox = Outbox::new(self.outbox_max_bytes);
        let key = worker.register(SessionRegistration {
            mailbox: ctx.address().recipient(),
            outbox: outbox.clone(),
            encoding: self.encoding.clone(),
            transport: self.transport.transport,
            protocol: self.protocol,
            connected_at_ms: Now::read().unix_ms,
        });
        let mut inbound = VecDeque::new();
        if !self.messages.is_empty() {
            // The request itself brought them: nobody waits to be told.
            inbound.push_back(InboundMessages::new(self.messages).0);
        }
        ctx.run(HttpSession {
            state: ConnectionState {
                session: self.session,
                outbox,
                framing: self.encoding.framing,
                runner: ActionRunner { node: node.clone(), worker: worker.clone(), key },
                timer: None,
                transport: self.transport,
                protocol: self.protocol,
                peer: self.peer,
                opened_at: Instant::now(),
                place: Some(self.place),
                is_authenticated: false,
                is_closed: false,
            },
            phase: HttpSessionPhase::Open,
            response: Some(self.response),
            next: None,
            inbound: inbound,
            lifetime: self.lifetime,
            attach_deadline: None,
            heartbeat_deadline: self.lifetime.heartbeat().map(|heartbeat| Instant::now() + heartbeat),
            id: self.id,
            registry: registry.clone(),
            network,
            has_been_attached: false,
        });
        Ok(())
    }
}
