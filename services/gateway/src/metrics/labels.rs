//! Labels of counters that are moved in many parts of the node.

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};

/// Labels of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TransportLabel {
    /// `websocket`, `sse`, …
    pub transport: &'static str,
    /// Its connections come and go with every request: none of them is worth a line at `info`.
    pub is_brief: bool,
}

impl TransportLabel {
    /// The label of a transport whose connections stay.
    pub const fn new(transport: &'static str) -> Self {
        Self { transport, is_brief: false }
    }

    /// The label of a transport whose connections are requests.
    pub const fn brief(transport: &'static str) -> Self {
        Self { transport, is_brief: true }
    }
}

impl EncodeLabelSet for TransportLabel {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("transport", self.transport)].encode(encoder)
    }
}

/// Labels that name a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NodeLabel {
    /// Random id of this run of the node.
    pub id: String,
    /// `node.name`.
    pub name: String,
    /// Version of the server.
    pub version: &'static str,
}

/// Labels of an end of a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DisconnectLabel {
    /// The code; embedders' and applications' own codes are all counted as 4000.
    pub code: u16,
}

/// Labels of a refused handshake.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabel {
    /// The HTTP status.
    pub status: u16,
}

/// Labels of what was refused by address or by a limit of the node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CauseLabel {
    /// `unauthenticated_of_address`, `wrong_session_id`, …
    pub cause: &'static str,
}
