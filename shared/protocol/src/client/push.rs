//! The server's pushes: `{"push":{…}}` and the ping. The hub encodes a publication here once for all
//! subscribers that speak this protocol. `docs/protocols/client.md` §2.

use bytes::{BufMut, BytesMut};

use super::json::{ObjectWriter, write_base64, write_raw, write_string};

/// The server's ping; the client's pong looks the same.
pub const PING: &[u8] = b"{}";

/// The kind of a payload's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PayloadKind {
    /// One JSON value: passed on as it is, less raw newlines.
    #[default]
    Json,
    /// UTF-8 text: a JSON string. Bytes that are not UTF-8 are replaced by U+FFFD.
    Text,
    /// Any bytes: a JSON string of padded standard base64.
    Binary,
}

/// The client that published, or is present. Borrowed: this crate knows no node types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientInfoFields<'a> {
    /// User id; empty: anonymous.
    pub user: &'a str,
    /// Id of the connection.
    pub client: &'a str,
    /// Raw JSON given at connect time, or empty.
    pub conn_info: &'a [u8],
    /// Raw JSON given at subscribe time, or empty.
    pub chan_info: &'a [u8],
}

/// One publication. Borrowed: this crate knows no broker types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PublicationFields<'a> {
    /// The payload. Of kind `Json`: one valid JSON value ([`super::json_compact_check`] tells).
    pub data: &'a [u8],
    /// The kind of `data`.
    pub kind: PayloadKind,
    /// Offset in the channel's stream, from 1, below 2^53; 0: the channel has no history.
    pub offset: u64,
    /// Key and value pairs, keys unique.
    pub tags: &'a [(String, String)],
    /// The publishing client, if it was one.
    pub info: Option<ClientInfoFields<'a>>,
    /// The time at which the broker accepted it, Unix time in ms; 0: unknown.
    pub time_ms: u64,
}

/// The properties of a subscription that the server made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscribePush<'a> {
    /// True if the client may recover by offset and epoch.
    pub recoverable: bool,
    /// Life of the stream; empty: none.
    pub epoch: &'a str,
    /// Top of the stream at subscribe time.
    pub offset: u64,
    /// True if the position is watched.
    pub positioned: bool,
    /// Raw JSON for the client, if any.
    pub data: Option<&'a [u8]>,
}

/// `{"push":{"channel":…,"pub":{…}}}`
pub fn push_publication(channel: &str, publication: &PublicationFields<'_>, out: &mut BytesMut) {
    push(channel, "pub", out, |out| write_publication(out, publication));
}

/// `{"push":{"channel":…,"join":{"info":{…}}}}`
pub fn push_join(channel: &str, info: &ClientInfoFields<'_>, out: &mut BytesMut) {
    push(channel, "join", out, |out| write_info_only(out, info));
}

/// `{"push":{"channel":…,"leave":{"info":{…}}}}`
pub fn push_leave(channel: &str, info: &ClientInfoFields<'_>, out: &mut BytesMut) {
    push(channel, "leave", out, |out| write_info_only(out, info));
}

/// `{"push":{"channel":…,"unsubscribe":{"code":…,"reason":…}}}`. From code 2500 on the client subscribes again.
pub fn push_unsubscribe(channel: &str, code: u32, reason: &str, out: &mut BytesMut) {
    push(channel, "unsubscribe", out, |out| write_code(out, code, reason));
}

/// `{"push":{"channel":…,"subscribe":{…}}}`: the server subscribed this client.
pub fn push_subscribe(channel: &str, subscription: &SubscribePush<'_>, out: &mut BytesMut) {
    push(channel, "subscribe", out, |out| write_subscribe(out, subscription));
}

/// `{"push":{"message":{"data":…}}}`: a message to this client outside any channel. `data` is raw JSON.
pub fn push_message(data: &[u8], out: &mut BytesMut) {
    push("", "message", out, |out| {
        let mut object = ObjectWriter::open(out);
        object.raw("data", data);
        object.close();
    });
}

/// `{"push":{"disconnect":{"code":…,"reason":…}}}`: the close message on transports that have no close frame.
pub fn push_disconnect(code: u32, reason: &str, out: &mut BytesMut) {
    push("", "disconnect", out, |out| write_code(out, code, reason));
}

/// `{"push":{"refresh":{"expires":…,"ttl":…}}}`: the connection's new lifetime, `ttl` in seconds.
pub fn push_refresh(expires: bool, ttl: u32, out: &mut BytesMut) {
    push("", "refresh", out, |out| write_refresh(out, expires, ttl));
}

/// The envelope; the channel is left out where there is none.
fn push(channel: &str, kind: &'static str, out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let mut outer = ObjectWriter::open(out);
    write_event(outer.field("push"), channel, kind, body);
    outer.close();
}

/// Writes what happened, and the channel, if there is one.
pub(crate) fn write_event(
    out: &mut BytesMut,
    channel: &str,
    kind: &'static str,
    body: impl FnOnce(&mut BytesMut),
) {
    let mut object = ObjectWriter::open(out);
    object.string("channel", channel);
    body(object.field(kind));
    object.close();
}

pub(crate) fn write_subscribe(out: &mut BytesMut, subscription: &SubscribePush<'_>) {
    let mut object = ObjectWriter::open(out);
    object.flag("recoverable", subscription.recoverable);
    object.string("epoch", subscription.epoch).integer("offset", subscription.offset);
    object.flag("positioned", subscription.positioned).raw("data", subscription.data.unwrap_or_default());
    object.close();
}

pub(crate) fn write_refresh(out: &mut BytesMut, expires: bool, ttl: u32) {
    let mut object = ObjectWriter::open(out);
    object.flag("expires", expires).integer("ttl", ttl);
    object.close();
}

pub(crate) fn write_code(out: &mut BytesMut, code: u32, reason: &str) {
    let mut object = ObjectWriter::open(out);
    object.integer("code", code).string("reason", reason);
    object.close();
}

pub(crate) fn write_info_only(out: &mut BytesMut, info: &ClientInfoFields<'_>) {
    let mut object = ObjectWriter::open(out);
    write_client_info(object.field("info"), info);
    object.close();
}

/// Appends a ClientInfo object.
pub(crate) fn write_client_info(out: &mut BytesMut, info: &ClientInfoFields<'_>) {
    let mut object = ObjectWriter::open(out);
    // Present even when empty: the SDK hands an anonymous user on as it comes, and "" is not undefined.
    write_string(object.field("user"), info.user);
    write_string(object.field("client"), info.client);
    object.raw("conn_info", info.conn_info).raw("chan_info", info.chan_info);
    object.close();
}

/// Appends a Publication object.
pub(crate) fn write_publication(out: &mut BytesMut, publication: &PublicationFields<'_>) {
    let mut object = ObjectWriter::open(out);
    // No bytes are no JSON value, while no text is the value "".
    if !publication.data.is_empty() || publication.kind != PayloadKind::Json {
        write_payload(object.field("data"), publication.data, publication.kind);
    }
    if let Some(info) = &publication.info {
        write_client_info(object.field("info"), info);
    }
    object.integer("offset", publication.offset);
    if !publication.tags.is_empty() {
        let mut tags = ObjectWriter::open(object.field("tags"));
        for (key, value) in publication.tags {
            write_string(tags.entry(key), value);
        }
        tags.close();
    }
    object.integer("time", publication.time_ms);
    object.close();
}

/// Appends a publication list.
pub(crate) fn write_publications(out: &mut BytesMut, publications: &[PublicationFields<'_>]) {
    out.put_u8(b'[');
    for (index, publication) in publications.iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        write_publication(out, publication);
    }
    out.put_u8(b']');
}

/// Appends a payload as the JSON value that its kind asks for.
pub fn write_payload(out: &mut BytesMut, data: &[u8], kind: PayloadKind) {
    match kind {
        PayloadKind::Json => write_raw(out, data),
        PayloadKind::Text => match simdutf8::basic::from_utf8(data) {
            Ok(text) => write_string(out, text),
            Err(_) => write_string(out, &String::from_utf8_lossy(data)),
        },
        PayloadKind::Binary => write_base64(out, data),
    }
}

#[cfg(test)]
pub(crate) mod tests;
