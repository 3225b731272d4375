//! A backend in the place of sockets, for the simulation: whoever simulates it answers each request when it likes.

use std::{cell::RefCell, rc::Rc};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use url::Url;

use super::{BackendAnswer, PostError};

/// The answer to a request, to come.
pub(crate) type SimulatedAnswer = LocalBoxFuture<'static, Result<BackendAnswer, PostError>>;
/// The simulated backend of a thread.
pub(crate) type SimulatedPost = Rc<dyn Fn(&Url, &Bytes) -> SimulatedAnswer>;

thread_local! {
    static BACKEND: RefCell<Option<SimulatedPost>> = const { RefCell::new(None) };
}

/// Has this backend answer all requests of this thread, or lets them go to sockets again.
pub(crate) fn set(backend: Option<SimulatedPost>) {
    BACKEND.set(backend);
}

/// The answer to a request, if the backend is simulated.
pub(super) fn post(endpoint: &Url, body: &Bytes) -> Option<SimulatedAnswer> {
    BACKEND.with_borrow(|backend| backend.as_ref().map(|post| post(endpoint, body)))
}
