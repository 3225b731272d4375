//! `traceparent` and `tracestate` as requests bring them: no panic whatever the bytes are, and a context that is read is the same after it
//! was written again.
#![no_main]

use gorani_broker::TraceContext;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|parts: (&[u8], &[u8])| {
    let Some(context) = TraceContext::parse(parts.0, parts.1) else { return };
    assert!(context.state.len() <= 512);
    let written = context.to_string();
    assert_eq!(TraceContext::parse(written.as_bytes(), context.state.as_bytes()), Some(context));
});
