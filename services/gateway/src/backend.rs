//! Requests to the user's backend over HTTP: one client for proxies and lifecycle hooks, and the signature that proves that a
//! request came from here.
//!
//! - [`client`]: one POST, its deadline, and exactly how far it came. [`stream`]: its sockets. [`tls`]: whom it trusts.
//! - [`signature`]: Standard Webhooks.

pub mod client;
mod request_trace;
pub mod signature;
#[cfg(test)]
pub(crate) mod simulated;
mod stream;
#[cfg(test)]
pub(crate) mod test_backend;
#[cfg(test)]
mod tests;
pub mod tls;

pub use self::{
    client::{BackendAnswer, BackendClient, BackendTarget, PostError},
    signature::{Signer, SigningSecret, SigningSecretError},
    tls::{BackendTls, BackendTlsError},
};
