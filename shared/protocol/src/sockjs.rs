//! SockJS 0.3.3, without IO: what its URLs mean, what its frames look like, and how each transport wraps them.
//! `docs/protocols/sockjs.md`.
//!
//! Between a transport of the gateway, which moves bytes, and a session, which knows only messages:
//!
//! - [`path`]: what stands behind a path below an endpoint.
//! - [`frame`]: `o`, `a[…]`, `h`, `c[…]`.
//! - [`escape`]: the strings in them.
//! - [`wrapping`]: how a transport puts a frame into its response.
//! - [`callback`]: the name in `?c=`.
//! - [`batch`]: the messages that a client sends.
//! - [`headers`], [`iframe`]: the rest of the answers.
//!
//! Messages wait for a client as lists ([`frame::push_message`]), which say nothing of a transport: one encoding serves
//! every subscriber, and a session may go on over another transport.

pub mod batch;
pub mod callback;
pub mod escape;
pub mod frame;
pub mod headers;
pub mod iframe;
pub mod path;
pub mod wrapping;

pub use self::{
    batch::{BatchError, BatchLimits},
    callback::{Callback, CallbackError},
    path::{Route, Transport},
    wrapping::Wrapping,
};
