//! The reasons why a user got a publication or did not: a code, its meaning, and what to do. `docs/explain.md` holds the same table,
//! and a test keeps the two equal.

/// The exit code of `gorani explain` where the user had the publication.
pub const EXIT_HAD: u8 = 0;
/// The same where the user did not have it.
pub const EXIT_NOT: u8 = 1;
/// The same where it is not known.
pub const EXIT_UNKNOWN: u8 = 5;

/// Makes [`Reason`] from its table.
macro_rules! reasons {
    ($($name:ident $code:literal $exit:ident $meaning:literal, $advice:literal;)+) => {
        /// Why a user got a publication, or did not.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)+
        }

        impl Reason {
            /// All of them.
            pub const ALL: [Self; [$($code),+].len()] = [$(Self::$name),+];

            /// The code in answers.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// Its meaning.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)+ }
            }

            /// Advice; empty if nothing is wrong.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)+ }
            }

            /// The exit code of the command.
            pub const fn exit(self) -> u8 {
                match self { $(Self::$name => $exit,)+ }
            }
        }
    };
}

reasons! {
    HadIt "had_it" EXIT_HAD "the client itself came back with a position at or after the publication", "";
    Confirmed "confirmed" EXIT_HAD "the client has answered a ping that was sent after it", "";
    Written "written" EXIT_HAD "the kernel took the bytes; the client has not confirmed them", "";
    CaughtUp "caught_up" EXIT_HAD "it was missing after a gap and was read from history, then written", "";
    Recovered "recovered" EXIT_HAD "the user was away and got it from history on return", "";
    Duplicate "duplicate" EXIT_HAD "the client had it already, by its position: it came once more and was left out", "";
    NotAccepted "not_accepted" EXIT_NOT "the broker never accepted it", "look at the error that the publisher got; repeat the publish with an idempotency key";
    NoSuchChannel "no_such_channel" EXIT_NOT "the channel's namespace does not exist", "add the namespace to channel.namespaces, or mend the name";
    NotRecovered "not_recovered" EXIT_NOT "the user came back, and what was missed could not be brought", "keep more history: history_size and history_ttl of the namespace";
    Overflow "overflow" EXIT_NOT "the client's outbox was full: it ended with 3008 before the bytes are known to have left", "the client or its network reads too slowly: send less, or raise client.outbox_max_bytes; let clients recover";
    UnwrittenAtEnd "unwritten_at_end" EXIT_NOT "it waited in the outbox when the connection ended", "let clients subscribe with recover, so that they get it when they return";
    Told "told" EXIT_NOT "the subscription lost its position in the stream, and the client was told so (2500, 3010)", "the client subscribes again by itself; look at the gaps in the evidence for the cause";
    Gap "gap" EXIT_NOT "it has not reached the subscription yet: a gap is being closed, or it is under way", "ask again in a moment; look at the broker if it stays so";
    WaitsForPoll "waits_for_poll" EXIT_NOT "it waits in the outbox for the client's next request", "the client does not poll: look whether it is still there";
    Queued "queued" EXIT_NOT "it waits in the outbox of a connection that does not read", "the client or its network reads too slowly";
    HeldBack "held_back" EXIT_NOT "it waits until the reply of the client's subscribe is written", "ask again in a moment; look at the reads of history if it stays so";
    Excluded "excluded" EXIT_NOT "the publication excluded the client: exclude_client names it", "publish without exclude_client if its own client shall have it";
    SubscribedLater "subscribed_later" EXIT_NOT "the subscription began after it, without recovery", "subscribe with recover and the last position";
    SubscribeRefused "subscribe_refused" EXIT_NOT "the subscribe was refused", "look at the error code: token, option of the namespace, or limit";
    NotSubscribed "not_subscribed" EXIT_NOT "the user was connected and not subscribed to the channel", "look at when the client subscribed before and after";
    NotConnected "not_connected" EXIT_NOT "the user had no connection", "let clients subscribe with recover, so that they get it when they return";
    Matched "matched" EXIT_UNKNOWN "the user was subscribed then; without a position nothing more is known", "give the namespace history_size and history_ttl, and let clients use positioned or recoverable subscriptions";
    NoInterest "no_interest" EXIT_UNKNOWN "a node has no subscriber of the channel, so the broker sends it nothing", "";
    TooOld "too_old" EXIT_UNKNOWN "it has left the history, and nothing else tells", "keep more history: history_size and history_ttl of the namespace";
    WrongEpoch "wrong_epoch" EXIT_UNKNOWN "it belongs to an earlier life of the channel", "offsets of different epochs cannot be compared: ask for one of this epoch";
    NodeLost "node_lost" EXIT_UNKNOWN "a node has left the cluster since, and what it knew is gone with it", "look at the log of the node";
    Unknown "unknown" EXIT_UNKNOWN "a node did not answer, or does not remember so far back", "ask again when all nodes answer; raise the sizes in event_log";
}

/// The certainty that a client has a publication. Never more is said than is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// The client was subscribed then.
    Matched,
    /// It waits in the client's outbox.
    Queued,
    /// The kernel took the bytes.
    Written,
    /// The client has answered a ping that was sent after it.
    Confirmed,
    /// The client came back with a position at or after it.
    HadIt,
}

impl Rank {
    /// The word in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::Queued => "queued",
            Self::Written => "written",
            Self::Confirmed => "confirmed",
            Self::HadIt => "had_it",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_page_of_explain_has_every_reason_with_its_code_meaning_exit_and_advice() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/explain.md")).unwrap();
        let rows = Reason::ALL.map(|reason| {
            let advice = if reason.advice().is_empty() { "–" } else { reason.advice() };
            format!("| `{}` | {} | {} | {advice} |\n", reason.code(), reason.exit(), reason.meaning())
        });
        assert!(page.contains(&rows.concat()), "the table is to be:\n{}", rows.concat());
    }
}
