//! One real node, and others that exist only as leases and messages in its broker.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    envelope::*,
    peers::{MAILBOX_BYTES, MAILBOX_MESSAGES, Peers},
    *,
};
use crate::{
    disconnect::ErrorCode,
    metrics::Metrics,
    node::Node,
    session_command::{SessionCommand, SessionTarget},
    settings::{MembershipSettings, Settings},
};

mod orders;
mod redis;
mod versions;

const OTHER: &str = "0badcafe";
const LONG: Duration = Duration::from_secs(300);
const ANSWER_TIMEOUT: Duration = Duration::from_millis(300);
/// Ends a test that has failed.
const TIME_LIMIT: Duration = Duration::from_secs(20);

async fn node(answer_timeout: Duration) -> Arc<Node> {
    let cluster = MembershipSettings { answer_timeout, ..MembershipSettings::default() };
    Node::start(Settings { cluster, ..Settings::default() }).await.unwrap()
}

/// Another node announces itself.
async fn appear(node: &Node, lease: Duration) {
    node.broker.cluster().announce(OTHER, "?".into(), lease).await.unwrap();
}

/// Something arrives for the node.
async fn tell(node: &Node, message: impl Into<Bytes>) {
    node.broker.cluster().send(Some(&node.id), message.into()).await.unwrap();
}

fn refresh(client: Option<&str>) -> SessionCommand {
    let target = SessionTarget { user: "42".to_owned(), client: client.map(str::to_owned), session: None };
    SessionCommand::Refresh { target, expired: false, expire_at: None, info: Bytes::new() }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let give_up = Instant::now() + TIME_LIMIT;
    while !holds() {
        assert!(Instant::now() < give_up, "it never became true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[actix_rt::test]
async fn a_node_that_lives_and_does_not_answer_is_named_and_no_success() {
    let node = node(ANSWER_TIMEOUT).await;
    assert_eq!(node.cluster.send_command(refresh(None)).await, Ok(()), "there is nobody else");
    appear(&node, LONG).await;
    let silent = ClusterError::Unanswered(vec![OTHER.to_owned()]);
    assert_eq!(node.cluster.send_command(refresh(None)).await, Err(silent.clone()));
    assert_eq!(
        node.cluster.send_command(refresh(Some("0badcafe0123456789abcdef"))).await,
        Err(silent.clone())
    );
    assert_eq!(node.cluster.connections_after(None, "", 10).await.map(drop), Err(silent.clone()));
    assert_eq!(node.cluster.channels_after(None, "", 10).await.map(drop), Err(silent.clone()));
    assert_eq!(ErrorCode::from(&silent), ErrorCode::UNKNOWN_OUTCOME);
    assert_eq!(node.metrics.cluster.timeouts.get(), 4);
    let nodes = node.cluster.nodes().await.unwrap();
    let ids: Vec<&str> = nodes.iter().map(|node| node.id.as_str()).collect();
    let mut expected = [&*node.id, OTHER];
    expected.sort_unstable();
    assert_eq!(ids, expected, "info shows it all the same");
    // What concerns a client here, or of a node that is not there, needs nobody's answer.
    assert_eq!(node.cluster.send_command(refresh(Some(&node.policy.get().new_client_id()))).await, Ok(()));
    assert_eq!(node.cluster.send_command(refresh(Some("00000001aaaaaaaaaaaaaaaa"))).await, Ok(()));
}

#[actix_rt::test]
async fn a_node_whose_lease_ends_while_it_is_waited_for_owes_no_answer() {
    let cluster = MembershipSettings {
        heartbeat: Duration::from_millis(100),
        // Far longer than a busy machine stands still.
        lease: Duration::from_secs(3),
        answer_timeout: TIME_LIMIT,
        ..MembershipSettings::default()
    };
    let node = Node::start(Settings { cluster, ..Settings::default() }).await.unwrap();
    until("our lease has run long enough", || node.cluster.peers.view.lock().is_complete(Instant::now()))
        .await;
    let appeared = Instant::now();
    appear(&node, 2 * ANSWER_TIMEOUT).await;
    assert_eq!(node.cluster.send_command(refresh(None)).await, Ok(()));
    assert!(appeared.elapsed() >= 2 * ANSWER_TIMEOUT, "it was waited for");
}

#[actix_rt::test]
async fn an_answer_counts_when_it_comes_from_a_node_that_was_asked() {
    let node = node(TIME_LIMIT).await;
    appear(&node, LONG).await;
    let asked = actix_rt::spawn({
        let node = node.clone();
        async move { node.cluster.send_command(refresh(None)).await }
    });
    until("the order is sent", || node.metrics.cluster.sent.get() == 1).await;
    for from in ["00000001", OTHER] {
        assert!(!asked.is_finished());
        tell(&node, Envelope::new(from, 0, EnvelopeBody::Answer(ClusterAnswer::Done)).encode().unwrap())
            .await;
        until("it is read", || node.metrics.cluster.received.get() == u64::from(from == OTHER) + 1).await;
    }
    assert_eq!(asked.await.unwrap(), Ok(()));
}

#[actix_rt::test]
async fn a_page_of_channels_ends_where_another_node_has_stopped_looking() {
    let node = node(TIME_LIMIT).await;
    let _worker = node.workers.start();
    appear(&node, LONG).await;
    let asked = actix_rt::spawn({
        let node = node.clone();
        async move { node.cluster.channels_after(Some("*a*"), "", 10).await }
    });
    until("the question is sent", || node.metrics.cluster.sent.get() == 1).await;
    let channels = [("a".to_owned(), 2)].into();
    let answer = ClusterAnswer::ChannelsCut { channels, until: "b".to_owned() };
    tell(&node, Envelope::new(OTHER, 0, EnvelopeBody::Answer(answer)).encode().unwrap()).await;
    let page = asked.await.unwrap().unwrap();
    assert_eq!((page.entries, page.cut_at.as_deref()), ([("a".to_owned(), 2)].into(), Some("b")));
}

#[actix_rt::test]
async fn what_is_not_understood_is_counted_and_answered_where_somebody_waits_for_an_answer() {
    let node = node(ANSWER_TIMEOUT).await;
    let of_newer = |body: &str| format!(r#"{{"v":1,"from":"0badcafe","id":1,"body":{body}}}"#);
    let ask = of_newer(r#"{"sing":"la"}"#);
    let answer = of_newer(r#"{"answer":{"song":"la"}}"#);
    for message in [r#"{"v":2}"#.to_owned(), "?".to_owned(), String::new(), ask, answer] {
        tell(&node, message).await;
    }
    until("all are read", || node.metrics.cluster.unknown.get() == 5).await;
    until("the question is answered", || node.metrics.cluster.sent.get() == 1).await;
    // Its own messages to all come back to it.
    tell(&node, Envelope::new(&node.id, 1, EnvelopeBody::Ask(ClusterQuery::Counts)).encode().unwrap()).await;
    tell(&node, Envelope::new(OTHER, 1, EnvelopeBody::Ask(ClusterQuery::Counts)).encode().unwrap()).await;
    until("the other is answered", || node.metrics.cluster.sent.get() == 2).await;
    assert_eq!(node.metrics.cluster.received.get(), 1);
}

#[test]
fn a_full_mailbox_takes_no_more_and_counts_it() {
    let metrics = Arc::<Metrics>::default();
    let (peers, mut mail) = Peers::new("0badcafe".into(), LONG, LONG, metrics.clone());
    for _ in 0..=MAILBOX_MESSAGES {
        peers.deliver(Bytes::from_static(b"x"));
    }
    assert_eq!(metrics.cluster.dropped.get(), 1);
    let taken = std::iter::from_fn(|| futures_util::FutureExt::now_or_never(mail.next()).flatten());
    assert_eq!(taken.count(), MAILBOX_MESSAGES);
    let large = Bytes::from(vec![0; MAILBOX_BYTES]);
    (0..3).for_each(|_| peers.deliver(large.clone()));
    assert_eq!(metrics.cluster.dropped.get(), 2, "two fit: the bound is looked at before the second");
}

/// A worker on a thread of its own that is held up until the sender is dropped, as by an embedder's handler that blocks.
fn blocked_worker(node: &Arc<Node>) -> (std::sync::mpsc::SyncSender<()>, std::thread::JoinHandle<()>) {
    let (release, released) = std::sync::mpsc::sync_channel::<()>(0);
    let (started, has_started) = std::sync::mpsc::sync_channel::<()>(0);
    let node = node.clone();
    let thread = std::thread::spawn(move || {
        actix_rt::System::new().block_on(async move {
            let _worker = node.workers.start();
            started.send(()).unwrap();
            // The thread stands still: nothing else of the worker runs.
            let _ = released.recv();
        });
    });
    has_started.recv().unwrap();
    (release, thread)
}

#[actix_rt::test]
async fn a_worker_that_blocks_for_longer_than_the_lease_does_not_end_it() {
    let lease = Duration::from_secs(4);
    let cluster = MembershipSettings {
        heartbeat: Duration::from_millis(100),
        lease,
        answer_timeout: ANSWER_TIMEOUT,
        ..MembershipSettings::default()
    };
    let node = Node::start(Settings { cluster, ..Settings::default() }).await.unwrap();
    let (release, thread) = blocked_worker(&node);
    let started = Instant::now();
    let own = ClusterError::Unanswered(vec![node.id.to_string()]);
    while started.elapsed() < 2 * lease {
        // Whoever asks the worker gets an error in time, and the lease goes on.
        assert_eq!(node.cluster.channels_after(None, "", 10).await.map(drop), Err(own.clone()));
        assert_eq!(node.cluster.nodes().await.unwrap().len(), 1, "its numbers need no worker");
        let members = node.broker.cluster().members().await.unwrap();
        assert!(members.iter().any(|member| *member.node == *node.id), "the lease ended");
    }
    assert_eq!(node.cluster.lapses(), 0);
    drop(release);
    thread.join().unwrap();
}

#[actix_rt::test]
async fn more_scans_than_a_node_makes_at_a_time_are_refused_after_a_while() {
    let node = node(ANSWER_TIMEOUT).await;
    let (release, thread) = blocked_worker(&node);
    let scans = (0..8).map(|_| node.cluster.channels_after(None, "", 10));
    let results = futures_util::future::join_all(scans).await;
    let busy = results.iter().filter(|result| **result == Err(ClusterError::Busy)).count();
    assert_eq!(busy, 8 - SCANS_AT_A_TIME);
    assert_eq!(ErrorCode::from(&ClusterError::Busy), ErrorCode::TOO_MANY_REQUESTS);
    drop(release);
    thread.join().unwrap();
}
