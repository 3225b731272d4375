//! The protobuf messages of OTLP (`opentelemetry/proto/collector/trace/v1`), with the numbers of their fields, as far as spans need them.

use gorani_broker::TraceContext;

use crate::telemetry::trace::{SpanRecord, SpanValue};

/// `ExportTraceServiceRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExportRequest {
    /// One entry: the node.
    #[prost(message, repeated, tag = "1")]
    pub resource_spans: Vec<ResourceSpansMessage>,
}

/// `ExportTraceServiceResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExportResponse {
    /// Present where the collector did not take all.
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// `ExportTracePartialSuccess`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PartialSuccess {
    /// Spans that the collector did not take.
    #[prost(int64, tag = "1")]
    pub rejected_spans: i64,
    /// The reason.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// `ResourceSpans`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResourceSpansMessage {
    /// The node.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<ResourceMessage>,
    /// One entry: all spans.
    #[prost(message, repeated, tag = "2")]
    pub scope_spans: Vec<ScopeSpansMessage>,
}

/// `Resource`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResourceMessage {
    /// Its attributes.
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<AttributeMessage>,
}

/// `ScopeSpans`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ScopeSpansMessage {
    /// The instrumentation.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<ScopeMessage>,
    /// The spans.
    #[prost(message, repeated, tag = "2")]
    pub spans: Vec<SpanMessage>,
}

/// `InstrumentationScope`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ScopeMessage {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// `Span`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SpanMessage {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    /// 8 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
    /// `tracestate`.
    #[prost(string, tag = "3")]
    pub trace_state: String,
    /// 8 bytes, or none.
    #[prost(bytes = "vec", tag = "4")]
    pub parent_span_id: Vec<u8>,
    /// Its name.
    #[prost(string, tag = "5")]
    pub name: String,
    /// The number of its kind.
    #[prost(int32, tag = "6")]
    pub kind: i32,
    /// Nanoseconds since the Unix epoch.
    #[prost(fixed64, tag = "7")]
    pub start_time_unix_nano: u64,
    /// Nanoseconds since the Unix epoch.
    #[prost(fixed64, tag = "8")]
    pub end_time_unix_nano: u64,
    /// Its attributes.
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<AttributeMessage>,
    /// Spans of other traces that it follows from.
    #[prost(message, repeated, tag = "13")]
    pub links: Vec<LinkMessage>,
    /// Present where it failed.
    #[prost(message, optional, tag = "15")]
    pub status: Option<StatusMessage>,
    /// The flags of W3C.
    #[prost(fixed32, tag = "16")]
    pub flags: u32,
}

/// `Span.Link`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LinkMessage {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    /// 8 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
    /// `tracestate`.
    #[prost(string, tag = "3")]
    pub trace_state: String,
    /// The flags of W3C.
    #[prost(fixed32, tag = "6")]
    pub flags: u32,
}

/// `Status`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StatusMessage {
    /// The reason.
    #[prost(string, tag = "2")]
    pub message: String,
    /// 2: an error.
    #[prost(int32, tag = "3")]
    pub code: i32,
}

/// `KeyValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AttributeMessage {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

/// `AnyValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AnyValue {
    /// Of one of the kinds.
    #[prost(oneof = "AnyValueKind", tags = "1, 3")]
    pub value: Option<AnyValueKind>,
}

/// The kinds of values that attributes have here.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum AnyValueKind {
    /// A text.
    #[prost(string, tag = "1")]
    Text(String),
    /// A whole number.
    #[prost(int64, tag = "3")]
    Number(i64),
}

/// The code of a status that is an error.
const STATUS_ERROR: i32 = 2;

impl AttributeMessage {
    /// An attribute whose value is a text.
    pub fn text(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: Some(AnyValue { value: Some(AnyValueKind::Text(value.into())) }) }
    }

    fn of((key, value): (&'static str, SpanValue)) -> Self {
        match value {
            SpanValue::Text(text) => Self::text(key, text.into_owned()),
            SpanValue::Number(number) => Self {
                key: key.to_owned(),
                value: Some(AnyValue { value: Some(AnyValueKind::Number(number)) }),
            },
        }
    }
}

impl From<&TraceContext> for LinkMessage {
    fn from(followed: &TraceContext) -> Self {
        Self {
            trace_id: followed.trace_id.to_vec(),
            span_id: followed.span_id.to_vec(),
            trace_state: followed.state.to_string(),
            flags: followed.flags.into(),
        }
    }
}

impl From<SpanRecord> for SpanMessage {
    fn from(record: SpanRecord) -> Self {
        let SpanRecord { context, parent, links, kind, name, start_ns, end_ns, attributes, error } = record;
        Self {
            trace_id: context.trace_id.to_vec(),
            span_id: context.span_id.to_vec(),
            trace_state: context.state.to_string(),
            parent_span_id: parent.map(Vec::from).unwrap_or_default(),
            name: name.into_owned(),
            kind: kind as i32,
            start_time_unix_nano: start_ns,
            end_time_unix_nano: end_ns,
            attributes: attributes.into_iter().map(AttributeMessage::of).collect(),
            links: links.iter().map(|followed| LinkMessage::from(&**followed)).collect(),
            status: error.map(|error| StatusMessage { message: error.into_owned(), code: STATUS_ERROR }),
            flags: context.flags.into(),
        }
    }
}
