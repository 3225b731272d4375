//! The log lines about refusals: why clients are refused, and which setting decides it. What a client is answered stays terse; the
//! line for the operator is precise. `docs/architecture.md` §9.8.
//!
//! Clients cause these lines, and anybody can be a client. So each cause and subject (an origin, a channel) is logged once, and
//! then at most once a minute with the count of what came since. The subjects of a cause are bounded; those beyond are counted
//! together. Callers pass neither tokens nor payloads.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// The same cause and subject is logged at most this often.
const REPEAT_AFTER: Duration = Duration::from_secs(60);
/// Subjects of one cause that have lines of their own within that time; more are counted in one line.
const SUBJECTS: usize = 32;
/// Characters of a subject in the log; clients choose them.
const SUBJECT_CHARS: usize = 128;

/// Why clients are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogCause {
    /// The page's origin may not connect. Subject: the origin.
    Origin,
    /// A client without a token, or with one that names no user. Subject: what is missing.
    Anonymous,
    /// A connection token that proves nothing. Subject: why.
    ConnectionToken,
    /// A token whose time is over, or still to come. Subject: which.
    TokenTime,
    /// A subscription was refused. Subject: the channel.
    Subscribe,
    /// A publication of a client was refused. Subject: the channel.
    Publish,
    /// A read of presence was refused. Subject: the channel.
    Presence,
    /// A read of history was refused. Subject: the channel.
    History,
    /// A connection gets no personal channel. Subject: the name in the settings.
    PersonalChannel,
    /// The login of a STOMP client was refused. Subject: the login.
    StompLogin,
    /// A STOMP destination that cannot be served. Subject: the destination.
    StompDestination,
    /// A call to the backend failed. Subject: the proxy, and why.
    Proxy,
}

impl LogCause {
    const ALL: [Self; 12] = [
        Self::Origin,
        Self::Anonymous,
        Self::ConnectionToken,
        Self::TokenTime,
        Self::Subscribe,
        Self::Publish,
        Self::Presence,
        Self::History,
        Self::PersonalChannel,
        Self::StompLogin,
        Self::StompDestination,
        Self::Proxy,
    ];

    /// The field `cause` of its lines.
    fn label(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Anonymous => "anonymous",
            Self::ConnectionToken => "connection_token",
            Self::TokenTime => "token_time",
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::Presence => "presence",
            Self::History => "history",
            Self::PersonalChannel => "personal_channel",
            Self::StompLogin => "stomp_login",
            Self::StompDestination => "stomp_destination",
            Self::Proxy => "proxy",
        }
    }

    /// True if clients cause it in everyday life, whatever the settings are.
    fn is_everyday(self) -> bool {
        matches!(
            self,
            Self::Anonymous
                | Self::TokenTime
                | Self::Subscribe
                | Self::Publish
                | Self::Presence
                | Self::History
        )
    }
}

/// One line of the log.
#[derive(Debug, PartialEq, Eq)]
struct LogLine {
    cause: LogCause,
    subject: Box<str>,
    message: Box<str>,
    /// Refusals that it stands for.
    count: u64,
}

impl LogLine {
    fn write(&self) {
        let Self { cause, subject, message, count } = self;
        let label = cause.label();
        if cause.is_everyday() {
            tracing::info!(cause = label, subject = &**subject, count, "{message}");
        } else {
            tracing::warn!(cause = label, subject = &**subject, count, "{message}");
        }
    }
}

/// The line of a subject, and how often it would have come again.
struct Repeated {
    message: Box<str>,
    written_at: Instant,
    count: u64,
}

impl Repeated {
    /// The count for the line that is due now, and starts over.
    fn take_due(&mut self, now: Instant) -> Option<u64> {
        let is_due = self.count > 0 && now.duration_since(self.written_at) >= REPEAT_AFTER;
        is_due.then(|| {
            self.written_at = now;
            std::mem::take(&mut self.count)
        })
    }

    /// True if the next refusal is as good as the first one.
    fn is_over(&self, now: Instant) -> bool {
        self.count == 0 && now.duration_since(self.written_at) >= REPEAT_AFTER
    }
}

#[derive(Default)]
struct Subjects {
    known: HashMap<Box<str>, Repeated>,
    /// All that are beyond the bound.
    others: Option<Repeated>,
}

/// The refusals that were logged lately, by cause and subject. Shared by all workers of a node; touched by refusals alone.
#[derive(Default)]
pub struct RefusalLog([Mutex<Subjects>; LogCause::ALL.len()]);

impl RefusalLog {
    /// Logs a refusal, or counts it for a later line. `message` makes the line of the printable subject; whatever else in it comes
    /// from a client is to be escaped (`{:?}`).
    pub fn write(&self, cause: LogCause, subject: &str, message: impl FnOnce(&str) -> String) {
        if let Some(line) = self.note(Instant::now(), cause, subject, message) {
            line.write();
        }
    }

    /// Logs a page that may not connect. `origin`: `None` where the request shows none; `setting`: what lists those that may.
    pub fn write_origin(&self, origin: Option<&str>, host: &str, setting: &str) {
        self.write(LogCause::Origin, origin.unwrap_or("none"), |shown| match origin {
            Some(_) => format!("origin refused: {shown} may not connect to {host:?}; add it to {setting}"),
            None => format!(
                "page refused: a request of a script tag, a frame or a form shows no origin, and its page is not known to be \
                 of {setting} or of {host:?}"
            ),
        });
    }

    /// Logs what came again since its last line, where a line is due. The node calls it now and then.
    pub fn write_due(&self, now: Instant) {
        self.due(now).iter().for_each(LogLine::write);
    }

    fn note(
        &self,
        now: Instant,
        cause: LogCause,
        subject: &str,
        message: impl FnOnce(&str) -> String,
    ) -> Option<LogLine> {
        let subject = printable(subject);
        let mut subjects = self.0.get(cause as usize)?.lock();
        if let Some(known) = subjects.known.get_mut(&*subject) {
            known.count += 1;
            return None;
        }
        if subjects.known.len() >= SUBJECTS {
            // The first of them waits like the others: the log has just been told of this cause many times.
            let first =
                || Repeated { message: "the same with other subjects".into(), written_at: now, count: 0 };
            subjects.others.get_or_insert_with(first).count += 1;
            return None;
        }
        let message: Box<str> = message(&subject).into();
        let known = Repeated { message: message.clone(), written_at: now, count: 0 };
        subjects.known.insert(subject.clone(), known);
        Some(LogLine { cause, subject, message, count: 1 })
    }

    /// The lines that are due now. Subjects that did not come again for a minute are forgotten.
    fn due(&self, now: Instant) -> Vec<LogLine> {
        let mut due = Vec::new();
        for (cause, subjects) in LogCause::ALL.into_iter().zip(&self.0) {
            let mut subjects = subjects.lock();
            let Subjects { known, others } = &mut *subjects;
            let line = |subject: &str, repeated: &mut Repeated| {
                let count = repeated.take_due(now)?;
                Some(LogLine { cause, subject: subject.into(), message: repeated.message.clone(), count })
            };
            known.retain(|_, repeated| !repeated.is_over(now));
            due.extend(known.iter_mut().filter_map(|(subject, repeated)| line(subject, repeated)));
            due.extend(others.as_mut().and_then(|others| line("", others)));
            if others.as_ref().is_some_and(|others| others.is_over(now)) {
                *others = None;
            }
            if known.is_empty() {
                known.shrink_to_fit();
            }
        }
        due
    }
}

/// The beginning of a text, on one line and without anything that a terminal would act on.
pub fn printable(text: &str) -> Box<str> {
    let mut printable: String = text.chars().take(SUBJECT_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(SUBJECT_CHARS).is_some() {
        printable.push('…');
    }
    printable.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(cause: LogCause, subject: &str, count: u64) -> LogLine {
        LogLine { cause, subject: subject.into(), message: format!("{subject} refused").into(), count }
    }

    fn note(log: &RefusalLog, now: Instant, cause: LogCause, subject: &str) -> Option<LogLine> {
        log.note(now, cause, subject, |subject| format!("{subject} refused"))
    }

    #[test]
    fn each_cause_has_its_own_entry_and_label() {
        for (index, cause) in LogCause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, index);
            assert_eq!(LogCause::ALL.iter().filter(|other| other.label() == cause.label()).count(), 1);
        }
    }

    #[test]
    fn the_first_refusal_is_logged_at_once_and_the_others_once_a_minute_with_their_count() {
        let (log, now) = (RefusalLog::default(), Instant::now());
        let (first, other) = ("https://a.example", "https://b.example");
        assert_eq!(note(&log, now, LogCause::Origin, first), Some(line(LogCause::Origin, first, 1)));
        assert_eq!(note(&log, now, LogCause::Origin, other), Some(line(LogCause::Origin, other, 1)));
        assert_eq!(note(&log, now, LogCause::Publish, first), Some(line(LogCause::Publish, first, 1)));
        for _ in 0..1000 {
            assert_eq!(note(&log, now, LogCause::Origin, first), None);
        }
        assert_eq!(log.due(now + REPEAT_AFTER / 2), []);
        let later = now + REPEAT_AFTER;
        assert_eq!(log.due(later), [line(LogCause::Origin, first, 1000)]);
        assert_eq!(note(&log, later, LogCause::Origin, first), None);
        assert_eq!(log.due(later + REPEAT_AFTER / 2), []);
        assert_eq!(log.due(later + REPEAT_AFTER), [line(LogCause::Origin, first, 1)]);
    }

    #[test]
    fn a_subject_that_did_not_come_again_is_forgotten_and_new_when_it_comes_later() {
        let (log, now) = (RefusalLog::default(), Instant::now());
        assert!(note(&log, now, LogCause::Subscribe, "news").is_some());
        assert_eq!(log.due(now + REPEAT_AFTER), []);
        assert!(log.0.iter().all(|subjects| subjects.lock().known.capacity() == 0));
        assert!(note(&log, now + REPEAT_AFTER, LogCause::Subscribe, "news").is_some());
    }

    #[test]
    fn subjects_beyond_the_bound_take_no_memory_and_are_one_line_a_minute() {
        let (log, now) = (RefusalLog::default(), Instant::now());
        let lines = (0..100_000).filter_map(|number| {
            note(&log, now, LogCause::Subscribe, &format!("{number}{}", "x".repeat(10_000)))
        });
        assert_eq!(lines.count(), SUBJECTS);
        for subjects in &log.0 {
            let subjects = subjects.lock();
            assert!(subjects.known.len() <= SUBJECTS);
            assert!(subjects.known.keys().all(|subject| subject.chars().count() <= SUBJECT_CHARS + 1));
        }
        assert_eq!(log.due(now), []);
        let due = log.due(now + REPEAT_AFTER);
        let counts: Vec<(&str, u64)> = due.iter().map(|line| (&*line.subject, line.count)).collect();
        assert_eq!(counts, [("", 100_000 - SUBJECTS as u64)]);
        assert!(note(&log, now + REPEAT_AFTER, LogCause::Subscribe, "news").is_some(), "there is room again");
    }

    #[test]
    fn a_subject_stays_on_one_line_and_does_not_move_a_terminal() {
        assert_eq!(&*printable("a\r\nb\u{1b}[2J\"채팅방"), "a\\r\\nb\\u{1b}[2J\\\"채팅방");
        assert_eq!(printable(&"\n".repeat(1000)).len(), 2 * SUBJECT_CHARS + '…'.len_utf8());
    }
}
