//! Every rule of `docs/protocols/stomp.md` §1 to §3 that the codec decides; §13 has the items of the names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod agreement;
mod client;
mod escapes;
mod frames;
mod limits;
mod round_trip;
mod written;
