//! The error of a server that does not start.

use std::{io, net::SocketAddr};

use super::tls;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The certificate or the key is not usable.
    #[error("tls: {0}")]
    Tls(#[from] tls::TlsError),
}
