//! Expired things are gone for every reader at once, and later calls give back their memory.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt as _;

use super::{
    super::{MemoryBroker, MemorySettings, MemoryUsage},
    fixture::{HOUR, KEPT, MemoryFixture, SECOND},
};
use crate::{
    Broker as _, BrokerError, Health, Publication, PublishOptions, Retention, contract::RecordingSink,
};

#[test]
fn a_position_unused_for_its_time_is_forgotten_and_the_next_life_has_another_epoch() {
    let fixture = MemoryFixture::new(MemorySettings { position_ttl: 10 * SECOND, ..Default::default() });
    let first = fixture.keep("news", "1");
    fixture.clock.advance(9 * SECOND);
    assert_eq!(fixture.read("news").top, first, "and being read prolongs it");
    fixture.clock.advance(9 * SECOND);
    let second = fixture.keep("news", "2");
    assert_eq!((second.offset, &second.epoch), (2, &first.epoch));
    fixture.clock.advance(10 * SECOND);
    let page = fixture.read("news");
    assert_eq!((page.publications.len(), page.top.offset), (0, 0));
    assert_ne!(page.top.epoch, first.epoch);
    assert_eq!(fixture.usage(), MemoryUsage { channels: 1, ..Default::default() });
}

#[test]
fn what_expired_is_not_seen_before_it_is_cleared_away() {
    let fixture = MemoryFixture::new(MemorySettings { position_ttl: 3 * HOUR, ..Default::default() });
    // More than the calls below clear away by the way.
    let names = fixture.neighbours(20);
    let last = names.last().unwrap();
    names.iter().for_each(|name| drop(fixture.keep(name, "x")));
    let before = fixture.read(last);
    assert_eq!(before.publications.len(), 1);
    fixture.clock.advance(HOUR);
    let emptied = fixture.read(last);
    assert_eq!((emptied.publications.len(), &emptied.top), (0, &before.top));
    fixture.clock.advance(3 * HOUR);
    let anew = fixture.keep(last, "x");
    assert_eq!(anew.offset, 1);
    assert_ne!(anew.epoch, before.top.epoch);
    assert!(fixture.usage().channels > 1, "the others wait to be cleared away");
}

#[test]
fn no_history_lives_longer_than_the_position() {
    let fixture = MemoryFixture::new(MemorySettings { position_ttl: 10 * SECOND, ..Default::default() });
    let first = fixture.keep("news", "1");
    fixture.clock.advance(6 * SECOND);
    assert_eq!(fixture.read("news").publications.len(), 1);
    fixture.clock.advance(6 * SECOND);
    let page = fixture.read("news");
    assert_eq!((page.publications.len(), page.top), (0, first));
}

#[test]
fn what_expired_is_cleared_away_by_calls_for_other_channels() {
    let fixture = MemoryFixture::new(MemorySettings { position_ttl: 2 * HOUR, ..Default::default() });
    for number in 0..300 {
        let channel = format!("channel {number}");
        fixture.keep(&channel, "history");
        fixture.guarded(&channel, "key", HOUR);
        fixture.enter(&channel, "client", HOUR).unwrap();
    }
    fixture.clock.advance(HOUR);
    fixture.disturb();
    let usage = fixture.usage();
    assert_eq!((usage.history_bytes, usage.presence, usage.channels), (0, 0, 300));
    assert!(usage.idempotency_keys <= super::super::SHARDS, "at most the last one of each shard: {usage:?}");
    fixture.clock.advance(HOUR);
    fixture.disturb();
    assert_eq!((fixture.usage().channels, fixture.channels()), (0, 0));
}

#[test]
fn a_history_that_goes_on_being_written_loses_its_old_end() {
    let fixture = MemoryFixture::new(MemorySettings::default());
    let retention = Retention { size: 1_000, ttl: 10 * SECOND };
    for number in 1..=100_u64 {
        fixture.publish("news", "x", PublishOptions { retention, ..Default::default() });
        let kept = fixture.read("news").publications;
        assert_eq!(kept.len() as u64, number.min(10));
        fixture.clock.advance(SECOND);
    }
}

#[test]
fn evicted_channels_leave_no_growing_heap_of_deadlines() {
    let fixture = MemoryFixture::new(MemorySettings { max_channels: 10, ..Default::default() });
    for number in 0..20_000 {
        fixture.keep(&format!("channel {number}"), "x");
    }
    for shard in &fixture.broker.shards {
        let shard = shard.lock();
        // One call may come on top of what was there at its sweep.
        assert!(!shard.histories_due.is_mostly_stale(shard.channels.len() + 1));
    }
}

#[test]
fn clients_that_come_and_go_leave_no_growing_heap_of_deadlines() {
    let fixture = MemoryFixture::new(MemorySettings::default());
    for number in 0..20_000 {
        fixture.enter("room", &format!("{number}"), HOUR).unwrap();
        fixture.broker.presence_remove("room", &format!("{number}")).now_or_never().unwrap().unwrap();
    }
    for shard in &fixture.broker.shards {
        let shard = shard.lock();
        assert!(!shard.presence_sets_due.is_mostly_stale(shard.channels.len() + 1));
    }
    assert_eq!(fixture.channels(), 0);
}

#[test]
fn a_channel_with_nothing_to_know_of_is_forgotten() {
    let fixture = MemoryFixture::new(MemorySettings::default());
    fixture.subscribe("news");
    fixture.enter("news", "client", HOUR).unwrap();
    assert_eq!(fixture.channels(), 1);
    fixture.unsubscribe("news");
    assert_eq!(fixture.channels(), 1, "somebody is present");
    fixture.broker.presence_remove("news", "client").now_or_never().unwrap().unwrap();
    assert_eq!(fixture.channels(), 0);
    fixture.publish("news", "unheard", PublishOptions::default());
    assert_eq!(fixture.channels(), 0, "a publication without history needs no memory");
}

#[test]
fn a_broker_without_a_sink_refuses_to_publish_and_says_so() {
    let broker = MemoryBroker::new(MemorySettings::default());
    assert!(matches!(broker.health(), Health::NotReady(_)));
    for retention in [Retention::default(), KEPT] {
        let options = PublishOptions { retention, ..Default::default() };
        let refused = broker.publish("news", Publication::default(), options).now_or_never().unwrap();
        assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "{refused:?}");
    }
    assert_eq!(broker.usage(), MemoryUsage::default());
    broker.start(Arc::new(RecordingSink::default())).now_or_never().unwrap().unwrap();
    assert_eq!(broker.health(), Health::Ready);
    let again = broker.start(Arc::new(RecordingSink::default())).now_or_never().unwrap();
    assert!(matches!(again, Err(BrokerError::Unavailable(_))), "{again:?}");
}

#[test]
fn settings_are_written_with_units_and_unknown_ones_are_refused() {
    let given: MemorySettings =
        serde_json::from_str(r#"{"max_bytes": 1000, "position_ttl": "2h 30m"}"#).unwrap();
    let expected =
        MemorySettings { max_bytes: 1000, position_ttl: Duration::from_secs(9_000), ..Default::default() };
    assert_eq!(given, expected);
    assert_eq!(serde_json::to_value(&given).unwrap()["position_ttl"], "2h 30m");
    let refused = serde_json::from_str::<MemorySettings>(r#"{"max_byte": 1000}"#).unwrap_err();
    assert!(refused.to_string().contains("max_byte"), "{refused}");
}
