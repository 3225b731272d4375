//! A session as the embedder holds it: to send, to close, to identify the client, and to keep attributes with it. A guard admits
//! it, or refuses the handshake.

use std::{any::Any, collections::HashMap, fmt, net::SocketAddr, sync::Arc};

use actix_http::header::HeaderMap;
use bytes::Bytes;
use bytestring::ByteString;
use parking_lot::RwLock;

use super::outgoing_queue::{HandlerQueue, SendError};
use crate::{
    disconnect::Disconnect,
    session::{Handshake, MessageKind},
};

/// One session. Cheap to clone, usable from any thread, and after the session has ended.
///
/// Messages are sent in the order of the calls: those of one thread in its order, those of several in the order in which
/// they took the lock; what a callback sends leaves in the same turn. A call never waits for the network. At most
/// `outbox_max_bytes` wait on the way to the connection, and as much again on the way to the socket; over that the
/// session is closed as a slow consumer (3008) and what still waited is dropped. `Ok` means accepted for sending, not
/// received.
#[derive(Clone)]
pub struct SessionHandle(Arc<SharedHandle>);

struct SharedHandle {
    id: Arc<str>,
    handshake: Handshake,
    principal: Option<Arc<str>>,
    attributes: Attributes,
    queue: HandlerQueue,
}

impl SessionHandle {
    /// A session that begins.
    pub(super) fn new(
        id: Arc<str>,
        handshake: Handshake,
        admission: Admission,
        outbox_max_bytes: usize,
    ) -> Self {
        let Admission { principal, attributes } = admission;
        Self(Arc::new(SharedHandle {
            id,
            handshake,
            principal: principal.map(Arc::from),
            attributes,
            queue: HandlerQueue::new(outbox_max_bytes),
        }))
    }

    /// Sends a text message. A [`ByteString`] is sent to many sessions without copies of the text.
    ///
    /// # Errors
    /// The session is over, or too slow, or the message too large.
    pub fn send_text(&self, text: impl Into<ByteString>) -> Result<(), SendError> {
        self.0.queue.push(MessageKind::Text, text.into().into_bytes())
    }

    /// Sends a binary message.
    ///
    /// # Errors
    /// As [`SessionHandle::send_text`].
    pub fn send_binary(&self, data: impl Into<Bytes>) -> Result<(), SendError> {
        self.0.queue.push(MessageKind::Binary, data.into())
    }

    /// Closes the session when what was sent before is on its way. At most 123 bytes of the reason reach the client.
    /// Closing what is closed already does nothing.
    ///
    /// # Errors
    /// A code that must not be sent.
    pub fn close(&self, code: u16, reason: impl Into<String>) -> Result<(), SendError> {
        if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
            return Err(SendError::CloseCode(code));
        }
        self.0.queue.end(Disconnect::new(code, reason.into()));
        Ok(())
    }

    /// True if messages are still taken.
    pub fn is_open(&self) -> bool {
        self.0.queue.is_open()
    }

    /// Id of the session, unlike any other of the cluster.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The client's principal, as the guard set it.
    pub fn principal(&self) -> Option<&str> {
        self.0.principal.as_deref()
    }

    /// The attributes that the application keeps with the session.
    pub fn attributes(&self) -> &Attributes {
        &self.0.attributes
    }

    /// The subprotocol that was agreed on.
    pub fn subprotocol(&self) -> Option<&'static str> {
        self.0.handshake.subprotocol
    }

    /// Our address.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.0.handshake.local
    }

    /// The peer's address: a proxy's, if there is one.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.0.handshake.peer
    }

    /// Path and query, as asked for.
    pub fn uri(&self) -> String {
        let Handshake { path, query, .. } = &self.0.handshake;
        if query.is_empty() { path.clone() } else { format!("{path}?{query}") }
    }

    /// Path, without the query.
    pub fn path(&self) -> &str {
        &self.0.handshake.path
    }

    /// Query, without the `?` and not decoded; empty for none.
    pub fn query(&self) -> &str {
        &self.0.handshake.query
    }

    /// Headers of the request that opened the session.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.handshake.headers
    }

    /// The whole request that opened the session.
    pub fn handshake(&self) -> &Handshake {
        &self.0.handshake
    }

    pub(super) fn queue(&self) -> &HandlerQueue {
        &self.0.queue
    }

    pub(super) fn shared_id(&self) -> Arc<str> {
        self.0.id.clone()
    }

    pub(super) fn shared_principal(&self) -> Option<Arc<str>> {
        self.0.principal.clone()
    }
}

impl fmt::Debug for SessionHandle {
    /// Neither headers nor query: they may hold tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionHandle")
            .field("id", &self.0.id)
            .field("path", &self.0.handshake.path)
            .field("is_open", &self.is_open())
            .finish_non_exhaustive()
    }
}

/// The attributes and the principal that a guard gives to a session it admits.
#[derive(Debug, Default)]
pub struct Admission {
    principal: Option<String>,
    attributes: Attributes,
}

impl Admission {
    /// Says who the client is. The backends' API then reaches the session under this user, for example to disconnect it.
    pub fn set_principal(&mut self, principal: impl Into<String>) {
        self.principal = Some(principal.into());
    }

    /// The client's principal, if it was set already.
    pub fn principal(&self) -> Option<&str> {
        self.principal.as_deref()
    }

    /// The attributes that the session begins with.
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }
}

/// A handshake that leads nowhere: the HTTP answer to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({status})")]
pub struct Refusal {
    status: u16,
    message: String,
}

impl Refusal {
    /// Refuses with an HTTP status and a message for people, the body of the answer. A status that is neither 4xx nor
    /// 5xx does not refuse anything; it becomes 500.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        let status = if (400..600).contains(&status) { status } else { 500 };
        Self { status, message: message.into() }
    }

    /// The HTTP status: 400–599.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The message.
    pub fn message(&self) -> &str {
        &self.message
    }
}

type AttributeValue = Arc<dyn Any + Send + Sync>;

/// Values by name, each of a type of its own. Usable from any thread; no call waits for another's use of a value.
#[derive(Default)]
pub struct Attributes(RwLock<HashMap<String, AttributeValue>>);

impl Attributes {
    /// Sets a value, in place of the one before.
    pub fn set<T: Send + Sync + 'static>(&self, name: impl Into<String>, value: T) {
        let value: AttributeValue = Arc::new(value);
        // Dropped after the lock is given back: the value's own `drop` may look here.
        let before = self.0.write().insert(name.into(), value);
        drop(before);
    }

    /// The value of this name, if there is one and it is of this type.
    pub fn get<T: Send + Sync + 'static>(&self, name: &str) -> Option<Arc<T>> {
        let value = self.0.read().get(name).cloned();
        value?.downcast().ok()
    }

    /// Removes a value. True if there was one.
    pub fn remove(&self, name: &str) -> bool {
        let before = self.0.write().remove(name);
        before.is_some()
    }
}

impl fmt::Debug for Attributes {
    /// The names alone: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.read().keys()).finish()
    }
}
