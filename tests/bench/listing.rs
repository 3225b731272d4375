//! The cost to list channels where a node has very many, by the HTTP API and by the admin API: time of a page and of a scrape, turns
//! of the worker, and what keeping the names in order costs a subscription.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use gorani_tests::{
    client,
    http::Api,
    node::{API_KEY, Settings},
    raw,
};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::{
    plan::Plan,
    report::{Goal, Row},
    server::{Kind, Server, gateway_settings, start_node},
    stats::Sample,
};

/// Channels of one connection, as many as `client.max_subscriptions` allows.
const CHANNELS_PER_CONNECTION: usize = 128;
/// Pages of each kind.
const PAGES: usize = 50;
/// Entries of a page.
const LIMIT: usize = 100;
/// Milliseconds that a page may take.
const PAGE_GOAL: Goal = Goal::AtMost(50.0);
/// Turns of the worker over 2.5 ms: the bound of the histogram that is next to the 2 ms of a turn.
const TURNS_GOAL: Goal = Goal::AtMost(0.0);
/// A worker adds its turns to the counters once a second.
const COUNTED_WITHIN: Duration = Duration::from_millis(1500);
/// Without an answer for so long the run is broken.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Kinds of pages: what they are called, and their pattern. `bench:room-0000000` is the first channel.
const KINDS: [(&str, Option<&str>); 4] = [
    ("one after the other", None),
    ("pattern with a beginning, bench:room-05*", Some("bench:room-05*")),
    ("pattern that finds one channel in ten, *5", Some("*5")),
    ("pattern that finds one channel in 100,000, *55555", Some("*55555")),
];

/// The key of an operator.
const ADMIN_KEY: &str = "a-key-of-an-operator-of-40-characters-00";
/// Reads of the admin API: what they are called, their queries, and milliseconds that they may take. Those that have pages are followed
/// by their cursor. The largest channels are found by a look at all, for which an answer has a second.
const ADMIN_READS: [(&str, &str, f64); 7] = [
    ("channels, one after the other", "channels?prefix=&limit=100", 50.0),
    ("channels, a prefix", "channels?prefix=bench:room-05&limit=100", 50.0),
    ("top 50 channels by subscribers", "channels?top=50", 1000.0),
    ("a channel", "channels?channel=bench:room-0500000", 50.0),
    ("subscribers of a channel", "subscribers?channel=bench:room-0500000", 50.0),
    ("connections of a transport", "connections?transport=websocket&limit=100", 50.0),
    ("overview", "overview", 50.0),
];

/// What one server showed.
struct Listed {
    cpu_microseconds: f64,
    kilobytes: f64,
    /// Milliseconds of every page, by kind.
    pages: Vec<Sample>,
    long_turns: f64,
    /// Milliseconds of every read of the admin API, by kind; of a scrape; and the turns over 2.5 ms meanwhile.
    admin: Vec<Sample>,
    scrape: Sample,
    long_admin_turns: f64,
}

pub(crate) fn measure(plan: &Plan, progress: &ProgressBar) -> io::Result<Vec<Row>> {
    let new = one(Kind::Gateway, plan, progress)?;
    let old = plan.start.old.map(|_| one(Kind::Stock, plan, progress)).transpose()?;
    let sample = |value: fn(&Listed) -> f64| {
        let of = |listed: &Listed| {
            let mut sample = Sample::default();
            sample.push(value(listed));
            sample
        };
        (of(&new), old.as_ref().map(of).unwrap_or_default())
    };
    let row = |what: String, unit, (gateway, stock), goal| Row { what, unit, gateway, stock, goal };
    let channels = plan.channels;
    let mut rows = vec![
        row(
            format!("subscribe, each of {channels} channels once: CPU per channel"),
            "µs",
            sample(|listed| listed.cpu_microseconds),
            None,
        ),
        row(
            format!("memory per channel, connections of {CHANNELS_PER_CONNECTION} channels included"),
            "KB",
            sample(|listed| listed.kilobytes),
            None,
        ),
    ];
    for (index, (kind, _)) in KINDS.iter().enumerate() {
        let pages = |listed: &Listed| listed.pages.get(index).cloned().unwrap_or_default();
        let both = (pages(&new), old.as_ref().map(pages).unwrap_or_default());
        rows.push(row(format!("page of {LIMIT} channels: {kind}"), "ms", both, Some(PAGE_GOAL)));
    }
    let turns = sample(|listed| listed.long_turns);
    rows.push(row(
        "turns of the worker over 2.5 ms during all pages".to_owned(),
        "",
        turns,
        Some(TURNS_GOAL),
    ));
    for ((kind, _, milliseconds), read) in ADMIN_READS.iter().zip(&new.admin) {
        let both = (read.clone(), Sample::default());
        rows.push(row(format!("admin API: {kind}"), "ms", both, Some(Goal::AtMost(*milliseconds))));
    }
    let scrape = (new.scrape.clone(), Sample::default());
    rows.push(row("scrape of /metrics".to_owned(), "ms", scrape, Some(PAGE_GOAL)));
    let mut turns = Sample::default();
    turns.push(new.long_admin_turns);
    let what = "turns of the worker over 2.5 ms during all reads and scrapes".to_owned();
    rows.push(row(what, "", (turns, Sample::default()), Some(TURNS_GOAL)));
    Ok(rows)
}

fn one(kind: Kind, plan: &Plan, progress: &ProgressBar) -> io::Result<Listed> {
    let server = match kind {
        Kind::Gateway => Server::of_node(start_node(admin_settings(), plan.start.pinned)),
        Kind::Stock => Server::start(kind, plan.start),
    };
    let process = server.process();
    let api = Api::new(server.address(), API_KEY);
    let (memory, cpu) = (process.resident_bytes(), process.cpu());
    let mut subscribers = Vec::new();
    for first in (0..plan.channels).step_by(CHANNELS_PER_CONNECTION) {
        progress.set_message(format!("{first} of {} channels", plan.channels));
        let last = (first + CHANNELS_PER_CONNECTION).min(plan.channels);
        subscribers.push(subscriber(server.address(), first..last)?);
    }
    let channels = plan.channels as f64;
    let cpu_microseconds = (process.cpu() - cpu).as_secs_f64() * 1e6 / channels;
    let kilobytes = process.resident_bytes().saturating_sub(memory) as f64 / 1e3 / channels;
    let before = long_turns(&api);
    let pages = KINDS.iter().map(|(kind, pattern)| {
        progress.set_message(format!("pages: {kind}"));
        pages(&api, *pattern)
    });
    let pages = pages.collect();
    let after = long_turns(&api);
    let mut listed = Listed {
        cpu_microseconds,
        kilobytes,
        pages,
        long_turns: after - before,
        admin: Vec::new(),
        scrape: Sample::default(),
        long_admin_turns: 0.0,
    };
    if kind == Kind::Gateway {
        progress.set_message("reads of the admin API");
        listed.admin = ADMIN_READS.iter().map(|(_, query, _)| admin_reads(&api, query)).collect();
        listed.scrape = timed(|| api.get("/metrics"));
        listed.long_admin_turns = long_turns(&api) - after;
    }
    drop(subscribers);
    Ok(listed)
}

/// A node with the admin API.
fn admin_settings() -> Settings {
    let key = format!(r#"[{{ name = "bench", key = "{ADMIN_KEY}", role = "operator" }}]"#);
    gateway_settings()
        .set("admin.enabled", "true")
        .set("admin.keys", key)
        .set("cluster.secret", "\"a-secret-of-the-cluster-of-40-characters\"")
}

/// Milliseconds of each read of a kind.
fn admin_reads(api: &Api, query: &str) -> Sample {
    let mut next = query.to_owned();
    timed(|| {
        let answer = api.admin(ADMIN_KEY, &next);
        // After the last page from the beginning again.
        next = match answer["cursor"].as_str() {
            Some(cursor) => format!("{query}&cursor={cursor}"),
            None => query.to_owned(),
        };
    })
}

/// Milliseconds of each of [`PAGES`] calls.
fn timed<T>(mut call: impl FnMut() -> T) -> Sample {
    let mut sample = Sample::default();
    for _ in 0..PAGES {
        let begun = Instant::now();
        call();
        sample.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    sample
}

/// A connection that is subscribed to the channels of these numbers.
fn subscriber(address: SocketAddr, channels: std::ops::Range<usize>) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIME_LIMIT))?;
    stream.write_all(raw::handshake(address, client::PATH, "").as_bytes())?;
    read_until(&mut stream, b"\r\n\r\n")?;
    // The connect first: what a session does before it is connected is limited.
    stream.write_all(&raw::frame(true, 0, raw::opcode::TEXT, br#"{"id":1,"connect":{}}"#))?;
    read_until(&mut stream, br#""id":1,"#)?;
    let last = channels.len() + 1;
    let commands: Vec<String> = (2..)
        .zip(channels)
        .map(|(id, number)| format!(r#"{{"id":{id},"subscribe":{{"channel":"bench:room-{number:07}"}}}}"#))
        .collect();
    stream.write_all(&raw::frame(true, 0, raw::opcode::TEXT, commands.join("\n").as_bytes()))?;
    read_until(&mut stream, format!(r#""id":{last},"#).as_bytes())?;
    Ok(stream)
}

fn read_until(stream: &mut TcpStream, end: &[u8]) -> io::Result<()> {
    let (mut received, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    while !received.windows(end.len()).any(|window| window == end) {
        match stream.read(&mut buffer)? {
            0 => return Err(io::Error::other("the server closed a subscriber")),
            read => received.extend_from_slice(&buffer[..read]),
        }
    }
    if received.windows(7).any(|window| window == b"\"error\"") {
        return Err(io::Error::other(String::from_utf8_lossy(&received).into_owned()));
    }
    Ok(())
}

/// Milliseconds of each page of a kind.
fn pages(api: &Api, pattern: Option<&str>) -> Sample {
    let mut cursor = Value::Null;
    timed(|| {
        let page = api.ok("channels", &json!({ "pattern": pattern, "limit": LIMIT, "cursor": cursor }));
        // After the last page from the beginning again.
        cursor = page["next_cursor"].clone();
    })
}

/// Turns of the workers that took longer than 2.5 ms, so far.
fn long_turns(api: &Api) -> f64 {
    std::thread::sleep(COUNTED_WITHIN);
    let (_, metrics) = api.get("/metrics");
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|value| value.trim().parse::<f64>().ok());
        value.unwrap_or_else(|| panic!("no {name} in /metrics"))
    };
    value("gorani_worker_turn_seconds_count ") - value("gorani_worker_turn_seconds_bucket{le=\"0.0025\"} ")
}
