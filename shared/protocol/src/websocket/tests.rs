//! The checklist `specs/websocket.md` 1 to 13, as far as it concerns the codec: the line is in the test's name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod client;
mod close;
mod compression;
mod control;
mod fragments;
mod frames;
mod handshake;
mod limits;
mod negotiation;
mod splits;
mod text;
