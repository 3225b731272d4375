//! The limit of failed logins, as a session asks for it: the node counts them by the client's network.

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
pub(in crate::session) fn check(
    limit: Option<&dyn LoginLimit>,
    credential: Credential,
) -> Result<(), ErrorCode> {
    if limit.is_none_or(|limit| limit.allows(credential)) {
        Ok(())
    } else {
        Err(ErrorCode::TOO_MANY_REQUESTS)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    //! A limit for the tests of sessions.

    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use parking_lot::Mutex;

    use super::*;

    /// So many failures are allowed; those that were counted, and how often it was asked.
    pub(crate) struct Failures {
        most: usize,
        pub(crate) asked: AtomicUsize,
        pub(crate) counted: Mutex<Vec<Credential>>,
    }

    impl Failures {
        pub(crate) fn at_most(most: usize) -> Arc<Self> {
            Arc::new(Self { most, asked: AtomicUsize::new(0), counted: Mutex::default() })
        }
    }

    impl LoginLimit for Failures {
        fn allows(&self, _credential: Credential) -> bool {
            self.asked.fetch_add(1, Ordering::Relaxed);
            self.counted.lock().len() < self.most
        }

        fn failed(&self, credential: Credential) {
            self.counted.lock().push(credential);
        }
    }
}
