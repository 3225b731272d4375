//! Requests between two owners of their slot: their order, and those that were overtaken.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::cell::RefCell;

use redis::{Value, cmd};

use super::*;
use crate::{
    BrokerError, RedisSettings,
    redis::request::{Caller, PendingCounter, RequestLimits},
};

struct RedirectFixture {
    redirects: Redirects,
    limits: RequestLimits,
}

impl RedirectFixture {
    fn new() -> Self {
        let limits = RequestLimits::new(&RedisSettings::default());
        Self { redirects: Redirects::new(Arc::default()), limits }
    }

    /// A request that a server has.
    fn sent(&self, slot: Slot, name: &str) -> (Request, Caller) {
        let mut command = cmd("GET");
        command.arg(name);
        let (mut request, caller) = self.limits.admit(command, false).unwrap();
        request.redirect = Some(self.redirects.join(slot));
        assert!(request.begin());
        (request, caller)
    }

    fn take_back(&self, request: Request) {
        let Value::ServerError(error) = redis::parse_redis_value(b"-MOVED 7 10.0.0.1:1\r\n").unwrap() else {
            panic!("no error")
        };
        self.redirects.take_back(request, &error);
    }

    fn carry_out(&self, request: Request) {
        self.redirects.carried_out(request.redirect.as_ref().unwrap());
        request.answer(Ok(Value::Okay));
    }

    /// The requests that are sent now.
    fn settle(&self) -> Vec<(String, Request)> {
        let sent = RefCell::new(Vec::new());
        self.redirects.close_slots(|_, request| {
            let name = request.command.args_iter().nth(1).unwrap();
            let redis::Arg::Simple(name) = name else { panic!("no name") };
            let name = String::from_utf8(name.to_vec()).unwrap();
            sent.borrow_mut().push((name, request));
        });
        sent.into_inner()
    }
}

fn names(sent: &[(String, Request)]) -> Vec<&str> {
    sent.iter().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test]
async fn what_was_sent_elsewhere_is_sent_again_in_its_order_with_those_made_later_behind() {
    let fixture = RedirectFixture::new();
    let (first, _first) = fixture.sent(7, "first");
    let (second, _second) = fixture.sent(7, "second");
    fixture.take_back(second);
    let (third, _third) = fixture.sent(7, "third");
    assert!(fixture.redirects.pass(third).is_none(), "the slot is open");
    let (other, _other) = fixture.sent(8, "other");
    assert!(fixture.redirects.pass(other).is_some(), "another slot is not");
    assert!(fixture.settle().is_empty(), "a server still has the first");
    fixture.take_back(first);
    let sent = fixture.settle();
    assert_eq!(names(&sent), ["first", "second", "third"]);
    assert!(!fixture.redirects.has_open());
    drop(sent);
    assert!(!fixture.redirects.is_standing(7));
}

#[tokio::test]
async fn one_that_was_overtaken_is_never_sent_again_and_nothing_of_it_was_done() {
    let fixture = RedirectFixture::new();
    let (first, caller) = fixture.sent(7, "first");
    let (second, _second) = fixture.sent(7, "second");
    let (third, _third) = fixture.sent(7, "third");
    fixture.take_back(first);
    fixture.carry_out(second);
    fixture.take_back(third);
    assert_eq!(names(&fixture.settle()), ["third"]);
    let refused = caller.wait().await;
    assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "{refused:?}");
}

#[tokio::test]
async fn after_a_change_of_owner_new_requests_wait_for_those_that_the_old_one_has() {
    let fixture = RedirectFixture::new();
    fixture.redirects.owner_changed(7);
    assert!(!fixture.redirects.has_open(), "nobody has anything of it");
    let (old, _old) = fixture.sent(7, "old");
    fixture.redirects.owner_changed(7);
    let (new, _new) = fixture.sent(7, "new");
    assert!(fixture.redirects.pass(new).is_none());
    assert!(fixture.settle().is_empty());
    fixture.carry_out(old);
    assert_eq!(names(&fixture.settle()), ["new"]);
}

#[tokio::test]
async fn a_request_that_was_sent_elsewhere_counts_at_no_server_until_one_has_it_again() {
    let fixture = RedirectFixture::new();
    let (old, new) = (Arc::<PendingCounter>::default(), Arc::<PendingCounter>::default());
    let (mut request, _caller) = fixture.sent(7, "moved");
    request.count_at(&old);
    assert_eq!(old.read(), fixture.limits.pending());
    fixture.take_back(request);
    assert_eq!((old.read(), fixture.limits.pending().0), ((0, 0), 1));
    let (_, mut request) = fixture.settle().pop().unwrap();
    request.count_at(&new);
    assert_eq!((new.read(), old.read()), (fixture.limits.pending(), (0, 0)));
    fixture.carry_out(request);
    assert_eq!((new.read(), fixture.limits.pending()), ((0, 0), (0, 0)));
}
