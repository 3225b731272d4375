//! Grace: pages that are loaded again, and sessions that replace one another.

use std::time::Duration;

use gorani_broker::{DataKind, Position, Published};

use super::nodes::{HookNodes, settings, simulated};
use crate::hooks::event::TrackedClient;

/// Users that load their page again at the same time.
const USERS: usize = 10_000;

#[test]
fn a_storm_of_reloads_changes_no_channel_and_no_member() {
    simulated(async || {
        let mut all = HookNodes::start(2, settings()).await;
        for number in 0..USERS {
            let client = format!("c{number}");
            all.connect(number % 2, &client, &number.to_string());
            all.subscribe(number % 2, &client, &format!("own-{number}"));
        }
        all.pass(Duration::from_secs(1)).await;
        all.folded.take_lines();
        for number in 0..USERS {
            all.disconnect(number % 2, &format!("c{number}"));
        }
        all.pass(Duration::from_secs(2)).await;
        for number in 0..USERS {
            // Balancers bring them to any node.
            let client = format!("again-{number}");
            all.connect(number % 3 % 2, &client, &number.to_string());
            all.subscribe(number % 3 % 2, &client, &format!("own-{number}"));
        }
        all.pass(Duration::from_secs(20)).await;
        assert_eq!(all.lines(&["Occupied", "Vacated", "Member"]), [""; 0]);
        all.check().await;
    });
}

#[test]
fn with_a_grace_for_sessions_a_user_that_comes_back_is_told_by_one_event() {
    simulated(async || {
        let mut all = HookNodes::start(
            1,
            crate::settings::HookSettings { session_grace: Duration::from_secs(3), ..settings() },
        )
        .await;
        all.connect(0, "one", "42");
        all.run().await;
        all.disconnect(0, "one");
        all.pass(Duration::from_secs(2)).await;
        all.connect(0, "two", "42");
        all.pass(Duration::from_secs(10)).await;
        let lines = all.lines(&["Connected", "Disconnected"]);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[1].contains("two") && lines[1].contains("\"replaces\":\"one\""), "{lines:?}");
        assert!(lines[1].contains("sessions=1"), "{lines:?}");
        all.disconnect(0, "two");
        all.pass(Duration::from_secs(4)).await;
        assert_eq!(all.lines(&["Disconnected"]).len(), 1);
        all.check().await;
    });
}

#[test]
fn the_events_of_a_client_say_what_the_backend_keeps_with_its_connection_at_that_time() {
    simulated(async || {
        let mut all = HookNodes::start(1, settings()).await;
        let of = |meta: &'static [u8]| TrackedClient {
            client: "c".into(),
            user: "42".into(),
            transport: "websocket",
            protocol: "json",
            meta: Some(bytes::Bytes::from_static(meta).into()),
        };
        let tracker = all.nodes[0].hooks.tracker.clone();
        tracker.keep_meta(of(b"nobody"));
        tracker.connected(of(b"{\"tier\":1}"));
        tracker.subscribed(of(b"{\"tier\":1}"), &"room".into(), false, false);
        all.run().await;
        tracker.keep_meta(of(b"{\"tier\":2}"));
        all.run().await;
        tracker.disconnected("42", "c", 3000, "gone");
        all.pass(Duration::from_secs(10)).await;
        let lines = all.lines(&["Connected", "Subscribed", "Disconnected", "Occupied"]);
        let tiers: Vec<_> =
            lines.iter().map(|line| (line.split(' ').next().unwrap(), line.contains("\"tier\":"))).collect();
        assert_eq!(
            tiers,
            [("Occupied", false), ("Connected", true), ("Subscribed", true), ("Disconnected", true)]
        );
        assert!(lines[2].ends_with("{\"tier\":1}") && lines[3].ends_with("{\"tier\":2}"), "{lines:?}");
    });
}

#[test]
fn without_collapsing_a_session_that_ended_at_once_is_told_whole() {
    simulated(async || {
        let settings = crate::settings::HookSettings { collapse: false, ..settings() };
        for (settings, expected) in [(settings, 5), (super::nodes::settings(), 0)] {
            let mut all = HookNodes::start(1, settings).await;
            all.connect(0, "c", "42");
            all.subscribe(0, "c", "a");
            all.unsubscribe(0, "c", "a");
            all.subscribe(0, "c", "a");
            all.disconnect(0, "c");
            all.pass(Duration::from_secs(1)).await;
            let lines = all.lines(&["Connected", "Disconnected", "Subscribed", "Unsubscribed"]);
            assert_eq!(lines.len(), expected, "{lines:?}");
            assert_eq!(all.nodes[0].hooks.tracker.collapsed() > 0, expected == 0);
            all.check().await;
        }
    });
}

/// The client that publishes.
fn publisher() -> TrackedClient {
    TrackedClient {
        client: "c".into(),
        user: "42".into(),
        transport: "websocket",
        protocol: "json",
        meta: None,
    }
}

#[test]
fn a_publication_is_told_before_its_client_has_the_reply_and_refused_while_the_store_is_away() {
    simulated(async || {
        let mut all = HookNodes::start(1, settings()).await;
        let of = publisher();
        let published =
            Published { position: Position { offset: 7, epoch: "e".into() }, ..Published::default() };
        let tracker = all.nodes[0].hooks.tracker.clone();
        let publish = |data: &'static str, kind| {
            tracker.publication(&of, &"room".into(), (&data.into(), kind), &published)
        };
        let told = [
            publish("{\"a\":1}", DataKind::Json),
            publish("\u{1}", DataKind::Text),
            publish("x", DataKind::Binary),
            publish("no json", DataKind::Json),
        ];
        all.run().await;
        for told in told {
            assert!(told.await);
        }
        let lines = all.lines(&["Publication"]);
        assert_eq!(lines.len(), 4);
        assert!(lines[0].contains("\"data\":{\"a\":1}") && lines[0].contains("\"offset\":7"), "{lines:?}");
        assert!(lines[1].contains("\\u0001") && lines[2].contains("\"b64data\":\"eA==\""), "{lines:?}");
        assert!(lines[3].contains("\"b64data\":"), "{lines:?}");
        all.broker.is_away.store(true, std::sync::atomic::Ordering::Relaxed);
        let told = publish("1", DataKind::Json);
        all.run().await;
        assert!(!told.await);
        let refused = publish("1", DataKind::Json);
        assert!(!refused.await, "at once");
    });
}

#[test]
fn more_publications_than_may_wait_for_the_store_are_refused_at_once() {
    simulated(async || {
        let mut all = HookNodes::start(1, settings()).await;
        let of = publisher();
        let published = Published::default();
        let tracker = all.nodes[0].hooks.tracker.clone();
        let publish = || tracker.publication(&of, &"room".into(), (&"1".into(), DataKind::Json), &published);
        let told: Vec<_> = (0..1000).map(|_| publish()).collect();
        assert!(!publish().await, "one more");
        all.pass(Duration::from_secs(1)).await;
        for told in told {
            assert!(told.await);
        }
        assert_eq!(all.lines(&["Publication"]).len(), 1000);
    });
}

#[test]
fn of_more_ended_sessions_than_may_wait_for_their_users_the_oldest_is_told_at_once() {
    simulated(async || {
        let grace = Duration::from_secs(600);
        let mut all =
            HookNodes::start(1, crate::settings::HookSettings { session_grace: grace, ..settings() }).await;
        for number in 0..10_001 {
            // Of one user, so that all are in one partition.
            all.connect(0, &format!("c{number}"), "42");
        }
        all.pass(Duration::from_secs(10)).await;
        all.folded.take_lines();
        for number in 0..10_001 {
            all.disconnect(0, &format!("c{number}"));
        }
        all.pass(Duration::from_secs(1)).await;
        let lines = all.lines(&["Disconnected"]);
        assert!(lines.len() == 1 && lines[0].starts_with("Disconnected c0 "), "{lines:?}");
    });
}
