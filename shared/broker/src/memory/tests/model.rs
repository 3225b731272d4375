//! Random operations on the broker and on a model that does everything the slow and obvious way.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{super::MemorySettings, fixture::MemoryFixture};
use crate::{Broker as _, HistoryQuery, Idempotency, Position, Publication, PublishOptions, Retention};

const POSITION_TTL: Duration = Duration::from_millis(500);
const KEY_TTL: Duration = Duration::from_millis(120);

/// Channels with a retention each: short, long, longer than the position, none.
const CHANNELS: [(&str, Retention); 4] = [
    ("short", Retention { size: 3, ttl: Duration::from_millis(50) }),
    ("long", Retention { size: 20, ttl: Duration::from_millis(300) }),
    ("longest", Retention { size: 6, ttl: Duration::from_millis(900) }),
    ("none", Retention { size: 0, ttl: Duration::ZERO }),
];

#[derive(Debug, Clone)]
enum Step {
    Publish { channel: usize, skip_history: bool, key: Option<u8> },
    Read { channel: usize, query: HistoryQuery },
    Remove { channel: usize },
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let channel = 0..CHANNELS.len();
    let query = (select(vec![0, 1, 2, 5, u32::MAX]), option::of(0..40_u64), any::<bool>());
    prop_oneof![
        8 => (channel.clone(), prop::bool::weighted(0.1), option::weighted(0.2, 0..3_u8))
            .prop_map(|(channel, skip_history, key)| Step::Publish { channel, skip_history, key }),
        6 => (channel.clone(), query).prop_map(|(channel, (limit, since, reverse))| {
            Step::Read { channel, query: HistoryQuery { limit, since, reverse, max_bytes: None } }
        }),
        1 => channel.prop_map(|channel| Step::Remove { channel }),
        3 => select(vec![1, 20, 49, 50, 119, 120, 299, 300, 499, 500]).prop_map(Step::Pass),
    ]
}

/// One channel, as the documents describe it.
#[derive(Default)]
struct Life {
    /// Learned from the broker at the first answer of a life.
    epoch: Option<Arc<str>>,
    top: u64,
    last_used: u64,
    /// Offset and time of acceptance, all of this life that were not removed.
    all: Vec<(u64, u64)>,
}

#[derive(Default)]
struct Model {
    now: u64,
    lives: HashMap<usize, Life>,
    former_epochs: Vec<Arc<str>>,
    answers: HashMap<(usize, u8), (Position, u64)>,
}

impl Model {
    fn used(&mut self, channel: usize) -> &mut Life {
        let life = self.lives.entry(channel).or_default();
        if self.now >= life.last_used + POSITION_TTL.as_millis() as u64 {
            self.former_epochs.extend(life.epoch.take());
            *life = Life::default();
        }
        life.last_used = self.now;
        life
    }

    /// An answer's position must be the channel's top in its present life.
    fn check(&mut self, channel: usize, answered: &Position) {
        let life = self.lives.get_mut(&channel).unwrap();
        assert_eq!(answered.offset, life.top);
        let epoch = life.epoch.get_or_insert_with(|| Arc::clone(&answered.epoch));
        assert_eq!(&answered.epoch, epoch);
        assert!(!answered.epoch.is_empty() && !self.former_epochs.contains(&answered.epoch));
    }

    fn kept(&self, channel: usize) -> Vec<u64> {
        let retention = CHANNELS[channel].1;
        let all = &self.lives[&channel].all;
        let newest = all.len().saturating_sub(retention.size as usize);
        let ttl = retention.ttl.min(POSITION_TTL).as_millis() as u64;
        all[newest..].iter().filter(|(_, at)| self.now < at + ttl).map(|(offset, _)| *offset).collect()
    }

    fn page(&self, channel: usize, query: &HistoryQuery) -> Vec<u64> {
        let mut kept = self.kept(channel);
        if query.reverse {
            kept.reverse();
        }
        let wanted = |offset: &u64| match query.since {
            None => true,
            Some(since) if query.reverse => *offset < since,
            Some(since) => *offset > since,
        };
        kept.into_iter().filter(wanted).take(query.limit as usize).collect()
    }
}

fn publish(fixture: &MemoryFixture, model: &mut Model, channel: usize, skip_history: bool, key: Option<u8>) {
    let (name, retention) = CHANNELS[channel];
    let idempotency = key.map(|key| Idempotency { key: format!("{key}"), ttl: KEY_TTL });
    let options = PublishOptions { retention, skip_history, idempotency };
    let answer =
        fixture.broker.publish(name, Publication::default(), options).now_or_never().unwrap().unwrap();
    let earlier = key.and_then(|key| model.answers.get(&(channel, key)));
    if let Some((position, at)) = earlier
        && model.now < at + KEY_TTL.as_millis() as u64
    {
        assert_eq!((&answer.position, answer.repeated), (position, true));
        return;
    }
    assert!(!answer.repeated);
    if retention.keeps_history() && !skip_history {
        let now = model.now;
        let life = model.used(channel);
        life.top += 1;
        life.all.push((life.top, now));
        model.check(channel, &answer.position);
    } else {
        assert_eq!(answer.position, Position::default());
    }
    if let Some(key) = key {
        model.answers.insert((channel, key), (answer.position, model.now));
    }
}

fn read(fixture: &MemoryFixture, model: &mut Model, channel: usize, query: &HistoryQuery) {
    let (name, retention) = CHANNELS[channel];
    let answer = fixture.broker.history(name, query.clone(), retention).now_or_never().unwrap();
    if !retention.keeps_history() {
        assert!(answer.is_err());
        return;
    }
    let page = answer.unwrap();
    model.used(channel);
    model.check(channel, &page.top);
    let offsets: Vec<u64> = page.publications.iter().map(|publication| publication.offset).collect();
    assert_eq!(offsets, model.page(channel, query), "{name} {query:?}");
    assert!(page.publications.iter().all(|publication| publication.epoch == page.top.epoch));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_broker_answers_like_the_model(steps in vec(step(), 1..150)) {
        let fixture = MemoryFixture::new(MemorySettings { position_ttl: POSITION_TTL, ..Default::default() });
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Publish { channel, skip_history, key } => {
                    publish(&fixture, &mut model, channel, skip_history, key);
                }
                Step::Read { channel, query } => read(&fixture, &mut model, channel, &query),
                Step::Remove { channel } => {
                    fixture.broker.remove_history(CHANNELS[channel].0).now_or_never().unwrap().unwrap();
                    if let Some(life) = model.lives.get_mut(&channel) {
                        life.all.clear();
                    }
                }
                Step::Pass(milliseconds) => {
                    fixture.clock.advance(Duration::from_millis(milliseconds));
                    model.now += milliseconds;
                }
            }
        }
        fixture.clock.advance(10 * POSITION_TTL);
        fixture.sweep();
        prop_assert_eq!((fixture.usage().history_bytes, fixture.usage().channels, fixture.channels()), (0, 0, 0));
    }
}
