//! An OpenTelemetry collector: it takes spans by OTLP over HTTP and keeps what tests look at. It reads protobuf by the numbers of fields
//! alone, so that it knows nothing of what wrote them.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use super::{Answer, Backend, Request, TIME_LIMIT};

/// A collector that takes everything.
pub struct Collector {
    backend: Backend,
}

/// A span, as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectedSpan {
    /// `service.instance.id` of who sent it.
    pub node: String,
    /// Hexadecimal digits.
    pub trace: String,
    /// Hexadecimal digits.
    pub id: String,
    /// Hexadecimal digits; empty for the first of a trace.
    pub parent: String,
    /// `tracestate`.
    pub state: String,
    /// Its name.
    pub name: String,
    /// 1 internal, 2 server, 3 client, 4 producer.
    pub kind: u64,
    /// Nanoseconds since the Unix epoch.
    pub start: u64,
    /// Nanoseconds since the Unix epoch.
    pub end: u64,
    /// Texts, and numbers as texts.
    pub attributes: BTreeMap<String, String>,
    /// Trace and span that it links to.
    pub links: Vec<(String, String)>,
    /// It is marked as failed.
    pub is_error: bool,
}

impl Collector {
    /// Answers every request with `status`.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn answering(status: u16) -> Self {
        Self { backend: Backend::start(move |_| Answer::status(status)) }
    }

    /// The server behind it.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The value of `telemetry.otlp.endpoint`.
    pub fn endpoint(&self) -> String {
        self.backend.url("")
    }

    /// All spans so far.
    ///
    /// # Panics
    /// If a request is none of OTLP.
    pub fn spans(&self) -> Vec<CollectedSpan> {
        self.backend.requests().iter().flat_map(spans_of).collect()
    }

    /// Waits until the spans are as they should be, and returns all.
    ///
    /// # Panics
    /// If they do not come in time.
    pub fn wait(&self, what: &str, holds: impl Fn(&[CollectedSpan]) -> bool) -> Vec<CollectedSpan> {
        let give_up = Instant::now() + TIME_LIMIT;
        loop {
            let spans = self.spans();
            if holds(&spans) {
                return spans;
            }
            assert!(Instant::now() < give_up, "{what}: {spans:#?}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn spans_of(request: &Request) -> Vec<CollectedSpan> {
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/traces"));
    assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
    let mut spans = Vec::new();
    for resource_spans in messages(&request.body, 1) {
        let resource = messages(resource_spans, 1).next().expect("a resource");
        let node = attributes(resource, 1).remove("service.instance.id").unwrap_or_default();
        for scope_spans in messages(resource_spans, 2) {
            spans.extend(
                messages(scope_spans, 2).map(|span| CollectedSpan { node: node.clone(), ..span_of(span) }),
            );
        }
    }
    spans
}

fn span_of(message: &[u8]) -> CollectedSpan {
    let text = |field| messages(message, field).next().map(utf8).unwrap_or_default();
    let id = |message, field| messages(message, field).next().map(hex).unwrap_or_default();
    CollectedSpan {
        node: String::new(),
        trace: id(message, 1),
        id: id(message, 2),
        parent: id(message, 4),
        state: text(3),
        name: text(5),
        kind: number(message, 6),
        start: number(message, 7),
        end: number(message, 8),
        attributes: attributes(message, 9),
        links: messages(message, 13).map(|link| (id(link, 1), id(link, 2))).collect(),
        is_error: messages(message, 15).any(|status| number(status, 3) == 2),
    }
}

fn attributes(message: &[u8], field: u64) -> BTreeMap<String, String> {
    let entry = |attribute| {
        let key = messages(attribute, 1).next().map(utf8).unwrap_or_default();
        let value = messages(attribute, 2).next().unwrap_or_default();
        let text = messages(value, 1).next().map(utf8);
        (key, text.unwrap_or_else(|| number(value, 3).to_string()))
    };
    messages(message, field).map(entry).collect()
}

/// The contents of the fields of this number that are messages, texts or bytes.
fn messages(message: &[u8], field: u64) -> impl Iterator<Item = &[u8]> {
    fields(message).filter_map(move |(number, value)| match value {
        Value::Bytes(bytes) if number == field => Some(bytes),
        _ => None,
    })
}

/// The number in the field of this number; 0 where there is none.
fn number(message: &[u8], field: u64) -> u64 {
    let values = fields(message).filter_map(|(number, value)| match value {
        Value::Number(value) if number == field => Some(value),
        _ => None,
    });
    values.last().unwrap_or_default()
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn fields(mut rest: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let key = varint(&mut rest);
        let value = match key & 7 {
            0 => Value::Number(varint(&mut rest)),
            1 => Value::Number(u64::from_le_bytes(take(&mut rest, 8).try_into().expect("8 bytes"))),
            2 => {
                let length = usize::try_from(varint(&mut rest)).expect("a length");
                Value::Bytes(take(&mut rest, length))
            }
            5 => {
                let bytes = take(&mut rest, 4).try_into().expect("4 bytes");
                Value::Number(u32::from_le_bytes(bytes).into())
            }
            kind => panic!("a field of kind {kind}"),
        };
        Some((key >> 3, value))
    })
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, others) = rest.split_at(length);
    *rest = others;
    taken
}

fn varint(rest: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = take(rest, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}

fn utf8(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
