//! Turns of a worker: what takes no time needs one, and a channel begins behind what its inbox held before. Pages of history.

use futures_util::FutureExt as _;

use super::*;
use crate::disconnect::Disconnect;

fn event(number: u64) -> ChannelEvent {
    ChannelEvent::Publication(Arc::new(Publication {
        data: number.to_string().into(),
        ..Publication::default()
    }))
}

#[actix_rt::test]
async fn an_order_for_many_sessions_takes_one_turn_while_there_is_time() {
    tokio::time::pause();
    let (worker, _inbox) = start();
    let names = ["one", "two", "three"];
    let clients = names.map(|name| Client::enter(&mut worker.hub_mut(), name));
    for (client, name) in clients.iter().zip(names) {
        worker.hub_mut().registry_mut().identify(client.key(), "42".into(), name.into());
    }
    let target = SessionTarget { user: "42".to_owned(), client: None, session: None };
    let disconnect = Disconnect::FORCE_RECONNECT;
    let order = Arc::new(SessionCommand::Disconnect { target, disconnect, spared: Vec::new() });
    assert!(worker.apply_command(&order).now_or_never().is_some(), "it paused");
    for client in &clients {
        assert!(client.was_told_to_end(Disconnect::FORCE_RECONNECT.code).await);
    }
}

#[actix_rt::test]
async fn events_of_many_channels_are_delivered_in_one_turn_while_there_is_time() {
    tokio::time::pause();
    let (worker, _inbox) = start();
    let client = Client::enter(&mut worker.hub_mut(), "one");
    for channel in ["a", "b", "c"] {
        let request = SubscribeParams { channel: channel.into(), ..client.request(NO_HISTORY, false) };
        assert!(worker.hub_mut().join(client.key(), &request).is_some());
        worker.hub_mut().release(client.key(), channel);
    }
    let channels = ["a", "b", "c"].into_iter().zip(1..);
    let mut turn = channels
        .map(|(channel, number)| {
            (channel.into(), ChannelTurn { events: vec![event(number)], ..ChannelTurn::default() })
        })
        .collect();
    assert!(worker.deliver_turn(&mut turn).now_or_never().is_some(), "it paused");
    assert_eq!(client.seen(), ["1", "2", "3"]);
}

#[actix_rt::test]
async fn what_stands_in_the_inbox_when_a_channel_begins_is_not_delivered_and_what_follows_is() {
    let (worker, inbox) = start();
    let client = Client::enter(&mut worker.hub_mut(), "one");
    let channel: Arc<str> = "a".into();
    // Nobody else has a turn before all three are there.
    inbox.event(&channel, event(1), Default::default());
    client.join(&mut worker.hub_mut(), NO_HISTORY, None);
    worker.subscriptions.mark_begin(&channel);
    inbox.event(&channel, event(2), Default::default());
    let mut seen = Vec::new();
    for _ in 0..100 {
        tokio::task::yield_now().await;
        seen.extend(client.seen());
    }
    assert_eq!(seen, ["2"]);
}

#[actix_rt::test]
async fn a_history_that_is_read_whole_is_not_called_truncated() {
    let (worker, _inbox) = start();
    let client = Client::enter(&mut worker.hub_mut(), "one");
    let query = HistoryQuery { limit: 100, ..HistoryQuery::default() };
    let (page, _permit) =
        worker.reads.clone().history(client.key(), "a".into(), query, HISTORY).await.unwrap();
    assert!(page.publications.is_empty() && !page.truncated);
}
