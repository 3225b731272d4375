//! The other direction: a command as a client writes it. For clients in Rust (load generators, black-box tests) and for
//! the proof that decoding loses nothing. `docs/protocols/client.md` §2.

use bytes::BytesMut;
use serde_json::value::RawValue;

use super::{ClientCommand, ClientRequest, Connect, History, Subscribe};
use crate::client::json::{ObjectWriter, write_string};

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
                object.string("channel", &publish.channel).raw("data", publish.data.get().as_bytes());
            }),
            ClientRequest::Presence { channel } => channel_only(&mut outer, "presence", channel),
            ClientRequest::PresenceStats { channel } => channel_only(&mut outer, "presence_stats", channel),
            ClientRequest::History(history) => {
                request(&mut outer, "history", |object| write_history(object, history))
            }
            ClientRequest::Rpc { method, data } => request(&mut outer, "rpc", |object| {
                object.string("method", method).raw("data", bytes_of(*data));
            }),
            ClientRequest::Send { data } => request(&mut outer, "send", |object| {
                object.raw("data", bytes_of(*data));
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

fn bytes_of(data: Option<&RawValue>) -> &[u8] {
    data.map(|data| data.get().as_bytes()).unwrap_or_default()
}

fn write_connect(object: &mut ObjectWriter<'_>, connect: &Connect<'_>) {
    object.string("token", &connect.token).raw("data", bytes_of(connect.data));
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
    object.raw("data", bytes_of(subscribe.data));
    object
        .flag("recover", subscribe.recover)
        .integer("offset", subscribe.offset)
        .string("epoch", &subscribe.epoch);
    object.flag("positioned", subscribe.positioned).flag("recoverable", subscribe.recoverable);
    object.flag("join_leave", subscribe.join_leave).integer("flag", subscribe.flag);
    object
        .string("delta", &subscribe.delta)
        .raw("tf", bytes_of(subscribe.filter))
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
