//! `subscribe`, `unsubscribe`, `disconnect` and `refresh`: the commands that the sessions of a user get.

use std::cell::RefCell;

use actix::prelude::*;
use gorani_broker::{ClientInfo, Position, Retention};

use super::*;
use crate::{
    disconnect::Disconnect,
    format::encoding::{Encoding, Framing, Protocol, SubscriptionFormat},
    hub::registry::SessionRegistration,
    outbox::Outbox,
    session::{Signal, SubscribeParams},
    session_command::{ServerSubscribe, SessionCommand},
};

/// Stands for a connection's actor: it keeps the signals that it gets.
#[derive(Clone, Default)]
pub(super) struct Connection(Rc<RefCell<Vec<Signal>>>);

impl Actor for Connection {
    type Context = Context<Self>;
}

impl Handler<Signal> for Connection {
    type Result = ();
    fn handle(&mut self, signal: Signal, _: &mut Self::Context) {
        self.0.borrow_mut().push(signal);
    }
}

impl Connection {
    /// A client that is connected, and subscribed to these channels.
    pub(super) fn open(api: &Api, user: &str, client: &str, channels: &[&str]) -> Self {
        let connection = Self::default();
        let key = api.worker.register(SessionRegistration {
            mailbox: connection.clone().start().recipient(),
            outbox: Outbox::new(1 << 20),
            encoding: Encoding {
                protocol: Protocol::Client(Default::default()),
                framing: Framing::WebSocket,
            },
            transport: "websocket",
            protocol: "json",
            connected_at_ms: 1_700_000_000_000,
        });
        let mut hub = api.worker.hub_mut();
        hub.registry_mut().identify(key, user.into(), client.into());
        for channel in channels {
            let request = SubscribeParams {
                channel: Arc::from(*channel),
                info: Arc::new(ClientInfo::default()),
                retention: Retention::default(),
                positioned: false,
                recover: None,
                recover_max_bytes: usize::MAX,
                presence: false,
                announce: false,
                join_leave: false,
                server_side: false,
                by: gorani_auth::GrantedBy::Options,
                format: SubscriptionFormat::OfSession,
            };
            assert!(hub.join(key, &request).is_some());
            // The node's interest counts it; nothing is received here.
            drop(api.worker.subscriptions.interest.join(api.worker.index, &request.channel));
        }
        connection
    }

    /// The commands so far. They pass through the worker's inbox and the mailbox: a query behind them, and a turn of
    /// the mailbox, and they are there.
    async fn told(&self, api: &Api) -> Vec<SessionCommand> {
        api.ok("connections", json!({})).await;
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        let command = |signal| match signal {
            Signal::Command(command) => (*command).clone(),
            other => panic!("{other:?}"),
        };
        self.0.borrow_mut().drain(..).map(command).collect()
    }

    async fn disconnected(&self, api: &Api) -> Option<Disconnect> {
        match self.told(api).await.as_slice() {
            [] => None,
            [SessionCommand::Disconnect { disconnect, .. }] => Some(disconnect.clone()),
            other => panic!("{other:?}"),
        }
    }
}

#[actix_web::test]
async fn a_disconnect_reaches_the_connections_of_the_user_but_for_those_spared() {
    let api = Api::start().await;
    let [first, spared] = ["c1", "c2"].map(|client| Connection::open(&api, "42", client, &[]));
    let other = Connection::open(&api, "43", "c3", &[]);
    assert_eq!(api.ok("disconnect", json!({"user": "42", "whitelist": ["c2"]})).await, json!({}));
    assert_eq!(first.disconnected(&api).await, Some(Disconnect::FORCE_DISCONNECT));
    assert_eq!((spared.disconnected(&api).await, other.disconnected(&api).await), (None, None));
    api.ok("disconnect", json!({"user": "42", "Disconnect": null, "ClientWhitelist": ["c1", "c2"]})).await;
    assert_eq!((first.disconnected(&api).await, spared.disconnected(&api).await), (None, None));
    api.ok("disconnect", json!({"user": "42", "client": "c2", "code": 4001, "reason": "bye"})).await;
    assert_eq!(spared.disconnected(&api).await, Some(Disconnect::new(4001, "bye")));
    assert_eq!(first.disconnected(&api).await, None);
}

#[actix_web::test]
async fn a_disconnect_takes_code_and_reason_beside_it_or_as_an_object() {
    let api = Api::start().await;
    let connection = Connection::open(&api, "42", "c1", &[]);
    for (body, expected) in [
        (json!({"user": "42", "disconnect": {"code": 3000, "reason": "x"}}), Disconnect::new(3000, "x")),
        (json!({"user": "42", "disconnect": {"code": 0, "reason": ""}}), Disconnect::FORCE_DISCONNECT),
        // As gocent writes it.
        (json!({"user": "42", "Disconnect": null, "ClientWhitelist": null}), Disconnect::FORCE_DISCONNECT),
        (
            json!({"user": "42", "Disconnect": {"code": 4000, "reason": "x", "reconnect": false}}),
            Disconnect::new(4000, "x"),
        ),
        (
            json!({"user": "42", "disconnect": {"code": 3499, "reason": "x", "reconnect": true}}),
            Disconnect::new(3499, "x"),
        ),
        (json!({"user": "42", "reason": "enough"}), Disconnect::new(3503, "enough")),
        (json!({"user": "42", "code": 4999}), Disconnect::new(4999, "")),
        (json!({"user": "42", "client": ""}), Disconnect::FORCE_DISCONNECT),
    ] {
        api.ok("disconnect", body.clone()).await;
        assert_eq!(connection.disconnected(&api).await, Some(expected), "{body}");
    }
    for (wrong, says) in [
        (json!({"user": "42", "code": 2999}), "code: must be between"),
        (json!({"user": "42", "code": 5000}), "code: must be between"),
        (json!({"user": "42", "code": 70000}), "code: must be between"),
        (json!({"user": "42", "code": 4000, "reason": "x".repeat(124)}), "reason: longer"),
        (json!({"user": "42", "code": 4000, "disconnect": {"code": 4000}}), "either in disconnect"),
        (
            json!({"user": "42", "disconnect": {"code": 3500, "reconnect": true}}),
            "disconnect.reconnect: clients",
        ),
        (json!({"user": "42", "disconnect": {"reconnect": true}}), "disconnect.reconnect: clients"),
        (json!({"user": "42", "disconnect": {}, "Disconnect": {}}), "duplicate field"),
        (json!({"user": ""}), "user is empty"),
        (json!({"client": "c1"}), "missing field `user`"),
        (json!({"user": "42", "sesion": "s"}), "unknown field `sesion`"),
    ] {
        let (status, code, sentence) = api.refused("disconnect", &wrong).await;
        assert_eq!((status, code), (400, 107));
        assert!(sentence.contains(says), "{wrong}: {sentence}");
    }
    assert_eq!(connection.disconnected(&api).await, None);
}

#[actix_web::test]
async fn a_subscribe_carries_channel_info_data_and_position() {
    let api = Api::start().await;
    let connection = Connection::open(&api, "42", "c1", &[]);
    let body = json!({
        "user": "42", "channel": "kept:a", "client": "c1", "info": {"a": 1}, "data": [1],
        "recover_since": {"offset": 5, "epoch": "abcd"},
    });
    assert_eq!(api.ok("subscribe", body).await, json!({}));
    api.ok("subscribe", json!({"user": "42", "channel": "b", "info": null})).await;
    let told = connection.told(&api).await;
    let [
        SessionCommand::Subscribe { subscribe: full, .. },
        SessionCommand::Subscribe { subscribe: plain, .. },
    ] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!(
        (full.channel.as_str(), &full.info[..], &full.data[..]),
        ("kept:a", &b"{\"a\":1}"[..], &b"[1]"[..])
    );
    assert_eq!(full.recover, Some(Position { offset: 5, epoch: "abcd".into() }));
    assert_eq!((plain.channel.as_str(), plain.info.len(), &plain.recover), ("b", 0, &None));
}

#[actix_web::test]
async fn a_subscribe_carries_bytes_an_end_and_changed_options() {
    let api = Api::start().await;
    let connection = Connection::open(&api, "42", "c1", &[]);
    let later = crate::clock::unix_ms() / 1000 + 60;
    let body = json!({
        "user": "42", "channel": "kept:a", "b64info": "eyJhIjoxfQ==", "b64data": "AAEC", "expire_at": later,
        "info": null, "data": null, "session": "",
        "override": {"presence": {"value": false}, "force_recovery": {"value": true}, "join_leave": null},
    });
    assert_eq!(api.ok("subscribe", body).await, json!({}));
    let neutral = json!({"user": "42", "channel": "a", "b64info": "", "b64data": null, "expire_at": 0, "override": null});
    api.ok("subscribe", neutral).await;
    let older = json!({"user": "42", "channel": "b", "presence": true, "join_leave": false, "position": true, "recover": true,
        "override": {"force_push_join_leave": {"value": true}}});
    api.ok("subscribe", older).await;
    let told = connection.told(&api).await;
    let [
        SessionCommand::Subscribe { subscribe: full, target },
        SessionCommand::Subscribe { subscribe: plain, .. },
        SessionCommand::Subscribe { subscribe: older, .. },
    ] = &told[..]
    else {
        panic!("{told:?}")
    };
    let overrides = older.overrides;
    assert_eq!((overrides.presence, overrides.join_leave), (Some(true), Some(false)));
    assert_eq!((overrides.force_positioning, overrides.force_recovery), (Some(true), Some(true)));
    assert_eq!(overrides.force_push_join_leave, Some(true));
    assert_eq!((&full.info[..], &full.data[..]), (&br#"{"a":1}"#[..], &br#""AAEC""#[..]));
    assert_eq!((full.expire_at, &target.session), (Some(later), &None));
    assert_eq!((full.overrides.presence, full.overrides.force_recovery), (Some(false), Some(true)));
    assert_eq!((full.overrides.join_leave, full.overrides.force_positioning), (None, None));
    assert_eq!(plain, &ServerSubscribe { channel: "a".to_owned(), ..ServerSubscribe::default() });
    for (field, value, says) in [
        ("expire_at", json!(1), "expire_at: has passed"),
        ("b64info", json!("%"), "b64info: not base64"),
        ("b64data", json!("%"), "b64data: not base64"),
        ("override", json!({"presense": {"value": true}}), "unknown field `presense`"),
        ("override", json!({"presence": true}), "override.presence"),
        ("override", json!({"presence": {}}), "missing field `value`"),
    ] {
        let mut body = json!({"user": "42", "channel": "a"});
        body[field] = value;
        let (status, code, sentence) = api.refused("subscribe", &body).await;
        assert_eq!((status, code), (400, 107));
        assert!(sentence.contains(says), "{body}: {sentence}");
    }
    let twice = json!({"user": "42", "channel": "a", "recover": true, "override": {"force_recovery": {"value": true}}});
    assert_eq!(api.refused("subscribe", twice).await.2, "either recover or its option in override, not both");
    let both = json!({"user": "42", "channel": "a", "info": 1, "b64info": "MQ=="});
    assert_eq!(api.refused("subscribe", both).await.2, "either info or b64info, not both");
}

#[actix_web::test]
async fn every_command_names_a_session_if_it_is_asked_to() {
    let api = Api::start().await;
    let connection = Connection::open(&api, "42", "c1", &[]);
    for method in ["subscribe", "unsubscribe", "disconnect", "refresh"] {
        let mut body = json!({"user": "42", "session": "s1"});
        if method.ends_with("subscribe") {
            body["channel"] = "a".into();
        }
        api.ok(method, body).await;
        let told = connection.told(&api).await;
        assert_eq!(told[0].target().session.as_deref(), Some("s1"), "{method}");
        assert!(!told[0].concerns_session(None) && !told[0].concerns_session(Some("s2")));
        assert!(told[0].concerns_session(Some("s1")) && told[0].has_later_fields());
    }
}

#[actix_web::test]
async fn an_unsubscribe_ends_the_one_subscription() {
    let api = Api::start().await;
    let connection = Connection::open(&api, "42", "c1", &["a", "b"]);
    api.ok("unsubscribe", json!({"user": "42", "channel": "a"})).await;
    let told = connection.told(&api).await;
    let [SessionCommand::Unsubscribe { channel, .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(channel, "a");
}

#[actix_web::test]
async fn subscribe_and_unsubscribe_check_the_channel_and_the_user() {
    let api = Api::start().await;
    for method in ["subscribe", "unsubscribe"] {
        assert_eq!(api.refused(method, json!({"user": "42", "channel": "nowhere:a"})).await.0, 404);
        assert_eq!(api.refused(method, json!({"user": "42", "channel": ""})).await.0, 400);
        assert_eq!(api.refused(method, json!({"user": "42"})).await.0, 400);
        assert_eq!(
            api.refused(method, json!({"user": "", "channel": "a"})).await.2,
            "user is empty: name a user, or a client that has none"
        );
    }
    let deep = format!(r#"{{"user":"42","channel":"a","data":{}{}}}"#, "[".repeat(140), "]".repeat(140));
    assert!(api.refused("subscribe", deep).await.2.starts_with("data: json nested deeper"));
}

#[actix_web::test]
async fn a_refresh_prolongs_or_ends() {
    let api = Api::start().await;
    let connection = Connection::open(&api, "42", "c1", &[]);
    let anonymous = Connection::open(&api, "", "c2", &[]);
    for (body, expected) in [
        (json!({"user": "42", "expire_at": 2_000_000_000}), (false, Some(2_000_000_000))),
        (json!({"user": "42", "expired": true}), (true, None)),
        (json!({"user": "42", "client": "c1", "expire_at": 0}), (false, None)),
    ] {
        assert_eq!(api.ok("refresh", body).await, json!({}));
        let told = connection.told(&api).await;
        let [SessionCommand::Refresh { expired, expire_at, .. }] = &told[..] else { panic!("{told:?}") };
        assert_eq!((*expired, *expire_at), expected);
    }
    api.ok("refresh", json!({"user": "42", "info": {"name": "A"}})).await;
    let told = connection.told(&api).await;
    assert!(
        matches!(&told[..], [SessionCommand::Refresh { info, .. }] if info == r#"{"name":"A"}"#),
        "{told:?}"
    );
    assert_eq!(api.refused("refresh", json!({"user": "42", "expire_at": -1})).await.0, 400);
    assert!(anonymous.told(&api).await.is_empty());
    api.ok("refresh", json!({"user": "", "client": "c2", "expired": true})).await;
    assert_eq!(anonymous.told(&api).await.len(), 1);
}
