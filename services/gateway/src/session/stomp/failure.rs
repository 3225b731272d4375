//! Failures: what an ERROR frame says, and how the connection ends. `docs/protocols/stomp.md` §2.4, §9.3 and §10.

use std::borrow::Cow;

use gorani_protocol::stomp::{ServerCommand, StompCommand, StompDecodeError, VERSION_LIST, encode};
use rand::RngExt;

use super::destination::DestinationError;
use crate::{
    disconnect::{Disconnect, ErrorCode, Refused},
    format::message_headers::FrameStyle,
    refusal_log::printable,
    session::{Actions, MessageKind, shared::policy::Denial},
};

/// A client that comes back waits a random part of this, so that those of a node that goes down do not come together.
const RETURN_WITHIN_MS: u64 = 5000;

/// Why a session ends with an ERROR.
#[derive(Debug)]
pub(super) struct Failure {
    /// The disconnect with which the transport closes.
    pub(super) disconnect: Disconnect,
    text: Cow<'static, str>,
    pub(super) code: Option<u32>,
    command: Option<StompCommand>,
    receipt: Option<Box<str>>,
    lists_versions: bool,
    /// True if the destination of the frame names nothing that is served.
    is_not_served: bool,
    /// Most failures have none, and one may wait in its session for long.
    details: Option<Box<FailureDetails>>,
}

/// Details in the body of an ERROR beside its message.
#[derive(Debug, Default)]
struct FailureDetails {
    destination: String,
    reason: String,
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
            is_not_served: false,
            details: None,
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

    /// The destination names nothing that is served.
    pub(super) fn not_served(error: ErrorCode) -> Self {
        Self { is_not_served: true, ..Self::from(error) }
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

    /// Names the destination of the frame that failed.
    pub(super) fn about(mut self, destination: &str) -> Self {
        self.details.get_or_insert_default().destination = printable(destination).into();
        self
    }

    /// Says why in words, and which option would have let it pass.
    pub(super) fn because(mut self, reason: impl Into<String>) -> Self {
        self.details.get_or_insert_default().reason = reason.into();
        self
    }

    /// True if a frame failed since its destination names nothing that is served.
    pub(super) fn is_bad_destination(&self) -> bool {
        let codes = [ErrorCode::BAD_REQUEST.code, ErrorCode::UNKNOWN_CHANNEL.code];
        self.is_not_served || self.code.is_some_and(|code| codes.contains(&code))
    }

    /// The body of the ERROR: the frame and its destination, the message, the reason.
    pub(super) fn description(&self) -> String {
        if self.lists_versions {
            return format!("Supported versions are {VERSION_LIST}");
        }
        let mut description = String::new();
        if let Some(command) = self.command {
            description.push_str(&command.to_string());
        }
        let details = self.details.as_deref();
        if let Some(details) = details.filter(|details| !details.destination.is_empty()) {
            description.push_str(if description.is_empty() { "" } else { " " });
            description.push_str(&details.destination);
        }
        description.push_str(if description.is_empty() { "" } else { ": " });
        description.push_str(&self.text);
        if let Some(details) = details.filter(|details| !details.reason.is_empty()) {
            description.push_str(": ");
            description.push_str(&details.reason);
        }
        description
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
            frame.body(self.description().as_bytes());
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
            Refused::Backend(error) => {
                let disconnect = if error.temporary {
                    Disconnect::CONNECTION_CLOSED
                } else {
                    Disconnect::PERMISSION_DENIED
                };
                Self { code: Some(error.code), ..Self::new(disconnect, error.message) }
            }
            Refused::Disconnect(disconnect) => Self::of_disconnect(disconnect),
        }
    }
}

impl From<Denial> for Failure {
    fn from(denial: Denial) -> Self {
        Self::from(denial.refused).because(denial.reason)
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
