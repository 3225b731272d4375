//! Two nodes that share users and channels, and what others have told wrong: once a node instead of once a cluster, too early, or not
//! at a crash.

use std::{sync::atomic::Ordering, time::Duration};

use super::nodes::{HookNodes, settings, simulated};

const EDGES: [&str; 4] = ["Occupied", "Vacated", "MemberAdded", "MemberRemoved"];

#[test]
fn a_channel_is_told_once_for_the_cluster_and_vacated_only_when_nobody_is_anywhere() {
    simulated(async || {
        let mut all = HookNodes::start(2, settings()).await;
        for node in 0..2 {
            let client = format!("c{node}");
            all.connect(node, &client, "42");
            all.subscribe(node, &client, "room");
            all.run().await;
        }
        let edges = all.lines(&EDGES);
        assert_eq!(edges.len(), 2, "{edges:?}");
        all.disconnect(0, "c0");
        all.pass(Duration::from_secs(20)).await;
        assert_eq!(all.lines(&EDGES), [""; 0], "another node has the channel and the user");
        all.disconnect(1, "c1");
        all.pass(Duration::from_secs(4)).await;
        assert_eq!(all.lines(&EDGES), [""; 0], "it may come back");
        all.pass(Duration::from_secs(3)).await;
        let edges = all.lines(&EDGES);
        assert_eq!(edges.len(), 2, "{edges:?}");
        all.check().await;
    });
}

#[test]
fn a_crash_is_told_once_and_takes_members_and_channels_with_it() {
    simulated(async || {
        let mut all = HookNodes::start(3, settings()).await;
        all.connect(0, "c0", "42");
        all.subscribe(0, "c0", "room");
        all.connect(1, "c1", "7");
        all.subscribe(1, "c1", "room");
        all.run().await;
        all.folded.take_lines();
        all.kill(0);
        all.pass(Duration::from_secs(30)).await;
        let lines = all.lines(&["Disconnected", "Vacated", "MemberRemoved"]);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(
            lines.iter().any(|line| line.contains("c0 42") && line.contains("\"lost\":true")),
            "{lines:?}"
        );
        assert!(lines.iter().any(|line| line.starts_with("MemberRemoved") && line.contains("42 room")));
        let reaped: u64 = all.nodes.iter().map(|node| node.hooks.tracker.reaped_sessions()).sum();
        assert_eq!(reaped, 1);
        all.check().await;
    });
}

#[test]
fn sessions_of_a_node_that_was_paused_end_as_lost_and_come_again_with_all_their_channels() {
    simulated(async || {
        let mut all = HookNodes::start(2, settings()).await;
        all.connect(0, "c0", "42");
        all.subscribe(0, "c0", "room");
        all.subscribe(0, "c0", "hall");
        all.run().await;
        all.nodes[0].is_frozen = true;
        all.dies(0);
        all.pass(Duration::from_secs(30)).await;
        all.folded.take_lines();
        // While it stood still nothing was read; now the client leaves a channel.
        all.returns(0);
        all.unsubscribe(0, "c0", "hall");
        all.pass(Duration::from_secs(2)).await;
        let lines = all.lines(&["Connected", "Subscribed", "Occupied"]);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines.iter().all(|line| line.contains("\"resumed\":true")), "{lines:?}");
        assert!(
            lines.iter().any(|line| line.starts_with("Connected") && line.contains("seq=5")),
            "{lines:?}"
        );
        all.check().await;
    });
}

#[test]
fn a_broker_that_was_away_gets_only_what_is_different_now() {
    simulated(async || {
        let mut all = HookNodes::start(2, settings()).await;
        all.connect(0, "stays", "1");
        all.connect(0, "goes", "2");
        all.run().await;
        all.folded.take_lines();
        all.broker.is_away.store(true, Ordering::Relaxed);
        for number in 0..2000 {
            let client = format!("brief-{number}");
            all.connect(0, &client, &format!("u{number}"));
            all.subscribe(0, &client, &format!("room-{number}"));
            if number % 100 == 0 {
                all.run().await;
            }
            all.disconnect(0, &client);
        }
        all.disconnect(0, "goes");
        all.connect(0, "comes", "4");
        all.pass(Duration::from_secs(5)).await;
        let pending = all.nodes[0].hooks.tracker.pending();
        assert!(pending < 500, "{pending} changes wait");
        all.broker.is_away.store(false, Ordering::Relaxed);
        all.pass(Duration::from_secs(3)).await;
        let lines = all.lines(&["Connected", "Disconnected", "Subscribed"]);
        assert!(lines.len() < 20, "{lines:?}");
        all.check().await;
    });
}

#[test]
fn after_the_loss_of_all_data_a_reset_comes_first_and_then_everything_again() {
    simulated(async || {
        let mut all = HookNodes::start(2, settings()).await;
        for number in 0..250 {
            let client = format!("c{number}");
            all.connect(number % 2, &client, &format!("u{}", number % 50));
            all.subscribe(number % 2, &client, "room");
        }
        all.run().await;
        all.folded.take_lines();
        all.lose_data().await;
        all.pass(Duration::from_secs(8)).await;
        let lines = all.lines(&["Reset", "Connected", "Subscribed"]);
        assert_eq!(lines.iter().filter(|line| line.starts_with("Reset")).count(), 3);
        assert_eq!(lines.len(), 3 + 250 + 250);
        all.check().await;
    });
}

#[test]
fn many_changes_at_once_take_few_calls() {
    simulated(async || {
        let mut all = HookNodes::start(1, settings()).await;
        let before = all.broker.applied.load(Ordering::Relaxed);
        for number in 0..3000 {
            all.connect(0, &format!("c{number}"), &number.to_string());
        }
        all.run().await;
        let calls = all.broker.applied.load(Ordering::Relaxed) - before;
        assert!(calls <= 45, "{calls} calls");
        all.check().await;
    });
}
