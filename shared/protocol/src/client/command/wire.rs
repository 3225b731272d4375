//! The JSON shape of a command, and the way from it to [`ClientCommand`] and back. Nodes read commands; clients in Rust
//! (load generators, black-box tests) write them, and the proof that decoding loses nothing does. `docs/protocols/client.md` §2.

use std::{borrow::Cow, fmt};

use bytes::BytesMut;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::error::Category;

use super::{
    ClientCommand, ClientRequest, Connect, DecodeError, History, Invalid, Malformed, Payload, Publish,
    Subscribe,
    fields::{self, object},
    outline::{CommandKey, answerable_id},
};
use crate::client::json::{JsonError, ObjectWriter, checked_text, write_string};

/// Reads one command from one line.
///
/// Linear in the line's length; nothing recurses deeper than `max_depth` ([`crate::client::JSON_DEPTH`]; the command's own levels
/// count). Strings are copied only where they hold escapes.
///
/// # Errors
/// [`DecodeError::Malformed`] when the client does not speak the protocol, [`DecodeError::Invalid`] when it does and this
/// one command can be answered with an error.
pub fn decode(line: &[u8], max_depth: usize) -> Result<ClientCommand<'_>, DecodeError> {
    let text = match checked_text(line, max_depth) {
        Ok(text) => text,
        Err(fault @ JsonError::TooDeep { .. }) => {
            return Err(unreadable(std::str::from_utf8(line).unwrap_or_default(), Malformed::Json(fault)));
        }
        Err(fault) => return Err(Malformed::Json(fault).into()),
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let envelope = deserializer.deserialize_map(EnvelopeVisitor).map_err(|error| malformed(text, &error))?;
    deserializer.end().map_err(|error| malformed(text, &error))?;
    envelope.command()
}

fn malformed(text: &str, error: &serde_json::Error) -> DecodeError {
    let syntax = Malformed::Json(JsonError::Syntax { line: error.line(), column: error.column() });
    match error.classify() {
        Category::Data => Malformed::Shape { column: error.column() }.into(),
        Category::Syntax => unreadable(text, syntax),
        Category::Io | Category::Eof => syntax.into(),
    }
}

/// The error of one command, where the line shows which; else the fault of the line.
fn unreadable(text: &str, fault: Malformed) -> DecodeError {
    answerable_id(text).map_or(fault.into(), |id| DecodeError::Invalid { id, reason: Invalid::Unreadable })
}

/// The outermost object as it came.
#[derive(Default)]
struct CommandEnvelope<'a> {
    id: u32,
    request: Option<Wire<'a>>,
    two_requests: bool,
}

/// A request as it came: its faults can be reported only once its id is known, which may come after it.
enum Wire<'a> {
    Ready(ClientRequest<'a>),
    Publish(PublishFields<'a>),
    SubRefresh(SubRefreshFields<'a>),
}

impl<'a> CommandEnvelope<'a> {
    fn command(self) -> Result<ClientCommand<'a>, DecodeError> {
        let Self { id, request, two_requests } = self;
        if two_requests {
            return Err(Malformed::TwoRequests.into());
        }
        let Some(wire) = request else {
            return if id == 0 {
                Ok(ClientCommand { id, request: ClientRequest::Pong })
            } else {
                Err(Malformed::NoRequest.into())
            };
        };
        if id == 0 && !matches!(wire, Wire::Ready(ClientRequest::Send { .. })) {
            return Err(Malformed::NoId.into());
        }
        let request = match wire {
            Wire::Ready(request) => request,
            Wire::Publish(PublishFields { kind: 0, channel, data: Some(data) }) => {
                ClientRequest::Publish(Publish { channel, data })
            }
            Wire::Publish(PublishFields { kind: 0, .. }) => {
                return Err(DecodeError::Invalid { id, reason: Invalid::NoData });
            }
            Wire::SubRefresh(SubRefreshFields { kind: 0, channel, token }) => {
                ClientRequest::SubRefresh { channel, token }
            }
            Wire::Publish(_) | Wire::SubRefresh(_) => {
                return Err(DecodeError::Invalid { id, reason: Invalid::NotAvailable });
            }
        };
        Ok(ClientCommand { id, request })
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = CommandEnvelope<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a command object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut envelope = CommandEnvelope::default();
        let mut has_id = false;
        while let Some(key) = map.next_key::<CommandKey>()? {
            let request = match key {
                CommandKey::Id => {
                    if std::mem::replace(&mut has_id, true) {
                        return Err(A::Error::duplicate_field("id"));
                    }
                    envelope.id = map.next_value::<Option<u32>>()?.unwrap_or_default();
                    None
                }
                CommandKey::Connect => object(&mut map)?.map(ClientRequest::Connect).map(Wire::Ready),
                CommandKey::Subscribe => object(&mut map)?.map(ClientRequest::Subscribe).map(Wire::Ready),
                CommandKey::Unsubscribe => object(&mut map)?
                    .map(|ChannelField { channel }| Wire::Ready(ClientRequest::Unsubscribe { channel })),
                CommandKey::Publish => object(&mut map)?.map(Wire::Publish),
                CommandKey::Presence => object(&mut map)?
                    .map(|ChannelField { channel }| Wire::Ready(ClientRequest::Presence { channel })),
                CommandKey::PresenceStats => object(&mut map)?
                    .map(|ChannelField { channel }| Wire::Ready(ClientRequest::PresenceStats { channel })),
                CommandKey::History => object(&mut map)?.map(ClientRequest::History).map(Wire::Ready),
                CommandKey::Rpc => object(&mut map)?
                    .map(|RpcFields { method, data }| Wire::Ready(ClientRequest::Rpc { method, data })),
                CommandKey::Send => {
                    object(&mut map)?.map(|SendFields { data }| Wire::Ready(ClientRequest::Send { data }))
                }
                CommandKey::Refresh => object(&mut map)?
                    .map(|RefreshFields { token }| Wire::Ready(ClientRequest::Refresh { token })),
                CommandKey::SubRefresh => object(&mut map)?.map(Wire::SubRefresh),
                CommandKey::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                    None
                }
            };
            if request.is_some() {
                envelope.two_requests |= envelope.request.is_some();
                envelope.request = request;
            }
        }
        Ok(envelope)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ChannelField<'a> {
    #[serde(borrow, deserialize_with = "fields::text")]
    channel: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PublishFields<'a> {
    #[serde(borrow, deserialize_with = "fields::text")]
    channel: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "fields::given")]
    data: Option<Payload<'a>>,
    #[serde(rename = "type", deserialize_with = "fields::nullable")]
    kind: i32,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RpcFields<'a> {
    #[serde(borrow, deserialize_with = "fields::text")]
    method: Cow<'a, str>,
    #[serde(borrow)]
    data: Option<Payload<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SendFields<'a> {
    #[serde(borrow)]
    data: Option<Payload<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RefreshFields<'a> {
    #[serde(borrow, deserialize_with = "fields::text")]
    token: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SubRefreshFields<'a> {
    #[serde(borrow, deserialize_with = "fields::text")]
    channel: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "fields::text")]
    token: Cow<'a, str>,
    #[serde(rename = "type", deserialize_with = "fields::nullable")]
    kind: i32,
}

impl ClientCommand<'_> {
    /// Appends the command as one line, without a newline. Zero and empty fields are left out.
    pub fn encode(&self, out: &mut BytesMut) {
        let mut outer = ObjectWriter::open(out);
        outer.integer("id", self.id);
        match &self.request {
            ClientRequest::Pong => {}
            ClientRequest::Connect(connect) => {
                request(&mut outer, "connect", |object| write_connect(object, connect))
            }
            ClientRequest::Subscribe(subscribe) => {
                request(&mut outer, "subscribe", |object| write_subscribe(object, subscribe))
            }
            ClientRequest::Unsubscribe { channel } => channel_only(&mut outer, "unsubscribe", channel),
            ClientRequest::Publish(publish) => request(&mut outer, "publish", |object| {
                object.string("channel", &publish.channel).raw("data", &publish.data.data);
            }),
            ClientRequest::Presence { channel } => channel_only(&mut outer, "presence", channel),
            ClientRequest::PresenceStats { channel } => channel_only(&mut outer, "presence_stats", channel),
            ClientRequest::History(history) => {
                request(&mut outer, "history", |object| write_history(object, history))
            }
            ClientRequest::Rpc { method, data } => request(&mut outer, "rpc", |object| {
                object.string("method", method).raw("data", bytes_of(data));
            }),
            ClientRequest::Send { data } => request(&mut outer, "send", |object| {
                object.raw("data", bytes_of(data));
            }),
            ClientRequest::Refresh { token } => request(&mut outer, "refresh", |object| {
                object.string("token", token);
            }),
            ClientRequest::SubRefresh { channel, token } => request(&mut outer, "sub_refresh", |object| {
                object.string("channel", channel).string("token", token);
            }),
        }
        outer.close();
    }
}

fn request(outer: &mut ObjectWriter<'_>, kind: &'static str, body: impl FnOnce(&mut ObjectWriter<'_>)) {
    let mut inner = ObjectWriter::open(outer.field(kind));
    body(&mut inner);
    inner.close();
}

fn channel_only(outer: &mut ObjectWriter<'_>, kind: &'static str, channel: &str) {
    request(outer, kind, |object| {
        object.string("channel", channel);
    });
}

fn bytes_of<'a>(payload: &'a Option<Payload<'_>>) -> &'a [u8] {
    payload.as_ref().map(|payload| &*payload.data).unwrap_or_default()
}

fn write_connect(object: &mut ObjectWriter<'_>, connect: &Connect<'_>) {
    object.string("token", &connect.token).raw("data", bytes_of(&connect.data));
    object.string("name", &connect.name).string("version", &connect.version);
    if !connect.headers.is_empty() {
        let mut headers = ObjectWriter::open(object.field("headers"));
        for (name, value) in &connect.headers {
            write_string(headers.entry(name), value);
        }
        headers.close();
    }
    if !connect.subs.is_empty() {
        let mut subs = ObjectWriter::open(object.field("subs"));
        for (channel, position) in &connect.subs {
            let mut entry = ObjectWriter::open(subs.entry(channel));
            entry
                .flag("recover", position.recover)
                .integer("offset", position.offset)
                .string("epoch", &position.epoch);
            entry.close();
        }
        subs.close();
    }
    object.integer("flag", connect.flag);
}

fn write_subscribe(object: &mut ObjectWriter<'_>, subscribe: &Subscribe<'_>) {
    object.string("channel", &subscribe.channel).string("token", &subscribe.token);
    object.raw("data", bytes_of(&subscribe.data));
    object
        .flag("recover", subscribe.recover)
        .integer("offset", subscribe.offset)
        .string("epoch", &subscribe.epoch);
    object.flag("positioned", subscribe.positioned).flag("recoverable", subscribe.recoverable);
    object.flag("join_leave", subscribe.join_leave).integer("flag", subscribe.flag);
    object
        .string("delta", &subscribe.delta)
        .raw("tf", bytes_of(&subscribe.filter))
        .integer("type", subscribe.kind);
}

fn write_history(object: &mut ObjectWriter<'_>, history: &History<'_>) {
    object.string("channel", &history.channel).integer("limit", history.limit);
    if let Some(since) = &history.since {
        let mut position = ObjectWriter::open(object.field("since"));
        position.integer("offset", since.offset).string("epoch", &since.epoch);
        position.close();
    }
    object.flag("reverse", history.reverse);
}
