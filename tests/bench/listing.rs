//! What it costs to list channels where a node has very many: time of a page, turns of the worker, and what keeping the names in order
//! costs a subscription.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use gorani_tests::{client, http::Api, node::API_KEY, raw};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::{
    plan::Plan,
    report::{Goal, Row},
    server::{Kind, Server},
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
/// Turns of the worker over 2 ms.
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

/// What one server showed.
struct Listed {
    cpu_microseconds: f64,
    kilobytes: f64,
    /// Milliseconds of every page, by kind.
    pages: Vec<Sample>,
    long_turns: f64,
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
    rows.push(row("turns of the worker over 2 ms during all pages".to_owned(), "", turns, Some(TURNS_GOAL)));
    Ok(rows)
}

fn one(kind: Kind, plan: &Plan, progress: &ProgressBar) -> io::Result<Listed> {
    let server = Server::start(kind, plan.start);
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
    let long_turns = long_turns(&api) - before;
    drop(subscribers);
    Ok(Listed { cpu_microseconds, kilobytes, pages, long_turns })
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
    let mut sample = Sample::default();
    let mut cursor = Value::Null;
    for _ in 0..PAGES {
        let request = json!({ "pattern": pattern, "limit": LIMIT, "cursor": cursor });
        let asked = Instant::now();
        let page = api.ok("channels", &request);
        sample.push(asked.elapsed().as_secs_f64() * 1e3);
        // After the last page from the beginning again.
        cursor = page["next_cursor"].clone();
    }
    sample
}

/// Turns of the workers that took longer than 2 ms, so far.
fn long_turns(api: &Api) -> f64 {
    std::thread::sleep(COUNTED_WITHIN);
    let (_, metrics) = api.get("/metrics");
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse::<f64>().ok()).unwrap_or_default()
    };
    value("gorani_worker_turn_seconds_count ") - value("gorani_worker_turn_seconds_bucket{le=\"0.002\"} ")
}
