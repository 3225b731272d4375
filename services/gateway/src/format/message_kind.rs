//! The kind of an outgoing message.

/// The kind of an outgoing message, for transports that tell text from binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Binary,
}
