//! Rules that hold for the sessions of several protocols, each written once.
//!
//! - [`policy`]: who a client is and what it may: tokens, channel rules, and what a refusal means; [`login_limit`]: failed logins.
//! - [`current_policy`]: the policy that counts now, which a reload replaces.
//! - [`proxied`]: the calls to the backend that a session makes, and what follows from its answers.
//! - [`enforcement`]: a reload's order to end subscriptions that the settings no longer permit.
//! - `deadlines`: pings, and the expiry of connections and subscriptions.
//! - [`api_key_uses`]: when each API key was used last.
//! - [`recovery`]: what the options of a channel give of its stream.
//! - `input_budget`: how much input is run at once.
//! - [`TAGS_MAX`], [`TAGS_MAX_BYTES`]: the bounds of a publication's tags, for every publisher.

use std::time::Duration;

pub mod api_key_uses;
pub mod current_policy;
pub(in crate::session) mod deadlines;
pub mod enforcement;
pub(in crate::session) mod input_budget;
pub mod login_limit;
pub mod policy;
pub mod proxied;
pub mod recovery;

/// Tags of a publication at most.
pub const TAGS_MAX: usize = 32;
/// Bytes of their keys and values together at most.
pub const TAGS_MAX_BYTES: usize = 4 * 1024;
/// Bytes of an idempotency key at most.
pub const IDEMPOTENCY_KEY_MAX_BYTES: usize = 255;
/// Time for which an idempotency key is remembered (`docs/protocols/http.md` §5.5).
pub const IDEMPOTENCY_TTL: Duration = Duration::from_secs(300);
