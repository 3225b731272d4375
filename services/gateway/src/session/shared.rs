//! Rules that hold for the sessions of several protocols, each written once.
//!
//! - [`policy`]: channel rules, tokens and limits, and what a refusal means.
//! - `identity`: who a client is.
//! - [`login_limit`]: failed logins.
//! - `delegate`: methods that a session hands on or has no use for.
//! - `expiry`: of connections and subscriptions.
//! - [`recovery`]: what the options of a channel give of its stream.
//! - [`tags`]: their bounds.
//! - `pings`: when a client is pinged, and when it must have answered.
//! - `input_budget`: how much input is run at once.

pub(crate) mod delegate;
pub(in crate::session) mod expiry;
pub(in crate::session) mod identity;
pub(in crate::session) mod input_budget;
pub mod login_limit;
pub(in crate::session) mod pings;
pub mod policy;
pub mod recovery;
pub mod tags;
