//! The errors of commands, and their exit codes.

use std::{io, net::SocketAddr};

use gorani_auth::SignError;

use super::pinned;
use crate::{RunError, node::NodeError, server::ServerError, settings::SettingsError};

/// Exit code for bad settings.
const EXIT_SETTINGS: u8 = 78;

/// Why a command fails.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The settings are refused.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The node does not run.
    #[error(transparent)]
    Run(RunError),
    /// The logging directives are not understood.
    #[error("settings: log.level: {0}")]
    Log(#[from] tracing_subscriber::filter::ParseError),
    /// The node is not healthy.
    #[error("health: {0}")]
    Health(#[from] Unhealthy),
    /// The token cannot be made.
    #[error("token: {0}")]
    Token(#[from] TokenFailed),
}

impl From<RunError> for CliError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Node(NodeError::Settings(error)) => Self::Settings(error),
            error => Self::Run(error),
        }
    }
}

impl CliError {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) | Self::Log(_) => EXIT_SETTINGS,
            // Files that the settings name: starting again does not help before they are changed.
            Self::Run(RunError::Server(ServerError::Tls(_))) => EXIT_SETTINGS,
            Self::Run(_) | Self::Health(_) | Self::Token(_) => 1,
        }
    }
}

/// Why the answer was not yes.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// The node takes a free port, which no other process can know.
    #[error("http.address has port 0, so it is not known where the node listens")]
    PortUnknown,
    /// No answer.
    #[error("no answer from {0}: {1}")]
    NoAnswer(SocketAddr, #[source] io::Error),
    /// The certificate cannot be read, or the node shows another one.
    #[error("tls: {0}")]
    Tls(#[from] pinned::PinError),
    /// The node says no.
    #[error("{0}")]
    Answered(String),
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum TokenFailed {
    /// No secret to sign with.
    #[error("token.hmac_secret is not set; name a settings file with --config")]
    NoSecret,
    /// The info is not JSON.
    #[error("--info is not JSON: {0}")]
    Info(#[from] serde_json::Error),
    /// Signing failed.
    #[error(transparent)]
    Sign(#[from] SignError),
}
