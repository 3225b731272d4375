//! Failures of servers of a cluster, and slots that move from one to another. `docs/architecture.md` §5.3, §5.5.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{
    super::{RedisSettings, shards::slots::slot_of},
    cluster::Cluster,
    fixture::{REQUEST_TIMEOUT, RedisFixture, SinkCall, quick},
    server::Server,
};
use crate::{
    Broker as _, BrokerError, Health, HistoryQuery, Idempotency, Publication, PublishOptions, Published,
    RedisBroker, Retention, contract::RecordingSink,
};

const RETENTION: Retention = Retention { size: 100_000, ttl: Duration::from_secs(300) };

/// Ends a test that has failed.
const TIME_LIMIT: Duration = Duration::from_secs(30);

fn event(channel: &str, data: &str) -> SinkCall {
    SinkCall::Event(channel.into(), data.to_owned())
}

fn gap(channel: &str) -> SinkCall {
    SinkCall::Gap(channel.into())
}

/// Time enough for a planned failover, during which the old primary does not answer, on a busy machine.
fn patient(cluster: &Cluster) -> RedisSettings {
    RedisSettings { request_timeout: Duration::from_secs(8), ..cluster.settings() }
}

fn slot(channel: &str) -> u16 {
    slot_of(format!("{{{channel}}}").as_bytes())
}

/// Everything that the channel keeps, in its order.
async fn kept(node: &RedisFixture, channel: &str) -> Vec<(u64, String)> {
    let query = HistoryQuery { limit: u32::MAX, ..HistoryQuery::default() };
    let page = node.broker.history(channel, query, RETENTION).await.unwrap();
    let text = |publication: &Arc<Publication>| String::from_utf8(publication.data.to_vec()).unwrap();
    page.publications.iter().map(|publication| (publication.offset, text(publication))).collect()
}

/// Publishes until it is accepted; the key makes sure that it is there once.
async fn insist(node: &RedisFixture, channel: &str, data: &str) -> Published {
    let idempotency = Some(Idempotency { key: data.to_owned(), ttl: Duration::from_secs(60) });
    let options = PublishOptions { retention: RETENTION, idempotency, ..Default::default() };
    let give_up = Instant::now() + TIME_LIMIT;
    loop {
        let publication = Publication { data: data.to_owned().into(), ..Default::default() };
        let asked = Instant::now();
        match node.broker.publish(channel, publication, options.clone()).await {
            Ok(published) => return published,
            Err(BrokerError::Unavailable(_) | BrokerError::UnknownOutcome(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
        assert!(asked.elapsed() < 3 * node.broker.settings.request_timeout, "{:?}", asked.elapsed());
        assert!(Instant::now() < give_up, "it is never accepted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_killed_is_replaced_by_its_replica_and_its_channels_alone_are_told_as_gaps() {
    let mut cluster = Cluster::start().await;
    cluster.back_up(0).await;
    let mut node = RedisFixture::start(cluster.settings()).await;
    node.until_ready().await;
    let channels = [0, 1, 2].map(|primary| cluster.channel_of(primary));
    node.subscribe(&channels.each_ref().map(String::as_str)).await;
    let before = insist(&node, &channels[0], "before").await.position;
    assert_eq!(node.next().await, event(&channels[0], "before"));
    cluster.until_copied(0).await;
    let server = format!("127.0.0.1:{}", cluster.primaries[0].port);
    cluster.primaries[0].kill();
    node.until_not_ready().await;
    let Health::NotReady(reason) = node.broker.health() else { panic!("the replica was faster") };
    assert!(reason.contains(&server), "{reason}");
    // The other servers' channels are not concerned.
    for channel in &channels[1..] {
        node.publish(channel, "meanwhile").await.unwrap();
        assert_eq!(node.next().await, event(channel, "meanwhile"));
    }
    let after = insist(&node, &channels[0], "after").await.position;
    assert_eq!(after.offset, 2, "the replica had it all");
    let page = node.broker.history(&channels[0], HistoryQuery::default(), RETENTION).await.unwrap();
    assert!(page.continues(&before), "and who has it all goes on");
    node.until_ready().await;
    // Whether the publication or the gap came first, the gap reaches the sink before anything that could hide it.
    let told = node.next().await;
    assert_eq!(told, gap(&channels[0]));
    assert_eq!(kept(&node, &channels[0]).await.len(), 2);
    insist(&node, &channels[0], "heard").await;
    let mut told = node.next().await;
    if told == event(&channels[0], "after") {
        told = node.next().await;
    }
    assert_eq!(told, event(&channels[0], "heard"));
    assert!(node.told_nothing(), "the other channels have no gap");
}

/// Publishes to one channel, many at a time, until it is stopped.
struct Load {
    channel: String,
    stop: tokio::sync::oneshot::Sender<()>,
    work: tokio::task::JoinHandle<(RedisFixture, Vec<(u64, String)>)>,
}

impl Load {
    /// A move or a planned failover may refuse publications, but leaves no doubt about any.
    fn start(publisher: RedisFixture, channel: &str) -> Self {
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let to = channel.to_owned();
        let work = tokio::spawn(async move {
            let mut accepted = Vec::new();
            let mut number = 0;
            while stopped.try_recv().is_err() {
                // Made in order, before any is awaited.
                let calls: Vec<_> = (0..20)
                    .map(|_| {
                        number += 1;
                        let publication =
                            Publication { data: number.to_string().into(), ..Default::default() };
                        let options = PublishOptions { retention: RETENTION, ..Default::default() };
                        (number, publisher.broker.publish(&to, publication, options))
                    })
                    .collect();
                let (numbers, calls): (Vec<u32>, Vec<_>) = calls.into_iter().unzip();
                for (number, answer) in numbers.into_iter().zip(join_all(calls).await) {
                    match answer {
                        Ok(published) => accepted.push((published.position.offset, number.to_string())),
                        Err(BrokerError::Unavailable(_)) => {}
                        Err(error) => panic!("it leaves a doubt: {error:?}"),
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            (publisher, accepted)
        });
        Self { channel: channel.to_owned(), stop, work }
    }

    /// Stops publishing. Returns the accepted publications, with one last publication.
    async fn stop(self) -> (RedisFixture, Vec<(u64, String)>) {
        self.stop.send(()).unwrap();
        let (publisher, mut accepted) = self.work.await.unwrap();
        let last = insist(&publisher, &self.channel, "1000000").await.position.offset;
        accepted.push((last, "1000000".to_owned()));
        (publisher, accepted)
    }
}

/// The channel keeps exactly what was accepted, with the same offsets, in the order of the calls.
async fn check_kept(node: &RedisFixture, channel: &str, accepted: &[(u64, String)]) -> Vec<(u64, String)> {
    let kept = kept(node, channel).await;
    let differs = kept.iter().zip(accepted).find(|(kept, accepted)| kept != accepted);
    assert_eq!(differs, None, "kept, and accepted");
    assert_eq!(kept.len(), accepted.len());
    assert!(kept.is_sorted_by_key(|(_, number)| number.parse::<u32>().unwrap()), "in the order of the calls");
    kept
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + TIME_LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "it never became true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Checks that the events of a channel are in order, and that there is a gap where something is missing.
fn check_told(told: &[SinkCall], channel: &str, kept: &[(u64, String)]) {
    let mut next = 0;
    let mut may_jump = false;
    for told in told {
        match told {
            SinkCall::Gap(of) if **of == *channel => may_jump = true,
            SinkCall::Event(of, data) if **of == *channel => {
                let at = kept.iter().position(|(_, other)| other == data).expect("it is in the history");
                assert!(at == next || (may_jump && at > next), "{at} instead of {next}, without a gap");
                (next, may_jump) = (at + 1, false);
            }
            _ => {}
        }
    }
    assert!(next == kept.len() || may_jump, "the end is missing: {next} of {}", kept.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_under_load_loses_nothing_and_keeps_the_order() {
    let mut cluster = Cluster::start().await;
    let mut listener = RedisFixture::start(cluster.settings()).await;
    let publisher = RedisFixture::start(patient(&cluster)).await;
    listener.until_ready().await;
    publisher.until_ready().await;
    // Both are of the same server, of which one slot goes to a new one.
    let moved = cluster.channel_of(0);
    let stays = format!("{moved}-neighbour");
    let stays = (0..).map(|number| format!("{stays}{number}")).find(|name| slot(name) < 5000).unwrap();
    assert_ne!(slot(&moved), slot(&stays));
    listener.subscribe(&[&moved, &stays]).await;
    let load = Load::start(publisher, &moved);
    cluster.grow().await;
    for (from, to) in [(0, 3), (3, 0)] {
        cluster.open(slot(&moved), from, to).await;
        cluster.move_keys(slot(&moved), from, to).await;
        cluster.close(slot(&moved), to).await;
        // The listener has followed when the sink has the gap.
        let gaps = if to == 3 { 1 } else { 2 };
        until("the gap is told", || listener.broker.stats().gaps_told >= gaps).await;
    }
    let (publisher, accepted) = load.stop().await;
    listener.publish(&stays, "not concerned").await.unwrap();
    let kept = check_kept(&publisher, &moved, &accepted).await;
    let mut told = Vec::new();
    let last = event(&moved, &kept.last().unwrap().1);
    while !told.contains(&event(&stays, "not concerned")) || !told.contains(&last) {
        told.push(listener.next().await);
    }
    check_told(&told, &moved, &kept);
    assert!(!told.contains(&gap(&stays)));
    listener.until_ready().await;
    assert_eq!(listener.broker.stats().servers, 3, "Redis Cluster server without slots; disconnecting");
    assert!(publisher.broker.stats().redirected > 0, "the load met the move");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_failover_under_load_loses_nothing_and_keeps_the_order() {
    let mut cluster = Cluster::start().await;
    cluster.back_up(0).await;
    let mut listener = RedisFixture::start(cluster.settings()).await;
    let publisher = RedisFixture::start(patient(&cluster)).await;
    listener.until_ready().await;
    publisher.until_ready().await;
    let channel = cluster.channel_of(0);
    listener.subscribe(&[&channel]).await;
    let load = Load::start(publisher, &channel);
    // The old primary lives on, as a replica.
    cluster.replicas[0].command(&["CLUSTER", "FAILOVER"]).await;
    until("the gap is told", || listener.broker.stats().gaps_told > 0).await;
    let (publisher, mut accepted) = load.stop().await;
    // A replica takes subscriptions too: there may be one more gap until the new primary has confirmed. Then everything arrives.
    let mut told = Vec::new();
    let deadline = Instant::now() + TIME_LIMIT;
    for number in 1_000_001.. {
        let data = number.to_string();
        accepted.push((insist(&publisher, &channel, &data).await.position.offset, data));
        while let Some(more) = listener.next_within(Duration::from_millis(200)).await {
            told.push(more);
        }
        if told.last() == accepted.last().map(|(_, data)| event(&channel, data)).as_ref() {
            break;
        }
        assert!(Instant::now() < deadline, "nothing is heard any more");
    }
    let kept = check_kept(&publisher, &channel, &accepted).await;
    check_told(&told, &channel, &kept);
    listener.until_ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_stood_still_and_was_replaced_is_not_believed_when_it_goes_on() {
    let mut cluster = Cluster::start().await;
    cluster.back_up(0).await;
    let mut node = RedisFixture::start(cluster.settings()).await;
    node.until_ready().await;
    let channel = cluster.channel_of(0);
    node.subscribe(&[&channel]).await;
    insist(&node, &channel, "before").await;
    assert_eq!(node.next().await, event(&channel, "before"));
    cluster.until_copied(0).await;
    cluster.primaries[0].freeze();
    insist(&node, &channel, "meanwhile").await;
    // Delivered as a gap, or received after it.
    assert_eq!(node.next().await, gap(&channel));
    cluster.primaries[0].thaw();
    cluster.primaries[0].until_info("replication", "role:slave").await;
    until("it is left alone", || node.broker.stats().servers == 3).await;
    let after = insist(&node, &channel, "after").await;
    while node.next().await != event(&channel, "after") {}
    let kept = kept(&node, &channel).await;
    assert_eq!(kept.last(), Some(&(after.position.offset, "after".to_owned())));
    node.until_ready().await;
    assert_eq!(node.broker.stats().servers, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_slot_is_between_two_servers_its_requests_wait_and_are_never_half_done() {
    let cluster = Cluster::start().await;
    let node = RedisFixture::start(patient(&cluster)).await;
    node.until_ready().await;
    let channel = cluster.channel_of(0);
    cluster.open(slot(&channel), 0, 1).await;
    // None of its keys is at the old server, and the new one does not own the slot yet.
    let waiting: Vec<_> = (0..5)
        .map(|number| {
            let publication = Publication { data: number.to_string().into(), ..Default::default() };
            let options = PublishOptions { retention: RETENTION, ..Default::default() };
            tokio::spawn(node.broker.publish(&channel, publication, options))
        })
        .collect();
    until("all were sent elsewhere", || node.broker.stats().redirected >= 5).await;
    assert!(waiting.iter().all(|publish| !publish.is_finished()));
    cluster.close(slot(&channel), 1).await;
    for (index, publish) in waiting.into_iter().enumerate() {
        let published = publish.await.unwrap().unwrap();
        assert_eq!(published.position.offset, index as u64 + 1);
    }
    let numbers: Vec<String> = kept(&node, &channel).await.into_iter().map(|(_, data)| data).collect();
    assert_eq!(numbers, ["0", "1", "2", "3", "4"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_stays_between_two_servers_makes_its_requests_end_in_time() {
    let cluster = Cluster::start().await;
    let node = RedisFixture::start(cluster.settings()).await;
    node.until_ready().await;
    let channel = cluster.channel_of(0);
    cluster.open(slot(&channel), 0, 1).await;
    let asked = Instant::now();
    let refused = node.publish(&channel, "never").await.unwrap_err();
    // It is tried again now and then, and time may be over just then.
    assert!(matches!(refused, BrokerError::Unavailable(_) | BrokerError::UnknownOutcome(_)), "{refused:?}");
    assert!(asked.elapsed() < 3 * REQUEST_TIMEOUT, "{:?}", asked.elapsed());
    cluster.close(slot(&channel), 1).await;
    assert_eq!(insist(&node, &channel, "at last").await.position.offset, 1, "what was refused was not done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_without_history_is_heard_at_the_new_server_of_its_slot() {
    let cluster = Cluster::start().await;
    let mut node = RedisFixture::start(cluster.settings()).await;
    node.until_ready().await;
    let channel = cluster.channel_of(1);
    node.subscribe(&[&channel]).await;
    cluster.open(slot(&channel), 1, 2).await;
    cluster.close(slot(&channel), 2).await;
    assert_eq!(node.next().await, gap(&channel));
    let publication = Publication { data: "live".into(), ..Default::default() };
    node.broker.publish(&channel, publication, PublishOptions::default()).await.unwrap();
    assert_eq!(node.next().await, event(&channel, "live"));
    // It can be unsubscribed and subscribed again at the new server, without a gap.
    node.broker.unsubscribe(&[channel.as_str().into()]).await.unwrap();
    node.subscribe(&[&channel]).await;
    node.publish(&channel, "again").await.unwrap();
    assert_eq!(node.next().await, event(&channel, "again"));
    node.until_ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_black_hole_before_one_server_is_left_behind_and_the_others_go_on() {
    let (cluster, proxy) = Cluster::start_behind_proxy().await;
    let mut node = RedisFixture::start(cluster.settings()).await;
    node.until_ready().await;
    let (behind, beside) = (cluster.channel_of(0), cluster.channel_of(1));
    node.subscribe(&[&behind, &beside]).await;
    proxy.swallow_all();
    let asked = Instant::now();
    let lost = node.publish(&behind, "lost").await.unwrap_err();
    assert!(lost.is_unknown_outcome(), "{lost:?}");
    assert!(asked.elapsed() < 3 * REQUEST_TIMEOUT, "{:?}", asked.elapsed());
    node.publish(&beside, "goes on").await.unwrap();
    let mut told = vec![node.next().await, node.next().await];
    told.sort_by_key(|told| *told == gap(&behind));
    assert_eq!(told, [event(&beside, "goes on"), gap(&behind)]);
    node.until_ready().await;
    node.publish(&behind, "after").await.unwrap();
    assert_eq!(node.next().await, event(&behind, "after"));
    assert!(node.told_nothing());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_belongs_to_no_cluster_is_a_clear_error() {
    let server = Server::start();
    let cluster = crate::ClusterSettings { urls: vec![server.url()] };
    let settings = RedisSettings {
        cluster: Some(cluster),
        require_at_start: true,
        ..quick("redis://localhost".to_owned())
    };
    let refused = RedisBroker::new(settings).unwrap().start(Arc::new(RecordingSink::default())).await;
    let Err(BrokerError::Unavailable(reason)) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("cluster support disabled"), "{reason}");
}
