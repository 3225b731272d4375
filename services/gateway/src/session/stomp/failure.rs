//! Failures: what an ERROR frame says, and how the connection ends. `docs/protocols/stomp.md` §2.4, §9.3 and §10.

use std::borrow::Cow;

use gorani_protocol::stomp::{ServerCommand, StompCommand, StompDecodeError, VERSION_LIST, encode};
use rand::RngExt;

use super::destination::DestinationError;
use crate::{
    disconnect::{Disconnect, ErrorCode, Refused},
    format::message_headers::FrameStyle,
    session::{Actions, MessageKind},
};

/// A client that comes back waits a random part of this, so that those of a node that goes down do not come together.
const RETURN_WITHIN_MS: u64 = 5000;

/// Why a session ends with an ERROR.
#[derive(Debug)]
pub(super) struct Failure {
    /// The disconnect with which the transport closes.
    pub(super) disconnect: Disconnect,
    text: Cow<'static, str>,
    code: Option<u32>,
    command: Option<StompCommand>,
    receipt: Option<Box<str>>,
    lists_versions: bool,
}

impl Failure {
    pub(super) fn new(disconnect: Disconnect, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            disconnect,
            text: text.into(),
            code: None,
            command: None,
            receipt: None,
            lists_versions: false,
        }
    }

    /// The client broke a rule of the protocol.
    pub(super) fn bad(text: &'static str) -> Self {
        Self::new(Disconnect::BAD_REQUEST, text)
    }

    /// A request is over a limit.
    pub(super) fn limit(text: &'static str) -> Self {
        Self { code: Some(ErrorCode::LIMIT_EXCEEDED.code), ..Self::new(Disconnect::BAD_REQUEST, text) }
    }

    /// No version in common.
    pub(super) fn no_version() -> Self {
        Self { lists_versions: true, ..Self::bad("no version in common") }
    }

    /// The end of the session, for a reason of the table.
    pub(super) fn of_disconnect(disconnect: Disconnect) -> Self {
        let text =
            if disconnect.reason.is_empty() { "the session ends".into() } else { disconnect.reason.clone() };
        Self::new(disconnect, text)
    }

    /// The client's bytes are not STOMP, or too many.
    pub(super) fn of_decoder(error: StompDecodeError, receipt: Option<&str>) -> Self {
        Self::new(Disconnect::BAD_REQUEST, error.to_string()).with_receipt(receipt)
    }

    /// Names the frame that failed.
    pub(super) fn of(self, command: StompCommand, receipt: Option<&str>) -> Self {
        Self { command: Some(command), ..self.with_receipt(receipt) }
    }

    /// Names the receipt that was asked for, unless there is one already.
    pub(super) fn with_receipt(mut self, receipt: Option<&str>) -> Self {
        if self.receipt.is_none() {
            self.receipt = receipt.map(Into::into);
        }
        self
    }

    /// Writes the ERROR.
    pub(super) fn write(&self, style: FrameStyle, actions: &mut Actions) {
        actions.message(MessageKind::Text, |out| {
            let mut frame = encode::frame(ServerCommand::Error, style.version, out)
                .header("message", &self.text)
                .header("content-type", "text/plain");
            if let Some(receipt) = &self.receipt {
                frame = frame.header("receipt-id", receipt);
            }
            if self.lists_versions {
                frame = frame.header("version", VERSION_LIST);
            }
            if let Some(code) = self.code {
                frame = frame.number("code", code.into());
            }
            if self.disconnect.reconnects() {
                frame = frame.header("reconnect", "true");
                frame =
                    frame.number("reconnect-after", crate::random::rng().random_range(0..RETURN_WITHIN_MS));
            }
            let body = match (self.command, self.lists_versions) {
                (_, true) => format!("Supported versions are {VERSION_LIST}"),
                (Some(command), _) => format!("{command}: {}", self.text),
                (None, _) => self.text.to_string(),
            };
            frame.body(body.as_bytes());
            style.end_frame(out);
        });
    }
}

impl From<ErrorCode> for Failure {
    fn from(error: ErrorCode) -> Self {
        let disconnect = match error {
            error if error.temporary => Disconnect::CONNECTION_CLOSED,
            ErrorCode::PERMISSION_DENIED | ErrorCode::UNAUTHORIZED => Disconnect::PERMISSION_DENIED,
            _ => Disconnect::BAD_REQUEST,
        };
        Self { code: Some(error.code), ..Self::new(disconnect, error.message) }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Error(error) => error.into(),
            Refused::Disconnect(disconnect) => Self::of_disconnect(disconnect),
        }
    }
}

impl From<DestinationError> for Failure {
    fn from(error: DestinationError) -> Self {
        Self {
            code: Some(ErrorCode::BAD_REQUEST.code),
            ..Self::new(Disconnect::BAD_REQUEST, error.to_string())
        }
    }
}
