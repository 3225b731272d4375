//! The session of STOMP without IO: frames in, frames and actions out. Tests are named after the items of
//! `docs/protocols/stomp.md` §13.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod acknowledging;
mod app;
mod connecting;
mod consuming;
mod deciding;
mod ending;
mod enforcing;
mod forging;
mod heart_beats;
mod limits;
mod ordering;
mod proxied;
mod sending;
mod subscribing;

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::{StompSession, StompTraits};
use crate::{
    disconnect::{Disconnect, ErrorCode},
    session::{
        Action, Actions, Incoming, Outcome, Session, Signal, SubscribeParams, Subscribed, Ticket,
        shared::policy::Policy,
        tests::{self, START_S, TestProtocol, TestSession, subscription_token, token},
    },
    settings::{ClientSettings, StompSettings},
};

type TestClient = TestSession<StompSession>;

impl TestProtocol for StompSession {
    type Sent = ServerFrame;

    fn read(message: &[u8]) -> Vec<ServerFrame> {
        vec![ServerFrame::parse(message)]
    }
}

/// A frame of the server, taken apart without the codec's help.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::session) struct ServerFrame {
    command: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl ServerFrame {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        if text == "\n" {
            return Self { command: "beat".to_owned(), headers: Vec::new(), body: String::new() };
        }
        let (head, body) = text.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        Self {
            command: lines.next().unwrap().to_owned(),
            headers: lines
                .map(|line| line.split_once(':').unwrap())
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body: body.strip_suffix('\0').unwrap().to_owned(),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn policy(settings: ClientSettings) -> Arc<Policy> {
    let namespaces = json!([
        {"name": "open", "allow_subscribe_for_client": true, "allow_subscribe_for_anonymous": true,
         "allow_publish_for_client": true, "allow_publish_for_anonymous": true,
         "allow_user_limited_channels": true},
        {"name": "history", "allow_subscribe_for_client": true, "history_size": 10, "history_ttl": "60s",
         "allow_recovery": true, "presence": true, "join_leave": true},
        {"name": "kept", "allow_subscribe_for_client": true, "history_size": 10, "history_ttl": "60s",
         "allow_recovery": false},
        {"name": "closed"}
    ]);
    tests::policy(namespaces, settings)
}

fn stomp_settings() -> StompSettings {
    let users = json!([{"name": "shop", "password": "hush"}]);
    StompSettings {
        users: serde_json::from_value(users).unwrap(),
        max_transactions: 2,
        ..StompSettings::default()
    }
}

impl TestClient {
    fn new() -> Self {
        let settings = ClientSettings {
            allow_anonymous: true,
            max_subscriptions: 3,
            personal_channels: vec!["closed:inbox".to_owned()],
            ..ClientSettings::default()
        };
        Self::with(settings, stomp_settings())
    }

    fn with(settings: ClientSettings, stomp: StompSettings) -> Self {
        Self::over(StompTraits::default(), settings, stomp)
    }

    fn over(traits: StompTraits, settings: ClientSettings, stomp: StompSettings) -> Self {
        Self::start(|now| StompSession::new(policy(settings), Arc::new(stomp), traits, now))
    }

    /// A session of user 42 in this version.
    fn connected(version: &str) -> Self {
        let mut client = Self::new();
        let frame = format!("CONNECT\naccept-version:{version}\npasscode:{}\n\n\0", token(3600, &[]));
        assert_eq!(client.say(&frame)[0].command, "CONNECTED");
        client
    }

    /// A session that is subscribed, with id 0.
    fn subscribed(version: &str, destination: &str, more: &str) -> Self {
        let mut client = Self::connected(version);
        let frame = format!("SUBSCRIBE\nid:0\ndestination:{destination}\n{more}\n\0");
        assert_eq!(client.say(&frame), []);
        client.grant(Subscribed::default());
        client
    }

    /// The client sends this, and gets that.
    fn say(&mut self, frames: &str) -> Vec<ServerFrame> {
        self.say_text(frames)
    }

    /// The one frame that the client gets for this.
    fn ask(&mut self, frames: &str) -> ServerFrame {
        let mut sent = self.say(frames);
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    /// The reason of the ERROR that ends the session.
    fn error(&mut self, frames: &str) -> String {
        let sent = self.say(frames);
        let last = sent.last().unwrap_or_else(|| panic!("nothing sent for {frames}"));
        assert_eq!(last.command, "ERROR", "{sent:?}");
        assert!(self.closed.is_some());
        last.get("message").unwrap().to_owned()
    }

    fn next_subscribe(&mut self) -> (Ticket, SubscribeParams) {
        loop {
            match self.actions.pop_front().unwrap() {
                Action::Subscribe(ticket, request) => return (ticket, request),
                _ => continue,
            }
        }
    }

    fn next_publish(&mut self) -> (Ticket, String, gorani_broker::Publication) {
        loop {
            match self.actions.pop_front().unwrap() {
                Action::Publish(ticket, channel, publication, _) => {
                    return (ticket, channel.to_string(), publication);
                }
                _ => continue,
            }
        }
    }

    /// The subscription that was asked for last is in effect.
    fn grant(&mut self, subscribed: Subscribed) -> Vec<ServerFrame> {
        let (ticket, _) = self.next_subscribe();
        self.settle(ticket, Outcome::Subscribed(Ok(subscribed)))
    }

    fn published(&mut self, ticket: Ticket, error: Option<ErrorCode>) -> Vec<ServerFrame> {
        let outcome = error.map_or_else(|| Ok(gorani_broker::Published::default()), Err);
        self.settle(ticket, Outcome::Published(outcome))
    }

    /// Lets time pass up to the session's next deadline.
    fn until_deadline(&mut self) -> Vec<ServerFrame> {
        let deadline = self.session.deadline().unwrap();
        let left = deadline.saturating_duration_since(self.now.instant) + Duration::from_millis(1);
        self.advance(left);
        self.signal(Signal::Timer)
    }

    fn code(&self) -> u16 {
        self.closed.as_ref().unwrap().code
    }
}
