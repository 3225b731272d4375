//! The keys and messages of a Redis, as JSON that can be kept in a file and put into another Redis.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

/// Longest wait for an answer of a server.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Numbers of this many digits are moments in milliseconds, alone or as a part of an id: they move with the time between writing
/// and reading.
const DIGITS_OF_MOMENTS: usize = 13;
/// Time for which a key that had an end is kept.
const KEPT_MS: &str = "60000";

/// An answer of Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisAnswer {
    /// A key that is not there.
    Nothing,
    /// An integer.
    Number(i64),
    /// A status, or any bytes.
    Text(Vec<u8>),
    /// Answers in a row.
    List(Vec<RedisAnswer>),
}

impl RedisAnswer {
    fn list(self) -> Vec<Self> {
        if let Self::List(list) = self { list } else { Vec::new() }
    }

    /// Bytes; empty where it is something else.
    pub fn bytes(self) -> Vec<u8> {
        if let Self::Text(bytes) = self { bytes } else { Vec::new() }
    }

    fn json(self) -> Value {
        match self {
            Self::Nothing => Value::Null,
            Self::Number(number) => number.into(),
            Self::Text(bytes) => json_of(&bytes),
            Self::List(list) => list.into_iter().map(Self::json).collect(),
        }
    }
}

/// Text as it is, other bytes in base64.
fn json_of(bytes: &[u8]) -> Value {
    match str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.into(),
        _ => json!({"base64": STANDARD.encode(bytes)}),
    }
}

/// The bytes that were written so.
///
/// # Panics
/// If they were not.
pub fn bytes_of(value: &Value) -> Vec<u8> {
    match (value.as_str(), value["base64"].as_str()) {
        (Some(text), _) => text.into(),
        (None, Some(base64)) => STANDARD.decode(base64).expect("base64"),
        (None, None) => value.to_string().into(),
    }
}

/// A connection to Redis.
#[derive(Debug)]
pub struct RedisConnection(BufReader<TcpStream>);

impl RedisConnection {
    /// Connects.
    ///
    /// # Panics
    /// If nobody listens.
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a running server accepts");
        stream.set_read_timeout(Some(ANSWER_WITHIN)).expect("a socket option");
        Self(BufReader::new(stream))
    }

    /// Sends a command and reads its answer.
    ///
    /// # Panics
    /// If the answer is an error, or none comes.
    pub fn ask(&mut self, command: &[&[u8]]) -> RedisAnswer {
        let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
        for part in command {
            bytes.extend(format!("${}\r\n", part.len()).as_bytes());
            bytes.extend_from_slice(part);
            bytes.extend_from_slice(b"\r\n");
        }
        self.0.get_mut().write_all(&bytes).expect("a running server reads");
        self.answer().unwrap_or_else(|error| panic!("{}: {error}", String::from_utf8_lossy(&bytes)))
    }

    fn answer(&mut self) -> std::io::Result<RedisAnswer> {
        let mut head = String::new();
        self.0.read_line(&mut head)?;
        let (kind, rest) = head.trim_end().split_at_checked(1).ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let number = || rest.parse::<i64>().map_err(std::io::Error::other);
        Ok(match kind {
            "+" => RedisAnswer::Text(rest.into()),
            ":" => RedisAnswer::Number(number()?),
            "$" | "*" if number()? < 0 => RedisAnswer::Nothing,
            "$" => {
                let length = usize::try_from(number()?).map_err(std::io::Error::other)?;
                let mut bytes = vec![0; length + 2];
                self.0.read_exact(&mut bytes)?;
                bytes.truncate(length);
                RedisAnswer::Text(bytes)
            }
            "*" => RedisAnswer::List((0..number()?).map(|_| self.answer()).collect::<Result<_, _>>()?),
            _ => return Err(std::io::Error::other(head)),
        })
    }

    /// Every key with its type and content, sorted, and the time at which they were read.
    ///
    /// # Panics
    /// If Redis does not answer, or has a type that nodes do not write.
    pub fn dump(&mut self) -> Value {
        let mut keys: Vec<Vec<u8>> =
            self.ask(&[b"KEYS", b"*"]).list().into_iter().map(RedisAnswer::bytes).collect();
        keys.sort();
        let dumped: Vec<Value> = keys.iter().filter_map(|key| self.dump_key(key)).collect();
        json!({"at_ms": now_ms(), "life": self.life(), "keys": dumped})
    }

    /// The server's life, as nodes note it in what they write: the beginning of its replication id.
    fn life(&mut self) -> String {
        let info = self.ask(&[b"INFO", b"replication"]).bytes();
        let info = String::from_utf8_lossy(&info).into_owned();
        let id = info.lines().find_map(|line| line.strip_prefix("master_replid:"));
        id.and_then(|id| id.get(..16)).expect("a replication id").to_owned()
    }

    fn dump_key(&mut self, key: &[u8]) -> Option<Value> {
        let kind = String::from_utf8_lossy(&self.ask(&[b"TYPE", key]).bytes()).into_owned();
        let content = match &*kind {
            // It has ended since the list was made.
            "none" => return None,
            "string" => self.ask(&[b"GET", key]),
            "hash" => self.ask(&[b"HGETALL", key]),
            "zset" => self.ask(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]),
            "set" => self.ask(&[b"SMEMBERS", key]),
            "list" => self.ask(&[b"LRANGE", key, b"0", b"-1"]),
            "stream" => self.ask(&[b"XRANGE", key, b"-", b"+"]),
            other => panic!("a key of type {other}"),
        };
        let has_end = matches!(self.ask(&[b"PTTL", key]), RedisAnswer::Number(0..));
        Some(json!({"key": json_of(key), "type": kind, "has_end": has_end, "content": content.json()}))
    }

    /// Writes what [`dump`](Self::dump) has read, as if this server had been that one all the time. Moments are as far from
    /// now as they were then.
    ///
    /// # Panics
    /// If Redis refuses something.
    pub fn restore(&mut self, dump: &Value) {
        let passed = now_ms() - dump["at_ms"].as_u64().expect("a time");
        let (life_then, life) = (bytes_of(&dump["life"]), self.life().into_bytes());
        let bytes_of = |value: &Value| match bytes_of(value) {
            bytes if bytes == life_then => life.clone(),
            bytes => moved(bytes, passed),
        };
        for entry in dump["keys"].as_array().expect("a list of keys") {
            let key = bytes_of(&entry["key"]);
            let content = &entry["content"];
            let parts: Vec<Vec<u8>> = content.as_array().into_iter().flatten().map(&bytes_of).collect();
            match entry["type"].as_str().expect("a type") {
                "string" => drop(self.ask(&[b"SET", &key, &bytes_of(content)])),
                "hash" => self.write(b"HSET", &key, &parts),
                "set" => self.write(b"SADD", &key, &parts),
                "list" => self.write(b"RPUSH", &key, &parts),
                "zset" => {
                    for pair in parts.chunks(2) {
                        self.write(b"ZADD", &key, &[pair[1].clone(), pair[0].clone()]);
                    }
                }
                "stream" => {
                    for entry in content.as_array().into_iter().flatten() {
                        let fields = entry[1].as_array().into_iter().flatten().map(&bytes_of);
                        let parts: Vec<Vec<u8>> =
                            std::iter::once(bytes_of(&entry[0])).chain(fields).collect();
                        self.write(b"XADD", &key, &parts);
                    }
                }
                other => panic!("a key of type {other}"),
            }
            if entry["has_end"] == true {
                self.ask(&[b"PEXPIRE", &key, KEPT_MS.as_bytes()]);
            }
        }
    }

    fn write(&mut self, command: &[u8], key: &[u8], parts: &[Vec<u8>]) {
        let whole: Vec<&[u8]> = [command, key].into_iter().chain(parts.iter().map(Vec::as_slice)).collect();
        self.ask(&whole);
    }

    /// Keeps all that is published from now on: the pub/sub channel and the message.
    ///
    /// # Panics
    /// If Redis refuses.
    pub fn listen(mut self) -> Arc<Mutex<Vec<Value>>> {
        self.ask(&[b"PSUBSCRIBE", b"*"]);
        self.0.get_mut().set_read_timeout(None).expect("a socket option");
        let heard = Arc::<Mutex<Vec<Value>>>::default();
        let kept = Arc::clone(&heard);
        thread::spawn(move || {
            while let Ok(message) = self.answer() {
                let mut parts = message.list().into_iter().skip(2).map(RedisAnswer::json);
                let mut entry = Map::new();
                entry.insert("channel".to_owned(), parts.next().unwrap_or_default());
                entry.insert("message".to_owned(), parts.next().unwrap_or_default());
                kept.lock().unwrap().push(entry.into());
            }
        });
        heard
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    u64::try_from(now.as_millis()).expect("a clock before the year 500,000,000")
}

/// A text of numbers with its moments later by so many milliseconds; any other text as it is.
fn moved(bytes: Vec<u8>, passed: u64) -> Vec<u8> {
    let Ok(text) = str::from_utf8(&bytes) else { return bytes };
    let part = |part: &str| {
        let moment = part.parse::<u64>().ok().filter(|_| part.len() == DIGITS_OF_MOMENTS);
        moment.map_or_else(|| part.to_owned(), |moment| (moment + passed).to_string())
    };
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return bytes;
    }
    text.split('-').map(part).collect::<Vec<_>>().join("-").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::Redis;

    #[test]
    fn every_type_of_key_can_be_kept_and_put_into_another_redis() {
        let (one, other) = (Redis::start(), Redis::start());
        let (mut one, mut other) =
            (RedisConnection::open(one.address()), RedisConnection::open(other.address()));
        for command in [
            &[&b"SET"[..], b"text", b"\0\xff"][..],
            &[b"HSET", b"hash", b"a", b"1"],
            &[b"SADD", b"set", b"a"],
            &[b"RPUSH", b"list", b"b", b"a"],
            &[b"ZADD", b"places", b"7", b"a"],
            &[b"ZADD", b"moments", b"1800000000000", b"a"],
            &[b"XADD", b"stream", b"5-1800000000000", b"p", b"\x01"],
            &[b"PEXPIRE", b"hash", b"100000"],
        ] {
            one.ask(command);
        }
        let mut dump = one.dump();
        let kept = dump["keys"].clone();
        // A year passes until it is read.
        let year = 365 * 24 * 3_600_000;
        dump["at_ms"] = json!(dump["at_ms"].as_u64().unwrap() - year);
        other.restore(&dump);
        let mut read = other.dump()["keys"].take();
        let passed = |text: &Value| text.as_str().unwrap().parse::<u64>().unwrap() - 1_800_000_000_000;
        let place = |read: &Value, name: &str| {
            read.as_array().unwrap().iter().position(|entry| entry["key"] == name).unwrap()
        };
        let (moments, stream) = (place(&read, "moments"), place(&read, "stream"));
        let moment = &mut read[moments]["content"][1];
        assert!((year..year + 60_000).contains(&passed(moment)), "{moment}");
        *moment = json!("1800000000000");
        let id = &mut read[stream]["content"][0][0];
        let (offset, accepted) = id.as_str().unwrap().split_once('-').unwrap();
        assert!(offset == "5" && passed(&json!(accepted)) >= year, "{id}");
        *id = json!("5-1800000000000");
        assert_eq!(read, kept);
    }
}
