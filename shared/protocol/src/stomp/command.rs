//! The commands of clients. `docs/protocols/stomp.md` §1.

use std::fmt;

use super::version::Version;

/// The commands of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StompCommand {
    /// Opens the session.
    Connect,
    /// Opens the session, as CONNECT does.
    Stomp,
    /// A message to a destination.
    Send,
    /// Asks for the messages of a destination.
    Subscribe,
    /// Ends a subscription.
    Unsubscribe,
    /// A message was handled.
    Ack,
    /// A message was not handled. Not in 1.0.
    Nack,
    /// Opens a transaction.
    Begin,
    /// Carries a transaction out.
    Commit,
    /// Forgets a transaction.
    Abort,
    /// Ends the session.
    Disconnect,
}

/// The longest name of a command, `UNSUBSCRIBE`, in bytes.
pub(super) const COMMAND_MAX_BYTES: usize = 11;

const ALL: [StompCommand; 11] = [
    StompCommand::Connect,
    StompCommand::Stomp,
    StompCommand::Send,
    StompCommand::Subscribe,
    StompCommand::Unsubscribe,
    StompCommand::Ack,
    StompCommand::Nack,
    StompCommand::Begin,
    StompCommand::Commit,
    StompCommand::Abort,
    StompCommand::Disconnect,
];

impl StompCommand {
    /// As it stands on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Stomp => "STOMP",
            Self::Send => "SEND",
            Self::Subscribe => "SUBSCRIBE",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Ack => "ACK",
            Self::Nack => "NACK",
            Self::Begin => "BEGIN",
            Self::Commit => "COMMIT",
            Self::Abort => "ABORT",
            Self::Disconnect => "DISCONNECT",
        }
    }

    /// The command of this name, upper case, as `version` knows it; before the version is known, all.
    pub(super) fn parse(name: &[u8], version: Option<Version>) -> Option<Self> {
        let command = ALL.into_iter().find(|command| command.name().as_bytes() == name)?;
        (command != Self::Nack || version != Some(Version::V1_0)).then_some(command)
    }

    /// CONNECT or STOMP.
    #[must_use]
    pub fn opens(self) -> bool {
        matches!(self, Self::Connect | Self::Stomp)
    }

    /// Whether its frames have a body.
    #[must_use]
    pub fn has_body(self) -> bool {
        self == Self::Send
    }
}

impl fmt::Display for StompCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
