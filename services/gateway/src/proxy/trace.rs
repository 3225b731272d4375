//! The header `traceparent` of W3C Trace Context: the trace of the client's request goes on in the backend, or one begins with the
//! call.

use actix_http::header::{HeaderName, HeaderValue};
use gorani_broker::TraceContext;
use rand::Rng;

use crate::proxy_call::{ProxyCall, ProxyRequest, TRACEPARENT, TRACEPARENT_OF_FRAMES};

/// The header.
pub(super) const NAME: HeaderName = HeaderName::from_static(TRACEPARENT);
/// Bytes of a value of version 00.
const LENGTH: usize = 55;

/// The value for a call: that of the client, else a new one.
pub(super) fn traceparent(call: &ProxyCall) -> HeaderValue {
    of_client(call).unwrap_or_else(begin)
}

/// The value of the client: that of its STOMP frame, of the request that opened the connection, or of its connect command. One that
/// breaks the standard is none.
pub(super) fn of_client(call: &ProxyCall) -> Option<HeaderValue> {
    let of_frame = match &call.request {
        ProxyRequest::Rpc { headers, .. } => headers.as_slice(),
        _ => &[],
    };
    let of_client = &call.caller.headers;
    let named = |headers: &'_ [(Box<str>, Box<str>)], wanted: &str| {
        let (_, value) = headers.iter().find(|(name, _)| **name == *wanted)?;
        HeaderValue::from_bytes(value.as_bytes()).ok()
    };
    let of_request = || of_client.http.iter().find(|(name, _)| *name == NAME).map(|(_, value)| value.clone());
    let mut candidates = named(of_frame, TRACEPARENT_OF_FRAMES)
        .into_iter()
        .chain(of_request())
        .chain(named(&of_client.emulated, TRACEPARENT));
    candidates.find(|value| is_valid(value.as_bytes()))
}

/// A trace that begins here. It is sampled: a backend that follows its parent would drop all traces of clients otherwise.
fn begin() -> HeaderValue {
    let mut ids = [0; 24];
    crate::random::rng().fill_bytes(&mut ids);
    // All zeros are no id.
    ids[0] |= 1;
    ids[16] |= 1;
    let mut text = String::with_capacity(LENGTH);
    text.push_str("00-");
    for (index, byte) in ids.iter().enumerate() {
        if index == 16 {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    text.push_str("-01");
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn is_valid(value: &[u8]) -> bool {
    TraceContext::parse(value, b"").is_some()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_value_that_breaks_the_standard_is_none() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_valid(good.as_bytes()));
        assert!(is_valid(format!("cc{}-more", &good[2..]).as_bytes()), "a later version");
        for bad in [
            String::new(),
            good[..54].to_owned(),
            format!("{good}-more"),
            format!("cc{}more", &good[2..]),
            good.replace("00-4", "ff-4"),
            good.replace('-', "_"),
            good.to_uppercase(),
            good.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            good.replace("00f067aa0ba902b7", &"0".repeat(16)),
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn each_trace_that_begins_here_is_valid_sampled_and_another_one() {
        let (first, second) = (begin(), begin());
        assert!(is_valid(first.as_bytes()) && first.as_bytes().ends_with(b"-01"), "{first:?}");
        assert_ne!(first, second);
    }
}
