//! The server's pushes. The hub encodes a publication here once for all subscribers that speak this form.
//! `docs/protocols/client.md` §14.

use bytes::BytesMut;

use super::writer::MessageWriter;
use crate::client::push::{ClientInfoFields, PublicationFields, SubscribePush};

/// Fields of `Reply` and of `Push`.
const PUSH: u32 = 4;
const CHANNEL: u32 = 2;

/// `Push.pub`. The payload is written as it is, whatever its kind.
pub fn push_publication(channel: &str, publication: &PublicationFields<'_>, out: &mut BytesMut) {
    push(channel, 4, out, |writer| write_publication(writer, publication));
}

/// `Push.join`
pub fn push_join(channel: &str, info: &ClientInfoFields<'_>, out: &mut BytesMut) {
    push(channel, 5, out, |writer| write_info_only(writer, info));
}

/// `Push.leave`
pub fn push_leave(channel: &str, info: &ClientInfoFields<'_>, out: &mut BytesMut) {
    push(channel, 6, out, |writer| write_info_only(writer, info));
}

/// `Push.unsubscribe`. From code 2500 on the client subscribes again.
pub fn push_unsubscribe(channel: &str, code: u32, reason: &str, out: &mut BytesMut) {
    push(channel, 7, out, |writer| {
        writer.number(2, code.into()).text(3, reason);
    });
}

/// `Push.message`: to this client outside any channel.
pub fn push_message(data: &[u8], out: &mut BytesMut) {
    push("", 8, out, |writer| {
        writer.bytes(1, data);
    });
}

/// `Push.subscribe`: the server subscribed this client.
pub fn push_subscribe(channel: &str, subscription: &SubscribePush<'_>, out: &mut BytesMut) {
    push(channel, 9, out, |writer| {
        writer.flag(1, subscription.recoverable).text(4, subscription.epoch);
        writer.number(5, subscription.offset).flag(6, subscription.positioned);
        writer.bytes(7, subscription.data.unwrap_or_default());
    });
}

/// `Push.disconnect`: the close message on transports that have no close frame.
pub fn push_disconnect(code: u32, reason: &str, out: &mut BytesMut) {
    push("", 11, out, |writer| {
        writer.number(1, code.into()).text(2, reason);
    });
}

/// `Push.refresh`: the connection's new lifetime, `ttl` in seconds.
pub fn push_refresh(expires: bool, ttl: u32, out: &mut BytesMut) {
    push("", 12, out, |writer| {
        writer.flag(1, expires).number(2, ttl.into());
    });
}

/// A reply that is a push: it has no id.
fn push(channel: &str, number: u32, out: &mut BytesMut, body: impl Fn(&mut MessageWriter<'_>)) {
    MessageWriter::delimited(out, |reply| {
        reply.message(PUSH, |push| {
            push.text(CHANNEL, channel).message(number, &body);
        });
    });
}

fn write_info_only(writer: &mut MessageWriter<'_>, info: &ClientInfoFields<'_>) {
    writer.message(1, |writer| write_client_info(writer, info));
}

/// The fields of a `ClientInfo`.
pub(super) fn write_client_info(writer: &mut MessageWriter<'_>, info: &ClientInfoFields<'_>) {
    writer.text(1, info.user).text(2, info.client).bytes(3, info.conn_info).bytes(4, info.chan_info);
}

/// The fields of a `Publication`.
pub(super) fn write_publication(writer: &mut MessageWriter<'_>, publication: &PublicationFields<'_>) {
    writer.bytes(4, publication.data);
    if let Some(info) = &publication.info {
        writer.message(5, |writer| write_client_info(writer, info));
    }
    writer.number(6, publication.offset);
    for (key, value) in publication.tags {
        writer.message(7, |entry| {
            entry.text(1, key).text(2, value);
        });
    }
    writer.number(9, publication.time_ms);
}
