//! A command of the protobuf form. `docs/protocols/client.md` §14.

use std::borrow::Cow;

use bytes::Bytes;
use prost::Message as _;

use super::messages::{
    CommandMessage, ConnectRequest, EmulationMessage, HistoryMessage, RecoverRequest, SubscribeRequest,
};
use crate::client::{
    ClientCommand, ClientRequest, Connect, DecodeError, History, Invalid, JSON_DEPTH, Malformed, Payload,
    PayloadKind, Publish, Recover, Since, Subscribe, json_compact_check,
};

/// Reads one command from one message, without the length before it.
///
/// The presence of a field, even of an empty one, tells the request of a command. If several are present, the first one
/// in the order of the requests counts. Nothing recurses, and no more is allocated than the message has bytes for.
///
/// # Errors
/// As [`crate::client::decode`].
pub fn decode(message: &[u8]) -> Result<ClientCommand<'static>, DecodeError> {
    if message.is_empty() {
        return Ok(ClientCommand { id: 0, request: ClientRequest::Pong });
    }
    let command = CommandMessage::decode(message).map_err(|_| Malformed::Protobuf)?;
    let id = command.id;
    let request = request(command)?;
    match request {
        ClientRequest::Pong if id != 0 => Err(Malformed::NoRequest.into()),
        ClientRequest::Pong | ClientRequest::Send { .. } => Ok(ClientCommand { id, request }),
        _ if id == 0 => Err(Malformed::NoId.into()),
        _ => Ok(ClientCommand { id, request }),
    }
}

/// Commands in a request of their own, and the session that they are for.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Emulated {
    /// Id of the session's node.
    pub node: String,
    /// The session's id.
    pub session: String,
    /// A frame of commands.
    pub data: Bytes,
}

/// Reads the body of a request that brings commands: one message without a length before it.
///
/// # Errors
/// [`Malformed::Protobuf`].
pub fn decode_emulation(body: Bytes) -> Result<Emulated, Malformed> {
    let EmulationMessage { node, session, data } =
        EmulationMessage::decode(body).map_err(|_| Malformed::Protobuf)?;
    Ok(Emulated { node, session, data })
}

fn request(command: CommandMessage) -> Result<ClientRequest<'static>, DecodeError> {
    let id = command.id;
    let invalid = |reason| if id == 0 { Malformed::NoId.into() } else { DecodeError::Invalid { id, reason } };
    Ok(if let Some(connect) = command.connect {
        ClientRequest::Connect(connect.into())
    } else if let Some(subscribe) = command.subscribe {
        ClientRequest::Subscribe(subscribe.into())
    } else if let Some(unsubscribe) = command.unsubscribe {
        ClientRequest::Unsubscribe { channel: unsubscribe.channel.into() }
    } else if let Some(publish) = command.publish {
        if publish.kind != 0 {
            return Err(invalid(Invalid::NotAvailable));
        }
        let data = payload(publish.data).ok_or_else(|| invalid(Invalid::NoData))?;
        ClientRequest::Publish(Publish { channel: publish.channel.into(), data })
    } else if let Some(presence) = command.presence {
        ClientRequest::Presence { channel: presence.channel.into() }
    } else if let Some(presence) = command.presence_stats {
        ClientRequest::PresenceStats { channel: presence.channel.into() }
    } else if let Some(history) = command.history {
        ClientRequest::History(history.into())
    } else if let Some(rpc) = command.rpc {
        ClientRequest::Rpc { method: rpc.method.into(), data: payload(rpc.data) }
    } else if let Some(send) = command.send {
        ClientRequest::Send { data: payload(send.data) }
    } else if let Some(refresh) = command.refresh {
        ClientRequest::Refresh { token: refresh.token.into() }
    } else if let Some(refresh) = command.sub_refresh {
        if refresh.kind != 0 {
            return Err(invalid(Invalid::NotAvailable));
        }
        ClientRequest::SubRefresh { channel: refresh.channel.into(), token: refresh.token.into() }
    } else {
        ClientRequest::Pong
    })
}

/// A payload as what it is: JSON, else text, else bytes. `None` if there are no bytes.
fn payload(data: Bytes) -> Option<Payload<'static>> {
    if data.is_empty() {
        return None;
    }
    let kind = if json_compact_check(&data, JSON_DEPTH).is_ok() {
        PayloadKind::Json
    } else if simdutf8::basic::from_utf8(&data).is_ok() {
        PayloadKind::Text
    } else {
        PayloadKind::Binary
    };
    Some(Payload { data: Cow::Owned(data.into()), kind })
}

impl From<ConnectRequest> for Connect<'static> {
    fn from(connect: ConnectRequest) -> Self {
        let recover = |request: RecoverRequest| Recover {
            recover: request.recover,
            offset: request.offset,
            epoch: request.epoch.into(),
        };
        Self {
            token: connect.token.into(),
            data: payload(connect.data),
            name: connect.name.into(),
            version: connect.version.into(),
            headers: connect.headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            subs: connect.subs.into_iter().map(|(channel, sub)| (channel.into(), recover(sub))).collect(),
            flag: connect.flag,
        }
    }
}

impl From<SubscribeRequest> for Subscribe<'static> {
    fn from(subscribe: SubscribeRequest) -> Self {
        Self {
            channel: subscribe.channel.into(),
            token: subscribe.token.into(),
            data: payload(subscribe.data),
            recover: subscribe.recover,
            offset: subscribe.offset,
            epoch: subscribe.epoch.into(),
            positioned: subscribe.positioned,
            recoverable: subscribe.recoverable,
            join_leave: subscribe.join_leave,
            flag: subscribe.flag,
            delta: subscribe.delta.into(),
            filter: subscribe.filter.map(|_| Payload { data: Cow::Borrowed(b"{}"), kind: PayloadKind::Json }),
            kind: subscribe.kind,
        }
    }
}

impl From<HistoryMessage> for History<'static> {
    fn from(history: HistoryMessage) -> Self {
        Self {
            channel: history.channel.into(),
            limit: history.limit,
            since: history.since.map(|since| Since { offset: since.offset, epoch: since.epoch.into() }),
            reverse: history.reverse,
        }
    }
}
