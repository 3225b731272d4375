//! The replay of missed publications in an outbox: a connect's answer has as many parts as there are channels, and together they
//! may be larger than what may wait otherwise. Decision record 26.

use bytes::Bytes;

use super::{Outbox, Overflow};

impl Outbox {
    /// Puts what a session missed in one of its channels in line: a part of the answer to its connect, of which any number may
    /// wait. What is large in it has a permit of the memory budget, and it has as many parts as the session has channels.
    pub fn push_replay(&self, bytes: Bytes) -> Result<(), Overflow> {
        self.push_exempt(bytes, Bytes::new(), true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_was_missed_in_many_channels_waits_together_and_leaves_room_for_what_comes() {
        let outbox = Outbox::new(10);
        outbox.push_reply(Bytes::from_static(b"connect")).unwrap();
        for _ in 0..128 {
            outbox.push_replay(Bytes::from_static(b"missed in a channel")).unwrap();
        }
        outbox.push(Bytes::from_static(b"0123456789")).unwrap();
        outbox.push_replay(Bytes::from_static(b"missed in one more")).unwrap();
        outbox.push(Bytes::from_static(b"0123456789")).unwrap();
        assert_eq!(outbox.push(Bytes::from_static(b"x")), Err(Overflow));
        assert_eq!(outbox.push_replay(Bytes::from_static(b"x")), Err(Overflow));
    }
}
