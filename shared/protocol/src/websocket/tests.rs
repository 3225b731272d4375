//! The checklist `specs/websocket.md` 1 to 13, as far as it concerns the codec.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod handshake;
