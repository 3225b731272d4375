//! The query of a receiver: its token, its channels, the positions that it has reached, and what it tells the connect proxy.
//! `docs/protocols/http.md` §7.4.

use gorani_broker::Position;
use gorani_protocol::client::{JSON_DEPTH, ReceiverConnect};

use crate::{
    disconnect::Disconnect,
    format::position::Positions,
    proxy_call::{ProxyPayload, ProxyRequest},
};

/// A receiver's request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReceiveQuery {
    /// Its connection token; empty for none.
    pub token: String,
    /// Channels besides those of the token.
    pub channels: Vec<String>,
    /// Its positions in its channels.
    pub positions: Positions,
    /// It named a position that cannot be read: its reply says that nothing was recovered.
    pub is_unreadable: bool,
    /// Its description for the connect proxy.
    pub details: ReceiverDetails,
}

/// The description of a receiver for the connect proxy. It decides nothing here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReceiverDetails {
    /// Data for the connect proxy.
    pub data: Option<ProxyPayload>,
    /// Name of the client's kind.
    pub name: String,
    /// The application's version.
    pub version: String,
    /// Headers that a browser could not send over HTTP.
    pub headers: Vec<(String, String)>,
}

impl ReceiveQuery {
    /// Reads a connect object that is all of the query.
    ///
    /// # Errors
    /// It is none, or holds a position that cannot be read.
    pub(super) fn read(json: &str) -> Result<Self, Disconnect> {
        let read = ReceiverConnect::decode(json.as_bytes(), JSON_DEPTH);
        let connect = read.map_err(|_| Disconnect::BAD_REQUEST)?;
        let positions = Positions::parse(&connect.position).map_err(|_| Disconnect::BAD_REQUEST)?;
        let mut me = Self { positions, ..Self::default() };
        me.add(connect);
        Ok(me)
    }

    /// Adds what a connect object says, but for its `position`. The token of a request goes over it.
    pub fn add(&mut self, connect: ReceiverConnect<'_>) {
        if self.token.is_empty() {
            self.token = connect.token.into_owned();
        }
        self.details = ReceiverDetails {
            data: connect.data.as_ref().map(ProxyPayload::of),
            name: connect.name.into_owned(),
            version: connect.version.into_owned(),
            headers: connect
                .headers
                .into_iter()
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        };
        self.channels.extend(connect.channels);
        for (channel, sub) in connect.subs {
            if sub.recover {
                self.positions.set(&channel, Position { offset: sub.offset, epoch: (*sub.epoch).into() });
            }
            if !self.channels.iter().any(|known| *known == channel) {
                self.channels.push(channel.into_owned());
            }
        }
    }

    /// The question for the connect proxy. Channels are not in it: those that a receiver names are for the rules to decide.
    pub(super) fn connect_request(&self) -> ProxyRequest {
        let ReceiverDetails { data, name, version, .. } = self.details.clone();
        ProxyRequest::Connect { data, name, version, channels: Vec::new() }
    }
}

impl ReceiverDetails {
    /// Names and values of the headers.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}
