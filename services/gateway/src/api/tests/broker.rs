//! The API as a broker across a network sees it, and the answers to that broker's failures.

use std::time::Duration;

use futures_util::{FutureExt as _, future::BoxFuture};
use gorani_broker::{
    Broker, BrokerError, HistoryPage, HistoryQuery, MemoryBroker, MemorySettings, Publication,
    PublishOptions, Published, Retention,
};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::*;

/// A broker whose publications are answered when so many have been called, and which notes what happens.
struct Slow {
    inner: MemoryBroker,
    called: watch::Sender<usize>,
    answers_after: usize,
    fails_with: Option<BrokerError>,
    events: Arc<Mutex<Vec<String>>>,
}

impl Slow {
    fn new(answers_after: usize, fails_with: Option<BrokerError>) -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryBroker::new(MemorySettings::default()),
            called: watch::Sender::new(0),
            answers_after,
            fails_with,
            events: Arc::default(),
        })
    }

    fn note(&self, event: &str) {
        self.events.lock().push(event.to_owned());
    }
}

type Answer<T> = BoxFuture<'static, Result<T, BrokerError>>;

impl Broker for Slow {
    forward_broker!(
        inner: start, publish_join, publish_leave, subscribe, unsubscribe, renew, remove_history, presence_add, presence_remove, presence, presence_stats, presence_nodes, presence_reap, cluster, hook_store, health
    );

    fn publish(&self, channel: &str, publication: Publication, options: PublishOptions) -> Answer<Published> {
        self.note("publish");
        let answer = match &self.fails_with {
            Some(error) => std::future::ready(Err(error.clone())).boxed(),
            None => self.inner.publish(channel, publication, options),
        };
        self.called.send_modify(|called| *called += 1);
        let (mut called, enough) = (self.called.subscribe(), self.answers_after);
        let events = self.events.clone();
        Box::pin(async move {
            called.wait_for(|called| *called >= enough).await.unwrap();
            events.lock().push("published".to_owned());
            answer.await
        })
    }
    fn history(&self, channel: &str, query: HistoryQuery, retention: Retention) -> Answer<HistoryPage> {
        self.note("history");
        match &self.fails_with {
            Some(error) => std::future::ready(Err(error.clone())).boxed(),
            None => self.inner.history(channel, query, retention),
        }
    }
}

/// Longer than anything here takes; a call that waits for ever fails the test instead of hanging it.
const TIME_LIMIT: Duration = Duration::from_secs(20);

#[actix_web::test]
async fn a_batch_of_publications_is_called_whole_before_any_answer_is_waited_for() {
    for parallel in [false, true] {
        let broker = Slow::new(1010, None);
        let api = Api::of(Node::start_with(settings(), broker).await.unwrap());
        let mut commands: Vec<Value> =
            (0..1000).map(|n| json!({"publish": {"channel": "kept:a", "data": n}})).collect();
        commands.push(json!({"broadcast": {"channels": vec!["kept:b"; 10], "data": 1}}));
        commands.insert(500, json!({"pubish": {}}));
        let batch = json!({"commands": commands, "parallel": parallel});
        let replies = tokio::time::timeout(TIME_LIMIT, api.ok("batch", batch)).await.unwrap();
        assert_eq!(replies.as_array().unwrap().len(), 1002);
        assert_eq!(replies[1000]["publish"]["offset"], 1000);
    }
}

#[actix_web::test]
async fn another_command_waits_for_the_publications_before_it_and_those_after_it_for_it() {
    let broker = Slow::new(2, None);
    let api = Api::of(Node::start_with(settings(), broker.clone()).await.unwrap());
    let publish = json!({"publish": {"channel": "kept:a", "data": 1}});
    let history = json!({"history": {"channel": "kept:a", "limit": 9}});
    let commands = json!({"commands": [publish, publish, history, publish]});
    let replies = tokio::time::timeout(TIME_LIMIT, api.ok("batch", commands)).await.unwrap();
    assert_eq!(replies[2]["history"]["publications"].as_array().unwrap().len(), 2);
    let events = broker.events.lock().join(" ");
    assert_eq!(events, "publish publish published published history publish published");
}

#[actix_web::test]
async fn failures_of_the_broker_have_their_statuses_and_are_never_a_success() {
    for (error, status, code) in [
        (BrokerError::Unavailable("gone".to_owned()), 503, 120),
        (BrokerError::UnknownOutcome("gone".to_owned()), 503, 121),
        (BrokerError::Limit("bytes"), 429, 111),
    ] {
        let api = Api::of(Node::start_with(settings(), Slow::new(0, Some(error))).await.unwrap());
        let publish = json!({"channel": "kept:a", "data": 1});
        let (got_status, got_code, _) = api.refused("publish", &publish).await;
        assert_eq!((u64::from(got_status), got_code), (status, code));
        let (got_status, got_code, _) = api.refused("history", json!({"channel": "kept:a"})).await;
        assert_eq!((u64::from(got_status), got_code), (status, code));
        let replies = api.ok("batch", json!({"commands": [{"publish": publish}]})).await;
        assert_eq!(replies[0]["error"]["code"], code);
        let responses = api.ok("broadcast", json!({"channels": ["kept:a"], "data": 1})).await;
        assert_eq!(responses["responses"][0]["error"]["code"], code);
    }
}
