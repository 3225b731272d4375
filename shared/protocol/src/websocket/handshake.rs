//! The opening handshake: a request's head in, an [`Offer`] or a [`HandshakeRefusal`] out, and the 101 that accepts it.
//!
//! The gateway asks here before it takes the socket from HTTP; whether the origin is welcome is its own policy.
//! RFC 6455 §4.2 and §11.3; `docs/protocols/websocket.md` §1 to §4.

use std::borrow::Cow;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{
    deflate::DeflateParams,
    extension::{self, DeflateOffer, is_token_byte},
};

/// The text that every server appends to the key before it hashes it (RFC 6455 §1.3).
const ACCEPT_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The bytes of a key behind its base64.
const KEY_BYTES: usize = 16;
/// The one version of the protocol that exists on the wire.
const VERSION: &str = "13";

/// Standard base64 with its padding. The four bits that the last character has to spare may be anything: the key is
/// only ever echoed, and there are clients that draw its characters by lot.
const KEY_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);
/// Bytes of an answer without parameters of compression, so that it mostly is written without growing.
const RESPONSE_BYTES: usize = 192;
/// Most bytes of the client's subprotocols that an answer repeats.
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
    /// 426: the request does not ask for an upgrade to WebSocket.
    #[error(
        "a WebSocket is served here: connect with ws:// or wss://; a proxy in between must pass on the headers Upgrade and \
         Connection"
    )]
    UpgradeRequired,
    /// 400: subprotocols were offered and none is known.
    #[error("none of the offered subprotocols is known here: {offered}; {served}")]
    UnknownSubprotocol {
        /// Those offered, as a list, cut to a bounded length.
        offered: String,
        /// Those known, in words.
        served: String,
    },
    /// 403: the origin may not connect. Decided by the gateway.
    #[error("this origin may not connect")]
    OriginForbidden,
    /// 503: the node takes no new connections. Decided by the gateway.
    #[error("this node is draining, try another")]
    Draining,
}

impl HandshakeRefusal {
    pub(super) fn unknown_subprotocol(offered: &[String], known: &[&str]) -> Self {
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
        let served = if known.is_empty() {
            "connect without a subprotocol".to_owned()
        } else {
            format!("known are: {}", known.join(", "))
        };
        Self::UnknownSubprotocol { offered: list, served }
    }

    /// The HTTP status: 405, 400, 426, 403 or 503.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::MethodNotAllowed => 405,
            Self::BadRequest(_) | Self::UnknownSubprotocol { .. } => 400,
            Self::VersionNotSupported | Self::UpgradeRequired => 426,
            Self::OriginForbidden => 403,
            Self::Draining => 503,
        }
    }

    /// The headers that this status must have. `Connection: Upgrade`, which a 426 has too, is the caller's: it says there what
    /// becomes of the connection.
    #[must_use]
    pub fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::MethodNotAllowed => &[("Allow", "GET")],
            // RFC 9110 §15.5.22: a 426 names in Upgrade what it asks for.
            Self::VersionNotSupported | Self::UpgradeRequired => {
                &[("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")]
            }
            _ => &[],
        }
    }
}

/// The rule for a client that offers subprotocols of which none is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubprotocolPolicy {
    /// Refuse with 400.
    #[default]
    Strict,
    /// Accept without a subprotocol.
    Lenient,
}

/// A well-formed request to open a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// `Sec-WebSocket-Key`, 16 bytes in base64.
    pub key: String,
    /// `Host`, never empty.
    pub host: String,
    /// `Origin`; browsers send it, other clients mostly do not.
    pub origin: Option<String>,
    /// The tokens of `Sec-WebSocket-Protocol`, the client's favourite first.
    pub subprotocols: Vec<String>,
    /// The offers of permessage-deflate that can be met, the client's favourite first.
    pub extensions: Vec<DeflateOffer>,
}

impl Offer {
    /// Judges a request's head. Header names may be in any case.
    ///
    /// # Errors
    /// The answer instead of a 101. The method is looked at first, the version before the key.
    pub fn parse<'a>(
        method: &str,
        http_1_1: bool,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, HandshakeRefusal> {
        if method != "GET" {
            return Err(HandshakeRefusal::MethodNotAllowed);
        }
        if !http_1_1 {
            return Err(HandshakeRefusal::BadRequest("a WebSocket handshake needs HTTP/1.1"));
        }
        let head = HandshakeHead::collect(headers)?;
        if !(head.upgrade_to_websocket && head.connection_upgrade) {
            return Err(HandshakeRefusal::UpgradeRequired);
        }
        let host = head.host.filter(|host| !host.is_empty());
        let host = host.ok_or(HandshakeRefusal::BadRequest("the Host header is missing"))?;
        match head.version {
            None => return Err(HandshakeRefusal::BadRequest("the Sec-WebSocket-Version header is missing")),
            Some(VERSION) => {}
            Some(_) => return Err(HandshakeRefusal::VersionNotSupported),
        }
        let key = head.key.ok_or(HandshakeRefusal::BadRequest("the Sec-WebSocket-Key header is missing"))?;
        if !is_key(key) {
            return Err(HandshakeRefusal::BadRequest(
                "the Sec-WebSocket-Key header is not 16 bytes in base64",
            ));
        }
        if head.has_body {
            return Err(HandshakeRefusal::BadRequest("a WebSocket handshake has no body"));
        }
        Ok(Self {
            key: key.to_owned(),
            host: host.to_owned(),
            origin: head.origin.map(str::to_owned),
            subprotocols: head.subprotocols,
            extensions: head.extensions,
        })
    }

    /// The best of the `known` subprotocols (best first) that the client offers. `None` where the client offers none,
    /// or, if lenient, none that is known.
    ///
    /// # Errors
    /// [`HandshakeRefusal::UnknownSubprotocol`] if strict and none of the offered ones is known.
    pub fn choose_subprotocol<'k>(
        &self,
        known: &[&'k str],
        policy: SubprotocolPolicy,
    ) -> Result<Option<&'k str>, HandshakeRefusal> {
        let chosen = known.iter().copied().find(|known| self.subprotocols.iter().any(|token| token == known));
        match (chosen, policy) {
            (None, SubprotocolPolicy::Strict) if !self.subprotocols.is_empty() => {
                Err(HandshakeRefusal::unknown_subprotocol(&self.subprotocols, known))
            }
            (chosen, _) => Ok(chosen),
        }
    }

    /// The answer to the client's favourite offer of permessage-deflate, if it made one.
    #[must_use]
    pub fn negotiate_deflate(&self) -> Option<DeflateParams> {
        self.extensions.first().map(DeflateParams::answer)
    }

    /// The whole head of the 101: the headers it must have, and no others.
    #[must_use]
    pub fn response(&self, subprotocol: Option<&str>, deflate: Option<&DeflateParams>) -> Vec<u8> {
        let mut head = String::with_capacity(RESPONSE_BYTES);
        head.push_str(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        );
        head.push_str(&accept_key(&self.key));
        if let Some(subprotocol) = subprotocol {
            head.push_str("\r\nSec-WebSocket-Protocol: ");
            head.push_str(subprotocol);
        }
        if let Some(deflate) = deflate {
            head.push_str("\r\nSec-WebSocket-Extensions: ");
            head.push_str(&deflate.to_string());
        }
        head.push_str("\r\n\r\n");
        head.into_bytes()
    }
}

/// The value of `Sec-WebSocket-Accept` that answers `key`: base64 of a SHA-1.
#[must_use]
pub fn accept_key(key: &str) -> String {
    let mut hash = sha1_smol::Sha1::new();
    hash.update(key.as_bytes());
    hash.update(ACCEPT_SUFFIX.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(hash.digest().bytes())
}

fn is_key(key: &str) -> bool {
    // More than a key has, so that a longer one shows.
    let mut bytes = [0; KEY_BYTES + 8];
    matches!(KEY_BASE64.decode_slice(key, &mut bytes), Ok(KEY_BYTES))
}

/// The headers that matter, sorted out; each single one at most once.
#[derive(Default)]
struct HandshakeHead<'a> {
    upgrade_to_websocket: bool,
    connection_upgrade: bool,
    has_body: bool,
    host: Option<&'a str>,
    origin: Option<&'a str>,
    version: Option<&'a str>,
    key: Option<&'a str>,
    subprotocols: Vec<String>,
    extensions: Vec<DeflateOffer>,
}

impl<'a> HandshakeHead<'a> {
    fn collect(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Self, HandshakeRefusal> {
        let mut head = Self::default();
        for (name, value) in headers {
            head.take(&lower_case(name), value)?;
        }
        Ok(head)
    }

    fn take(&mut self, name: &str, value: &'a [u8]) -> Result<(), HandshakeRefusal> {
        match name {
            "host" => single(&mut self.host, value, "the Host header is malformed or repeated")?,
            "origin" => single(&mut self.origin, value, "the Origin header is malformed or repeated")?,
            "sec-websocket-version" => {
                single(&mut self.version, value, "the Sec-WebSocket-Version header is malformed or repeated")?
            }
            "sec-websocket-key" => {
                single(&mut self.key, value, "the Sec-WebSocket-Key header is malformed or repeated")?;
            }
            "upgrade" => self.upgrade_to_websocket |= list_contains(value, b"websocket"),
            "connection" => self.connection_upgrade |= list_contains(value, b"upgrade"),
            "content-length" => self.has_body |= value.trim_ascii() != b"0",
            "transfer-encoding" => self.has_body = true,
            "sec-websocket-protocol" => self.add_subprotocols(value)?,
            "sec-websocket-extensions" => {
                let malformed =
                    HandshakeRefusal::BadRequest("the Sec-WebSocket-Extensions header is malformed");
                self.extensions.extend(extension::parse(value).ok_or(malformed)?);
            }
            _ => {}
        }
        Ok(())
    }

    fn add_subprotocols(&mut self, value: &[u8]) -> Result<(), HandshakeRefusal> {
        for token in
            value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
        {
            let token = str::from_utf8(token).ok().filter(|token| token.bytes().all(is_token_byte));
            let malformed = HandshakeRefusal::BadRequest("the Sec-WebSocket-Protocol header is malformed");
            self.subprotocols.push(token.ok_or(malformed)?.to_owned());
        }
        Ok(())
    }
}

/// A header that may stand once, with a value of visible ASCII.
fn single<'a>(
    slot: &mut Option<&'a str>,
    value: &'a [u8],
    otherwise: &'static str,
) -> Result<(), HandshakeRefusal> {
    let value = value.trim_ascii();
    let value = str::from_utf8(value).ok().filter(|value| value.bytes().all(|byte| byte.is_ascii_graphic()));
    match (value, slot.is_some()) {
        (Some(value), false) => *slot = Some(value),
        _ => return Err(HandshakeRefusal::BadRequest(otherwise)),
    }
    Ok(())
}

/// A name in lower case, copied only where it is not: parsers of HTTP give names that are.
fn lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        name.to_ascii_lowercase().into()
    } else {
        name.into()
    }
}

fn list_contains(value: &[u8], token: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}
