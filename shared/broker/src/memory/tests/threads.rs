//! Many threads at once: the order holds, nothing deadlocks, and the books are right afterwards.

use std::{sync::Arc, thread};

use futures_util::FutureExt as _;

use super::{
    super::MemorySettings,
    fixture::{KEPT, MemoryFixture},
};
use crate::{Broker as _, ChannelEvent, ClientInfo, HistoryQuery, Idempotency, Publication, PublishOptions};

const THREADS: usize = 4;
const EACH: usize = 500;

#[test]
fn the_order_of_sink_calls_is_the_order_of_offsets_on_every_channel() {
    let fixture = MemoryFixture::new(MemorySettings::default());
    let channels: Vec<String> = (0..8).map(|number| format!("channel {number}")).collect();
    channels.iter().for_each(|channel| fixture.subscribe(channel));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    channels.iter().for_each(|channel| drop(fixture.keep(channel, "x")));
                }
            });
        }
    });
    for channel in &channels {
        let heard = fixture.sink.events(channel).into_iter().map(|event| match event {
            ChannelEvent::Publication(publication) => publication.offset,
            other => panic!("{other:?}"),
        });
        assert!(heard.eq(1..=(THREADS * EACH) as u64), "{channel}");
    }
    assert_eq!(fixture.sink.overlaps(), 0);
}

#[test]
fn the_bounds_hold_while_all_threads_evict() {
    let settings = MemorySettings {
        max_bytes: 50_000,
        max_channels: 20,
        max_presence: 30,
        max_idempotency_keys: 40,
        ..Default::default()
    };
    let fixture = MemoryFixture::new(settings);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let fixture = &fixture;
            scope.spawn(move || {
                for number in 0..EACH * 4 {
                    let channel = format!("channel {}", (number * 31 + thread * 7) % 61);
                    let idempotency = Idempotency { key: format!("{thread} {number}"), ttl: KEPT.ttl };
                    let options = PublishOptions {
                        retention: KEPT,
                        idempotency: (number % 3 == 0).then_some(idempotency),
                        skip_history: number % 5 == 0,
                    };
                    let publication =
                        Publication { data: vec![b'x'; number % 2_000].into(), ..Default::default() };
                    fixture.broker.publish(&channel, publication, options).now_or_never().unwrap().unwrap();
                    let info = ClientInfo { client: format!("{}", number % 11), ..Default::default() };
                    drop(fixture.broker.presence_add(&channel, Arc::new(info), KEPT.ttl, false));
                    drop(fixture.broker.presence_remove(&channel, &format!("{}", number % 7)));
                    drop(fixture.broker.history(&channel, HistoryQuery::default(), KEPT));
                    if number % 17 == 0 {
                        drop(fixture.broker.remove_history(&channel));
                    }
                }
            });
        }
    });
    let usage = fixture.usage();
    assert!(usage.history_bytes <= 50_000 && usage.channels <= 20, "{usage:?}");
    assert!(usage.presence <= 30 && usage.idempotency_keys <= 40, "{usage:?}");
    let mut held = (0, 0, 0);
    for shard in &fixture.broker.shards {
        for (_, channel) in shard.lock().channels.iter() {
            held.0 += channel.stream.as_ref().map_or(0, |stream| stream.bytes());
            held.1 += usize::from(channel.stream.is_some());
            held.2 += channel.presence_set.as_ref().map_or(0, |presence_set| presence_set.len());
        }
    }
    assert_eq!(
        held,
        (usage.history_bytes, usage.channels, usage.presence),
        "the books agree with what is held"
    );
}
