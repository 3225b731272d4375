//! Messages to a receiver without commands: the objects of the client protocol without the envelopes of replies and
//! pushes. `docs/protocols/http.md` §7.10.
//!
//! Every writer appends one object without a newline, as those of [`super::push`] and [`super::reply`].

use bytes::BytesMut;

use super::{
    json::ObjectWriter,
    push::{
        ClientInfoFields, PublicationFields, SubscribePush, write_code, write_event, write_info_only,
        write_publication, write_refresh, write_subscribe,
    },
    reply::Lists,
    reply::{ConnectResult, write_connect},
};

/// `{"connect":{…}}`: the first object of all.
pub fn connect(result: &ConnectResult<'_>, out: &mut BytesMut) {
    let mut outer = ObjectWriter::open(out);
    let mut inner = ObjectWriter::open(outer.field("connect"));
    write_connect(&mut inner, result, &mut Lists::Written);
    inner.close();
    outer.close();
}

/// `{"channel":…,"pub":{…}}`
pub fn publication(channel: &str, publication: &PublicationFields<'_>, out: &mut BytesMut) {
    write_event(out, channel, "pub", |out| write_publication(out, publication));
}

/// `{"channel":…,"join":{"info":{…}}}`
pub fn join(channel: &str, info: &ClientInfoFields<'_>, out: &mut BytesMut) {
    write_event(out, channel, "join", |out| write_info_only(out, info));
}

/// `{"channel":…,"leave":{"info":{…}}}`
pub fn leave(channel: &str, info: &ClientInfoFields<'_>, out: &mut BytesMut) {
    write_event(out, channel, "leave", |out| write_info_only(out, info));
}

/// `{"channel":…,"subscribe":{…}}`
pub fn subscribe(channel: &str, subscription: &SubscribePush<'_>, out: &mut BytesMut) {
    write_event(out, channel, "subscribe", |out| write_subscribe(out, subscription));
}

/// `{"channel":…,"unsubscribe":{"code":…,"reason":…}}`
pub fn unsubscribe(channel: &str, code: u32, reason: &str, out: &mut BytesMut) {
    write_event(out, channel, "unsubscribe", |out| write_code(out, code, reason));
}

/// `{"refresh":{"expires":…,"ttl":…}}`: `ttl` in seconds.
pub fn refresh(expires: bool, ttl: u32, out: &mut BytesMut) {
    write_event(out, "", "refresh", |out| write_refresh(out, expires, ttl));
}

/// `{"disconnect":{"code":…,"reason":…}}`: the last object of all.
pub fn disconnect(code: u32, reason: &str, out: &mut BytesMut) {
    write_event(out, "", "disconnect", |out| write_code(out, code, reason));
}

/// `{"error":{"code":…,"message":…,"temporary":true}}`, instead of `connect`, where there is no status to say so.
pub fn error(code: u32, message: &str, temporary: bool, out: &mut BytesMut) {
    let mut outer = ObjectWriter::open(out);
    let mut inner = ObjectWriter::open(outer.field("error"));
    inner.integer("code", code).string("message", message).flag("temporary", temporary);
    inner.close();
    outer.close();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn written(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn objects_have_no_envelope() {
        let view = PublicationFields { data: b"1", offset: 7, ..PublicationFields::default() };
        assert_eq!(
            written(|out| publication("a", &view, out)),
            r#"{"channel":"a","pub":{"data":1,"offset":7}}"#
        );
        assert_eq!(
            written(|out| disconnect(3001, "shutdown", out)),
            r#"{"disconnect":{"code":3001,"reason":"shutdown"}}"#
        );
        let info = ClientInfoFields { user: "42", client: "c", ..ClientInfoFields::default() };
        assert_eq!(
            written(|out| join("a", &info, out)),
            r#"{"channel":"a","join":{"info":{"user":"42","client":"c"}}}"#
        );
    }

    #[test]
    fn connect_and_error_stand_alone() {
        let result = ConnectResult { client: "c", ping: 25, ..ConnectResult::default() };
        assert_eq!(written(|out| connect(&result, out)), r#"{"connect":{"client":"c","ping":25}}"#);
        assert_eq!(
            written(|out| error(103, "permission denied", false, out)),
            r#"{"error":{"code":103,"message":"permission denied"}}"#
        );
    }
}
