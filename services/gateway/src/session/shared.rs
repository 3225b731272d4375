//! Rules that hold for the sessions of several protocols, each written once.
//!
//! - [`policy`]: channel rules, tokens and limits, and what a refusal means.
//! - [`login_limit`]: failed logins.
//! - `expiry`: of connections and subscriptions.
//! - [`recovery`]: what the options of a channel give of its stream.
//! - `pings`: when a client is pinged, and when it must have answered.
//! - `input_budget`: how much input is run at once.

pub(in crate::session) mod expiry;
pub(in crate::session) mod input_budget;
pub mod login_limit;
pub(in crate::session) mod pings;
pub mod policy;
pub mod recovery;
