//! A client session's states.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    disconnect::ErrorCode,
    session::{Action, Subscribed},
};

/// The state of a session.
pub(super) enum ClientState {
    /// Only a connect is accepted.
    New,
    /// The connect is under way.
    Connecting(Box<Connecting>),
    /// Open.
    Connected,
    /// The session is over.
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
    /// Subscriptions that begin when the client has one of its user's connection slots.
    pub(super) held: Vec<Action>,
}
