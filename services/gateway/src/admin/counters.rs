//! Numbers that a node keeps anyway: its counters, what they grow by in a second, and what the process uses.

use std::{collections::BTreeMap, fs, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    disconnect::Disconnect,
    metrics::{TransportLabel, labels::DisconnectLabel},
    node::Node,
};

/// The labels under which connections are counted.
const TRANSPORTS: [&str; 15] = [
    "websocket",
    "uni_websocket",
    "sse",
    "uni_sse",
    "http_stream",
    "uni_http_stream",
    "poll",
    "tcp",
    "sockjs_websocket",
    "sockjs_websocket_raw",
    "sockjs_xhr",
    "sockjs_xhr_streaming",
    "sockjs_eventsource",
    "sockjs_htmlfile",
    "sockjs_jsonp",
];

/// The codes under which ends of sessions are counted.
static DISCONNECTS: [Disconnect; 25] = [
    Disconnect::NORMAL,
    Disconnect::HANDLER_FAILED,
    Disconnect::ABNORMAL,
    Disconnect::INTERRUPTED,
    Disconnect::CONNECTION_CLOSED,
    Disconnect::SHUTDOWN,
    Disconnect::INTERNAL,
    Disconnect::EXPIRED,
    Disconnect::SUBSCRIPTION_EXPIRED,
    Disconnect::SLOW,
    Disconnect::WRITE_ERROR,
    Disconnect::INSUFFICIENT_STATE,
    Disconnect::FORCE_RECONNECT,
    Disconnect::NO_PONG,
    Disconnect::TOO_MANY_REQUESTS,
    Disconnect::INVALID_TOKEN,
    Disconnect::BAD_REQUEST,
    Disconnect::STALE,
    Disconnect::FORCE_DISCONNECT,
    Disconnect::CONNECTION_LIMIT,
    Disconnect::CHANNEL_LIMIT,
    Disconnect::INAPPROPRIATE_PROTOCOL,
    Disconnect::PERMISSION_DENIED,
    Disconnect::NOT_AVAILABLE,
    Disconnect::TOO_MANY_ERRORS,
];
/// The code under which those of applications are counted.
const OF_APPLICATIONS: u16 = 4000;

/// The reason of a code.
pub fn reason(code: u16) -> &'static str {
    let known = DISCONNECTS.iter().find(|disconnect| disconnect.code == code);
    match known {
        Some(Disconnect { reason: std::borrow::Cow::Borrowed(reason), .. }) => reason,
        _ if code == OF_APPLICATIONS => "a code of the application",
        _ => "",
    }
}

/// Open connections by transport, those of which there are some.
pub fn connections(node: &Node) -> BTreeMap<String, i64> {
    let open = TRANSPORTS.iter().filter_map(|transport| {
        // The second field does not count.
        let gauge = node.metrics.connections.get(&TransportLabel::new(transport))?.get();
        (gauge != 0).then(|| ((*transport).to_owned(), gauge))
    });
    let brief = node.metrics.connections.get(&TransportLabel::brief("poll")).map(|gauge| gauge.get());
    let brief = brief.filter(|count| *count != 0).map(|count| ("poll".to_owned(), count));
    open.chain(brief).collect()
}

/// Counts of one second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    /// Publications that were accepted here.
    pub publications: f64,
    /// Publications that were put into outboxes here.
    pub deliveries: f64,
    /// Fan-outs whose times were measured, by bucket.
    pub fanouts: Vec<u64>,
    /// Events that the broker delivered to this node.
    pub events: f64,
    /// Bytes that were written to clients.
    pub bytes: f64,
    /// Messages that clients sent.
    pub messages_received: f64,
    /// Sessions that ended, by code.
    pub disconnects: Vec<(u16, f64)>,
}

/// Counters of a node at one time.
#[derive(Debug, Clone, Default)]
pub struct NodeCounters {
    publications: u64,
    deliveries: u64,
    fanouts: Vec<u64>,
    events: u64,
    bytes: u64,
    messages_received: u64,
    disconnects: Vec<(u16, u64)>,
}

impl NodeCounters {
    /// The counters of a node now.
    pub fn read(node: &Node) -> Self {
        let metrics = &node.metrics;
        let codes = DISCONNECTS.iter().map(|disconnect| disconnect.code).chain([OF_APPLICATIONS]);
        let disconnects =
            codes.filter_map(|code| Some((code, metrics.disconnects.get(&DisconnectLabel { code })?.get())));
        Self {
            publications: metrics.api_publications.accepted() + metrics.client_publications.accepted(),
            deliveries: metrics.deliveries.delivered(),
            fanouts: metrics.deliveries.fanouts(),
            events: metrics.events_received.get(),
            bytes: metrics.bytes_sent.get(),
            messages_received: metrics.messages_received.get(),
            disconnects: disconnects.collect(),
        }
    }

    /// Growth in a second, since an earlier time.
    #[allow(clippy::cast_precision_loss, reason = "numbers on a chart")]
    pub fn rates(&self, before: &Self, time: Duration) -> Rates {
        let seconds = time.as_secs_f64().max(0.001);
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let earlier =
            |code: u16| before.disconnects.iter().find(|(of, _)| *of == code).map_or(0, |one| one.1);
        let disconnects = self.disconnects.iter().map(|(code, count)| (*code, rate(*count, earlier(*code))));
        let fanouts = self.fanouts.iter().zip(&before.fanouts);
        Rates {
            publications: rate(self.publications, before.publications),
            deliveries: rate(self.deliveries, before.deliveries),
            fanouts: fanouts.map(|(now, before)| now.saturating_sub(*before)).collect(),
            events: rate(self.events, before.events),
            bytes: rate(self.bytes, before.bytes),
            messages_received: rate(self.messages_received, before.messages_received),
            disconnects: disconnects.filter(|(_, rate)| *rate > 0.0).collect(),
        }
    }
}

/// Use of CPU, memory and files by the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessReport {
    /// Share of one core, over the last seconds.
    pub cpu: Option<f64>,
    /// Bytes of memory.
    pub resident_bytes: Option<u64>,
    /// Open files.
    pub open_files: Option<u64>,
    /// Files that may be open.
    pub open_files_limit: Option<u64>,
    /// Seconds of a core that were used.
    cpu_seconds: f64,
    /// Milliseconds since the Unix epoch of that.
    at_ms: u64,
}

/// Units of time in `/proc/self/stat`: the same on all Linux machines that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;
/// Bytes of a page of memory.
const PAGE_BYTES: u64 = 4096;

impl ProcessReport {
    /// Reads it of the system; what the system does not tell is absent. `before`: the last report.
    #[allow(clippy::cast_precision_loss, reason = "numbers on a chart")]
    pub fn read(before: Self) -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The name of the program comes before this, and may hold spaces.
        let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
        let number = |index: usize| fields.get(index)?.trim().parse::<u64>().ok();
        let cpu_seconds = number(11).zip(number(12)).map(|(user, system)| (user + system) as f64);
        let cpu_seconds = cpu_seconds.unwrap_or_default() / TICKS_PER_SECOND;
        let at_ms = crate::clock::unix_ms();
        let elapsed = at_ms.saturating_sub(before.at_ms) as f64 / 1000.0;
        let is_known = before.at_ms > 0 && elapsed > 0.0;
        Self {
            cpu: is_known.then(|| ((cpu_seconds - before.cpu_seconds) / elapsed).max(0.0)),
            resident_bytes: number(21).map(|pages| pages.saturating_mul(PAGE_BYTES)),
            open_files: fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64),
            open_files_limit: rlimit::getrlimit(rlimit::Resource::NOFILE).ok().map(|(soft, _)| soft),
            cpu_seconds,
            at_ms,
        }
    }
}
