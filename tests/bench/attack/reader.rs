//! Honest subscribers over SSE, SockJS and STOMP: they write down what they are given as the audit's WebSocket subscribers do,
//! and come back with their position when their connection ends.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use gorani_tests::{raw::RawSocket, stomp::Stomp, stream::Stream};
use rand::RngExt as _;
use serde_json::{Value, json};

use crate::audit::{
    ledger::Position,
    subscriber::{Entry, Record},
};

/// Pause before connecting again.
const PAUSE: Duration = Duration::from_millis(500);
/// Path of the client protocol over SockJS, with a server part.
const SOCKJS: &str = "/connection/sockjs/000";

/// How it receives.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    Sse,
    Sockjs,
    Stomp,
}

/// One honest subscriber of one channel.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) way: Way,
    pub(crate) node: SocketAddr,
    pub(crate) channel: String,
    pub(crate) record: Arc<Mutex<Record>>,
}

impl Reader {
    /// Runs until it is told to stop; it notices with the next thing that it receives.
    pub(crate) fn run(self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let _ended = match self.way {
                Way::Sse => self.sse(stop),
                Way::Sockjs => self.sockjs(stop),
                Way::Stomp => self.stomp(stop),
            };
            {
                let mut record = self.record.lock().unwrap();
                record.is_subscribed = false;
                record.reconnects += 1;
            }
            thread::sleep(PAUSE);
        }
    }

    fn request(&self, method: &str, target: &str, extra: &str, body: &str) -> io::Result<RawSocket> {
        let mut socket = RawSocket::try_connect(self.node)?;
        let (node, length) = (self.node, body.len());
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {node}\r\nContent-Length: {length}\r\n{extra}\r\n{body}"
        );
        socket.write(request.as_bytes())?;
        Ok(socket)
    }

    fn sse(&self, stop: &AtomicBool) -> io::Result<()> {
        let target = format!("/connection/uni_sse?channels={}", self.channel);
        let mut last_id: Option<String> = None;
        while !stop.load(Ordering::Relaxed) {
            let extra = last_id.as_ref().map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
            let mut stream = match self.request("GET", &target, &extra, "").and_then(Stream::read) {
                Ok(stream) if stream.head.status == 200 => stream,
                _ => {
                    thread::sleep(PAUSE);
                    continue;
                }
            };
            while let Ok(Some(event)) = stream.event() {
                let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
                for publication in publications(&data, &self.channel) {
                    self.write_down(publication["data"].as_u64(), publication["offset"].as_u64());
                }
                last_id = event.id.or(last_id);
                self.record.lock().unwrap().is_subscribed = true;
                if stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
            }
            self.record.lock().unwrap().reconnects += 1;
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn sockjs(&self, stop: &AtomicBool) -> io::Result<()> {
        let session = format!("{SOCKJS}/{:016x}", rand::rng().random::<u64>());
        let streaming = format!("{session}/xhr_streaming");
        let mut stream = Stream::read(self.request("POST", &streaming, "", "")?)?;
        let commands = [json!({"id": 1, "connect": {}}), json!({"id": 2, "subscribe": self.subscribe()})];
        let body = json!(commands.map(|command| command.to_string())).to_string();
        let sent = self.request("POST", &format!("{session}/xhr_send"), "", &body)?.read_head()?;
        if sent.status != 204 {
            return Err(io::Error::other(format!("xhr_send: {}", sent.status)));
        }
        while !stop.load(Ordering::Relaxed) {
            let Some(line) = stream.line()? else {
                // The response has carried its bytes; the session goes on in the next one.
                stream = Stream::read(self.request("POST", &streaming, "", "")?)?;
                continue;
            };
            match line.split_at_checked(1) {
                Some(("c", reason)) => return Err(io::Error::other(reason.to_owned())),
                Some(("a", messages)) => {
                    let messages: Vec<String> = serde_json::from_str(messages)?;
                    for object in messages.iter().flat_map(|message| message.split('\n')) {
                        self.object(&session, &serde_json::from_str(object)?)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// One object of the client protocol.
    fn object(&self, session: &str, object: &Value) -> io::Result<()> {
        if *object == json!({}) {
            self.request("POST", &format!("{session}/xhr_send"), "", r#"["{}"]"#)?.read_head()?;
        } else if let Some(error) = object.get("error") {
            return Err(io::Error::other(error.to_string()));
        } else if let Some(reply) = object.get("subscribe") {
            self.told(reply);
            self.record.lock().unwrap().is_subscribed = true;
        }
        for publication in publications(object, &self.channel) {
            self.write_down(publication["data"].as_u64(), publication["offset"].as_u64());
        }
        Ok(())
    }

    fn stomp(&self, stop: &AtomicBool) -> io::Result<()> {
        let stream = TcpStream::connect(self.node)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(gorani_tests::stomp::TIME_LIMIT))?;
        let mut client = Stomp::over(stream);
        client.try_say("CONNECT\naccept-version:1.2\nhost:x\n\n\0")?;
        let Position { epoch, offset } = self.record.lock().unwrap().position.clone();
        let position = if offset == 0 { String::new() } else { format!("offset:{offset}\nepoch:{epoch}\n") };
        let channel = &self.channel;
        client.try_say(&format!(
            "SUBSCRIBE\nid:0\ndestination:/topic/{channel}\nreceipt:subscribed\n{position}\n\0"
        ))?;
        while let Some(frame) = client.frame_or_end()? {
            match frame.command.as_str() {
                "RECEIPT" => self.record.lock().unwrap().is_subscribed = true,
                "MESSAGE" => {
                    let number = std::str::from_utf8(&frame.body).ok().and_then(|body| body.parse().ok());
                    self.write_down(number, frame.get("offset").and_then(|offset| offset.parse().ok()));
                }
                "ERROR" => return Err(io::Error::other(format!("{frame:?}"))),
                _ => {}
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        Ok(())
    }

    /// The command's content, with the position from the second time on.
    fn subscribe(&self) -> Value {
        let Position { epoch, offset } = self.record.lock().unwrap().position.clone();
        if offset == 0 {
            return json!({ "channel": self.channel });
        }
        json!({"channel": self.channel, "recover": true, "offset": offset, "epoch": epoch})
    }

    /// A recovery that failed: the subscriber knows what it missed.
    fn told(&self, reply: &Value) {
        let mut record = self.record.lock().unwrap();
        if record.position.offset > 0 && reply["recovered"] != true {
            let after = Position {
                epoch: reply["epoch"].as_str().unwrap_or_default().to_owned(),
                offset: reply["offset"].as_u64().unwrap_or_default(),
            };
            let before = std::mem::replace(&mut record.position, after.clone());
            record.entries.push(Entry::Told { before, after });
        }
    }

    fn write_down(&self, number: Option<u64>, offset: Option<u64>) {
        let mut record = self.record.lock().unwrap();
        let (Some(number), Some(offset)) = (number, offset) else {
            return record.complaints.push("a publication without number or offset".to_owned());
        };
        record.position.offset = offset;
        let position = record.position.clone();
        let number = u32::try_from(number).unwrap_or_default();
        record.entries.push(Entry::Publication { number, position, at: Instant::now() });
    }
}

/// The publications of an object, wherever it has them: a push, or the answer of a recovery.
fn publications<'a>(object: &'a Value, channel: &str) -> Vec<&'a Value> {
    let recovered = [
        &object["subscribe"]["publications"],
        &object["connect"]["subs"][channel]["publications"],
        &object["push"]["connect"]["subs"][channel]["publications"],
    ];
    let recovered = recovered.into_iter().filter_map(Value::as_array).flatten();
    let pushed =
        [&object["pub"], &object["push"]["pub"]].into_iter().filter(|publication| publication.is_object());
    recovered.chain(pushed).collect()
}
