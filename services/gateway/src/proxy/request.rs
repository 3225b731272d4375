//! The request of a call: its JSON, written once with payloads as they came, and its headers.

use actix_http::header::{self, HeaderMap, HeaderName, HeaderValue};
use bytes::{BufMut, Bytes, BytesMut};
use gorani_broker::{DataKind, TraceContext};
use gorani_protocol::client::json::{write_base64, write_raw, write_string};

use super::trace;
use crate::{
    backend::Signer,
    proxy_call::{ProxyCall, ProxyCaller, ProxyPayload, ProxyRequest},
    settings::{ProxyEvent, ProxySettings},
    telemetry::{spans::traceparent_header, trace::Span},
};

/// The client's address, in the lists of headers.
const CLIENT_ADDRESS: &str = "x-real-ip";
/// Names a call in the logs of both sides.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The form of a proxy's requests, from its settings.
#[derive(Debug, Default)]
pub(super) struct RequestForm {
    is_binary: bool,
    includes_meta: bool,
    static_headers: Vec<(HeaderName, HeaderValue)>,
    http_headers: Vec<HeaderName>,
    emulated_headers: Vec<Box<str>>,
    has_trace: bool,
}

impl RequestForm {
    /// Names and values were checked with the settings.
    pub(super) fn new(settings: &ProxySettings, has_trace: bool) -> Self {
        let name = |name: &str| name.to_ascii_lowercase().parse::<HeaderName>().ok();
        let static_headers = settings.http.static_headers.iter();
        Self {
            is_binary: settings.binary_encoding,
            includes_meta: settings.include_connection_meta,
            static_headers: static_headers
                .filter_map(|(key, value)| Some((name(key)?, HeaderValue::from_str(value).ok()?)))
                .collect(),
            http_headers: settings.http_headers.iter().filter_map(|listed| name(listed)).collect(),
            emulated_headers: settings
                .emulated_headers
                .iter()
                .map(|listed| listed.to_ascii_lowercase().into())
                .collect(),
            has_trace,
        }
    }

    /// The headers of a call, without its signature. Of one name the client's own request counts most, then the headers that it
    /// wrote into its command, then the settings'.
    pub(super) fn headers(&self, call: &ProxyCall) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.static_headers {
            headers.insert(name.clone(), value.clone());
        }
        let of_client = &call.caller.headers;
        let of_frame = match &call.request {
            ProxyRequest::Rpc { headers, .. } => headers.as_slice(),
            _ => &[],
        };
        for (name, value) in of_client.emulated.iter().chain(of_frame) {
            if self.emulated_headers.iter().any(|listed| listed.eq_ignore_ascii_case(name))
                && let (Ok(name), Ok(value)) =
                    (name.parse::<HeaderName>(), HeaderValue::from_bytes(value.as_bytes()))
            {
                headers.insert(name, value);
            }
        }
        for listed in &self.http_headers {
            let mut values = of_client.http.iter().filter(|(name, _)| name == listed).map(|(_, value)| value);
            if let Some(first) = values.next() {
                headers.insert(listed.clone(), first.clone());
                values.for_each(|value| headers.append(listed.clone(), value.clone()));
            }
            if listed == CLIENT_ADDRESS
                && let Some(address) = of_client.address
                && let Ok(value) = HeaderValue::from_str(&address.to_string())
            {
                headers.insert(listed.clone(), value);
            }
        }
        if self.has_trace {
            headers.insert(trace::NAME, trace::traceparent(call));
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(value) = HeaderValue::from_str(&request_id(call)) {
            headers.insert(REQUEST_ID, value);
        }
        headers
    }

    /// The client's trace, if calls carry it on.
    pub(super) fn trace_of_client(&self, call: &ProxyCall) -> Option<TraceContext> {
        let value = self.has_trace.then(|| trace::of_client(call))??;
        TraceContext::parse(value.as_bytes(), b"")
    }

    /// The span of a call takes the position of its parent in the headers.
    pub(super) fn continue_from(&self, span: &Span, headers: &mut HeaderMap) {
        if self.has_trace
            && let Some((name, value)) = traceparent_header(span)
        {
            headers.insert(name, value);
        }
    }

    /// The body of a call.
    pub(super) fn body(&self, call: &ProxyCall) -> Bytes {
        let mut body = RequestBody(BytesMut::with_capacity(256));
        body.0.put_u8(b'{');
        let ProxyCaller { client, user, transport, protocol, meta, .. } = &*call.caller;
        body.text("client", client);
        body.text("transport", transport);
        body.text("protocol", protocol);
        let payload = payload(&call.request);
        let is_binary = self.is_binary || payload.is_some_and(|payload| payload.kind == DataKind::Binary);
        body.text("encoding", if is_binary { "binary" } else { "json" });
        if event(&call.request) != ProxyEvent::Connect {
            write_string(body.field("user"), user);
        }
        match &call.request {
            ProxyRequest::Connect { name, version, channels, .. } => {
                body.text("name", name);
                body.text("version", version);
                if !channels.is_empty() {
                    let out = body.field("channels");
                    for (index, channel) in channels.iter().enumerate() {
                        out.put_u8(if index == 0 { b'[' } else { b',' });
                        write_string(out, channel);
                    }
                    out.put_u8(b']');
                }
            }
            ProxyRequest::Subscribe { channel, token, .. } => {
                body.text("channel", channel);
                body.text("token", token);
            }
            ProxyRequest::SubRefresh { channel } | ProxyRequest::Publish { channel, .. } => {
                body.text("channel", channel);
            }
            ProxyRequest::Rpc { method, .. } => body.text("method", method),
            ProxyRequest::Refresh => {}
        }
        if let Some(ProxyPayload { data, kind }) = payload {
            match kind {
                _ if is_binary => write_base64(body.field("b64data"), data),
                DataKind::Json => write_raw(body.field("data"), data),
                _ => write_string(body.field("data"), &String::from_utf8_lossy(data)),
            }
        }
        if self.includes_meta && !meta.is_empty() && event(&call.request) != ProxyEvent::Connect {
            write_raw(body.field("meta"), meta);
        }
        body.0.put_u8(b'}');
        body.0.freeze()
    }
}

/// Puts the signature of today into the headers. A repetition keeps the id.
pub(super) fn sign(headers: &mut HeaderMap, signer: &Signer, call: &ProxyCall, body: &[u8], unix_s: u64) {
    if !signer.is_on() {
        return;
    }
    for (name, value) in signer.headers(&request_id(call), unix_s, body) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// The name of a call in the logs of both sides.
pub(super) fn request_id(call: &ProxyCall) -> String {
    format!("{}:{}", call.caller.client, call.number)
}

/// The kind of a question.
pub(super) fn event(request: &ProxyRequest) -> ProxyEvent {
    match request {
        ProxyRequest::Connect { .. } => ProxyEvent::Connect,
        ProxyRequest::Refresh => ProxyEvent::Refresh,
        ProxyRequest::Subscribe { .. } => ProxyEvent::Subscribe,
        ProxyRequest::SubRefresh { .. } => ProxyEvent::SubRefresh,
        ProxyRequest::Publish { .. } => ProxyEvent::Publish,
        ProxyRequest::Rpc { .. } => ProxyEvent::Rpc,
    }
}

fn payload(request: &ProxyRequest) -> Option<&ProxyPayload> {
    match request {
        ProxyRequest::Connect { data, .. }
        | ProxyRequest::Subscribe { data, .. }
        | ProxyRequest::Rpc { data, .. } => data.as_ref(),
        ProxyRequest::Publish { data, .. } => Some(data),
        ProxyRequest::Refresh | ProxyRequest::SubRefresh { .. } => None,
    }
}

/// An object that is being written.
struct RequestBody(BytesMut);

impl RequestBody {
    /// The place of a field's value.
    fn field(&mut self, name: &str) -> &mut BytesMut {
        if self.0.len() > 1 {
            self.0.put_u8(b',');
        }
        write_string(&mut self.0, name);
        self.0.put_u8(b':');
        &mut self.0
    }

    /// A text, unless it is empty.
    fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            write_string(self.field(name), value);
        }
    }
}
