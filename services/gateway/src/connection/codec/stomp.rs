//! STOMP over plain TCP, for backends and brokers' relays: nothing stands between the socket and the session, which reads
//! frames and heart-beats itself. `docs/protocols/stomp.md` §11.4.

use std::convert::Infallible;

use gorani_protocol::websocket::Input;

use super::{Codec, Event};
use crate::{disconnect::Disconnect, session::Incoming};

/// The codec of STOMP over TCP.
pub(crate) struct StompCodec;

impl Codec for StompCodec {
    type Error = Infallible;

    fn decode<'i>(&'i mut self, input: &'i mut Input<'_>) -> Result<Option<Event<'i>>, Infallible> {
        let bytes = input.take_rest();
        Ok((!bytes.is_empty()).then_some(Event::Message(Incoming::Binary(bytes))))
    }

    fn error_reason(error: &Infallible) -> Disconnect {
        match *error {}
    }

    /// A client that closes after the receipt of its DISCONNECT ends as it should.
    fn eof_reason(has_left: bool) -> Disconnect {
        if has_left { Disconnect::NORMAL } else { Disconnect::ABNORMAL }
    }
}
