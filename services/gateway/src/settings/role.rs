//! The roles of those who operate: what a password, a key or a value of a provider's claim lets them do. `docs/admin.md`.

use serde::{Deserialize, Serialize};

/// The right to see, or to act too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminRole {
    /// Sees.
    #[default]
    Viewer,
    /// Sees and acts.
    Operator,
}

impl AdminRole {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        }
    }
}
