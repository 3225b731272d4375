//! A client session's states.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    disconnect::ErrorCode,
    session::{Action, Subscribed},
};

/// Where a session stands.
pub(super) enum ClientState {
    /// Nothing but a connect will do.
    New,
    /// The connect is under way.
    Connecting(Box<Connecting>),
    /// Open.
    Connected,
    /// Over.
    Ended,
}

/// A connect that waits for its server-side subscriptions.
pub(super) struct Connecting {
    pub(super) id: u32,
    pub(super) expires_at: Option<u64>,
    /// A position that cannot be recovered ends it.
    pub(super) reject: bool,
    /// Outcomes by channel, as they come.
    pub(super) subscribed: BTreeMap<Arc<str>, Subscribed>,
    pub(super) failed: Option<ErrorCode>,
    pub(super) under_way: usize,
    /// Subscriptions that begin when the client has its place among its user's connections.
    pub(super) held: Vec<Action>,
}
