//! The answers to commands. A result is written even if it is empty: its presence says which command succeeded.
//! `docs/protocols/client.md` §14.
//!
//! Long lists can be written later, a piece at a time, as in the JSON form: a reply of megabytes takes milliseconds, and others
//! share the thread. The lengths in such a reply count the entries already, and a list is the last field of its message.

use bytes::BytesMut;

use super::{
    push::{write_client_info, write_publication},
    writer::MessageWriter,
};
use crate::client::{
    push::{ClientInfoFields, PublicationFields},
    reply::{ConnectResult, HistoryReply, SubscribeResult},
};

/// Fields of `Reply`, and of `Command` alike.
mod field {
    pub(super) const CONNECT: u32 = 5;
    pub(super) const SUBSCRIBE: u32 = 6;
    pub(super) const UNSUBSCRIBE: u32 = 7;
    pub(super) const PUBLISH: u32 = 8;
    pub(super) const PRESENCE: u32 = 9;
    pub(super) const PRESENCE_STATS: u32 = 10;
    pub(super) const HISTORY: u32 = 11;
    pub(super) const RPC: u32 = 13;
    pub(super) const REFRESH: u32 = 14;
    pub(super) const SUB_REFRESH: u32 = 15;
}

/// The list of publications of a `SubscribeResult`.
pub const RECOVERED: u32 = 7;
/// The list of publications of a `HistoryResult`.
pub const HISTORY: u32 = 1;
/// The clients of a `PresenceResult`.
const PRESENT: u32 = 1;

/// `Reply.connect`
pub fn reply_connect(id: u32, result: &ConnectResult<'_>, out: &mut BytesMut) {
    reply(id, field::CONNECT, out, |writer| write_connect(writer, result));
}

/// As [`reply_connect`], without the publications of each subscription: where they belong, in the order of `subs`.
pub fn reply_connect_around(id: u32, result: &ConnectResult<'_>, out: &mut BytesMut) -> Vec<usize> {
    reply_around(id, field::CONNECT, out, |writer| write_connect(writer, result))
}

/// `Reply.subscribe`
pub fn reply_subscribe(id: u32, result: &SubscribeResult<'_>, out: &mut BytesMut) {
    reply(id, field::SUBSCRIBE, out, |writer| write_subscription(writer, result));
}

/// As [`reply_subscribe`], without the publications: where they belong.
pub fn reply_subscribe_around(id: u32, result: &SubscribeResult<'_>, out: &mut BytesMut) -> Vec<usize> {
    reply_around(id, field::SUBSCRIBE, out, |writer| write_subscription(writer, result))
}

/// `Reply.unsubscribe`
pub fn reply_unsubscribe(id: u32, out: &mut BytesMut) {
    reply(id, field::UNSUBSCRIBE, out, |_| {});
}

/// `Reply.publish`
pub fn reply_publish(id: u32, out: &mut BytesMut) {
    reply(id, field::PUBLISH, out, |_| {});
}

/// `Reply.history`
pub fn reply_history(id: u32, result: &HistoryReply<'_>, out: &mut BytesMut) {
    reply(id, field::HISTORY, out, |writer| write_history(writer, result));
}

/// As [`reply_history`], without the publications: where they belong.
pub fn reply_history_around(id: u32, result: &HistoryReply<'_>, out: &mut BytesMut) -> Vec<usize> {
    reply_around(id, field::HISTORY, out, |writer| write_history(writer, result))
}

/// `Reply.presence`; client ids unique.
pub fn reply_presence<'c>(
    id: u32,
    clients: impl Iterator<Item = (&'c str, ClientInfoFields<'c>)> + Clone,
    out: &mut BytesMut,
) {
    reply(id, field::PRESENCE, out, |writer| {
        writer.list(PRESENT, clients.clone(), write_present);
    });
}

/// As [`reply_presence`], without the clients: where they belong.
pub fn reply_presence_around<'c>(
    id: u32,
    clients: impl Iterator<Item = (&'c str, ClientInfoFields<'c>)> + Clone,
    out: &mut BytesMut,
) -> Vec<usize> {
    reply_around(id, field::PRESENCE, out, |writer| {
        writer.list(PRESENT, clients.clone(), write_present);
    })
}

/// `Reply.presence_stats`
pub fn reply_presence_stats(id: u32, num_clients: u32, num_users: u32, out: &mut BytesMut) {
    reply(id, field::PRESENCE_STATS, out, |writer| {
        writer.number(1, num_clients.into()).number(2, num_users.into());
    });
}

/// `Reply.rpc`
pub fn reply_rpc(id: u32, data: &[u8], out: &mut BytesMut) {
    reply(id, field::RPC, out, |writer| {
        writer.bytes(1, data);
    });
}

/// `Reply.refresh`; `ttl` in seconds.
pub fn reply_refresh(id: u32, client: &str, version: &str, expires: bool, ttl: u32, out: &mut BytesMut) {
    reply(id, field::REFRESH, out, |writer| {
        writer.text(1, client).text(2, version).flag(3, expires).number(4, ttl.into());
    });
}

/// `Reply.sub_refresh`; `ttl` in seconds.
pub fn reply_sub_refresh(id: u32, expires: bool, ttl: u32, out: &mut BytesMut) {
    reply(id, field::SUB_REFRESH, out, |writer| {
        writer.flag(1, expires).number(2, ttl.into());
    });
}

/// `Reply.error`. A temporary error tells the client to try again.
pub fn reply_error(id: u32, code: u32, message: &str, temporary: bool, out: &mut BytesMut) {
    reply(id, 2, out, |writer| {
        writer.number(1, code.into()).text(2, message).flag(3, temporary);
    });
}

/// Writes an entry of a list of publications: of [`RECOVERED`] or [`HISTORY`].
pub fn write_listed_publication(list: u32, publication: &PublicationFields<'_>, out: &mut BytesMut) {
    MessageWriter::entry(out, list, |writer| write_publication(writer, publication));
}

/// Writes an entry of the clients present.
pub fn write_listed_client(client: &str, info: &ClientInfoFields<'_>, out: &mut BytesMut) {
    MessageWriter::entry(out, PRESENT, |writer| write_present(writer, (client, *info)));
}

fn reply(id: u32, number: u32, out: &mut BytesMut, body: impl Fn(&mut MessageWriter<'_>)) {
    MessageWriter::delimited(out, |reply| {
        reply.number(1, id.into()).message(number, &body);
    });
}

fn reply_around(
    id: u32,
    number: u32,
    out: &mut BytesMut,
    body: impl Fn(&mut MessageWriter<'_>),
) -> Vec<usize> {
    MessageWriter::delimited_around(out, |reply| {
        reply.number(1, id.into()).message(number, &body);
    })
}

fn write_connect(writer: &mut MessageWriter<'_>, result: &ConnectResult<'_>) {
    writer.text(1, result.client).text(2, result.version);
    writer.flag(3, result.expires).number(4, result.ttl.into());
    writer.bytes(5, result.data.unwrap_or_default());
    for (channel, subscription) in result.subs {
        writer.message(6, |entry| {
            entry.text(1, channel).message(2, |writer| write_subscription(writer, subscription));
        });
    }
    writer.number(7, result.ping.into()).flag(8, result.pong);
    writer.text(9, result.session).text(10, result.node).number(11, result.time);
}

fn write_subscription(writer: &mut MessageWriter<'_>, result: &SubscribeResult<'_>) {
    writer.flag(1, result.expires).number(2, result.ttl.into());
    writer.flag(3, result.recoverable).text(6, result.epoch);
    writer.flag(8, result.recovered).number(9, result.offset);
    writer.flag(10, result.positioned).bytes(11, result.data.unwrap_or_default());
    writer.flag(12, result.was_recovering);
    writer.list(RECOVERED, result.publications, write_publication);
}

fn write_history(writer: &mut MessageWriter<'_>, result: &HistoryReply<'_>) {
    writer.text(2, result.epoch).number(3, result.offset);
    writer.list(HISTORY, result.publications, write_publication);
}

fn write_present(writer: &mut MessageWriter<'_>, (client, info): (&str, ClientInfoFields<'_>)) {
    writer.text(1, client).message(2, |writer| write_client_info(writer, &info));
}
