//! The fixtures of the tests of sessions: tokens of a user, a limit of logins, signals, and a session without IO whose actions are
//! collected.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use gorani_auth::{
    ChannelRules, ConnectionTokenRequest, SubscriptionTokenRequest, TokenSettings, TokenVerifier,
};
use parking_lot::Mutex;
use serde_json::Value;

use super::{
    Action, Actions, Incoming, Now, Outcome, Session, Signal, Ticket,
    shared::{
        enforcement::{Enforcement, PermissionCheck},
        login_limit::{Credential, LoginLimit},
        policy::Policy,
    },
};
use crate::{
    disconnect::Disconnect,
    event_log::{
        commands::CommandLog,
        event::CommandEvent,
        query::{UserEventQuery, UserEvents},
    },
    session_command::{ServerSubscribe, SessionCommand, SessionTarget},
    settings::ClientSettings,
};

pub(in crate::session) const SECRET: &str = "secret-of-the-tests-long-enough-for-hs256";
/// The time at which a session under test begins, in Unix seconds.
pub(in crate::session) const START_S: u64 = 1_800_000_000;

/// The noted commands of a user in order: the name, the channel or method, and the code, 0 for none.
pub(in crate::session) fn followed(log: &CommandLog, user: &str) -> Vec<String> {
    let query = UserEventQuery {
        user: user.to_owned(),
        channel: None,
        since: 0,
        seen: BTreeMap::new(),
        until: u64::MAX,
        limit: 100,
        commands: true,
        is_first: true,
    };
    let text = |event: &CommandEvent| {
        let named = event.channel.as_deref().or(event.method.as_deref()).unwrap_or_default();
        format!("{} {named} {}", event.command, event.code.unwrap_or_default())
    };
    let mut events = UserEvents::default();
    log.add_to(&mut events, &query);
    let mut all: Vec<String> = events.commands.iter().map(text).collect();
    all.sort_unstable();
    all
}

/// The policy of these namespaces: a list, as in the settings.
pub(crate) fn policy(namespaces: Value, settings: ClientSettings) -> Arc<Policy> {
    let channels = serde_json::json!({"defaults": {}, "namespaces": namespaces});
    // Without leeway, so that times are judged to the second.
    let tokens =
        TokenSettings { hmac_secret: SECRET.to_owned(), leeway: Duration::ZERO, ..TokenSettings::default() };
    Arc::new(Policy {
        rules: ChannelRules::new(&serde_json::from_value(channels).unwrap()).unwrap(),
        tokens: TokenVerifier::new(&tokens).unwrap(),
        settings,
        node_id: "0badcafe".into(),
        node_name: "tests".into(),
        api_keys: Default::default(),
        origins: Default::default(),
        replaced_by: Default::default(),
        proxies: Default::default(),
        proxy_counts: Default::default(),
        hooks_want_meta: false,
        describes_clients: false,
        call_grace: Duration::from_secs(5),
        key_wanted: Default::default(),
        log: Default::default(),
        command_log: Default::default(),
        counts: Default::default(),
    })
}

/// A token of user 42 that is good for so many seconds from the start.
pub(in crate::session) fn token(ttl: u64, channels: &[&str]) -> String {
    token_of("42", ttl, channels)
}

/// The same for another user.
pub(in crate::session) fn token_of(user: &str, ttl: u64, channels: &[&str]) -> String {
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

/// A connection token that names no user: its issuer calls the claim otherwise.
pub(in crate::session) fn token_without_subject(ttl: u64) -> String {
    let claims = serde_json::json!({"userId": "42", "exp": START_S + ttl});
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}

/// A subscription token of user 42.
pub(in crate::session) fn subscription_token(channel: &str, ttl: u64) -> String {
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

/// A limit of failed logins. So many failures are allowed; those that were counted, and how often it was asked.
pub(in crate::session) struct Failures {
    most: usize,
    pub(in crate::session) asked: AtomicUsize,
    pub(in crate::session) counted: Mutex<Vec<Credential>>,
}

impl Failures {
    pub(in crate::session) fn at_most(most: usize) -> Arc<Self> {
        Arc::new(Self { most, asked: AtomicUsize::new(0), counted: Mutex::default() })
    }
}

impl LoginLimit for Failures {
    fn allows(&self, _credential: Credential) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.counted.lock().len() < self.most
    }

    fn failed(&self, credential: Credential) {
        self.counted.lock().push(credential);
    }
}

/// Signals as commands make them.
impl Signal {
    pub(crate) fn unsubscribe(channel: &str) -> Self {
        Self::of(SessionCommand::Unsubscribe {
            target: SessionTarget::default(),
            channel: channel.to_owned(),
        })
    }

    pub(crate) fn subscribe(subscribe: ServerSubscribe) -> Self {
        Self::of(SessionCommand::Subscribe { target: SessionTarget::default(), subscribe })
    }

    pub(crate) fn refresh(expired: bool, expire_at: Option<u64>) -> Self {
        Self::of(SessionCommand::Refresh {
            target: SessionTarget::default(),
            expired,
            expire_at,
            info: Default::default(),
        })
    }

    /// The check of a subscription that a reload has found not to be permitted.
    pub(crate) fn check_permission(channel: &str, enforcement: &Arc<Enforcement>) -> Self {
        let (channel, enforcement) = (channel.into(), enforcement.clone());
        Self::CheckPermission(Box::new(PermissionCheck { channel, enforcement }))
    }

    fn of(command: SessionCommand) -> Self {
        Self::Command(Arc::new(command))
    }
}

/// A protocol, as the tests read what its server sends.
pub(in crate::session) trait TestProtocol: Session {
    /// A reply, a push, a frame.
    type Sent;

    /// Reads one message of the transport.
    fn read(message: &[u8]) -> Vec<Self::Sent>;
}

/// A session with its surroundings.
pub(in crate::session) struct TestSession<S> {
    pub(in crate::session) session: S,
    pub(in crate::session) now: Now,
    /// Actions that were not answered yet.
    pub(in crate::session) actions: VecDeque<Action>,
    pub(in crate::session) closed: Option<Disconnect>,
}

impl<S: TestProtocol> TestSession<S> {
    pub(in crate::session) fn start(make: impl FnOnce(Now) -> S) -> Self {
        let now = Now { unix_ms: START_S * 1000, ..Now::read() };
        Self { session: make(now), now, actions: VecDeque::new(), closed: None }
    }

    /// One turn, and what its client is sent.
    pub(in crate::session) fn run(&mut self, call: impl FnOnce(&mut S, Now, &mut Actions)) -> Vec<S::Sent> {
        let mut actions = Actions::default();
        call(&mut self.session, self.now, &mut actions);
        // As a transport does, in this turn or the next.
        while self.session.has_more() {
            self.session.resume(self.now, &mut actions);
        }
        let mut sent = Vec::new();
        actions.drain_messages(|_, message| sent.extend(S::read(message)));
        for action in actions.take_list() {
            match action {
                Action::Close(disconnect) => self.closed = Some(disconnect),
                // Nothing answers it.
                Action::NoteRefused(..) => {}
                action => self.actions.push_back(action),
            }
        }
        sent
    }

    pub(in crate::session) fn say_text(&mut self, text: &str) -> Vec<S::Sent> {
        self.run(|session, now, actions| session.message(Incoming::Text(text), now, actions))
    }

    pub(in crate::session) fn signal(&mut self, signal: Signal) -> Vec<S::Sent> {
        self.run(|session, now, actions| session.signal(signal, now, actions))
    }

    pub(in crate::session) fn settle(&mut self, ticket: Ticket, outcome: Outcome) -> Vec<S::Sent> {
        self.run(|session, now, actions| session.outcome(ticket, outcome, now, actions))
    }

    /// Lets time pass without telling the session.
    pub(in crate::session) fn advance(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.unix_ms += u64::try_from(time.as_millis()).unwrap();
    }
}
