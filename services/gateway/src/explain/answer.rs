//! The answer: a verdict, the evidence in order of time, advice.

use serde::Serialize;
use utoipa::ToSchema;

use super::reason::{EXIT_HAD, Rank, Reason};
use crate::{clock::unix_ms, node::cluster::event_queries::AskedNode};

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Explanation {
    /// The answer in one line.
    pub verdict: Verdict,
    /// The reason of the verdict.
    #[serde(skip)]
    pub reason: Reason,
    /// The client that the verdict is about; empty if it is about none.
    #[serde(skip)]
    pub client: String,
    /// Everything it follows from, in order of time.
    pub evidence: Vec<EvidenceLine>,
    /// Advice.
    pub advice: Vec<String>,
    /// Exit code of `gorani explain`: 0 had it, 1 had it not, 5 unknown.
    pub exit: u8,
    /// The nodes that were asked.
    pub nodes: Vec<AskedNode>,
    /// False if a node did not answer.
    pub complete: bool,
}

impl Explanation {
    /// True if a pong of its client now would confirm it: the bytes are at least in the outbox, and a ping goes after them.
    pub fn can_be_confirmed(&self) -> bool {
        let is_queued = matches!(
            self.reason,
            Reason::Written | Reason::CaughtUp | Reason::Recovered | Reason::Queued | Reason::WaitsForPoll
        );
        is_queued && !self.client.is_empty()
    }

    /// The client has answered a ping that was sent to it from this node, after so many milliseconds.
    pub fn confirm(&mut self, node: &str, rtt_ms: f64) {
        let text = format!(
            "client {} answered a ping after {rtt_ms:.1} ms: it has read all that was put into its outbox before",
            self.client
        );
        self.verdict.text = self.verdict.text.replacen(self.reason.meaning(), Reason::Confirmed.meaning(), 1);
        self.reason = Reason::Confirmed;
        self.verdict.code = Reason::Confirmed.code();
        self.exit = EXIT_HAD;
        self.note_probe(node, text, Some(Rank::Confirmed));
    }

    /// The client has not answered a ping.
    pub fn note_silence(&mut self) {
        let text = format!("no pong of client {} came", self.client);
        self.note_probe("", text, None);
    }

    fn note_probe(&mut self, node: &str, text: String, rank: Option<Rank>) {
        let code = rank.map(|_| self.reason.code());
        let line =
            EvidenceLine { at: unix_ms(), node: node.to_owned(), text, rank: rank.map(Rank::name), code };
        self.evidence.push(line);
    }
}

/// The answer in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Verdict {
    /// Code of the reason.
    pub code: &'static str,
    /// For people.
    #[serde(rename = "sentence")]
    pub text: String,
}

/// One thing that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct EvidenceLine {
    /// Its time in Unix milliseconds.
    pub at: u64,
    /// Name of the node that knows it.
    pub node: String,
    /// For people.
    #[serde(rename = "sentence")]
    pub text: String,
    /// `had_it`, `confirmed`, `written`, `queued` or `matched`, where it is about the publication.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    pub rank: Option<&'static str>,
    /// Code of a reason that it stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    pub code: Option<&'static str>,
}
