//! Methods of [`Session`](crate::session::Session) that a session hands on to the one inside it, or has no use for. The
//! trait has no methods with a default: one that is added is missing in every session, those around another one too, until
//! it is listed for each.

/// Writes methods of `Session` by their names: `to session: pong` hands them on to the field `session`, `none: pong` does
/// nothing.
#[rustfmt::skip] // A table: one method a line.
macro_rules! session_methods {
    (to $inner:ident: $($method:ident)*) => { $($crate::session::shared::delegate::session_methods!(@to $inner $method);)* };
    (none: $($method:ident)*) => { $($crate::session::shared::delegate::session_methods!(@none $method);)* };

    (@to $inner:ident opened) => { fn opened(&mut self, now: $crate::session::Now, actions: &mut $crate::session::Actions) { self.$inner.opened(now, actions); } };
    (@to $inner:ident outcome) => { fn outcome(&mut self, ticket: $crate::session::Ticket, outcome: $crate::session::Outcome, now: $crate::session::Now, actions: &mut $crate::session::Actions) { self.$inner.outcome(ticket, outcome, now, actions); } };
    (@to $inner:ident pong) => { fn pong(&mut self, now: $crate::session::Now) { self.$inner.pong(now); } };
    (@to $inner:ident poll_outside) => { fn poll_outside(&mut self, task: &mut std::task::Context<'_>, actions: &mut $crate::session::Actions) { self.$inner.poll_outside(task, actions); } };
    (@to $inner:ident deadline) => { fn deadline(&self) -> Option<tokio::time::Instant> { self.$inner.deadline() } };
    (@to $inner:ident is_blocked) => { fn is_blocked(&self) -> bool { self.$inner.is_blocked() } };
    (@to $inner:ident has_connected) => { fn has_connected(&self) -> bool { self.$inner.has_connected() } };
    (@to $inner:ident has_more) => { fn has_more(&self) -> bool { self.$inner.has_more() } };
    (@to $inner:ident resume) => { fn resume(&mut self, now: $crate::session::Now, actions: &mut $crate::session::Actions) { self.$inner.resume(now, actions); } };
    (@to $inner:ident input_bytes) => { fn input_bytes(&self) -> usize { self.$inner.input_bytes() } };
    (@to $inner:ident principal) => { fn principal(&self) -> Option<std::sync::Arc<str>> { self.$inner.principal() } };
    (@to $inner:ident ending) => { fn ending(&mut self) { self.$inner.ending(); } };
    (@to $inner:ident has_left) => { fn has_left(&self) -> bool { self.$inner.has_left() } };
    (@to $inner:ident failed) => { fn failed(&mut self, error: &(dyn std::error::Error + 'static)) { self.$inner.failed(error); } };
    (@to $inner:ident closed) => { fn closed(&mut self, disconnect: &$crate::disconnect::Disconnect) { self.$inner.closed(disconnect); } };

    (@none pong) => { fn pong(&mut self, _now: $crate::session::Now) {} };
    (@none poll_outside) => { fn poll_outside(&mut self, _task: &mut std::task::Context<'_>, _actions: &mut $crate::session::Actions) {} };
    (@none is_blocked) => { fn is_blocked(&self) -> bool { false } };
    (@none has_connected) => { fn has_connected(&self) -> bool { true } };
    (@none has_more) => { fn has_more(&self) -> bool { false } };
    (@none resume) => { fn resume(&mut self, _now: $crate::session::Now, _actions: &mut $crate::session::Actions) {} };
    (@none input_bytes) => { fn input_bytes(&self) -> usize { 0 } };
    (@none principal) => { fn principal(&self) -> Option<std::sync::Arc<str>> { None } };
    (@none ending) => { fn ending(&mut self) {} };
    (@none has_left) => { fn has_left(&self) -> bool { false } };
    (@none failed) => { fn failed(&mut self, _error: &(dyn std::error::Error + 'static)) {} };
}

pub(crate) use session_methods;
