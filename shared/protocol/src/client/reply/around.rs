//! Replies whose long lists are written later, a piece at a time: a reply of megabytes takes milliseconds, and others share
//! the thread. Each function writes a reply with an empty list and says where in `out` the list's entries belong.

use bytes::{BufMut as _, BytesMut};

use super::{
    ConnectResult, HistoryReply, Lists, SubscribeResult, empty_list, reply, write_connect, write_subscription,
};
use crate::client::{
    json::{write_integer, write_string},
    push::{ClientInfoFields, PublicationFields, write_client_info, write_publication},
};

/// As [`super::reply_connect`], with an empty list of publications in each subscription: their places, in the order of `subs`.
pub fn reply_connect_around(id: u32, result: &ConnectResult<'_>, out: &mut BytesMut) -> Vec<usize> {
    let mut lists = Lists::Later(Vec::with_capacity(result.subs.len()));
    reply(id, "connect", out, |object| write_connect(object, result, &mut lists));
    places(lists)
}

/// As [`super::reply_subscribe`], with an empty list of publications: its place.
pub fn reply_subscribe_around(id: u32, result: &SubscribeResult<'_>, out: &mut BytesMut) -> Vec<usize> {
    let mut lists = Lists::Later(Vec::with_capacity(1));
    reply(id, "subscribe", out, |object| write_subscription(object, result, &mut lists));
    places(lists)
}

/// As [`super::reply_history`], with an empty list of publications: its place.
pub fn reply_history_around(id: u32, result: &HistoryReply<'_>, out: &mut BytesMut) -> Vec<usize> {
    let mut place = 0;
    reply(id, "history", out, |object| {
        place = empty_list(object.field("publications"));
        write_string(object.field("epoch"), result.epoch);
        write_integer(object.field("offset"), result.offset);
    });
    vec![place]
}

/// As [`super::reply_presence`], with nobody present: the place of the clients.
pub fn reply_presence_around(id: u32, out: &mut BytesMut) -> Vec<usize> {
    let mut place = 0;
    reply(id, "presence", out, |object| {
        let presence = object.field("presence");
        presence.put_u8(b'{');
        place = presence.len();
        presence.put_u8(b'}');
    });
    vec![place]
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

fn places(lists: Lists) -> Vec<usize> {
    match lists {
        Lists::Later(places) => places,
        Lists::Written => Vec::new(),
    }
}
