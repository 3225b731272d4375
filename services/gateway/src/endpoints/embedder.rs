//! The endpoint of an embedder's [`WebSocketHandler`]: a path, the way to make a handler for each connection, and what
//! differs from the node's settings. `docs/protocols/websocket.md` §1, §3.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use gorani_auth::{OriginError, Origins};

use crate::{
    endpoint::{Endpoint, EndpointRefused, Handshake},
    format::encoding::Protocol,
    node::Node,
    session::{
        Now, Session,
        handler::{
            Admission, HandlerSession, Refusal, WebSocketHandler,
            adapter::{HandlerLimits, forget_panic, panic_message},
        },
    },
    sockjs::options::SockJs,
};

type MakeHandler<H> = Box<dyn Fn(&Handshake, &mut Admission) -> Result<H, Refusal> + Send + Sync>;

/// A handler to serve: its factory, called for each connection, and the options that differ from the node's settings.
///
/// A factory alone is enough if nothing differs: `.handler("/chat", Chat::default)`.
pub struct Registration<H> {
    make: MakeHandler<H>,
    name: &'static str,
    origins: Option<Vec<String>>,
    message_max_bytes: Option<usize>,
    outbox_max_bytes: Option<usize>,
    sockjs: Option<SockJs>,
}

/// Name of handlers in logs and in the API, unless they have one of their own.
const DEFAULT_NAME: &str = "handler";

impl<H: WebSocketHandler> Registration<H> {
    /// Handlers are made by this factory, one for each connection, on the worker's thread.
    pub fn new(factory: impl Fn() -> H + Send + Sync + 'static) -> Self {
        Self::guarded(move |_, _| Ok(factory()))
    }

    /// Handlers are made by a guard that sees the request first and may refuse it. It comes after
    /// [`WebSocketHandler::handshake`], and may hold what it needs to decide.
    pub fn guarded(
        guard: impl Fn(&Handshake, &mut Admission) -> Result<H, Refusal> + Send + Sync + 'static,
    ) -> Self {
        Self {
            make: Box::new(guard),
            name: DEFAULT_NAME,
            origins: None,
            message_max_bytes: None,
            outbox_max_bytes: None,
            sockjs: None,
        }
    }

    /// Its name in logs and in the API, `handler` by default.
    #[must_use]
    pub fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Origins that browsers may connect from, in place of [`WebSocketHandler::origins`].
    #[must_use]
    pub fn origins<S: Into<String>>(mut self, origins: impl IntoIterator<Item = S>) -> Self {
        self.origins = Some(origins.into_iter().map(Into::into).collect());
        self
    }

    /// Bytes of a message from the client at most, in place of `client.message_max_bytes`.
    #[must_use]
    pub fn message_max_bytes(mut self, bytes: usize) -> Self {
        self.message_max_bytes = Some(bytes);
        self
    }

    /// Bytes that may wait for a client at most, in place of `client.outbox_max_bytes`. No message to it can be larger.
    #[must_use]
    pub fn outbox_max_bytes(mut self, bytes: usize) -> Self {
        self.outbox_max_bytes = Some(bytes);
        self
    }

    /// Serves the handler over SockJS too, below the same path: clients without WebSocket fall back to HTTP. The handler is the
    /// same; binary messages reach such a client as base64. Where a guard names a principal, it is asked again by every
    /// request that comes for the session.
    #[must_use]
    pub fn sockjs(mut self, options: SockJs) -> Self {
        self.sockjs = Some(options);
        self
    }

    /// The SockJS options, if it is served over SockJS.
    pub(crate) fn sockjs_options(&self) -> Option<&SockJs> {
        self.sockjs.as_ref()
    }
}

impl<H: WebSocketHandler, F: Fn() -> H + Send + Sync + 'static> From<F> for Registration<H> {
    fn from(factory: F) -> Self {
        Self::new(factory)
    }
}

/// The endpoint of a handler.
pub struct HandlerEndpoint<H> {
    node: Arc<Node>,
    registration: Registration<H>,
    origins: Origins,
}

impl<H: WebSocketHandler> HandlerEndpoint<H> {
    /// The endpoint of a registration on a node.
    ///
    /// # Errors
    /// An origin that cannot be understood.
    pub fn new(node: Arc<Node>, registration: Registration<H>) -> Result<Self, OriginError> {
        let origins = match &registration.origins {
            Some(origins) => Origins::new(origins),
            None => Origins::new(H::origins()),
        }?;
        Ok(Self { node, registration, origins })
    }

    fn admit(&self, handshake: &Handshake) -> Result<(H, Admission), Refusal> {
        let mut admission = Admission::default();
        H::handshake(handshake, &mut admission)?;
        let handler = (self.registration.make)(handshake, &mut admission)?;
        Ok((handler, admission))
    }

    /// Asks the guard, and contains what fails in it.
    fn let_in(&self, handshake: &Handshake) -> Result<(H, Admission), EndpointRefused> {
        let admitted = catch_unwind(AssertUnwindSafe(|| self.admit(handshake))).map_err(|panic| {
            tracing::error!(path = handshake.path, panic = panic_message(&*panic), "guard panicked");
            forget_panic(panic);
            EndpointRefused::Status(500, "internal error".to_owned())
        })?;
        admitted.map_err(|refusal| EndpointRefused::Status(refusal.status(), refusal.message().to_owned()))
    }
}

impl<H: WebSocketHandler> Endpoint for HandlerEndpoint<H> {
    fn subprotocols(&self) -> &[&'static str] {
        H::subprotocols()
    }

    fn allows_origin(&self, origin: Option<&str>, host: &str) -> bool {
        self.origins.allows(origin, host)
    }

    fn origins_setting(&self) -> &'static str {
        "the origins of this endpoint's handler"
    }

    fn protocol(&self, _handshake: &Handshake) -> Protocol {
        Protocol::Embedded
    }

    fn name(&self, _handshake: &Handshake) -> &'static str {
        self.registration.name
    }

    fn message_max_bytes(&self) -> usize {
        self.registration.message_max_bytes.unwrap_or(self.node.policy.get().settings.message_max_bytes)
    }

    fn outbox_max_bytes(&self) -> usize {
        self.registration.outbox_max_bytes.unwrap_or(self.node.policy.get().settings.outbox_max_bytes)
    }

    fn wants_parts(&self) -> bool {
        H::wants_partial_messages()
    }

    fn principal(&self, handshake: &Handshake) -> Result<Option<Arc<str>>, EndpointRefused> {
        let (_, admission) = self.let_in(handshake)?;
        Ok(admission.principal().map(Arc::from))
    }

    fn open(&self, handshake: &Handshake, _now: Now) -> Result<Box<dyn Session>, EndpointRefused> {
        let (handler, admission) = self.let_in(handshake)?;
        let policy = self.node.policy.get();
        let client = &policy.settings;
        let limits = HandlerLimits {
            outbox_max_bytes: self.outbox_max_bytes(),
            ping_interval: client.ping_interval,
            pong_timeout: client.pong_timeout,
        };
        let id = policy.new_client_id();
        Ok(Box::new(HandlerSession::new(handler, id, handshake.clone(), admission, limits)))
    }
}
