//! The decision of a guard about a handshake: admission with attributes, or the reason of a refusal.

use super::Attributes;

/// The attributes and the principal that a guard gives to a session it admits.
#[derive(Debug, Default)]
pub struct Admission {
    pub(super) principal: Option<String>,
    pub(super) attributes: Attributes,
}

impl Admission {
    /// Says who the client is. The backends' API then reaches the session under this user, for example to disconnect it.
    pub fn set_principal(&mut self, principal: impl Into<String>) {
        self.principal = Some(principal.into());
    }

    /// The client's principal, if it was set already.
    pub fn principal(&self) -> Option<&str> {
        self.principal.as_deref()
    }

    /// The attributes that the session begins with.
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }
}

/// A handshake that leads nowhere: the HTTP answer to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence} ({status})")]
pub struct Refusal {
    status: u16,
    sentence: String,
}

impl Refusal {
    /// Refuses with an HTTP status and a sentence for people, the body of the answer. A status that is neither 4xx nor
    /// 5xx does not refuse anything; it becomes 500.
    pub fn new(status: u16, sentence: impl Into<String>) -> Self {
        let status = if (400..600).contains(&status) { status } else { 500 };
        Self { status, sentence: sentence.into() }
    }

    /// The HTTP status: 400–599.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The sentence.
    pub fn sentence(&self) -> &str {
        &self.sentence
    }
}
