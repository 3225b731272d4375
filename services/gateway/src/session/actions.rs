//! The output of a session in one turn, until the connection takes it: messages to send, then actions to carry out.

use std::sync::Arc;

use bytes::BytesMut;

use super::action::Action;
use crate::{
    disconnect::Disconnect,
    format::{encoding::SubscriptionFormat, message_headers::MessageKind},
    memory::ReplyPermit,
};

/// The output of a session in one turn: messages to send, in order, then actions, in order.
#[derive(Debug, Default)]
pub struct Actions {
    bytes: BytesMut,
    /// Kind and end of each message in `bytes`.
    messages: Vec<(MessageKind, usize)>,
    list: Vec<Action>,
    /// The permit for the messages, if they are large.
    permit: Option<ReplyPermit>,
}

/// Lines of one turn travel in one message until it has this size: fewer frames, yet the client can start early.
const JOINED_LINES_BYTES: usize = 16 * 1024;

/// Memory that is kept for the next turn; what a large message took is given back.
const KEPT_BYTES: usize = 64 * 1024;

impl Actions {
    /// Writes one message.
    pub fn message(&mut self, kind: MessageKind, write: impl FnOnce(&mut BytesMut)) {
        write(&mut self.bytes);
        self.messages.push((kind, self.bytes.len()));
    }

    /// Writes one line of a line-delimited protocol; lines of one turn share a message.
    pub fn line(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let previous_start = self.messages.iter().rev().nth(1).map_or(0, |(_, end)| *end);
        match self.messages.last_mut() {
            Some((MessageKind::Text, end)) if *end - previous_start < JOINED_LINES_BYTES => {
                self.bytes.extend_from_slice(b"\n");
                write(&mut self.bytes);
                *end = self.bytes.len();
            }
            _ => self.message(MessageKind::Text, write),
        }
    }

    /// Sends a message that is written already, with the permit for it.
    pub fn whole_message(&mut self, kind: MessageKind, bytes: BytesMut, permit: Option<ReplyPermit>) {
        let messages = vec![(kind, bytes.len())];
        self.append(Self { bytes, messages, list: Vec::new(), permit });
    }

    /// Sends messages that are written already, with the permit for them.
    pub fn append(&mut self, messages: Self) {
        let start = self.bytes.len();
        if start == 0 {
            self.bytes = messages.bytes;
        } else {
            self.bytes.extend_from_slice(&messages.bytes);
        }
        self.messages.extend(messages.messages.into_iter().map(|(kind, end)| (kind, start + end)));
        self.list.extend(messages.list);
        self.hold(messages.permit);
    }

    /// Makes room for messages of so many bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Adds an action.
    pub fn push(&mut self, action: Action) {
        self.list.push(action);
    }

    /// The reply of a subscribe is written: held back events of the channel follow.
    pub fn release(&mut self, channel: &Arc<str>) {
        self.push(Action::Release(channel.clone()));
    }

    /// The session has left a channel in the same turn in which it joined: nothing of the channel follows what it wrote.
    pub fn forget_release(&mut self, channel: &str) {
        self.list.retain(|action| {
            !matches!(action, Action::Release(left) | Action::Replay(left, ..) if **left == *channel)
        });
    }

    /// Shows a channel from now on in this format, which is the newest of this turn. If the session joined in the same
    /// turn, also what was held back until then: it follows all that the session wrote.
    pub fn show(&mut self, channel: Arc<str>, format: SubscriptionFormat) {
        self.list.retain(|action| !matches!(action, Action::SetFormat(shown, _) if **shown == *channel));
        let is_release =
            |action: &Action| matches!(action, Action::Release(released) if **released == *channel);
        let index = self.list.iter().position(is_release).unwrap_or(self.list.len());
        self.list.insert(index, Action::SetFormat(channel, format));
    }

    /// Adds the end of the session.
    pub fn close(&mut self, disconnect: Disconnect) {
        self.list.push(Action::Close(disconnect));
    }

    /// True if the session ends in this turn: then nothing more is brought to it.
    pub fn is_closing(&self) -> bool {
        self.list.iter().any(|action| matches!(action, Action::Close(_) | Action::Refuse(_)))
    }

    /// Bytes of the messages.
    pub fn message_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// True if there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.list.is_empty() && self.permit.is_none()
    }

    /// Keeps the permit of a reply that was written in this turn. Of a reply that is not written it is dropped instead.
    pub fn hold(&mut self, permit: Option<ReplyPermit>) {
        ReplyPermit::join(&mut self.permit, permit);
    }

    /// Hands each message to `each`, forgets them, and returns the permit for them.
    pub fn drain_messages(&mut self, mut each: impl FnMut(MessageKind, &[u8])) -> Option<ReplyPermit> {
        let mut start = 0;
        for (kind, end) in self.messages.drain(..) {
            each(kind, self.bytes.get(start..end).unwrap_or_default());
            start = end;
        }
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = BytesMut::new();
        } else {
            self.bytes.clear();
        }
        self.permit.take()
    }

    /// Kind and size of the message, where there is just one.
    pub fn only_message(&self) -> Option<(MessageKind, usize)> {
        if let [only] = *self.messages { Some(only) } else { None }
    }

    /// Takes the bytes of the messages as they are, with the permit for them.
    pub fn take_messages(&mut self) -> (BytesMut, Option<ReplyPermit>) {
        self.messages.clear();
        (std::mem::take(&mut self.bytes), self.permit.take())
    }

    /// Takes the actions.
    pub fn take_list(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.list)
    }
}
