//! Commands of clients, noted only while an operator follows their user.
//!
//! A tail of a user asks every node once a second, and each question lets the node note the user's commands for [`WATCH_LASTS`] more.
//! While nobody is followed, a command costs one look at a number. Payloads are never noted. Decision record 63.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::{
    event::CommandEvent,
    query::{UserEventQuery, UserEvents, later},
    ring::Ring,
};
use crate::clock::unix_ms;

/// Time for which a user's commands are noted after a question about them.
const WATCH_LASTS: Duration = Duration::from_secs(5);
/// Users whose commands are noted at a time; each of the 20 tails of a node may follow one, and a node answers those of all nodes.
const WATCHED_USERS: usize = 256;
/// Commands that are kept, and their bytes.
const COMMANDS: usize = 4096;
const COMMAND_BYTES: usize = 1024 * 1024;
/// Bytes of a channel or a method that are kept.
const NAME_MAX_BYTES: usize = 255;

/// A name of a client as it is kept: cut where it is long.
pub fn kept_name(name: &str) -> Box<str> {
    name.get(..name.floor_char_boundary(NAME_MAX_BYTES)).unwrap_or_default().into()
}

/// The commands of users that are followed now. One for the node: they are few, so a lock is no matter.
#[derive(Debug, Default)]
pub struct CommandLog {
    /// Users that are followed; changes with the lock held.
    watched: AtomicUsize,
    noted: Mutex<NotedCommands>,
}

#[derive(Debug, Default)]
struct NotedCommands {
    users: Vec<WatchedUser>,
    ring: Ring<CommandEvent>,
}

#[derive(Debug)]
struct WatchedUser {
    user: String,
    /// Their commands are noted since then, in milliseconds since the Unix epoch.
    since: u64,
    /// The end of their time.
    end: Instant,
}

impl CommandLog {
    /// True if commands of some user are noted.
    pub fn is_on(&self) -> bool {
        self.watched.load(Ordering::Relaxed) > 0
    }

    /// Notes the user's commands from now on, for a few seconds. False if there are too many such users.
    pub fn watch(&self, user: &str) -> bool {
        self.watch_at(user, Instant::now())
    }

    fn watch_at(&self, user: &str, now: Instant) -> bool {
        let mut noted = self.noted.lock();
        self.forget_ended(&mut noted, now);
        let end = now + WATCH_LASTS;
        if let Some(known) = noted.users.iter_mut().find(|known| known.user == user) {
            known.end = end;
            return true;
        }
        if noted.users.len() >= WATCHED_USERS {
            return false;
        }
        if noted.users.is_empty() {
            noted.ring = Ring::new(COMMANDS, COMMAND_BYTES);
        }
        noted.users.push(WatchedUser { user: user.to_owned(), since: unix_ms(), end });
        self.watched.store(noted.users.len(), Ordering::Relaxed);
        true
    }

    /// Forgets users whose time is over; with the last of them everything.
    fn forget_ended(&self, noted: &mut NotedCommands, now: Instant) {
        noted.users.retain(|known| known.end > now);
        if noted.users.is_empty() {
            *noted = NotedCommands::default();
        }
        self.watched.store(noted.users.len(), Ordering::Relaxed);
    }

    /// Notes a command of this user, if they are followed.
    pub fn note(&self, user: &str, command: impl FnOnce() -> CommandEvent) {
        self.note_at(user, Instant::now(), command);
    }

    fn note_at(&self, user: &str, now: Instant, command: impl FnOnce() -> CommandEvent) {
        if let Some(mut noted) = self.noted_of(user, now) {
            noted.ring.push(CommandEvent { at: unix_ms(), ..command() });
        }
    }

    /// Notes that a command of this user was refused, if they are followed: beside the command, where it is noted. It is told again
    /// if it was told before.
    pub fn note_refused(&self, refused: &CommandEvent) {
        let Some(mut noted) = self.noted_of(&refused.user, Instant::now()) else { return };
        let at = unix_ms();
        let is_it = |known: &&mut CommandEvent| {
            refused.id != 0
                && known.id == refused.id
                && known.code.is_none()
                && known.client == refused.client
        };
        if let Some(known) = noted.ring.newest_first_mut().find(is_it) {
            (known.at, known.code) = (at, refused.code);
            return;
        }
        noted.ring.push(CommandEvent { at, ..refused.clone() });
    }

    fn noted_of(&self, user: &str, now: Instant) -> Option<MutexGuard<'_, NotedCommands>> {
        if !self.is_on() {
            return None;
        }
        let mut noted = self.noted.lock();
        self.forget_ended(&mut noted, now);
        noted.users.iter().any(|known| known.user == user).then_some(noted)
    }

    /// Adds the new commands of the query's user in order, how many older ones do not fit, and since when all are known.
    pub fn add_to(&self, events: &mut UserEvents, query: &UserEventQuery) {
        let noted = self.noted.lock();
        let is_told = |event: &&CommandEvent| {
            let named = event.channel.as_deref();
            let is_of_channel = query.channel.as_deref().is_none_or(|channel| named == Some(channel));
            query.is_new(event.at) && *event.user == *query.user && is_of_channel
        };
        let mut told: Vec<&CommandEvent> = noted.ring.newest_first().filter(is_told).collect();
        // The time of a refused one is later than its place.
        told.sort_by_key(|event| std::cmp::Reverse(event.at));
        let skipped = told.len().saturating_sub(query.limit) as u64;
        told.truncate(query.limit);
        events.commands.extend(told.into_iter().rev().cloned());
        events.skipped += skipped;
        let known_since = match noted.users.iter().find(|known| known.user == query.user) {
            // There are none from before the first question, as the documentation says.
            Some(_) if query.is_first => noted.ring.known_since(0),
            Some(known) => later(noted.ring.known_since(0), Some(known.since)),
            // There were too many users.
            None => Some(query.until),
        };
        events.known_since = later(events.known_since, known_since);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::event_log::query::{EventAnswer, EventQuery};

    fn of(user: &str) -> UserEventQuery {
        UserEventQuery {
            user: user.to_owned(),
            channel: None,
            since: 0,
            seen: BTreeMap::new(),
            until: u64::MAX,
            limit: 500,
            commands: true,
            is_first: false,
        }
    }

    fn command(user: &str, id: u32) -> CommandEvent {
        let channel = Some("a:b".into());
        CommandEvent {
            client: "c".into(),
            user: user.into(),
            command: "publish".into(),
            channel,
            id,
            ..CommandEvent::default()
        }
    }

    fn answered(log: &CommandLog, query: &UserEventQuery) -> UserEvents {
        let mut events = UserEvents { known_since: Some(0), ..UserEvents::default() };
        log.add_to(&mut events, query);
        events
    }

    fn told(log: &CommandLog, user: &str) -> Vec<(u32, Option<u32>)> {
        answered(log, &of(user)).commands.iter().map(|event| (event.id, event.code)).collect()
    }

    #[test]
    fn commands_are_noted_of_users_that_are_followed_and_only_until_the_time_is_over() {
        let (log, now) = (CommandLog::default(), Instant::now());
        log.note_at("u", now, || unreachable!("nobody is followed"));
        assert!(!log.is_on() && log.watch_at("u", now) && log.is_on());
        log.note_at("u", now, || command("u", 1));
        log.note_at("other", now, || unreachable!("of another user"));
        assert_eq!(told(&log, "u"), [(1, None)]);
        let last = now + WATCH_LASTS.saturating_sub(Duration::from_millis(1));
        log.note_at("u", last, || command("u", 2));
        assert_eq!(told(&log, "u").len(), 2);
        log.note_at("u", now + WATCH_LASTS, || unreachable!("its time is over"));
        assert_eq!((log.is_on(), told(&log, "u").len()), (false, 0), "and what was noted is forgotten");
    }

    #[test]
    fn each_question_about_a_user_lengthens_the_time() {
        let (log, now) = (CommandLog::default(), Instant::now());
        let later = now + Duration::from_secs(3);
        assert!(log.watch_at("u", now) && log.watch_at("v", now) && log.watch_at("u", later));
        log.note_at("v", now + WATCH_LASTS, || unreachable!("nobody asks about it any more"));
        log.note_at("u", now + WATCH_LASTS, || command("u", 1));
        assert_eq!(told(&log, "u"), [(1, None)]);
    }

    #[test]
    fn a_refusal_stands_beside_its_command_or_alone_where_that_is_not_noted() {
        let log = CommandLog::default();
        assert!(log.watch("u"));
        log.note("u", || command("u", 1));
        log.note("u", || command("u", 2));
        let refused = |id, code| CommandEvent { code: Some(code), ..command("u", id) };
        log.note_refused(&refused(1, 103));
        log.note_refused(&refused(7, 107));
        log.note_refused(&refused(0, 100));
        let mut all = told(&log, "u");
        all.sort_unstable();
        assert_eq!(all, [(0, Some(100)), (1, Some(103)), (2, None), (7, Some(107))]);
    }

    #[test]
    fn a_command_that_was_told_before_its_refusal_is_told_again_with_it() {
        let log = CommandLog::default();
        assert!(log.watch("u"));
        log.note("u", || command("u", 1));
        let first = UserEventQuery { until: unix_ms() + 1, ..of("u") };
        assert_eq!(answered(&log, &first).commands.len(), 1);
        while unix_ms() < first.until {
            std::hint::spin_loop();
        }
        log.note_refused(&CommandEvent { code: Some(108), ..command("u", 1) });
        let next = UserEventQuery { since: first.until, ..of("u") };
        let codes: Vec<_> = answered(&log, &next).commands.iter().map(|event| event.code).collect();
        assert_eq!(codes, [Some(108)]);
    }

    #[test]
    fn the_users_that_are_followed_and_their_commands_are_bounded() {
        let (log, now) = (CommandLog::default(), Instant::now());
        for number in 0..WATCHED_USERS {
            assert!(log.watch_at(&number.to_string(), now));
        }
        assert!(!log.watch_at("u", now) && log.watch_at("1", now));
        for id in 0..10_000 {
            log.note_at("1", now, || command("1", id));
        }
        let noted = log.noted.lock();
        assert_eq!((noted.ring.newest_first().count(), kept_name(&"고".repeat(999)).len()), (COMMANDS, 255));
        assert!(noted.ring.bytes() <= COMMAND_BYTES);
    }

    #[test]
    fn commands_that_were_not_kept_are_no_silent_loss() {
        let (log, now) = (CommandLog::default(), Instant::now());
        let began = unix_ms();
        assert!(log.watch_at("u", now));
        log.note_at("u", now, || command("u", 1));
        let since = |is_first| answered(&log, &UserEventQuery { is_first, ..of("u") }).known_since;
        assert_eq!(since(true), Some(0), "all that a first question can have");
        assert!(since(false) >= Some(began) && since(false) <= Some(unix_ms()));
        // Nobody asked for a while.
        assert!(log.watch_at("other", now + WATCH_LASTS));
        assert_eq!(since(false), Some(u64::MAX), "up to now");
        assert!(log.watch_at("u", now + WATCH_LASTS));
        for id in 0..=COMMANDS {
            log.note_at("other", now + WATCH_LASTS, || command("other", u32::try_from(id).unwrap()));
        }
        let oldest = log.noted.lock().ring.newest_first().last().unwrap().at;
        assert_eq!(since(true), Some(oldest + 1));
        assert!(since(false) >= since(true) && since(false) <= Some(unix_ms() + 1));
    }

    #[test]
    fn a_question_about_a_channel_gets_the_commands_that_name_it() {
        let log = CommandLog::default();
        assert!(log.watch("u"));
        log.note("u", || command("u", 1));
        log.note("u", || CommandEvent { channel: None, method: Some("m".into()), ..command("u", 2) });
        let of_channel = answered(&log, &UserEventQuery { channel: Some("a:b".to_owned()), ..of("u") });
        assert_eq!((of_channel.commands.len(), of_channel.commands[0].id, of_channel.skipped), (1, 1, 0));
        let cut = answered(&log, &UserEventQuery { limit: 1, ..of("u") });
        assert_eq!(
            (cut.commands.len(), cut.commands[0].id, cut.skipped),
            (1, 2, 1),
            "the older one is counted"
        );
        assert_eq!(told(&log, "u"), [(1, None), (2, None)], "also within a millisecond");
    }

    #[test]
    fn nodes_of_the_version_before_ask_for_no_commands_and_answer_without() {
        let asked = json!({"of_user": {"user": "u", "channel": null, "since": 1, "seen": {}, "until": 0, "limit": 5}});
        let query = serde_json::from_value(asked).unwrap();
        assert!(matches!(query, EventQuery::OfUser(UserEventQuery { commands: false, .. })));
        let answer = json!({"of_user": {"sessions": [], "subscriptions": [], "skipped": 0, "until": 9, "known_since": 1}});
        let read: EventAnswer = serde_json::from_value(answer.clone()).unwrap();
        assert!(matches!(&read, EventAnswer::OfUser(events) if events.commands.is_empty()));
        assert_eq!(serde_json::to_value(read).unwrap(), answer, "and ours is read by them");
    }
}
