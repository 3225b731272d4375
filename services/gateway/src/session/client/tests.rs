//! The session of the client protocol without IO: lines in, lines and actions out. `docs/protocols/client.md`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod any_order;
mod asked_connect;
mod asked_receivers;
mod asking;
mod commands;
mod connecting;
mod enforcing;
mod epochs;
mod expiry;
mod lanes;
mod large_replies;
mod limits;
mod options;
mod pings;
mod protobuf;
mod proxied;
mod receiving;
mod subscribing;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use gorani_broker::{Position, Publication};
use serde_json::{Value, json};

use super::{ClientSession, TransportTraits};
use crate::{
    disconnect::Disconnect,
    session::{
        Action, Actions, Incoming, Now, Outcome, Session, Signal, SubscribeParams, Subscribed, Ticket,
        shared::policy::Policy,
        tests::{self, SECRET, START_S, TestProtocol, TestSession, subscription_token, token},
    },
    settings::ClientSettings,
};

type TestClient = TestSession<ClientSession>;

impl TestProtocol for ClientSession {
    type Sent = Value;

    fn read(message: &[u8]) -> Vec<Value> {
        message.split(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect()
    }
}

fn policy(settings: ClientSettings) -> Arc<Policy> {
    let namespaces = json!([
        {"name": "open", "allow_subscribe_for_client": true, "allow_subscribe_for_anonymous": true,
         "allow_publish_for_subscriber": true, "allow_publish_for_anonymous": true},
        {"name": "history", "allow_subscribe_for_client": true, "history_size": 10, "history_ttl": "60s",
         "force_recovery": false, "allow_history_for_subscriber": true,
         "presence": true, "allow_presence_for_subscriber": true, "join_leave": true},
        {"name": "forced", "allow_subscribe_for_client": true, "history_size": 10, "history_ttl": "60s",
         "force_recovery": true},
        {"name": "kept", "allow_subscribe_for_client": true, "history_size": 10, "history_ttl": "60s",
         "allow_presence_for_subscriber": true},
        {"name": "readable", "allow_subscribe_for_client": true, "history_size": 10, "history_ttl": "60s",
         "allow_recovery": false, "allow_history_for_client": true},
        {"name": "closed"}
    ]);
    tests::policy(namespaces, settings)
}

fn settings() -> ClientSettings {
    ClientSettings { allow_anonymous: true, ..ClientSettings::default() }
}

/// A token of this user, good for a minute.
fn token_of(user: &str) -> String {
    tests::token_of(user, 60, &[])
}

/// A token with these claims.
fn sign_claims(claims: &Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

impl TestClient {
    fn new(settings: ClientSettings) -> Self {
        Self::start(|now| ClientSession::new(policy(settings), TransportTraits::default(), now))
    }

    /// A session of user 42.
    fn connected() -> Self {
        let mut client = Self::new(settings());
        let replies = client.say(json!({"id": 1, "connect": {"token": token(3600, &[])}}));
        assert_eq!(replies.len(), 1, "{replies:?}");
        client
    }

    /// A session of user 42 that is subscribed to a channel.
    fn subscribed(channel: &str, subscribed: Subscribed) -> Self {
        let mut client = Self::connected();
        assert!(client.say(json!({"id": 2, "subscribe": {"channel": channel}})).is_empty());
        let (ticket, _) = client.next_subscribe();
        assert!(client.settle(ticket, Outcome::Subscribed(Ok(subscribed)))[0].get("subscribe").is_some());
        client
    }

    /// Sends a command and returns the replies.
    fn say(&mut self, command: Value) -> Vec<Value> {
        self.say_text(&command.to_string())
    }

    /// Lets time pass up to the session's deadline, which must not be later than this, and signals it.
    fn pass(&mut self, seconds: u64) -> Vec<Value> {
        self.advance(Duration::from_secs(seconds));
        assert!(self.session.deadline().unwrap() <= self.now.instant, "nothing was due");
        self.signal(Signal::Timer)
    }

    /// The next action that is not an identification.
    fn next(&mut self) -> Option<Action> {
        loop {
            match self.actions.pop_front() {
                Some(Action::Identify { .. }) => {}
                action => return action,
            }
        }
    }

    fn next_subscribe(&mut self) -> (Ticket, SubscribeParams) {
        match self.next() {
            Some(Action::Subscribe(ticket, request)) => (ticket, request),
            other => panic!("{other:?} is no subscribe"),
        }
    }

    fn closed_with(&self) -> u16 {
        self.closed.as_ref().map_or(0, |disconnect| disconnect.code)
    }
}

fn top(offset: u64) -> Subscribed {
    Subscribed { top: Some(Position { offset, epoch: "e".into() }), ..Subscribed::default() }
}

fn error_code(reply: &Value) -> u64 {
    reply["error"]["code"].as_u64().unwrap_or(0)
}
