//! A call of `/app` as it waits for its turn, and what its reply needs. `docs/protocols/stomp.md` §14.3 to §14.6.

use crate::proxy_call::{ProxyId, ProxyPayload};

/// A call of `/app`, checked.
#[derive(Debug)]
pub(super) struct RpcCall {
    pub(super) proxy: ProxyId,
    pub(super) method: String,
    pub(super) data: Option<ProxyPayload>,
    /// Headers of the frame that the backend gets.
    pub(super) headers: Vec<(Box<str>, Box<str>)>,
    pub(super) reply: RpcReply,
}

/// The reply to a call of `/app`.
#[derive(Debug)]
pub(super) struct RpcReply {
    /// The destination of the frame.
    pub(super) destination: Box<str>,
    /// The subscription of a SUBSCRIBE; a SEND has none.
    pub(super) subscription: Option<Box<str>>,
    pub(super) correlation_id: Option<Box<str>>,
    pub(super) receipt: Option<Box<str>>,
}

impl RpcCall {
    /// Bytes that it holds, near enough.
    pub(super) fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let data = self.data.as_ref().map_or(0, |data| data.data.len());
        self.method.len() + data + headers + size_of::<Self>()
    }
}
