//! The ways to receive, with one interface: what is published in some channels, from a position on, until the disconnect.

mod options;

use std::net::SocketAddr;

use gorani_tests::{
    client::PATH,
    node::Node,
    raw::{RawSocket, opcode},
    stream::{Stream, send},
};
use serde_json::{Value, json};

pub(super) use self::options::ReceiverOptions;
use super::code_of;

/// A way to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReceiveTransport {
    WebSocket,
    HttpStream,
    Sse,
    UniWebSocket,
    UniHttpStream,
    UniSse,
    Poll,
}

/// All of them.
pub(super) const WAYS: [ReceiveTransport; 7] = [
    ReceiveTransport::WebSocket,
    ReceiveTransport::HttpStream,
    ReceiveTransport::Sse,
    ReceiveTransport::UniWebSocket,
    ReceiveTransport::UniHttpStream,
    ReceiveTransport::UniSse,
    ReceiveTransport::Poll,
];

impl ReceiveTransport {
    /// Its label among the metrics.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::HttpStream => "http_stream",
            Self::Sse => "sse",
            Self::UniWebSocket => "uni_websocket",
            Self::UniHttpStream => "uni_http_stream",
            Self::UniSse => "uni_sse",
            Self::Poll => "poll",
        }
    }

    /// Whether a refusal is the status of a response.
    pub(super) fn has_statuses(self) -> bool {
        matches!(self, Self::UniHttpStream | Self::UniSse | Self::Poll)
    }
}

/// Why nothing is received.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: Option<u16>,
    pub(super) code: u64,
}

#[derive(Debug)]
enum Line {
    WebSocket(RawSocket),
    Lines(Stream),
    Events(Stream),
    /// A poll that waits.
    Waiting(RawSocket),
    /// A poll that has its last answer.
    Silence,
}

/// Somebody who receives.
#[derive(Debug)]
pub(super) struct Receiver {
    transport: ReceiveTransport,
    address: SocketAddr,
    options: ReceiverOptions,
    line: Line,
    /// Objects that came and were not taken yet.
    came: std::collections::VecDeque<Value>,
    session: Value,
    ended: Option<u64>,
}

impl Receiver {
    /// Receives.
    pub(super) fn open(node: &Node, transport: ReceiveTransport, options: &ReceiverOptions) -> Self {
        Self::try_open(node, transport, options)
            .unwrap_or_else(|refused| panic!("{transport:?}: {refused:?}"))
    }

    pub(super) fn try_open(
        node: &Node,
        transport: ReceiveTransport,
        options: &ReceiverOptions,
    ) -> Result<Self, Refused> {
        Self::at(node.address(), transport, options)
    }

    pub(super) fn at(
        address: SocketAddr,
        transport: ReceiveTransport,
        options: &ReceiverOptions,
    ) -> Result<Self, Refused> {
        let get = |target: String| Stream::open(address, "GET", &target, "", "");
        let connect = json!({"id": 1, "connect": {"token": options.token}});
        let line = match transport {
            ReceiveTransport::WebSocket => Line::WebSocket(RawSocket::websocket(address, PATH, "")),
            ReceiveTransport::HttpStream => Line::Lines(Stream::open(
                address,
                "POST",
                "/connection/http_stream",
                "",
                &connect.to_string(),
            )),
            ReceiveTransport::Sse => {
                Line::Events(get(format!("/connection/sse?cf_connect={}", percent(&connect.to_string()))))
            }
            ReceiveTransport::UniWebSocket => {
                let target = format!("/connection/uni_websocket?{}", options.counted().query());
                Line::WebSocket(RawSocket::websocket(address, &target, ""))
            }
            ReceiveTransport::UniHttpStream => {
                let body =
                    json!({"token": options.token, "channels": options.channels, "subs": options.subs()});
                Line::Lines(Stream::open(
                    address,
                    "POST",
                    "/connection/uni_http_stream",
                    "",
                    &body.to_string(),
                ))
            }
            ReceiveTransport::UniSse => {
                let id = match &*options.position {
                    "" => String::new(),
                    id => format!("Last-Event-ID: {id}\r\n"),
                };
                let target = format!(
                    "/connection/uni_sse?{}",
                    ReceiverOptions { position: String::new(), ..options.clone() }.query()
                );
                Line::Events(Stream::open(address, "GET", &target, &id, ""))
            }
            ReceiveTransport::Poll => Line::Lines(get(format!("/connection/poll?{}", options.query()))),
        };
        let mut me = Self {
            transport,
            address,
            options: options.clone(),
            line,
            came: Default::default(),
            session: Value::Null,
            ended: None,
        };
        me.begin()?;
        Ok(me)
    }

    pub(super) fn transport(&self) -> ReceiveTransport {
        self.transport
    }

    /// Reads what comes first, and subscribes where that takes commands.
    fn begin(&mut self) -> Result<(), Refused> {
        if let Line::Lines(stream) | Line::Events(stream) = &mut self.line
            && stream.head.status != 200
        {
            let code = code_of(&stream.rest().unwrap());
            return Err(Refused { status: Some(stream.head.status), code });
        }
        match self.transport {
            ReceiveTransport::Poll => {
                let Line::Lines(stream) = &mut self.line else { unreachable!() };
                let body = stream.rest().unwrap();
                self.take_poll(&body);
                self.ask_on();
                Ok(())
            }
            ReceiveTransport::UniWebSocket | ReceiveTransport::UniHttpStream | ReceiveTransport::UniSse => {
                let first = self.object().map_err(|code| Refused { status: None, code })?;
                if let Some(code) = first["error"]["code"].as_u64() {
                    return Err(Refused { status: None, code });
                }
                for (channel, sub) in first["connect"]["subs"].as_object().unwrap() {
                    let offset = sub["offset"].as_u64().unwrap_or(0);
                    self.note(channel, offset, sub["epoch"].as_str().unwrap_or_default());
                }
                Ok(())
            }
            ReceiveTransport::WebSocket | ReceiveTransport::HttpStream | ReceiveTransport::Sse => {
                self.begin_with_commands()
            }
        }
    }

    fn begin_with_commands(&mut self) -> Result<(), Refused> {
        if let Line::WebSocket(socket) = &mut self.line {
            socket.text(&json!({"id": 1, "connect": {"token": self.options.token}}).to_string()).unwrap();
        }
        let reply = self.object().map_err(|code| Refused { status: None, code })?;
        if let Some(code) = reply["error"]["code"].as_u64() {
            return Err(Refused { status: None, code });
        }
        self.session = reply["connect"].clone();
        for (index, channel) in self.options.channels.clone().into_iter().enumerate() {
            let mut subscribe = json!({"channel": channel, "recoverable": true, "positioned": true});
            if let Some((offset, epoch)) = self.options.offsets.get(&channel) {
                subscribe["recover"] = true.into();
                subscribe["offset"] = (*offset).into();
                subscribe["epoch"] = epoch.clone().into();
            }
            self.command(&json!({"id": index + 2, "subscribe": subscribe}));
            // What the channels before it brought is kept.
            let mut others = std::mem::take(&mut self.came);
            let reply = self.object().map_err(|code| Refused { status: None, code })?;
            others.append(&mut self.came);
            self.came = others;
            if let Some(code) = reply["error"]["code"].as_u64() {
                return Err(Refused { status: None, code });
            }
            let sub = &reply["subscribe"];
            self.note(
                &channel,
                sub["offset"].as_u64().unwrap_or(0),
                sub["epoch"].as_str().unwrap_or_default(),
            );
            for publication in sub["publications"].as_array().into_iter().flatten() {
                self.came.push_back(json!({"channel": channel, "pub": publication}));
            }
        }
        Ok(())
    }

    /// Sends a command by the way that this transport has.
    fn command(&mut self, command: &Value) {
        if let Line::WebSocket(socket) = &mut self.line {
            return socket.text(&command.to_string()).unwrap();
        }
        let (session, node) = (&self.session["session"], &self.session["node"]);
        let body = json!({"session": session, "node": node, "data": command.to_string()}).to_string();
        let response =
            Stream::open(self.address, "POST", "/emulation", "Content-Type: application/json\r\n", &body);
        assert_eq!(response.head.status, 204, "{:?}", response.head);
    }

    fn note(&mut self, channel: &str, offset: u64, epoch: &str) {
        self.options.offsets.insert(channel.to_owned(), (offset, epoch.to_owned()));
    }

    /// The next publication: its channel and its data.
    pub(super) fn publication(&mut self) -> (String, Value) {
        let transport = self.transport;
        self.next().unwrap_or_else(|code| panic!("{transport:?} ended with {code} before a publication"))
    }

    /// The next publication, or the code of the disconnect.
    pub(super) fn next(&mut self) -> Result<(String, Value), u64> {
        loop {
            let object = self.object()?;
            if let Some(channel) = object["channel"].as_str().map(str::to_owned)
                && object["pub"].is_object()
            {
                if let Some(offset) = object["pub"]["offset"].as_u64() {
                    let epoch = self.options.offsets.get(&channel).map(|(_, epoch)| epoch.clone());
                    self.note(&channel, offset, &epoch.unwrap_or_default());
                }
                return Ok((channel, object["pub"]["data"].clone()));
            }
        }
    }

    /// Waits for the ended: its code.
    pub(super) fn disconnect_code(&mut self) -> u64 {
        loop {
            if let Err(code) = self.next() {
                return code;
            }
        }
    }

    /// Goes, and knows how to come back.
    pub(super) fn leave(self) -> ReceiverOptions {
        assert!(self.came.is_empty(), "something was not taken: {:?}", self.came);
        self.options
    }

    /// The next object, without the envelope of a push; or the code of the disconnect.
    fn object(&mut self) -> Result<Value, u64> {
        loop {
            if let Some(mut object) = self.came.pop_front() {
                if let Some(push) = object.get_mut("push") {
                    object = push.take();
                }
                if let Some(code) = object["disconnect"]["code"].as_u64() {
                    self.ended = Some(code);
                } else if object != json!({}) {
                    return Ok(object);
                }
            } else if !self.read() {
                return Err(self
                    .ended
                    .unwrap_or_else(|| panic!("{:?} ended without a disconnect", self.transport)));
            }
        }
    }

    /// Takes in what comes next; false at the end.
    fn read(&mut self) -> bool {
        let text = match &mut self.line {
            Line::WebSocket(socket) => {
                let frame = socket.read_frame().unwrap();
                match frame.opcode {
                    opcode::CLOSE => {
                        let code = u64::from(frame.close().0);
                        assert!(self.ended.is_none_or(|told| told == code), "two farewells");
                        self.ended = Some(code);
                        return false;
                    }
                    opcode::TEXT => String::from_utf8(frame.payload).unwrap(),
                    _ => return true,
                }
            }
            Line::Lines(stream) => match stream.line().unwrap() {
                Some(line) => line,
                None => return false,
            },
            Line::Events(stream) => match stream.event().unwrap() {
                Some(event) => {
                    if let Some(id) = event.id {
                        self.options.position = id;
                    }
                    event.data
                }
                None => return false,
            },
            Line::Waiting(_) => return self.read_poll(),
            Line::Silence => return false,
        };
        self.came.extend(text.split('\n').map(|line| serde_json::from_str::<Value>(line).unwrap()));
        true
    }

    /// Reads the answer of the poll that waits, and asks on.
    fn read_poll(&mut self) -> bool {
        let Line::Waiting(socket) = std::mem::replace(&mut self.line, Line::Silence) else { unreachable!() };
        let mut response = Stream::read(socket).unwrap();
        assert_eq!(response.head.status, 200, "{:?}", response.head);
        let body = response.rest().unwrap();
        if self.take_poll(&body) {
            self.ask_on();
        }
        true
    }

    /// False if the answer is the last one.
    fn take_poll(&mut self, body: &str) -> bool {
        let mut body: Value = serde_json::from_str(body).unwrap();
        assert!(body.get("unrecovered").is_none(), "{body}");
        self.options.position = body["position"].as_str().unwrap().to_owned();
        self.came.extend(body["publications"].as_array().unwrap().iter().cloned());
        match body.get_mut("disconnect") {
            Some(disconnect) => {
                self.ended = disconnect["code"].as_u64();
                false
            }
            None => true,
        }
    }

    fn ask_on(&mut self) {
        let target = format!("/connection/poll?{}&wait=30", self.options.query());
        self.line = Line::Waiting(send(self.address, "GET", &target, "", ""));
    }
}

/// Text for a query.
pub(super) fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
