//! The node of a session whose id does not tell it: the one that claimed the id at the broker. `docs/protocols/sockjs.md` §8.1,
//! §8.2 and §8.4.
//!
//! A claim is as good as the lease of the node that holds it. A node that gets a receiving request for a session that it does
//! not have claims the id, and learns whose it is by the same call: then it opens the session, or takes the request to the
//! owner. An owner that cannot be reached is replaced. What was learned is remembered; if it is wrong, the node that is
//! asked says so.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode};
use bytes::Bytes;

use super::{ForwardError, Forwarder, elsewhere, is_forwarded};
use crate::{
    endpoint::EndpointRefused,
    http_session::registry::HttpSessionRegistry,
    node::{admission::permits::ConnectionPermit, cluster::ClaimName},
};

/// Owners asked, one after the other, for one request: each of them has just gone.
const ATTEMPTS: usize = 4;

/// The route of a receiving request.
pub enum SessionRoute {
    /// Here: the session is opened if it is not there. Its slot is taken, and then its id is claimed for this node.
    Here(ConnectionPermit),
    /// The owner answered; this is the answer.
    Answered(HttpResponse),
    /// Nobody has it, and there is no slot for it here.
    Refused(EndpointRefused),
    /// It cannot be found out, or not be done, at the moment.
    Unavailable,
}

/// The outcome of a request that brings messages for a session that is not here.
pub enum SendOutcome {
    /// The owner's answer.
    Answered(HttpResponse),
    /// There is no such session.
    Unknown,
    /// It cannot be found out, or not be done, at the moment. Nothing was delivered.
    Unavailable,
}

impl Forwarder {
    /// Finds the route of a receiving request for a session that this node does not have. `slot` takes a slot for it: without
    /// one, nothing is claimed.
    pub async fn route(
        &self,
        session: &Arc<str>,
        request: &HttpRequest,
        slot: impl Fn() -> Result<ConnectionPermit, EndpointRefused>,
    ) -> SessionRoute {
        // A node that is going down opens no session, so it has nothing to claim.
        if self.is_alone || self.node.lifecycle.is_draining() {
            return slot().map_or_else(SessionRoute::Refused, SessionRoute::Here);
        }
        let (body, came_from_node) = (Bytes::new(), is_forwarded(request));
        let mut replacing: Option<String> = None;
        let remembered = if came_from_node { None } else { self.shared.owners.get(session) };
        if let Some(owner) = remembered {
            match self.relay(&owner, request, &body).await {
                Ok(response) => return SessionRoute::Answered(response),
                Err(ForwardError::Busy) => return SessionRoute::Unavailable,
                Err(ForwardError::Elsewhere) => {}
                Err(ForwardError::Unreachable) => replacing = Some(owner.to_string()),
            }
            self.shared.owners.forget(session);
        }
        for _ in 0..ATTEMPTS {
            let permit = match slot() {
                Ok(permit) => permit,
                Err(refused) if came_from_node => return SessionRoute::Refused(refused),
                Err(refused) => return self.route_to_owner(session, request, refused).await,
            };
            let owner = match self.shared.claims.claim(&self.node, session, replacing.as_deref()).await {
                Ok(owner) => owner,
                Err(error) => {
                    tracing::debug!(%error, "owner of a session not known");
                    return SessionRoute::Unavailable;
                }
            };
            if *owner == *self.node.id {
                return SessionRoute::Here(permit);
            }
            drop(permit);
            if came_from_node {
                return SessionRoute::Answered(elsewhere());
            }
            match self.relay(&owner, request, &body).await {
                Ok(response) => {
                    self.shared.owners.put(session, &owner);
                    return SessionRoute::Answered(response);
                }
                Err(ForwardError::Busy) => return SessionRoute::Unavailable,
                Err(ForwardError::Elsewhere) => replacing = None,
                Err(ForwardError::Unreachable) => replacing = Some(owner),
            }
        }
        SessionRoute::Unavailable
    }

    /// Takes a receiving request to the session's owner. This node has no slot to open the session itself.
    async fn route_to_owner(
        &self,
        session: &Arc<str>,
        request: &HttpRequest,
        refused: EndpointRefused,
    ) -> SessionRoute {
        let owner = match self.node.broker().cluster().owner(&ClaimName::Session(session).to_string()).await {
            Ok(Some(owner)) if *owner != *self.node.id => owner,
            Ok(_) => return SessionRoute::Refused(refused),
            Err(error) => {
                tracing::debug!(%error, "owner of a session not known");
                return SessionRoute::Unavailable;
            }
        };
        match self.relay(&owner, request, &Bytes::new()).await {
            Ok(response) => {
                self.shared.owners.put(session, &owner);
                SessionRoute::Answered(response)
            }
            Err(ForwardError::Busy) => SessionRoute::Unavailable,
            Err(ForwardError::Elsewhere | ForwardError::Unreachable) => SessionRoute::Refused(refused),
        }
    }

    /// A session is open whose id this node has claimed.
    pub fn opened(&self, session: &str) {
        self.shared.claims.opened(session);
    }

    /// Gives the claim of an id back that no session was opened for.
    pub fn give_back(&self, session: &Arc<str>, registry: &HttpSessionRegistry) {
        if self.is_alone || registry.has(session) || !self.shared.claims.forget_unopened(session) {
            return;
        }
        let (node, session) = (self.node.clone(), session.clone());
        actix_rt::spawn(async move {
            let name = ClaimName::Session(&session).to_string();
            if let Err(error) = node.broker().cluster().release(&name, &node.id).await {
                tracing::debug!(%error, "releasing the claim of a refused session failed");
            }
        });
    }

    /// Takes a request that brings messages to the owner of its session, which this node does not have.
    pub async fn deliver(&self, session: &Arc<str>, request: &HttpRequest, body: &Bytes) -> SendOutcome {
        if self.is_alone || is_forwarded(request) {
            return SendOutcome::Unknown;
        }
        let remembered = self.shared.owners.get(session);
        let mut denial = SendOutcome::Unknown;
        if let Some(owner) = &remembered {
            match self.relay(owner, request, body).await {
                Ok(response) if response.status() == StatusCode::NOT_FOUND => {
                    denial = SendOutcome::Answered(response);
                }
                Ok(response) => return SendOutcome::Answered(response),
                Err(ForwardError::Busy) => return SendOutcome::Unavailable,
                Err(ForwardError::Elsewhere | ForwardError::Unreachable) => {}
            }
            self.shared.owners.forget(session);
        }
        let owner = match self.node.broker().cluster().owner(&ClaimName::Session(session).to_string()).await {
            Ok(Some(owner)) if *owner != *self.node.id && remembered.as_deref() != Some(&*owner) => owner,
            Ok(_) => return denial,
            Err(error) => {
                tracing::debug!(%error, "owner of a session not known");
                return SendOutcome::Unavailable;
            }
        };
        match self.relay(&owner, request, body).await {
            Ok(response) => {
                if response.status() != StatusCode::NOT_FOUND {
                    self.shared.owners.put(session, &owner);
                }
                SendOutcome::Answered(response)
            }
            Err(ForwardError::Busy) => SendOutcome::Unavailable,
            Err(ForwardError::Elsewhere | ForwardError::Unreachable) => SendOutcome::Unknown,
        }
    }
}
