//! Replies on the wire, to the byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn written(write: impl FnOnce(&mut BytesMut)) -> String {
    let mut out = BytesMut::new();
    write(&mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

const INFO: ClientInfoFields<'_> =
    ClientInfoFields { user: "42", client: "c1", conn_info: b"", chan_info: b"" };

#[test]
fn connect_leaves_out_what_is_zero_or_empty() {
    assert_eq!(written(|out| reply_connect(1, &ConnectResult::default(), out)), r#"{"id":1,"connect":{}}"#);
}

#[test]
fn connect_shows_every_field_it_has_in_a_fixed_order() {
    let subscription =
        SubscribeResult { recoverable: true, epoch: "e", offset: 3, ..SubscribeResult::default() };
    let result = ConnectResult {
        client: "c1",
        version: "0.1.0",
        expires: true,
        ttl: 60,
        data: Some(b"{\n\"a\":1}"),
        subs: &[("news", subscription), ("q\"", SubscribeResult::default())],
        ping: 25,
        pong: true,
        session: "s",
        node: "n",
        time: 1_700_000_000_123,
    };
    assert_eq!(
        written(|out| reply_connect(1, &result, out)),
        concat!(
            r#"{"id":1,"connect":{"client":"c1","version":"0.1.0","expires":true,"ttl":60,"data":{"a":1},"#,
            r#""subs":{"news":{"recoverable":true,"epoch":"e","offset":3},"q\"":{}},"ping":25,"pong":true,"#,
            r#""session":"s","node":"n","time":1700000000123}}"#
        )
    );
}

#[test]
fn subscribe_shows_every_field_it_has_in_a_fixed_order() {
    let publications = [
        PublicationFields { data: b"1", offset: 4, ..PublicationFields::default() },
        PublicationFields { data: b"2", offset: 5, info: Some(INFO), ..PublicationFields::default() },
    ];
    let result = SubscribeResult {
        expires: true,
        ttl: 9,
        recoverable: true,
        epoch: "e",
        publications: &publications,
        recovered: true,
        offset: 3,
        positioned: true,
        data: Some(b"[]"),
        was_recovering: true,
        unrecovered_reason: "",
    };
    assert_eq!(
        written(|out| reply_subscribe(2, &result, out)),
        concat!(
            r#"{"id":2,"subscribe":{"expires":true,"ttl":9,"recoverable":true,"epoch":"e","publications":["#,
            r#"{"data":1,"offset":4},{"data":2,"info":{"user":"42","client":"c1"},"offset":5}],"#,
            r#""recovered":true,"offset":3,"positioned":true,"data":[],"was_recovering":true}}"#
        )
    );
    assert_eq!(
        written(|out| reply_subscribe(2, &SubscribeResult::default(), out)),
        r#"{"id":2,"subscribe":{}}"#
    );
    let lost = SubscribeResult {
        was_recovering: true,
        unrecovered_reason: "position_lost",
        ..SubscribeResult::default()
    };
    assert_eq!(
        written(|out| reply_subscribe(2, &lost, out)),
        r#"{"id":2,"subscribe":{"recovered":false,"was_recovering":true,"unrecovered_reason":"position_lost"}}"#
    );
}

#[test]
fn unsubscribe_and_publish_answer_with_an_empty_result() {
    assert_eq!(written(|out| reply_empty(3, "unsubscribe", out)), r#"{"id":3,"unsubscribe":{}}"#);
    assert_eq!(written(|out| reply_empty(4, "publish", out)), r#"{"id":4,"publish":{}}"#);
}

#[test]
fn history_always_has_its_three_fields() {
    assert_eq!(
        written(|out| reply_history(5, &HistoryReply::default(), out)),
        r#"{"id":5,"history":{"publications":[],"epoch":"","offset":0}}"#
    );
    let publications = [PublicationFields { data: b"1", offset: 4, ..PublicationFields::default() }];
    let result = HistoryReply { publications: &publications, offset: 4, epoch: "e" };
    assert_eq!(
        written(|out| reply_history(5, &result, out)),
        r#"{"id":5,"history":{"publications":[{"data":1,"offset":4}],"epoch":"e","offset":4}}"#
    );
}

#[test]
fn presence_maps_client_ids_to_clients() {
    assert_eq!(written(|out| reply_presence(6, &[], out)), r#"{"id":6,"presence":{"presence":{}}}"#);
    let other = ClientInfoFields { user: "", client: "c2", conn_info: b"{}", chan_info: b"1" };
    assert_eq!(
        written(|out| reply_presence(6, &[("c1", INFO), ("c2", other)], out)),
        concat!(
            r#"{"id":6,"presence":{"presence":{"c1":{"user":"42","client":"c1"},"#,
            r#""c2":{"user":"","client":"c2","conn_info":{},"chan_info":1}}}}"#
        )
    );
}

#[test]
fn presence_stats_write_their_zeros() {
    assert_eq!(
        written(|out| reply_presence_stats(7, 0, 0, out)),
        r#"{"id":7,"presence_stats":{"num_clients":0,"num_users":0}}"#
    );
    assert_eq!(
        written(|out| reply_presence_stats(7, 12, 3, out)),
        r#"{"id":7,"presence_stats":{"num_clients":12,"num_users":3}}"#
    );
}

#[test]
fn the_small_replies_are_written() {
    assert_eq!(written(|out| reply_rpc(8, b"{\"a\":\r\n1}", out)), r#"{"id":8,"rpc":{"data":{"a":1}}}"#);
    assert_eq!(written(|out| reply_rpc(8, b"", out)), r#"{"id":8,"rpc":{}}"#);
    assert_eq!(
        written(|out| reply_refresh(9, "c1", "0.1.0", true, 60, out)),
        r#"{"id":9,"refresh":{"client":"c1","version":"0.1.0","expires":true,"ttl":60}}"#
    );
    assert_eq!(written(|out| reply_refresh(9, "", "", false, 0, out)), r#"{"id":9,"refresh":{}}"#);
    assert_eq!(
        written(|out| reply_sub_refresh(u32::MAX, true, 60, out)),
        r#"{"id":4294967295,"sub_refresh":{"expires":true,"ttl":60}}"#
    );
}

#[test]
fn errors_say_temporary_only_when_they_are() {
    assert_eq!(
        written(|out| reply_error(1, 100, "internal server error", true, out)),
        r#"{"id":1,"error":{"code":100,"message":"internal server error","temporary":true}}"#
    );
    assert_eq!(
        written(|out| reply_error(1, 103, "permission \"denied\"", false, out)),
        r#"{"id":1,"error":{"code":103,"message":"permission \"denied\""}}"#
    );
}

proptest! {
    #[test]
    fn any_strings_in_a_reply_come_back_as_they_went(
        strings in any::<[String; 3]>(), offset in any::<u64>(), ttl in any::<u32>(),
    ) {
        let [client, channel, epoch] = &strings;
        let subscription = SubscribeResult { epoch, offset, ttl, ..SubscribeResult::default() };
        let subs = [(channel.as_str(), subscription)];
        let result = ConnectResult { client, subs: &subs, ..ConnectResult::default() };
        let reply: Value = serde_json::from_str(&written(|out| reply_connect(1, &result, out))).unwrap();
        let back = &reply["connect"]["subs"][channel.as_str()];
        prop_assert_eq!(reply["connect"].get("client").cloned().unwrap_or(json!("")), json!(client));
        prop_assert_eq!(back.get("epoch").cloned().unwrap_or(json!("")), json!(epoch));
        prop_assert_eq!(back.get("offset").cloned().unwrap_or(json!(0)), json!(offset));
        prop_assert_eq!(back.get("ttl").cloned().unwrap_or(json!(0)), json!(ttl));
    }
}
