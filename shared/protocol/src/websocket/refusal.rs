//! Why a WebSocket is not opened, and the HTTP answer that says so. RFC 6455 §4.2.2, §4.4; `docs/protocols/websocket.md` §1, §3.

/// How many bytes of the client's subprotocols an answer repeats.
const REPEATED_BYTES: usize = 128;

/// A handshake that does not become a WebSocket. The text is the one sentence of the answer's body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeRefusal {
    /// 405: anything but GET.
    #[error("a WebSocket is opened with GET")]
    MethodNotAllowed,
    /// 400: a part is missing or malformed.
    #[error("{0}")]
    BadRequest(&'static str),
    /// 426: a version other than 13.
    #[error("only version 13 of the WebSocket protocol is spoken here")]
    VersionNotSupported,
    /// 400: subprotocols were offered and none is known. Holds them, as a list, cut to a bounded length.
    #[error("none of the offered subprotocols is known here: {0}")]
    UnknownSubprotocol(String),
    /// 403: the origin may not connect. Decided by the gateway.
    #[error("this origin may not connect")]
    OriginForbidden,
    /// 503: the node takes no new connections. Decided by the gateway.
    #[error("this node is draining, try another")]
    Draining,
}

impl HandshakeRefusal {
    pub(super) fn unknown_subprotocol(offered: &[String]) -> Self {
        let mut list = String::new();
        for token in offered {
            if list.len() + token.len() > REPEATED_BYTES {
                list.push_str(if list.is_empty() { "(too long to repeat)" } else { ", and more" });
                break;
            }
            if !list.is_empty() {
                list.push_str(", ");
            }
            list.push_str(token);
        }
        Self::UnknownSubprotocol(list)
    }

    /// The HTTP status: 405, 400, 426, 403 or 503.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::MethodNotAllowed => 405,
            Self::BadRequest(_) | Self::UnknownSubprotocol(_) => 400,
            Self::VersionNotSupported => 426,
            Self::OriginForbidden => 403,
            Self::Draining => 503,
        }
    }

    /// The headers that this status must have.
    #[must_use]
    pub fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::MethodNotAllowed => &[("Allow", "GET")],
            // RFC 9110 §15.5.22: a 426 names in Upgrade what it asks for.
            Self::VersionNotSupported => &[("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")],
            _ => &[],
        }
    }
}
