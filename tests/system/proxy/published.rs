//! Handlers that were written for the HTTP proxies of Centrifugo: their answers as bytes, of each kind, and the questions that they
//! are asked. `recorded/*.txt` says whose they are.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use gorani_tests::{
    backend::{Answer, Backend, Request},
    client::Client,
    node::{Node, Settings},
};
use serde_json::{Value, json};

/// Seconds that a connection or a subscription lasts before the backend is asked again.
const LASTS: u64 = 4;
const NAMES: [&str; 3] = ["laravel", "yii", "django"];

/// The answers of one framework, by their names.
struct Recording {
    name: &'static str,
    head: String,
    answers: BTreeMap<&'static str, &'static str>,
}

impl Recording {
    fn of(name: &'static str) -> Self {
        let text = match name {
            "laravel" => include_str!("recorded/laravel.txt"),
            "yii" => include_str!("recorded/yii.txt"),
            _ => include_str!("recorded/django.txt"),
        };
        let (mut head, mut answers, mut section) = (String::new(), BTreeMap::new(), "");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            match line.strip_prefix("  ") {
                None => section = line,
                Some(line) if section == "head" => head += &format!("{line}\r\n"),
                Some(line) => assert!(answers.insert(section, line).is_none(), "one line: {section}"),
            }
        }
        Self { name, head, answers }
    }

    fn answer(&self, name: &str) -> Answer {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let body = self.answers.get(name).unwrap_or_else(|| panic!("{}: no answer {name}", self.name));
        let body = body.replace("{expire_at}", &(now + LASTS).to_string());
        if self.head.contains("chunked") {
            // PHP-FPM hands over what it has, nginx writes it as it comes.
            let (first, second) = body.split_at(body.len() / 2);
            let chunks = [first, second].map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).concat();
            return Answer::Raw(format!("{}\r\n{chunks}0\r\n\r\n", self.head).into_bytes());
        }
        if self.head.contains("Connection: close") {
            return Answer::Raw(
                format!("{}Content-Length: {}\r\n\r\n{body}", self.head, body.len()).into_bytes(),
            );
        }
        // Kept alive.
        let headers = self.head.lines().filter_map(|line| line.split_once(": "));
        let headers = headers.filter(|(name, _)| *name != "Content-Type");
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Answer::Status(200, headers, body.into_bytes())
    }
}

/// The handlers of one framework, with a node that asks them. A handler refuses once it is told to.
struct Asked {
    backend: Backend,
    node: Node,
    /// By kind, which of its answers is given.
    given: Arc<Mutex<BTreeMap<&'static str, &'static str>>>,
}

impl Asked {
    fn start(name: &'static str) -> Self {
        let recording = Recording::of(name);
        let given: Arc<Mutex<BTreeMap<&'static str, &'static str>>> = Arc::default();
        let shared = Arc::clone(&given);
        let backend = Backend::start(move |request: &Request| {
            let kind = request.path.trim_start_matches('/').to_owned();
            let name = shared.lock().unwrap().get(&*kind).map_or(kind, |name| (*name).to_owned());
            recording.answer(&name)
        });
        // A backend on a busy machine may need more than the second of the default.
        let asked =
            |kind: &str| format!("endpoint = \"{}\", timeout = \"4s\"", backend.url(&format!("/{kind}")));
        let proxy = |kind: &str| format!("{{ {} }}", asked(kind));
        let enabled = |kind: &str| format!("{{ enabled = true, {} }}", asked(kind));
        let room = r#"{ name = "room", presence = true, history_size = 10, history_ttl = "60s", subscribe_proxy_enabled = true,
            publish_proxy_enabled = true, sub_refresh_proxy_enabled = true, allow_presence_for_subscriber = true }"#;
        let settings = Settings::open()
            .set("channel.namespaces", format!("[{}, {{ name = \"personal\" }}]", room.replace('\n', " ")))
            .set("client.proxy.connect", enabled("connect"))
            .set("client.proxy.refresh", enabled("refresh"))
            .set("channel.proxy.subscribe", proxy("subscribe"))
            .set("channel.proxy.sub_refresh", proxy("sub_refresh"))
            .set("channel.proxy.publish", proxy("publish"))
            .set("rpc.proxy", proxy("rpc"))
            .set("rpc.without_namespace.proxy_enabled", "true");
        let node = Node::start(settings);
        Self { backend, node, given }
    }

    fn gives(&self, kind: &'static str, answer: &'static str) {
        self.given.lock().unwrap().insert(kind, answer);
    }

    /// A client that the backend has let in.
    async fn client(&self) -> Client {
        let mut client = Client::open(self.node.address()).await;
        let connect = json!({ "data": { "token": "valid" }, "name": "js", "version": "1.2" });
        client.ok("connect", connect).await;
        client
    }

    /// The last question of a kind, checked for what handlers of every framework need.
    fn question(&self, kind: &str) -> Value {
        let requests = self.backend.requests();
        let request = requests.iter().rev().find(|request| request.path == format!("/{kind}")).unwrap();
        assert_eq!((&*request.method, request.header("content-type")), ("POST", Some("application/json")));
        let length = request.header("content-length").unwrap();
        assert_eq!(length, request.body.len().to_string(), "PHP reads no chunks");
        assert!(!request.body.contains(&b'\n'));
        let mut question = request.json();
        assert!(question["client"].as_str().is_some_and(|client| !client.is_empty()), "{question}");
        question["client"] = "c".into();
        question
    }

    /// Waits until a kind was asked about so many times.
    fn wait_for(&self, kind: &str, count: usize) {
        let path = format!("/{kind}");
        crate::eventually(&path, gorani_tests::backend::TIME_LIMIT, || {
            self.backend.requests().iter().filter(|request| request.path == path).count() >= count
        });
    }
}

#[tokio::test]
async fn a_handler_of_each_framework_connects_clients_and_sends_them_away() {
    for name in NAMES {
        let asked = Asked::start(name);
        let mut client = Client::open(asked.node.address()).await;
        let connect = json!({ "data": { "token": "valid" }, "name": "js", "version": "1.2" });
        let reply = client.ok("connect", connect).await;
        assert!(reply.get("expires").is_none(), "{name}: the server refreshes: {reply}");
        let expected = json!({ "client": "c", "transport": "websocket", "protocol": "json", "encoding": "json",
            "data": { "token": "valid" }, "name": "js", "version": "1.2" });
        assert_eq!(asked.question("connect"), expected, "{name}");
        let (_, found) = asked.node.api().call("connections", &json!({ "user": "7" }));
        assert_eq!(found["result"]["connections"].as_object().map(serde_json::Map::len), Some(1), "{name}");
        let is_given = reply["subs"].get("personal:inbox#7").is_some();
        assert_eq!(is_given, name == "laravel", "{name}: {reply}");
        asked.gives("connect", "connect-refused");
        let mut refused = Client::open(asked.node.address()).await;
        let ended = refused.attempt("connect", json!({})).await.unwrap_err();
        assert_eq!(ended.0, 4501, "{name}: {ended:?}");
        assert!(asked.question("connect").get("data").is_none(), "{name}");
    }
}

#[tokio::test]
async fn a_handler_of_each_framework_prolongs_connections_and_ends_them() {
    for (name, code) in NAMES.into_iter().zip([4500, 3005, 3005]) {
        let asked = Asked::start(name);
        let mut client = asked.client().await;
        asked.wait_for("refresh", 2);
        let expected = json!({ "client": "c", "transport": "websocket", "protocol": "json", "encoding": "json",
            "user": "7" });
        assert_eq!(asked.question("refresh"), expected, "{name}");
        asked.gives("refresh", "refresh-refused");
        assert_eq!(client.closed().await.0, code, "{name}");
    }
}

#[tokio::test]
async fn a_handler_of_each_framework_lets_clients_into_channels_or_refuses_them() {
    for (name, code) in NAMES.into_iter().zip([404, 1000, 1000]) {
        let asked = Asked::start(name);
        let mut client = asked.client().await;
        client.ok("subscribe", json!({ "channel": "room:a", "data": { "since": 3 } })).await;
        let expected = json!({ "client": "c", "transport": "websocket", "protocol": "json", "encoding": "json",
            "user": "7", "channel": "room:a", "data": { "since": 3 } });
        assert_eq!(asked.question("subscribe"), expected, "{name}");
        asked.gives("subscribe", "subscribe-override");
        let reply = client.ok("subscribe", json!({ "channel": "room:b" })).await;
        assert!(asked.question("subscribe").get("data").is_none(), "{name}");
        if name == "laravel" {
            assert_eq!(reply["data"], json!({ "history": [1, 2] }));
        }
        // Two of them switch presence off for it.
        let presence = client.ok("presence", json!({ "channel": "room:b" })).await;
        let is_present = presence["presence"].as_object().is_some_and(|clients| !clients.is_empty());
        assert_eq!(is_present, name == "yii", "{name}: {presence}");
        if name == "laravel" {
            asked.gives("subscribe", "subscribe-plain");
            let reply = client.ok("subscribe", json!({ "channel": "room:d" })).await;
            assert_eq!((&reply["recoverable"], &reply["data"]), (&json!(true), &json!([])));
        }
        asked.gives("subscribe", "subscribe-refused");
        assert_eq!(client.error("subscribe", json!({ "channel": "room:c" })).await, code, "{name}");
    }
}

#[tokio::test]
async fn a_handler_of_each_framework_prolongs_subscriptions_and_ends_them() {
    for name in NAMES {
        let asked = Asked::start(name);
        asked.gives("subscribe", "subscribe-override");
        let mut client = asked.client().await;
        client.ok("subscribe", json!({ "channel": "room:a" })).await;
        asked.wait_for("sub_refresh", 2);
        let expected = json!({ "client": "c", "transport": "websocket", "protocol": "json", "encoding": "json",
            "user": "7", "channel": "room:a" });
        assert_eq!(asked.question("sub_refresh"), expected, "{name}");
        asked.gives("sub_refresh", "sub_refresh-refused");
        let push = client.push().await;
        assert_eq!(push["unsubscribe"]["code"], 2501, "{name}: {push}");
    }
}

#[tokio::test]
async fn a_handler_of_each_framework_changes_publications_or_refuses_them() {
    for (name, code) in NAMES.into_iter().zip([429, 1001, 1001]) {
        let asked = Asked::start(name);
        let mut client = asked.client().await;
        client.ok("subscribe", json!({ "channel": "room:a" })).await;
        let sent = json!({ "text": "hello" });
        client.ok("publish", json!({ "channel": "room:a", "data": sent })).await;
        let expected = json!({ "client": "c", "transport": "websocket", "protocol": "json", "encoding": "json",
            "user": "7", "channel": "room:a", "data": sent });
        assert_eq!(asked.question("publish"), expected, "{name}");
        let changed = json!({ "text": "안녕 <b>", "at": "2026/11/29" });
        let published = if name == "laravel" { changed } else { sent.clone() };
        assert_eq!(client.publication().await, published, "{name}");
        asked.gives("publish", "publish-refused");
        assert_eq!(
            client.error("publish", json!({ "channel": "room:a", "data": sent })).await,
            code,
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_handler_of_each_framework_answers_calls() {
    let rooms = json!({ "rooms": [{ "id": 1, "name": "café" }] });
    let answers = [(rooms, 500), (Value::Null, 1002), (json!({ "rooms": [] }), 1002)];
    for (name, (data, code)) in NAMES.into_iter().zip(answers) {
        let asked = Asked::start(name);
        let mut client = asked.client().await;
        let reply = client.ok("rpc", json!({ "method": "rooms", "data": { "page": 1 } })).await;
        assert_eq!(reply["data"], data, "{name}");
        let expected = json!({ "client": "c", "transport": "websocket", "protocol": "json", "encoding": "json",
            "user": "7", "method": "rooms", "data": { "page": 1 } });
        assert_eq!(asked.question("rpc"), expected, "{name}");
        asked.gives("rpc", "rpc-refused");
        assert_eq!(client.error("rpc", json!({ "method": "other" })).await, code, "{name}");
    }
}
