//! No limit is ever passed, and what goes first is what was not used for the longest time.

use bytes::Bytes;
use futures_util::FutureExt as _;

use super::{
    super::MemorySettings,
    fixture::{HOUR, MemoryFixture, SECOND},
};
use crate::{Broker as _, BrokerError, ChannelEvent};

const MEGABYTE: usize = 1 << 20;

fn with_bytes(max_bytes: usize) -> MemoryFixture {
    MemoryFixture::new(MemorySettings { max_bytes, ..Default::default() })
}

fn with_channels(max_channels: usize) -> MemoryFixture {
    MemoryFixture::new(MemorySettings { max_channels, ..Default::default() })
}

fn offsets(fixture: &MemoryFixture, channel: &str) -> Vec<u64> {
    fixture.read(channel).publications.iter().map(|publication| publication.offset).collect()
}

#[test]
fn histories_never_hold_more_than_max_bytes() {
    let fixture = with_bytes(MEGABYTE);
    let mut most = 0;
    for number in 0..5_000_usize {
        fixture.keep(&format!("channel {}", number % 37), vec![b'x'; number * 7919 % 5_000]);
        assert!(fixture.usage().history_bytes <= MEGABYTE);
        most = most.max(fixture.usage().history_bytes);
    }
    assert!(most > MEGABYTE * 9 / 10, "the room is used: {most}");
    assert!(fixture.usage().history_bytes > MEGABYTE * 9 / 10, "an eviction takes little more than it must");
}

#[test]
fn the_bytes_of_a_publication_are_its_payload_and_a_little_more() {
    let fixture = with_bytes(MEGABYTE);
    fixture.keep("news", vec![b'x'; 10_000]);
    let one = fixture.usage().history_bytes;
    assert!((10_000..10_400).contains(&one), "{one}");
    fixture.keep("news", vec![b'x'; 10_000]);
    assert_eq!(fixture.usage().history_bytes, 2 * one);
    fixture.broker.remove_history("news").now_or_never().unwrap().unwrap();
    assert_eq!(fixture.usage().history_bytes, 0);
    assert_eq!(fixture.usage().channels, 1);
}

/// The order of eviction must be the same whether the channels share a shard or not.
fn the_history_used_longest_ago_goes_first(fixture: &MemoryFixture, names: &[String]) {
    let [a, b, c] = names else { panic!("{names:?}") };
    for channel in [a, b, c] {
        for _ in 0..3 {
            fixture.keep(channel, vec![b'x'; 10_000]);
        }
    }
    let before = fixture.read(b).top;
    // A read is a use: now "a" is the youngest but for "c", which is written to.
    fixture.read(a);
    fixture.keep(c, vec![b'x'; 10_000]);
    assert_eq!(offsets(fixture, b), [2, 3], "the oldest of what was used longest ago");
    let page = fixture.read(b);
    assert_eq!(page.top, before, "the position knows of what is gone, so a reader sees the gap");
    assert_eq!(offsets(fixture, a), [1, 2, 3]);
    assert_eq!(offsets(fixture, c), [1, 2, 3, 4]);
    let next = fixture.keep(b, "next");
    assert_eq!((next.offset, next.epoch), (4, before.epoch));
}

#[test]
fn the_history_used_longest_ago_goes_first_in_one_shard() {
    let fixture = with_bytes(100_000);
    the_history_used_longest_ago_goes_first(&fixture, &fixture.neighbours(3));
}

#[test]
fn the_history_used_longest_ago_goes_first_across_shards() {
    let fixture = with_bytes(100_000);
    the_history_used_longest_ago_goes_first(&fixture, &fixture.strangers(3));
}

#[test]
fn one_channel_alone_keeps_its_newest_publications() {
    let fixture = with_bytes(100_000);
    for _ in 0..30 {
        fixture.keep("news", vec![b'x'; 10_000]);
    }
    let kept = offsets(&fixture, "news");
    assert_eq!(kept, (31 - kept.len() as u64..=30).collect::<Vec<_>>());
    assert_eq!(kept.len(), 9);
}

#[test]
fn a_publication_larger_than_all_memory_is_delivered_and_leaves_a_gap() {
    let fixture = with_bytes(10_000);
    fixture.subscribe("news");
    fixture.keep("news", vec![b'x'; 20_000]);
    assert!(
        matches!(&fixture.sink.events("news")[..], [ChannelEvent::Publication(publication)] if publication.offset == 1)
    );
    let page = fixture.read("news");
    assert_eq!((page.publications.len(), page.top.offset), (0, 1));
    assert_eq!(fixture.usage().history_bytes, 0);
}

#[test]
fn a_kept_slice_does_not_keep_the_buffer_it_was_cut_from() {
    let fixture = with_bytes(MEGABYTE);
    let body = Bytes::from(vec![b'x'; MEGABYTE]);
    fixture.keep("news", body.slice(10..20));
    assert!(body.is_unique());
    assert_eq!(fixture.read("news").publications[0].data, "xxxxxxxxxx");
}

fn the_position_used_longest_ago_goes_first(fixture: &MemoryFixture, names: &[String]) {
    let [a, b, c, d, e, f] = names else { panic!("{names:?}") };
    let first = fixture.keep(a, "1");
    let second = fixture.keep(b, "1");
    fixture.keep(c, "1");
    fixture.read(a);
    fixture.keep(d, "1");
    assert_eq!(fixture.usage().channels, 3);
    assert_eq!(fixture.channels(), 3, "nothing is left of the one that went");
    assert_eq!(fixture.read(a).top, first, "it was read after the others were written");
    let anew = fixture.keep(b, "1");
    assert_eq!(anew.offset, 1);
    assert_ne!(anew.epoch, second.epoch, "offsets of the two lives are never compared");
    fixture.keep(e, "1");
    assert_eq!(fixture.keep(a, "2").offset, 2);
    fixture.keep(f, "1");
    assert_eq!(fixture.keep(b, "1").offset, 1, "gone again, with three used after it");
}

#[test]
fn the_position_used_longest_ago_goes_first_in_one_shard() {
    let fixture = with_channels(3);
    the_position_used_longest_ago_goes_first(&fixture, &fixture.neighbours(6));
}

#[test]
fn the_position_used_longest_ago_goes_first_across_shards() {
    let fixture = with_channels(3);
    the_position_used_longest_ago_goes_first(&fixture, &fixture.strangers(6));
}

#[test]
fn reads_of_channels_never_written_do_not_pass_max_channels() {
    let fixture = with_channels(100);
    for number in 0..1_000 {
        fixture.read(&format!("guess {number}"));
        assert!(fixture.usage().channels <= 100);
    }
    assert!(fixture.channels() <= 100);
}

#[test]
fn a_subscriber_of_an_evicted_channel_still_hears_it() {
    let fixture = with_channels(2);
    fixture.subscribe("news");
    fixture.keep("news", "1");
    for number in 0..10 {
        fixture.keep(&format!("other {number}"), "x");
    }
    fixture.keep("news", "2");
    let heard = fixture.sink.events("news");
    let [ChannelEvent::Publication(one), ChannelEvent::Publication(two)] = &heard[..] else {
        panic!("{heard:?}")
    };
    assert_eq!((one.offset, two.offset), (1, 1));
    assert_ne!(one.epoch, two.epoch, "the loss is told by the epoch");
}

#[test]
fn idempotency_keys_are_bounded_by_number_and_the_oldest_goes_first() {
    let fixture = MemoryFixture::new(MemorySettings { max_idempotency_keys: 50, ..Default::default() });
    for number in 0..1_000 {
        assert!(!fixture.guarded(&format!("channel {}", number % 7), &format!("{number}"), HOUR).repeated);
        assert!(fixture.usage().idempotency_keys <= 50);
    }
    assert!(fixture.guarded(&format!("channel {}", 999 % 7), "999", HOUR).repeated);
    assert!(fixture.guarded(&format!("channel {}", 950 % 7), "950", HOUR).repeated);
    assert!(!fixture.guarded(&format!("channel {}", 949 % 7), "949", HOUR).repeated);
}

#[test]
fn a_key_given_anew_does_not_go_with_its_former_place() {
    let fixture = MemoryFixture::new(MemorySettings { max_idempotency_keys: 3, ..Default::default() });
    fixture.guarded("news", "long", HOUR);
    fixture.guarded("news", "short", SECOND);
    fixture.clock.advance(2 * SECOND);
    assert!(!fixture.guarded("news", "short", HOUR).repeated);
    // These push out the two oldest entries, of which the second is a former one.
    fixture.guarded("news", "fourth", HOUR);
    fixture.guarded("news", "fifth", HOUR);
    assert!(fixture.guarded("news", "short", HOUR).repeated);
    assert!(!fixture.guarded("news", "long", HOUR).repeated);
}

#[test]
fn idempotency_keys_are_bounded_by_bytes() {
    let fixture = MemoryFixture::new(MemorySettings { max_idempotency_bytes: 100_000, ..Default::default() });
    let mut most = 0;
    for number in 0..2_000 {
        fixture.guarded("news", &format!("{number:0250}"), HOUR);
        assert!(fixture.usage().idempotency_bytes <= 100_000);
        most = most.max(fixture.usage().idempotency_keys);
    }
    assert!(most > 100, "{most}");
    assert!(fixture.guarded("news", &format!("{:0250}", 1_999), HOUR).repeated);
}

#[test]
fn one_client_too_many_is_refused_and_those_present_stay() {
    let fixture = MemoryFixture::new(MemorySettings { max_presence: 3, ..Default::default() });
    for client in ["a", "b", "c"] {
        fixture.enter("room", client, 10 * SECOND).unwrap();
    }
    let refused = fixture.enter("other room", "d", 10 * SECOND);
    assert!(matches!(refused, Err(BrokerError::Limit(_))), "{refused:?}");
    assert_eq!((fixture.present("room"), fixture.present("other room")), (3, 0));
    fixture.clock.advance(5 * SECOND);
    fixture.enter("room", "a", 10 * SECOND).unwrap();
    fixture.clock.advance(6 * SECOND);
    // Two are over by now, although nothing needed their room since.
    fixture.enter("other room", "d", 10 * SECOND).unwrap();
    fixture.enter("other room", "e", 10 * SECOND).unwrap();
    assert!(fixture.enter("other room", "f", 10 * SECOND).is_err());
    fixture.broker.presence_remove("other room", "e").now_or_never().unwrap().unwrap();
    fixture.enter("other room", "f", 10 * SECOND).unwrap();
    assert_eq!(fixture.usage().presence, 3);
}
