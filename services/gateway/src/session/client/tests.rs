//! The session of the client protocol without IO: lines in, lines and actions out. `docs/protocols/client.md`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod commands;
mod connecting;
mod epochs;
mod large_replies;
mod limits;
mod options;
mod receiving;
mod subscribing;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use gorani_auth::{
    ChannelRules, ChannelSettings, ConnectionTokenRequest, SubscriptionTokenRequest, TokenSettings,
    TokenVerifier,
};
use gorani_broker::{Position, Publication};
use serde_json::{Value, json};

use super::{ClientSession, TransportTraits};
use crate::{
    disconnect::Disconnect,
    session::{
        Action, Actions, Incoming, Now, Outcome, Session, Signal, SubscribeParams, Subscribed, Ticket,
        shared::policy::Policy,
    },
    settings::ClientSettings,
};

const SECRET: &str = "secret-of-the-tests-long-enough-for-hs256";

/// A session with its surroundings.
struct Bench {
    session: ClientSession,
    now: Now,
    /// Actions that nobody has answered yet.
    actions: VecDeque<Action>,
    closed: Option<Disconnect>,
}

fn policy(settings: ClientSettings) -> Arc<Policy> {
    let channels: ChannelSettings = serde_json::from_value(json!({
        "defaults": {},
        "namespaces": [
            {"name": "open", "allow_subscribe_for_client": true, "allow_subscribe_for_anonymous": true,
             "allow_publish_for_subscriber": true, "allow_publish_for_anonymous": true},
            {"name": "history", "allow_subscribe_for_client": true, "history_size": 10, "history_ttl": "60s",
             "allow_recovery": true, "allow_positioning": true, "allow_history_for_subscriber": true,
             "presence": true, "allow_presence_for_subscriber": true, "join_leave": true},
            {"name": "forced", "allow_subscribe_for_client": true, "history_size": 10, "history_ttl": "60s",
             "force_recovery": true},
            {"name": "readable", "allow_subscribe_for_client": true, "history_size": 10, "history_ttl": "60s",
             "allow_history_for_client": true},
            {"name": "closed"}
        ]
    }))
    .unwrap();
    // Without leeway, so that times are judged to the second.
    let tokens =
        TokenSettings { hmac_secret: SECRET.to_owned(), leeway: Duration::ZERO, ..TokenSettings::default() };
    Arc::new(Policy {
        rules: ChannelRules::new(&channels).unwrap(),
        tokens: TokenVerifier::new(&tokens).unwrap(),
        settings,
        node_id: "0badcafe".into(),
        key_wanted: tokio::sync::Notify::new(),
    })
}

fn settings() -> ClientSettings {
    ClientSettings { allow_anonymous: true, ..ClientSettings::default() }
}

/// A token of user 42 that is good for so many seconds from the bench's start.
fn token(ttl: u64, channels: &[&str]) -> String {
    signed("42", ttl, channels)
}

/// A token of this user, good for a minute.
fn token_of(user: &str) -> String {
    signed(user, 60, &[])
}

fn signed(user: &str, ttl: u64, channels: &[&str]) -> String {
    let request = ConnectionTokenRequest {
        user: user.to_owned(),
        ttl: Some(Duration::from_secs(ttl)),
        channels: channels.iter().map(ToString::to_string).collect(),
        info: None,
        audience: String::new(),
        issuer: String::new(),
    };
    request.sign(SECRET, START_S).unwrap()
}

/// A token with these claims.
fn sign_claims(claims: &Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

fn subscription_token(channel: &str, ttl: u64) -> String {
    let request = SubscriptionTokenRequest {
        user: "42".to_owned(),
        channel: channel.to_owned(),
        ttl: Some(Duration::from_secs(ttl)),
        info: None,
        audience: String::new(),
        issuer: String::new(),
    };
    request.sign(SECRET, START_S).unwrap()
}

const START_S: u64 = 1_800_000_000;

impl Bench {
    fn new(settings: ClientSettings) -> Self {
        let now = Now { unix_ms: START_S * 1000, ..Now::read() };
        let session = ClientSession::new(policy(settings), TransportTraits::default(), now);
        Self { session, now, actions: VecDeque::new(), closed: None }
    }

    /// A session of user 42.
    fn connected() -> Self {
        let mut bench = Self::new(settings());
        let replies = bench.say(json!({"id": 1, "connect": {"token": token(3600, &[])}}));
        assert_eq!(replies.len(), 1, "{replies:?}");
        bench
    }

    /// A session of user 42 that is subscribed to a channel.
    fn subscribed(channel: &str, subscribed: Subscribed) -> Self {
        let mut bench = Self::connected();
        assert!(bench.say(json!({"id": 2, "subscribe": {"channel": channel}})).is_empty());
        let (ticket, _) = bench.next_subscribe();
        assert!(bench.settle(ticket, Outcome::Subscribed(Ok(subscribed)))[0].get("subscribe").is_some());
        bench
    }

    fn run(&mut self, call: impl FnOnce(&mut ClientSession, Now, &mut Actions)) -> Vec<Value> {
        let mut actions = Actions::default();
        call(&mut self.session, self.now, &mut actions);
        // As a transport does, in this turn or the next.
        while self.session.has_more() {
            self.session.resume(self.now, &mut actions);
        }
        let mut lines = Vec::new();
        actions.drain_messages(|_, message| {
            lines.extend(
                message.split(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()),
            );
        });
        for action in actions.take_list() {
            match action {
                Action::Close(disconnect) => self.closed = Some(disconnect),
                action => self.actions.push_back(action),
            }
        }
        lines
    }

    /// Sends a command and returns the replies.
    fn say(&mut self, command: Value) -> Vec<Value> {
        self.say_text(&command.to_string())
    }

    fn say_text(&mut self, text: &str) -> Vec<Value> {
        self.run(|session, now, actions| session.message(Incoming::Text(text), now, actions))
    }

    fn signal(&mut self, signal: Signal) -> Vec<Value> {
        self.run(|session, now, actions| session.signal(signal, now, actions))
    }

    fn settle(&mut self, ticket: Ticket, outcome: Outcome) -> Vec<Value> {
        self.run(|session, now, actions| session.outcome(ticket, outcome, now, actions))
    }

    /// Lets time pass up to the session's deadline, which must not be later than this, and tells it.
    fn pass(&mut self, seconds: u64) -> Vec<Value> {
        self.now.instant += Duration::from_secs(seconds);
        self.now.unix_ms += seconds * 1000;
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
