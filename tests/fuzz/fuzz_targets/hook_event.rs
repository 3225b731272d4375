//! Events of hooks as they lie in Redis, where another program may write too: no panic whatever the bytes are, and an event that is read
//! is the same after it was written again.
#![no_main]

use bytes::Bytes;
use gorani_broker::hook_wire::{decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(event) = decode(Bytes::copy_from_slice(data)) else { return };
    assert!(event.endpoints.is_empty());
    assert!(event.content_bytes() <= data.len() as u64);
    assert_eq!(decode(encode(&event).into()).as_ref(), Ok(&event));
});
