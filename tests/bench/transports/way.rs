//! The ways to receive that are compared: what each asks for, and when its subscriber is in.

use std::net::SocketAddr;

use gorani_tests::{client, raw};

/// A channel without history, and one with it: see [`Way::channel`].
const CHANNELS: [&str; 2] = ["bench:1", "kept:1"];
/// What the reply to the subscribe command has.
const SUBSCRIBED: &[u8] = br#""id":2"#;
/// The same in protobuf: the id, and the number of the result's field.
const SUBSCRIBED_PROTOBUF: &[u8] = b"\x08\x02\x32";
/// The handshake's header that chooses protobuf.
const CHOOSES_PROTOBUF: &str = "Sec-WebSocket-Protocol: centrifuge-protobuf\r\n";

/// A way to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    WebSocket,
    /// The protobuf form of the client protocol, over WebSocket.
    Protobuf,
    /// STOMP over WebSocket.
    Stomp,
    UniSse,
    /// The same of a channel with history: each event has an id.
    UniSseKept,
    UniHttpStream,
    Sse,
    HttpStream,
    XhrStreaming,
    Poll,
}

impl Way {
    /// All of them; the first is what the others are compared with.
    pub(crate) const ALL: [Self; 10] = [
        Self::WebSocket,
        Self::Protobuf,
        Self::Stomp,
        Self::UniSse,
        Self::UniSseKept,
        Self::UniHttpStream,
        Self::Sse,
        Self::HttpStream,
        Self::XhrStreaming,
        Self::Poll,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "WebSocket",
            Self::Protobuf => "protobuf over WebSocket",
            Self::Stomp => "STOMP over WebSocket",
            Self::UniSse => "uni_sse",
            Self::UniSseKept => "uni_sse with ids",
            Self::Sse => "sse",
            Self::UniHttpStream => "uni_http_stream",
            Self::HttpStream => "http_stream",
            Self::XhrStreaming => "SockJS xhr_streaming",
            Self::Poll => "long polling",
        }
    }

    /// Where it subscribes.
    pub(crate) fn channel(self) -> &'static str {
        let [plain, kept] = CHANNELS;
        if matches!(self, Self::Poll | Self::UniSseKept) { kept } else { plain }
    }

    /// The request that opens it; `number` tells one subscriber from another.
    pub(crate) fn opening(self, address: SocketAddr, number: usize) -> Vec<u8> {
        let channel = self.channel();
        match self {
            Self::WebSocket => raw::handshake(address, client::PATH, "").into_bytes(),
            Self::Protobuf => raw::handshake(address, client::PATH, CHOOSES_PROTOBUF).into_bytes(),
            Self::Stomp => raw::handshake(address, "/stomp", "").into_bytes(),
            Self::UniSse | Self::UniSseKept => {
                get(address, &format!("/connection/uni_sse?channels={channel}"))
            }
            // The second command goes along, percent-encoded as the first.
            Self::Sse => {
                let commands: String = self.commands().bytes().map(|byte| format!("%{byte:02x}")).collect();
                get(address, &format!("/connection/sse?cf_connect={commands}"))
            }
            Self::UniHttpStream => get(address, &format!("/connection/uni_http_stream?channels={channel}")),
            Self::HttpStream => post(address, "/connection/http_stream", &self.commands()),
            Self::XhrStreaming => post(address, &format!("{}/xhr_streaming", session(number)), ""),
            Self::Poll => get(address, &format!("/connection/poll?channels={channel}")),
        }
    }

    /// What comes back when the opening request is served, where commands can follow only then.
    pub(crate) fn opened(self) -> Option<&'static [u8]> {
        match self {
            Self::WebSocket | Self::Protobuf | Self::Stomp => Some(b"\r\n\r\n"),
            Self::XhrStreaming => Some(b"\no\n"),
            _ => None,
        }
    }

    /// What has come when it is subscribed. A poll is when it has its first answer and has asked again.
    pub(crate) fn subscribed(self) -> Option<&'static [u8]> {
        match self {
            Self::WebSocket | Self::HttpStream | Self::Sse => Some(SUBSCRIBED),
            Self::Protobuf => Some(SUBSCRIBED_PROTOBUF),
            Self::Stomp => Some(b"receipt-id:live"),
            Self::UniSse | Self::UniSseKept | Self::UniHttpStream => Some(br#""connect""#),
            Self::XhrStreaming => Some(br#"\"id\":2"#),
            Self::Poll => None,
        }
    }

    /// True if its messages come in frames of WebSocket.
    pub(crate) fn is_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::Protobuf | Self::Stomp)
    }

    /// The kind of message that takes its commands, where they come in frames of WebSocket.
    pub(crate) fn opcode(self) -> u8 {
        if self == Self::Protobuf { raw::opcode::BINARY } else { raw::opcode::TEXT }
    }

    /// The commands that connect and subscribe.
    pub(crate) fn commands(self) -> String {
        let channel = self.channel();
        if self == Self::Protobuf {
            // Ids and fields as the schema numbers them, each message behind its length: no byte is over 0x7f.
            let request = char::from(2 + channel.len() as u8);
            let (command, name) = (char::from(6 + channel.len() as u8), char::from(channel.len() as u8));
            return format!("\x04\x08\x01\x22\0{command}\x08\x02\x2a{request}\x0a{name}{channel}");
        }
        if self == Self::Stomp {
            let subscribe = format!("SUBSCRIBE\nid:0\ndestination:/topic/{channel}\nreceipt:live\n\n\0");
            return format!("CONNECT\naccept-version:1.2\n\n\0{subscribe}");
        }
        format!("{{\"id\":1,\"connect\":{{}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"{channel}\"}}}}")
    }

    /// The commands as a request of their own, for a session of SockJS.
    pub(crate) fn sending(self, address: SocketAddr, number: usize) -> Vec<u8> {
        let body = serde_json::json!([self.commands()]).to_string();
        post(address, &format!("{}/xhr_send", session(number)), &body)
    }
}

/// The poll that waits for what follows a position.
pub(crate) fn poll_on(address: SocketAddr, position: &str) -> Vec<u8> {
    let channel = Way::Poll.channel();
    get(address, &format!("/connection/poll?channels={channel}&wait=60&position={position}"))
}

fn session(number: usize) -> String {
    format!("/connection/sockjs/000/s{number}")
}

fn get(address: SocketAddr, target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes()
}

/// A request with a body.
pub(crate) fn post(address: SocketAddr, target: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {target} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}
