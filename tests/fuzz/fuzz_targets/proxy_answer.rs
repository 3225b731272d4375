//! A backend's answers to proxied calls: no panic whatever the bytes are, and what is accepted is within its bounds.
#![no_main]

use gorani::{
    proxy::answer::decode,
    proxy_call::{ProxyAnswer, ProxyResult},
    settings::ProxyEvent,
};
use gorani_protocol::client::{JSON_DEPTH, json_compact_check};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for event in ProxyEvent::ALL {
        let Ok(decoded) = decode(event, data) else { continue };
        match decoded.answer {
            ProxyAnswer::Disconnect(end) => assert!(end.reason.len() <= 123 && end.code >= 3004),
            ProxyAnswer::Error(error) => assert_ne!(error.code, 0),
            ProxyAnswer::Result(ProxyResult::Connect(Some(grant))) => {
                is_json_or_empty(&grant.info);
                is_json_or_empty(&grant.meta);
                grant.subs.iter().for_each(|(_, sub)| is_json_or_empty(&sub.info));
            }
            ProxyAnswer::Result(ProxyResult::Publish(grant)) => {
                assert!(grant.tags.len() <= 32 && grant.idempotency_key.len() <= 255);
            }
            ProxyAnswer::Result(ProxyResult::Refresh(Some(grant))) => is_json_or_empty(&grant.info),
            ProxyAnswer::Result(_) => {}
        }
    }
});

fn is_json_or_empty(bytes: &[u8]) {
    assert!(bytes.is_empty() || json_compact_check(bytes, JSON_DEPTH).is_ok());
}
