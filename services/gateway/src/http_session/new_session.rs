//! A new session over HTTP: from a request to the actor.

use std::{collections::VecDeque, sync::Arc};

use actix::{AsyncContext, Context};
use tokio::time::Instant;

use super::{
    HttpSession, Lifetime, Response, WorkerContext,
    registry::{InboundMessages, OpenedBy},
};
use crate::connection::state::{ConnectionState, OpenedSession};

/// A session that is to begin.
pub struct NewSession {
    /// The session, its outbox and its permit.
    pub opened: OpenedSession,
    /// The response of the request that opens it.
    pub response: Response,
    /// The lifetime of the session.
    pub lifetime: Lifetime,
    /// Its id, if requests come for it.
    pub id: Option<Arc<str>>,
    /// Messages that came with the request.
    pub messages: Vec<String>,
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
        let network = node.admission.network_of(self.opened.peer);
        let opened_by = OpenedBy { principal: self.opened.session.principal(), network };
        if let Some(id) = &self.id
            && !registry.register(id, ctx.address().recipient(), opened_by)
        {
            return Err(IdInUse(self.response));
        }
        let state = ConnectionState::register(node, worker, self.opened, &mut ctx);
        let mut inbound = VecDeque::new();
        if !self.messages.is_empty() {
            // The request itself brought them: nobody waits for the outcome.
            inbound.push_back(InboundMessages::new(self.messages).0);
        }
        ctx.run(HttpSession {
            state,
            response: Some(self.response),
            next: None,
            inbound,
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
