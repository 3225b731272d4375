//! The answers to commands: `{"id":…,` the command's key with its result, or `"error"`, `}`. Written by the session into
//! the connection's outbox. `docs/protocols/client.md` §2.
//!
//! Replies whose long lists are written later, a piece at a time: a reply of megabytes takes milliseconds, and others share
//! the thread. Each function writes a reply with an empty list and says where in `out` the list's entries belong.

use bytes::{BufMut as _, BytesMut};

use super::{
    json::{ObjectWriter, write_integer, write_string},
    push::{ClientInfoFields, PublicationFields, write_client_info, write_publication, write_publications},
};

/// The answer to connect. Empty and zero fields are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectResult<'a> {
    /// Id of the connection.
    pub client: &'a str,
    /// The server's version.
    pub version: &'a str,
    /// True if the connection expires unless refreshed.
    pub expires: bool,
    /// Seconds until it expires.
    pub ttl: u32,
    /// Raw JSON for the client, if any.
    pub data: Option<&'a [u8]>,
    /// Subscriptions made by the server, by channel; channels unique.
    pub subs: &'a [(&'a str, SubscribeResult<'a>)],
    /// Seconds between pings; 0: the server sends none.
    pub ping: u32,
    /// True if the client has to answer pings.
    pub pong: bool,
    /// Session id, only for transports that send commands in requests of their own.
    pub session: &'a str,
    /// Node id, only together with `session`.
    pub node: &'a str,
    /// The server's clock, Unix time in ms; 0: left out.
    pub time: u64,
}

/// The answer to subscribe, and the state of a server-side subscription in a connect reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscribeResult<'a> {
    /// True if the subscription expires unless refreshed.
    pub expires: bool,
    /// Seconds until it expires.
    pub ttl: u32,
    /// True if the client may recover by offset and epoch.
    pub recoverable: bool,
    /// Life of the stream; empty: none.
    pub epoch: &'a str,
    /// The recovered publications, oldest first.
    pub publications: &'a [PublicationFields<'a>],
    /// True if `publications` and what follows live are complete since the client's position.
    pub recovered: bool,
    /// The position this subscription starts from: the client's own if recovered, else the top.
    pub offset: u64,
    /// True if the position is watched.
    pub positioned: bool,
    /// Raw JSON for the client, if any.
    pub data: Option<&'a [u8]>,
    /// True if the client asked for recovery.
    pub was_recovering: bool,
    /// For receivers: why nothing was recovered although the client asked. Empty: it was, or the client did not ask.
    pub unrecovered_reason: &'a str,
}

/// The answer to history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HistoryReply<'a> {
    /// The publications, in the order asked for.
    pub publications: &'a [PublicationFields<'a>],
    /// Top of the stream.
    pub offset: u64,
    /// Life of the stream.
    pub epoch: &'a str,
}

/// `{"id":…,"connect":{…}}`
pub fn reply_connect(id: u32, result: &ConnectResult<'_>, out: &mut BytesMut) {
    reply(id, "connect", out, |object| write_connect(object, result, &mut Lists::Written));
}

pub(crate) fn write_connect(object: &mut ObjectWriter<'_>, result: &ConnectResult<'_>, lists: &mut Lists) {
    object.string("client", result.client).string("version", result.version);
    object.flag("expires", result.expires).integer("ttl", result.ttl);
    object.raw("data", result.data.unwrap_or_default());
    if !result.subs.is_empty() {
        let mut subs = ObjectWriter::open(object.field("subs"));
        for (channel, subscription) in result.subs {
            let mut entry = ObjectWriter::open(subs.entry(channel));
            write_subscription(&mut entry, subscription, lists);
            entry.close();
        }
        subs.close();
    }
    object.integer("ping", result.ping).flag("pong", result.pong);
    object.string("session", result.session).string("node", result.node).integer("time", result.time);
}

/// `{"id":…,"subscribe":{…}}`
pub fn reply_subscribe(id: u32, result: &SubscribeResult<'_>, out: &mut BytesMut) {
    reply(id, "subscribe", out, |object| write_subscription(object, result, &mut Lists::Written));
}

/// `{"id":…,"<kind>":{}}`, for `unsubscribe` and `publish`, whose success says nothing more.
pub fn reply_empty(id: u32, kind: &'static str, out: &mut BytesMut) {
    reply(id, kind, out, |_| {});
}

/// `{"id":…,"history":{…}}`. All three fields are always there: they are the answer, even when empty.
pub fn reply_history(id: u32, result: &HistoryReply<'_>, out: &mut BytesMut) {
    reply(id, "history", out, |object| {
        write_publications(object.field("publications"), result.publications);
        write_string(object.field("epoch"), result.epoch);
        write_integer(object.field("offset"), result.offset);
    });
}

/// `{"id":…,"presence":{"presence":{"<client>":{…}}}}`; client ids unique. The inner object is there even when nobody is
/// present, so that a reader can walk it.
pub fn reply_presence(id: u32, clients: &[(&str, ClientInfoFields<'_>)], out: &mut BytesMut) {
    reply(id, "presence", out, |object| {
        let mut presence = ObjectWriter::open(object.field("presence"));
        for (client, info) in clients {
            write_client_info(presence.entry(client), info);
        }
        presence.close();
    });
}

/// `{"id":…,"presence_stats":{"num_clients":…,"num_users":…}}`. Zeros are written: here they are the answer, and the SDK
/// hands them on as they come.
pub fn reply_presence_stats(id: u32, num_clients: u32, num_users: u32, out: &mut BytesMut) {
    reply(id, "presence_stats", out, |object| {
        write_integer(object.field("num_clients"), num_clients);
        write_integer(object.field("num_users"), num_users);
    });
}

/// `{"id":…,"rpc":{"data":…}}`; `data` is raw JSON, empty: none.
pub fn reply_rpc(id: u32, data: &[u8], out: &mut BytesMut) {
    reply(id, "rpc", out, |object| {
        object.raw("data", data);
    });
}

/// `{"id":…,"refresh":{…}}`; `ttl` in seconds.
pub fn reply_refresh(id: u32, client: &str, version: &str, expires: bool, ttl: u32, out: &mut BytesMut) {
    reply(id, "refresh", out, |object| {
        object
            .string("client", client)
            .string("version", version)
            .flag("expires", expires)
            .integer("ttl", ttl);
    });
}

/// `{"id":…,"sub_refresh":{…}}`; `ttl` in seconds.
pub fn reply_sub_refresh(id: u32, expires: bool, ttl: u32, out: &mut BytesMut) {
    reply(id, "sub_refresh", out, |object| {
        object.flag("expires", expires).integer("ttl", ttl);
    });
}

/// `{"id":…,"error":{"code":…,"message":…,"temporary":true}}`. A temporary error tells the client to try again.
pub fn reply_error(id: u32, code: u32, message: &str, temporary: bool, out: &mut BytesMut) {
    reply(id, "error", out, |object| {
        object.integer("code", code).string("message", message).flag("temporary", temporary);
    });
}

/// The envelope.
fn reply(id: u32, kind: &'static str, out: &mut BytesMut, body: impl FnOnce(&mut ObjectWriter<'_>)) {
    let mut outer = ObjectWriter::open(out);
    outer.integer("id", id);
    let mut inner = ObjectWriter::open(outer.field(kind));
    body(&mut inner);
    inner.close();
    outer.close();
}

/// Lists of publications in a reply: written with it, or later.
pub(crate) enum Lists {
    /// They are written.
    Written,
    /// They are written later, at these positions.
    Later(Vec<usize>),
}

fn write_subscription(object: &mut ObjectWriter<'_>, result: &SubscribeResult<'_>, lists: &mut Lists) {
    object.flag("expires", result.expires).integer("ttl", result.ttl);
    object.flag("recoverable", result.recoverable).string("epoch", result.epoch);
    match lists {
        Lists::Written if result.publications.is_empty() => {}
        Lists::Written => write_publications(object.field("publications"), result.publications),
        Lists::Later(positions) => positions.push(empty_list(object.field("publications"))),
    }
    if !result.unrecovered_reason.is_empty() {
        // A flag that is not set is left out everywhere else. This one is written: something is missing.
        object.field("recovered").extend_from_slice(b"false");
    }
    object.flag("recovered", result.recovered).integer("offset", result.offset);
    object.flag("positioned", result.positioned).raw("data", result.data.unwrap_or_default());
    object.flag("was_recovering", result.was_recovering);
    object.string("unrecovered_reason", result.unrecovered_reason);
}

/// Writes `[]`; gives the position of the entries.
fn empty_list(out: &mut BytesMut) -> usize {
    out.put_u8(b'[');
    let position = out.len();
    out.put_u8(b']');
    position
}

#[cfg(test)]
mod tests;

/// As [`reply_connect`], with an empty list of publications in each subscription: their positions, in the order of `subs`.
pub fn reply_connect_around(id: u32, result: &ConnectResult<'_>, out: &mut BytesMut) -> Vec<usize> {
    let mut lists = Lists::Later(Vec::with_capacity(result.subs.len()));
    reply(id, "connect", out, |object| write_connect(object, result, &mut lists));
    positions(lists)
}

/// As [`reply_subscribe`], with an empty list of publications: its position.
pub fn reply_subscribe_around(id: u32, result: &SubscribeResult<'_>, out: &mut BytesMut) -> Vec<usize> {
    let mut lists = Lists::Later(Vec::with_capacity(1));
    reply(id, "subscribe", out, |object| write_subscription(object, result, &mut lists));
    positions(lists)
}

/// As [`reply_history`], with an empty list of publications: its position.
pub fn reply_history_around(id: u32, result: &HistoryReply<'_>, out: &mut BytesMut) -> Vec<usize> {
    let mut position = 0;
    reply(id, "history", out, |object| {
        position = empty_list(object.field("publications"));
        write_string(object.field("epoch"), result.epoch);
        write_integer(object.field("offset"), result.offset);
    });
    vec![position]
}

/// As [`reply_presence`], with nobody present: the position of the clients.
pub fn reply_presence_around(id: u32, out: &mut BytesMut) -> Vec<usize> {
    let mut position = 0;
    reply(id, "presence", out, |object| {
        let presence = object.field("presence");
        presence.put_u8(b'{');
        position = presence.len();
        presence.put_u8(b'}');
    });
    vec![position]
}

/// Writes an entry of a list of publications.
pub fn write_listed_publication(is_first: bool, publication: &PublicationFields<'_>, out: &mut BytesMut) {
    if !is_first {
        out.put_u8(b',');
    }
    write_publication(out, publication);
}

/// Writes an entry of the clients present.
pub fn write_listed_client(is_first: bool, client: &str, info: &ClientInfoFields<'_>, out: &mut BytesMut) {
    if !is_first {
        out.put_u8(b',');
    }
    write_string(out, client);
    out.put_u8(b':');
    write_client_info(out, info);
}

fn positions(lists: Lists) -> Vec<usize> {
    match lists {
        Lists::Later(positions) => positions,
        Lists::Written => Vec::new(),
    }
}
