//! Every numbered line of `specs/stomp.md` that the codec decides.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod agreement;
mod client;
mod escapes;
mod frames;
mod limits;
mod round_trip;
mod written;
