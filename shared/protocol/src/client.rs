//! The client protocol: commands in, replies and pushes out. `docs/protocols/client.md`.
//!
//! Between a transport, which has a frame of bytes, and a session, which thinks in commands:
//!
//! - [`command`]: what a client sends. [`lines`] cuts a frame into objects, [`decode`] reads one of them.
//! - [`reply`]: the answers to commands, written straight into a buffer.
//! - [`push`]: the pushes of the server, publications first of all.
//! - [`plain`]: the same for receivers that send no commands: the objects without envelopes.
//! - [`protobuf`]: the same commands, replies and pushes in the protobuf form.
//! - [`form`]: both forms behind the same names.
//! - [`json`]: the writing of strings, numbers and payloads, and the check of payloads that come from elsewhere.
//!
//! Every writer of JSON appends one object without a newline; [`push_line`] and [`start_line`] put the `\n` between the
//! objects of one frame. Zero and empty fields are left out, and the order of fields is fixed.

use bytes::{BufMut, BytesMut};

pub mod command;
pub mod form;
pub mod json;
pub mod plain;
pub mod protobuf;
pub mod push;
pub mod reply;

pub use crate::escape::escapes;
pub use command::{
    ClientCommand, ClientRequest, Connect, DecodeError, History, Invalid, Malformed, Payload, Publish,
    ReceiverConnect, Recover, Since, Subscribe,
};
pub use command::{decode, lines};
pub use form::{ClientForm, PublicationList};
pub use json::{JSON_DEPTH, JsonError, json_compact_check, json_depth_check};
pub use push::{ClientInfoFields, PING, PayloadKind, PublicationFields, SubscribePush, write_payload};
pub use reply::{ConnectResult, HistoryReply, SubscribeResult};

/// Starts the next object of a frame: appends the separating newline unless the frame is still empty.
pub fn start_line(frame: &mut BytesMut) {
    if !frame.is_empty() {
        frame.put_u8(b'\n');
    }
}

/// Appends one encoded object to a frame, separated by a newline from the one before it.
pub fn push_line(frame: &mut BytesMut, object: &[u8]) {
    start_line(frame);
    frame.extend_from_slice(object);
}
