//! New connections over the bound, in a time that passes when a test says so.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{net::Ipv4Addr, task::Waker};

use super::*;
use crate::settings::Settings;

/// New ones that there may be.
const HANDSHAKES: usize = 10;
/// Connections that there may be.
const CONNECTIONS: usize = 100;

/// Runs a test with the slots of a node's only worker.
fn with_slots(test: impl AsyncFnOnce(Rc<Slots>)) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut settings = Settings::default();
        settings.http.address.set_port(0);
        settings.http.workers = 1;
        let node = Node::start(settings).await.unwrap();
        let limits = ConnectionLimits {
            sessions: CONNECTIONS - HANDSHAKES,
            connections: CONNECTIONS,
            handshakes: HANDSHAKES,
            handshakes_per_address: HANDSHAKES,
            reserved: 1,
        };
        test(Slots::new(&node, &node.settings.http, limits)).await;
    });
}

/// So many connections, each from an address of its own.
fn open(slots: &Rc<Slots>, count: usize) -> Vec<ConnectionSlot> {
    let address = |at: usize| Ipv4Addr::from(0x0A00_0000 + u32::try_from(at).unwrap());
    (0..count).map(|at| slots.open(Some(address(at).into())).unwrap()).collect()
}

fn shed(slots: &[ConnectionSlot]) -> usize {
    slots.iter().filter(|slot| slot.is_shed(&Context::from_waker(Waker::noop()))).count()
}

#[test]
fn in_a_storm_all_have_the_time_for_their_first_request_and_those_who_use_it_stay() {
    with_slots(async |slots| {
        let clients = open(&slots, 9 * HANDSHAKES);
        assert_eq!(shed(&clients), 0);
        tokio::time::sleep(NEW_FOR / 2).await;
        let requests: Vec<_> = clients.iter().map(|slot| slot.watched().unwrap().begin()).collect();
        tokio::time::sleep(2 * NEW_FOR).await;
        assert_eq!(shed(&clients), 0);
        drop(requests);
    });
}

#[test]
fn those_who_say_nothing_are_closed_after_their_time_down_to_the_bound_the_oldest_first() {
    with_slots(async |slots| {
        let silent = open(&slots, 5 * HANDSHAKES);
        tokio::time::sleep(NEW_FOR / 2).await;
        let later = open(&slots, HANDSHAKES / 2);
        tokio::time::sleep(NEW_FOR * 3 / 4).await;
        assert_eq!([shed(&silent), shed(&later)], [5 * HANDSHAKES - HANDSHAKES / 2, 0]);
        assert_eq!(shed(silent.get(..4 * HANDSHAKES).unwrap()), 4 * HANDSHAKES);
        tokio::time::sleep(4 * NEW_FOR).await;
        assert_eq!(shed(&silent) + shed(&later), 5 * HANDSHAKES - HANDSHAKES / 2, "no more than must be");
        // And again, now that the task that closes them has ended.
        let more = open(&slots, 3 * HANDSHAKES);
        tokio::time::sleep(2 * NEW_FOR).await;
        assert_eq!([shed(&silent), shed(&later), shed(&more)], [50, 5, 2 * HANDSHAKES]);
    });
}

#[test]
fn on_a_node_without_connections_left_the_oldest_new_one_makes_room_at_once() {
    with_slots(async |slots| {
        let silent = open(&slots, CONNECTIONS + HANDSHAKES);
        assert_eq!(shed(&silent), HANDSHAKES);
        assert_eq!(shed(silent.get(..HANDSHAKES).unwrap()), HANDSHAKES, "the oldest");
        assert!(silent.iter().all(|slot| !slot.is_reserved()));
    });
}

#[test]
fn the_oldest_is_told_in_all_and_by_network_and_nothing_stays_of_those_that_left() {
    let [one, other] = [1, 2].map(|last| ClientNetwork::from(IpAddr::from(Ipv4Addr::new(192, 0, 2, last))));
    let mut list = IdleList::default();
    let proxied = list.insert(None, "proxied");
    let first = list.insert(Some(one), "first");
    let second = list.insert(Some(other), "second");
    let third = list.insert(Some(one), "third");
    assert_eq!((list.len(), list.count_of(one), list.count_of(other)), (4, 2, 1));
    assert_eq!((list.oldest(), list.oldest_of(one)), (Some(&"proxied"), Some(&"first")));
    list.remove(None, proxied);
    list.remove(Some(one), first);
    assert_eq!((list.oldest(), list.oldest_of(one)), (Some(&"second"), Some(&"third")));
    list.remove(Some(one), third);
    list.remove(Some(other), second);
    assert_eq!((list.len(), list.oldest(), list.oldest_of(one)), (0, None, None));
    assert!(list.by_network.is_empty());
}
