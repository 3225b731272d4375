//! `/info`: what a client must know before it chooses a transport. `docs/protocols/sockjs.md` §1.6 and §1.7.

use bytes::{BufMut, BytesMut};

use crate::client::json::{write_integer, write_string};

/// `Content-Type` of the answer.
pub const CONTENT_TYPE: &str = "application/json; charset=UTF-8";

/// What `/info` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info<'i> {
    /// Whether WebSocket is served.
    pub websocket: bool,
    /// Whether a load balancer needs a cookie to find the session again.
    pub cookie_needed: bool,
    /// Random, for clients without a source of randomness.
    pub entropy: u32,
    /// Where clients go for their sessions, in place of where they asked; empty: here.
    pub base_url: &'i str,
}

impl Info<'_> {
    /// Appends it as JSON.
    pub fn write(&self, out: &mut BytesMut) {
        let flag = |value: bool| if value { "true" } else { "false" };
        out.extend_from_slice(b"{\"websocket\":");
        out.extend_from_slice(flag(self.websocket).as_bytes());
        out.extend_from_slice(b",\"cookie_needed\":");
        out.extend_from_slice(flag(self.cookie_needed).as_bytes());
        // The protocol fixes this text; which origins may really connect is decided for each request.
        out.extend_from_slice(b",\"origins\":[\"*:*\"],\"entropy\":");
        write_integer(out, self.entropy);
        if !self.base_url.is_empty() {
            out.extend_from_slice(b",\"base_url\":");
            write_string(out, self.base_url);
        }
        out.put_u8(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(info: Info<'_>) -> BytesMut {
        let mut out = BytesMut::new();
        info.write(&mut out);
        out
    }

    #[test]
    fn item_6_it_is_one_json_object_with_what_the_client_looks_for() {
        let info = Info { websocket: true, cookie_needed: false, entropy: u32::MAX, base_url: "" };
        let text = br#"{"websocket":true,"cookie_needed":false,"origins":["*:*"],"entropy":4294967295}"#;
        assert_eq!(written(info), text.as_slice());
        let info = Info {
            websocket: false,
            cookie_needed: true,
            entropy: 0,
            base_url: "https://push.example.com/x",
        };
        let text = br#"{"websocket":false,"cookie_needed":true,"origins":["*:*"],"entropy":0,"base_url":"https://push.example.com/x"}"#;
        assert_eq!(written(info), text.as_slice());
    }
}
