//! The ends of slices and pages, by a clock that stands until an entry takes time.

use futures_util::FutureExt as _;

use super::*;

/// Channels whose entries, and whose beginning of each slice, take so long.
struct TimedChannels {
    channels: ChannelScan,
    entry: Duration,
    beginning: Duration,
}

/// Moves the paused clock on.
fn pass(time: Duration) {
    // It moves at the first poll.
    let _ = tokio::time::advance(time).now_or_never();
}

impl ScanSource for TimedChannels {
    type Entry = usize;

    fn start(&self) -> &str {
        self.channels.start()
    }

    fn names<'a>(&'a self, hub: &'a Hub, from: Bound<&str>) -> ScanNames<'a> {
        pass(self.beginning);
        self.channels.names(hub, from)
    }

    fn entry(&self, hub: &Hub, name: &str) -> Option<(usize, usize)> {
        pass(self.entry);
        self.channels.entry(hub, name)
    }
}

fn timed(entry: Duration, beginning: Duration) -> Scan<TimedChannels> {
    Scan::new(TimedChannels { channels: channels_like(None), entry, beginning }, "", 1000)
}

fn name(number: usize) -> String {
    format!("c{number:03}")
}

#[actix_rt::test]
async fn a_slice_ends_at_the_first_look_at_the_clock_after_its_time() {
    let worker = worker();
    let _clients = fill(&worker, 3 * ENTRIES_PER_LOOK, name);
    tokio::time::pause();
    for (entry, looked_at) in [
        (SLICE, ENTRIES_PER_LOOK),
        (SLICE / u32::try_from(ENTRIES_PER_LOOK).unwrap(), ENTRIES_PER_LOOK),
        (SLICE / u32::try_from(2 * ENTRIES_PER_LOOK).unwrap(), 2 * ENTRIES_PER_LOOK),
        (Duration::ZERO, 3 * ENTRIES_PER_LOOK),
    ] {
        let mut scan = timed(entry, Duration::ZERO);
        let done = scan.slice(&worker.hub, &worker.traffic);
        assert_eq!((scan.looked_at, done), (looked_at, looked_at == 3 * ENTRIES_PER_LOOK), "{entry:?}");
    }
}

#[actix_rt::test]
async fn a_slice_gets_on_however_long_it_takes_to_begin() {
    let worker = worker();
    let _clients = fill(&worker, 3 * ENTRIES_PER_LOOK, name);
    tokio::time::pause();
    let mut scan = timed(Duration::ZERO, 2 * SLICE);
    assert!(!scan.slice(&worker.hub, &worker.traffic));
    assert_eq!(scan.looked_at, ENTRIES_PER_LOOK);
    assert!(!scan.slice(&worker.hub, &worker.traffic));
    assert!(scan.slice(&worker.hub, &worker.traffic));
    assert_eq!((scan.page.entries.len(), scan.page.cut_at), (3 * ENTRIES_PER_LOOK, None));
}

#[actix_rt::test]
async fn a_page_is_cut_where_its_time_is_over_and_not_before() {
    let worker = worker();
    let _clients = fill(&worker, 100, name);
    tokio::time::pause();
    let slices = 4;
    let slice = PAGE_TIME / slices;
    let mut scan = timed(slice / u32::try_from(ENTRIES_PER_LOOK).unwrap(), Duration::ZERO);
    for _ in 1..slices {
        assert!(!scan.slice(&worker.hub, &worker.traffic));
        assert_eq!(scan.page.cut_at, None);
    }
    assert!(scan.slice(&worker.hub, &worker.traffic));
    let listed = slices as usize * ENTRIES_PER_LOOK;
    assert_eq!((scan.page.entries.len(), scan.page.cut_at), (listed, Some(name(listed - 1))));
}

#[actix_rt::test]
async fn a_page_that_has_listed_all_is_not_cut_whatever_time_it_took() {
    let worker = worker();
    let _clients = fill(&worker, 3, name);
    tokio::time::pause();
    let mut scan = timed(PAGE_TIME, Duration::ZERO);
    assert!(scan.slice(&worker.hub, &worker.traffic));
    assert_eq!((scan.page.entries.len(), scan.page.cut_at), (3, None));
}

#[actix_rt::test]
async fn an_answer_ends_with_the_entry_that_fills_it_whatever_time_is_left() {
    let worker = worker();
    let _clients = fill(&worker, 3, name);
    tokio::time::pause();
    let mut scan = timed(Duration::ZERO, Duration::ZERO);
    scan.bytes = ANSWER_BYTES - 1;
    assert!(scan.slice(&worker.hub, &worker.traffic));
    assert_eq!((scan.page.entries.len(), scan.page.cut_at), (1, Some(name(0))));
}

#[actix_rt::test]
async fn names_before_and_after_the_literal_beginning_of_a_pattern_are_not_looked_at() {
    let worker = worker();
    let names = ["a1", "a2", "b1", "b1x", "b2", "c1", "c2"];
    let _clients = fill(&worker, names.len(), |number| names.get(number).unwrap().to_string());
    for (pattern, listed) in [("b*", vec!["b1", "b1x", "b2"]), ("b1", vec!["b1"]), ("bb*", Vec::new())] {
        let scan = fill_page(&worker, channels_like(Some(pattern)), "", 10);
        assert_eq!(scan.page.entries.keys().collect::<Vec<_>>(), listed, "{pattern}");
        assert_eq!(scan.looked_at, listed.len(), "{pattern}");
    }
}
