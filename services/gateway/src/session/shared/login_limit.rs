//! Failed logins of a client's network: too many, and no more are checked for a while. The limit is the node's.

use crate::disconnect::ErrorCode;

/// The kind of proof with which a client identifies itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// The password of one of `stomp.users`.
    Password,
    /// A connection token.
    Token,
}

/// Failed logins of one client's network. Shared by all its sessions.
pub trait LoginLimit: Send + Sync {
    /// True if this kind of credential is checked now. If it is not, that is counted.
    fn allows(&self, credential: Credential) -> bool;

    /// Counts a wrong credential.
    fn failed(&self, credential: Credential);
}

/// Asks the limit, if there is one.
///
/// # Errors
/// Too many failed.
pub(in crate::session) fn check_login(
    limit: Option<&dyn LoginLimit>,
    credential: Credential,
) -> Result<(), ErrorCode> {
    if limit.is_none_or(|limit| limit.allows(credential)) {
        Ok(())
    } else {
        Err(ErrorCode::TOO_MANY_REQUESTS)
    }
}
