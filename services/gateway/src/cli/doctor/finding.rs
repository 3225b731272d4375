//! One thing that was looked at.

use serde::Serialize;

/// The result of a look. The order is that of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli) enum FindingState {
    /// As it should be.
    Fine,
    /// It could not be looked at.
    Unknown,
    /// It will hurt under load or later.
    Warning,
    /// It hurts.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Finding {
    /// Its stable name.
    pub(in crate::cli) check: &'static str,
    /// Its state.
    pub(in crate::cli) state: FindingState,
    /// The observation.
    pub(in crate::cli) text: String,
    /// The remedy; empty if nothing is wrong.
    pub(in crate::cli) advice: String,
}

impl Finding {
    /// All is well.
    pub(super) fn fine(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, state: FindingState::Fine, text: text.into(), advice: String::new() }
    }

    /// It could not be looked at.
    pub(super) fn unknown(check: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, state: FindingState::Unknown, text: text.into(), advice: advice.into() }
    }

    /// It will hurt.
    pub(super) fn warning(check: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, state: FindingState::Warning, text: text.into(), advice: advice.into() }
    }

    /// It hurts.
    pub(super) fn bad(check: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, state: FindingState::Bad, text: text.into(), advice: advice.into() }
    }

    /// As a line of JSON.
    pub(in crate::cli) fn line(&self) -> String {
        serde_json::to_string(self).map(|line| line + "\n").unwrap_or_default()
    }
}
