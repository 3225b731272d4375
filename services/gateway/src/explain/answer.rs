//! The answer: a verdict, the evidence in order of time, advice.

use serde::Serialize;
use utoipa::ToSchema;

use crate::node::cluster::event_queries::AskedNode;

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Explanation {
    /// The answer in one line.
    pub verdict: Verdict,
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
    /// `had_it`, `written`, `queued` or `matched`, where it is about the publication.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    pub rank: Option<&'static str>,
    /// Code of a reason that it stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    pub code: Option<&'static str>,
}
