//! Connects about which the backend is asked, and the commands of backends that come meanwhile. Decision record 48.
//!
//! The backend may let a user in and, a moment later, have all sessions of that user ended, while its first answer is still on the
//! way. The session has no user yet, so the command does not find it. It is remembered here as long as connects are pending, and
//! handed to the session once it has a user. A poll has no session at all while the backend is asked.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{SessionCommand, SessionTarget};

/// Commands that are remembered at most. A session that would have to know of more ends, and comes again.
const COMMANDS: usize = 1024;

/// The name of a pending connect: of a session with a key of type `K`, or of a poll.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum AskedConnect<K> {
    /// A session's.
    Session(K),
    /// That of a poll, with this client id.
    Poll(Arc<str>),
}

/// The pending connects of one worker, by the keys of its sessions.
pub struct PendingConnects<K> {
    /// The number of the first command that each has to know of.
    asked: BTreeMap<AskedConnect<K>, u64>,
    commands: VecDeque<Arc<SessionCommand>>,
    /// The number of the command after the newest.
    next: u64,
}

/// The commands that a session missed while it had no user.
#[derive(Debug, Default)]
pub struct MissedCommands {
    /// In their order.
    pub commands: Vec<Arc<SessionCommand>>,
    /// There were more, and it is not known which.
    pub are_incomplete: bool,
}

impl<K> Default for PendingConnects<K> {
    fn default() -> Self {
        Self { asked: BTreeMap::new(), commands: VecDeque::new(), next: 0 }
    }
}

impl<K: Ord> PendingConnects<K> {
    /// The backend is asked about the connect of a session.
    pub fn begin(&mut self, key: K) {
        self.asked.insert(AskedConnect::Session(key), self.next);
    }

    /// The backend is asked about a poll.
    pub fn begin_poll(&mut self, client: Arc<str>) {
        self.asked.insert(AskedConnect::Poll(client), self.next);
    }

    /// A backend has something done. Nothing is kept while no connect is pending.
    pub fn note(&mut self, command: &Arc<SessionCommand>) {
        let is_late = match **command {
            SessionCommand::Disconnect { .. }
            | SessionCommand::Unsubscribe { .. }
            | SessionCommand::Refresh { .. } => true,
            // One that is not connected yet is subscribed to nothing.
            SessionCommand::Subscribe { .. } => false,
        };
        if self.asked.is_empty() || !is_late {
            return;
        }
        if self.commands.len() >= COMMANDS {
            self.commands.pop_front();
        }
        self.commands.push_back(command.clone());
        self.next += 1;
    }

    /// A session has its user: what was done to that user since the backend was asked about it, or about the poll that it was.
    pub fn finish(&mut self, key: K, user: &str, client: &Arc<str>) -> MissedCommands {
        if self.asked.is_empty() {
            return MissedCommands::default();
        }
        let names = [AskedConnect::Session(key), AskedConnect::Poll(client.clone())];
        let Some(name) = names.into_iter().find(|name| self.asked.contains_key(name)) else {
            return MissedCommands::default();
        };
        let missed = self.missed(&name, user, client);
        self.forget(&name);
        missed
    }

    /// The same of a connect that stays pending.
    pub fn missed(&self, name: &AskedConnect<K>, user: &str, client: &str) -> MissedCommands {
        let Some(since) = self.asked.get(name).copied() else { return MissedCommands::default() };
        let oldest = self.next - self.commands.len() as u64;
        let skipped = usize::try_from(since.saturating_sub(oldest)).unwrap_or(usize::MAX);
        let concerns = |command: &&Arc<SessionCommand>| {
            concerns(command.target(), user, client) && !command.spares(client)
        };
        let commands = self.commands.iter().skip(skipped).filter(concerns).cloned().collect();
        MissedCommands { commands, are_incomplete: since < oldest }
    }

    /// A session or a poll is over.
    pub fn forget(&mut self, name: &AskedConnect<K>) {
        if self.asked.remove(name).is_some() && self.asked.is_empty() {
            self.asked = BTreeMap::new();
            self.commands = VecDeque::new();
        }
    }
}

/// True for a session of this user and client. Anonymous clients are addressed one by one.
fn concerns(target: &SessionTarget, user: &str, client: &str) -> bool {
    let is_client = match &target.client {
        Some(wanted) => wanted == client,
        None => !user.is_empty(),
    };
    target.user == user && is_client
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{disconnect::Disconnect, session_command::ServerSubscribe};

    const KEY: u8 = 1;

    fn target(user: &str, client: Option<&str>) -> SessionTarget {
        SessionTarget { user: user.to_owned(), client: client.map(str::to_owned), session: None }
    }

    fn disconnect(user: &str, client: Option<&str>, spared: &[&str]) -> Arc<SessionCommand> {
        Arc::new(SessionCommand::Disconnect {
            target: target(user, client),
            disconnect: Disconnect::FORCE_DISCONNECT,
            spared: spared.iter().map(ToString::to_string).collect(),
        })
    }

    fn missed(commands: &[Arc<SessionCommand>], user: &str, client: &str) -> usize {
        let mut pending = PendingConnects::default();
        pending.begin(KEY);
        commands.iter().for_each(|command| pending.note(command));
        let missed = pending.finish(KEY, user, &client.into());
        assert!(!missed.are_incomplete);
        assert!(pending.commands.is_empty());
        missed.commands.len()
    }

    #[test]
    fn a_session_learns_what_was_done_to_its_user_while_the_backend_was_asked() {
        let all =
            [disconnect("42", None, &[]), disconnect("43", None, &[]), disconnect("42", Some("c"), &[])];
        assert_eq!(missed(&all, "42", "c"), 2);
        assert_eq!(missed(&all, "42", "d"), 1);
        assert_eq!(missed(&all, "44", "c"), 0);
        let unsubscribe = SessionCommand::Unsubscribe { target: target("42", None), channel: "a".to_owned() };
        assert_eq!(missed(&[unsubscribe.into()], "42", "c"), 1);
    }

    #[test]
    fn it_learns_nothing_that_spares_it_and_is_not_subscribed_before_it_is_connected() {
        assert_eq!(missed(&[disconnect("42", None, &["c"])], "42", "c"), 0);
        let subscribe = ServerSubscribe::default();
        let subscribe = SessionCommand::Subscribe { target: target("42", None), subscribe };
        assert_eq!(missed(&[subscribe.into()], "42", "c"), 0);
    }

    #[test]
    fn anonymous_clients_are_addressed_one_by_one() {
        assert_eq!(missed(&[disconnect("", None, &[])], "", "c"), 0);
        assert_eq!(missed(&[disconnect("", Some("c"), &[])], "", "c"), 1);
    }

    #[test]
    fn what_was_done_before_the_backend_was_asked_is_no_news() {
        let mut pending = PendingConnects::default();
        let other = KEY + 1;
        pending.begin(other);
        pending.note(&disconnect("42", None, &[]));
        pending.begin(KEY);
        pending.note(&disconnect("42", None, &[]));
        assert_eq!(pending.finish(KEY, "42", &"c".into()).commands.len(), 1);
        assert_eq!(pending.finish(other, "42", &"d".into()).commands.len(), 2);
    }

    #[test]
    fn nothing_is_kept_while_no_connect_is_pending() {
        let mut pending = PendingConnects::default();
        pending.note(&disconnect("42", None, &[]));
        assert!(pending.commands.is_empty());
        pending.begin(KEY);
        pending.note(&disconnect("42", None, &[]));
        pending.forget(&AskedConnect::Session(KEY));
        assert!(pending.commands.is_empty() && pending.asked.is_empty());
        assert_eq!(pending.finish(KEY, "42", &"c".into()).commands.len(), 0);
    }

    #[test]
    fn a_poll_learns_it_whether_or_not_it_becomes_a_session() {
        let mut pending = PendingConnects::<u8>::default();
        let client: Arc<str> = "c".into();
        let poll = AskedConnect::Poll(client.clone());
        pending.begin_poll(client.clone());
        pending.note(&disconnect("42", None, &[]));
        assert_eq!(pending.missed(&poll, "42", "c").commands.len(), 1);
        assert_eq!(pending.missed(&poll, "43", "c").commands.len(), 0);
        assert_eq!(pending.finish(KEY, "42", &client).commands.len(), 1);
        assert_eq!(pending.finish(KEY, "42", &client).commands.len(), 0, "once");

        pending.begin_poll(client.clone());
        pending.note(&disconnect("42", None, &[]));
        pending.forget(&poll);
        assert!(pending.commands.is_empty() && pending.asked.is_empty());
    }

    #[test]
    fn a_session_that_may_have_missed_more_than_is_remembered_is_told_so() {
        let mut pending = PendingConnects::default();
        pending.begin(KEY);
        for _ in 0..COMMANDS {
            pending.note(&disconnect("43", None, &[]));
        }
        let later = KEY + 1;
        pending.begin(later);
        pending.note(&disconnect("43", None, &[]));
        assert!(pending.finish(KEY, "42", &"c".into()).are_incomplete);
        let missed = pending.finish(later, "43", &"d".into());
        assert_eq!((missed.commands.len(), missed.are_incomplete), (1, false));
    }
}
