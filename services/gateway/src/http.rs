//! What requests over HTTP have in common, whatever they ask for. `docs/protocols/http.md` §1 to §3.
//!
//! - [`request_context`]: origin, peer, limits and draining of a request that receives.
//! - [`refusal`]: errors as JSON with a status.
//! - [`body`]: reads a body within a limit.
//! - [`head`]: HEAD, wherever GET is.
//! - `peer`: the client's address, behind a balancer too.

pub mod body;
pub mod head;
pub(crate) mod peer;
pub mod refusal;
pub mod request_context;
