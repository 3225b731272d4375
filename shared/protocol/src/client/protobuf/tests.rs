//! The protobuf form against prost's own encoder and decoder, and by its bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod answers;
mod commands;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use prost::Message as _;

use self::answers::*;
use super::{messages::*, push, reply, *};
use crate::client::{
    ClientInfoFields, ClientRequest, ConnectResult, DecodeError, HistoryReply, Invalid, JSON_DEPTH,
    PayloadKind, PublicationFields, SubscribeResult,
};

fn written(write: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    write(&mut out);
    out
}

fn read(frame: &[u8]) -> ReplyMessage {
    let (message, rest) = first_message(frame, usize::MAX).unwrap().unwrap();
    assert!(rest.is_empty());
    ReplyMessage::decode(message).unwrap()
}

/// A reply is the same message as prost's, and where lists are not moved to the end, the same bytes.
fn assert_same_bytes(frame: &[u8], expected: &ReplyMessage) {
    assert_eq!(read(frame), *expected);
    assert_eq!(frame, expected.encode_length_delimited_to_vec());
}

const INFO: ClientInfoFields<'_> =
    ClientInfoFields { user: "42", client: "c-1", conn_info: br#"{"a":1}"#, chan_info: b"\xff" };

fn info_message() -> InfoMessage {
    InfoMessage {
        user: "42".into(),
        client: "c-1".into(),
        conn_info: Bytes::from_static(br#"{"a":1}"#),
        chan_info: Bytes::from_static(b"\xff"),
    }
}

fn publication(offset: u64, tags: &[(String, String)]) -> PublicationFields<'_> {
    PublicationFields { data: b"{}", offset, tags, info: Some(INFO), time_ms: 9, kind: PayloadKind::Json }
}

fn publication_message(offset: u64, tags: &[(String, String)]) -> PublicationMessage {
    PublicationMessage {
        data: Bytes::from_static(b"{}"),
        info: Some(info_message()),
        offset,
        tags: tags.iter().cloned().collect(),
        time: 9,
    }
}

fn tags() -> Vec<(String, String)> {
    vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())]
}

#[test]
fn a_publication_and_every_other_push_has_the_bytes_that_prost_writes() {
    let tags = tags();
    let push = |push: PushMessage| ReplyMessage { push: Some(push), ..ReplyMessage::default() };
    let channel = || "news".to_owned();
    assert_same_bytes(
        &written(|out| push::push_publication("news", &publication(1 << 40, &tags), out)),
        &push(PushMessage {
            channel: channel(),
            publication: Some(publication_message(1 << 40, &tags)),
            ..PushMessage::default()
        }),
    );
    assert_same_bytes(
        &written(|out| push::push_publication("", &PublicationFields::default(), out)),
        &push(PushMessage { publication: Some(PublicationMessage::default()), ..PushMessage::default() }),
    );
    let info = Some(InfoOnly { info: Some(info_message()) });
    assert_same_bytes(
        &written(|out| push::push_join("news", &INFO, out)),
        &push(PushMessage { channel: channel(), join: info.clone(), ..PushMessage::default() }),
    );
    assert_same_bytes(
        &written(|out| push::push_leave("news", &INFO, out)),
        &push(PushMessage { channel: channel(), leave: info, ..PushMessage::default() }),
    );
    assert_same_bytes(
        &written(|out| push::push_unsubscribe("news", 2500, "why", out)),
        &push(PushMessage {
            channel: channel(),
            unsubscribe: Some(UnsubscribeMessage { code: 2500, reason: "why".into() }),
            ..PushMessage::default()
        }),
    );
    assert_same_bytes(
        &written(|out| push::push_message(b"\x00\x01", out)),
        &push(PushMessage {
            message: Some(SendRequest { data: Bytes::from_static(b"\x00\x01") }),
            ..PushMessage::default()
        }),
    );
    let subscribe = crate::client::SubscribePush {
        recoverable: true,
        epoch: "e",
        offset: 7,
        positioned: true,
        data: Some(b"1"),
    };
    assert_same_bytes(
        &written(|out| push::push_subscribe("news", &subscribe, out)),
        &push(PushMessage {
            channel: channel(),
            subscribe: Some(SubscribeMessage {
                recoverable: true,
                epoch: "e".into(),
                offset: 7,
                positioned: true,
                data: Bytes::from_static(b"1"),
            }),
            ..PushMessage::default()
        }),
    );
    assert_same_bytes(
        &written(|out| push::push_disconnect(3001, "shutdown", out)),
        &push(PushMessage {
            disconnect: Some(DisconnectMessage { code: 3001, reason: "shutdown".into() }),
            ..PushMessage::default()
        }),
    );
    assert_same_bytes(
        &written(|out| push::push_refresh(true, 300, out)),
        &push(PushMessage {
            refresh: Some(LifetimeMessage { expires: true, ttl: 300 }),
            ..PushMessage::default()
        }),
    );
}

#[test]
fn a_result_without_fields_is_written_so_that_the_reply_says_what_succeeded() {
    assert_eq!(written(|out| reply::reply_unsubscribe(3, out))[..], [4, 8, 3, 0x3a, 0]);
    assert_eq!(written(|out| reply::reply_publish(3, out))[..], [4, 8, 3, 0x42, 0]);
    let subscribed = written(|out| reply::reply_subscribe(1, &SubscribeResult::default(), out));
    assert_same_bytes(
        &subscribed,
        &ReplyMessage { id: 1, subscribe: Some(SubscribeAnswer::default()), ..ReplyMessage::default() },
    );
    let nobody = written(|out| reply::reply_presence(1, [].into_iter(), out));
    assert_same_bytes(
        &nobody,
        &ReplyMessage { id: 1, presence: Some(PresenceAnswer::default()), ..ReplyMessage::default() },
    );
}

#[test]
fn small_replies_have_the_bytes_that_prost_writes() {
    let of = |id| ReplyMessage { id, ..ReplyMessage::default() };
    let error = ErrorMessage { code: 109, message: "expired".into(), temporary: true };
    assert_same_bytes(
        &written(|out| reply::reply_error(5, 109, "expired", true, out)),
        &ReplyMessage { error: Some(error), ..of(5) },
    );
    assert_same_bytes(
        &written(|out| reply::reply_presence_stats(300, 2, 0, out)),
        &ReplyMessage { presence_stats: Some(StatsAnswer { num_clients: 2, num_users: 0 }), ..of(300) },
    );
    assert_same_bytes(
        &written(|out| reply::reply_rpc(6, b"\xfe", out)),
        &ReplyMessage { rpc: Some(SendRequest { data: Bytes::from_static(b"\xfe") }), ..of(6) },
    );
    let refresh = RefreshAnswer { client: "c".into(), version: "1".into(), expires: true, ttl: 60 };
    assert_same_bytes(
        &written(|out| reply::reply_refresh(7, "c", "1", true, 60, out)),
        &ReplyMessage { refresh: Some(refresh), ..of(7) },
    );
    assert_same_bytes(
        &written(|out| reply::reply_sub_refresh(8, true, 60, out)),
        &ReplyMessage { sub_refresh: Some(LifetimeMessage { expires: true, ttl: 60 }), ..of(8) },
    );
}

#[test]
fn replies_with_lists_mean_what_they_say_and_are_the_same_when_the_lists_come_later() {
    let tags = tags();
    let publications = [publication(1, &tags), publication(2, &[])];
    let messages = vec![publication_message(1, &tags), publication_message(2, &[])];
    let subscription = SubscribeResult {
        expires: true,
        ttl: 10,
        recoverable: true,
        epoch: "e",
        publications: &publications,
        recovered: true,
        offset: 2,
        positioned: true,
        data: Some(b"7"),
        was_recovering: true,
        unrecovered_reason: "",
    };
    let answer = SubscribeAnswer {
        expires: true,
        ttl: 10,
        recoverable: true,
        epoch: "e".into(),
        publications: messages.clone(),
        recovered: true,
        offset: 2,
        positioned: true,
        data: Bytes::from_static(b"7"),
        was_recovering: true,
    };
    let whole = written(|out| reply::reply_subscribe(9, &subscription, out));
    assert_eq!(
        read(&whole),
        ReplyMessage { id: 9, subscribe: Some(answer.clone()), ..ReplyMessage::default() }
    );
    let later = later(
        |out| reply::reply_subscribe_around(9, &subscription, out),
        &[&|out| write_all(reply::RECOVERED, &publications, out)],
    );
    assert_eq!(later, whole);

    let history = HistoryReply { publications: &publications, offset: 2, epoch: "e" };
    let whole = written(|out| reply::reply_history(9, &history, out));
    let expected = HistoryAnswer { publications: messages, epoch: "e".into(), offset: 2 };
    assert_eq!(read(&whole), ReplyMessage { id: 9, history: Some(expected), ..ReplyMessage::default() });
    let later_history = self::later(
        |out| reply::reply_history_around(9, &history, out),
        &[&|out| write_all(reply::HISTORY, &publications, out)],
    );
    assert_eq!(later_history, whole);

    let empty = SubscribeResult::default();
    let subs = [("a", subscription), ("b", empty), ("c", subscription)];
    let connect =
        ConnectResult { client: "c", ping: 25, pong: true, subs: &subs, ..ConnectResult::default() };
    let whole = written(|out| reply::reply_connect(1, &connect, out));
    let expected = ConnectAnswer {
        client: "c".into(),
        ping: 25,
        pong: true,
        subs: [("a", answer.clone()), ("b", SubscribeAnswer::default()), ("c", answer)]
            .map(|(channel, answer)| (channel.to_owned(), answer))
            .into(),
        ..ConnectAnswer::default()
    };
    assert_eq!(read(&whole), ReplyMessage { id: 1, connect: Some(expected), ..ReplyMessage::default() });
    let later_connect = self::later(
        |out| reply::reply_connect_around(1, &connect, out),
        &[&|out| write_all(reply::RECOVERED, &publications, out), &|_| {}, &|out| {
            write_all(reply::RECOVERED, &publications, out)
        }],
    );
    assert_eq!(later_connect, whole);

    let clients = [("c-1", INFO), ("c-2", INFO)];
    let whole = written(|out| reply::reply_presence(4, clients.iter().copied(), out));
    assert_eq!(read(&whole).presence.unwrap().presence.len(), 2);
    let later_presence = self::later(
        |out| reply::reply_presence_around(4, clients.iter().copied(), out),
        &[&|out| clients.iter().for_each(|(client, info)| reply::write_listed_client(client, info, out))],
    );
    assert_eq!(later_presence, whole);
}

/// A reply whose lists are written where it says that they belong.
fn later(around: impl FnOnce(&mut BytesMut) -> Vec<usize>, lists: &[&dyn Fn(&mut BytesMut)]) -> BytesMut {
    let mut frame = BytesMut::new();
    let places = around(&mut frame);
    assert_eq!(places.len(), lists.len());
    let mut out = BytesMut::new();
    let mut written = 0;
    for (place, list) in places.into_iter().zip(lists) {
        out.extend_from_slice(&frame[written..place]);
        list(&mut out);
        written = place;
    }
    out.extend_from_slice(&frame[written..]);
    out
}

fn write_all(list: u32, publications: &[PublicationFields<'_>], out: &mut BytesMut) {
    for publication in publications {
        reply::write_listed_publication(list, publication, out);
    }
}
