//! The message by which a node finds out whether it would deliver: it goes the way of a publication, so a server that refuses
//! to write is detected too, whatever its reason. `docs/architecture.md` §5.6; `docs/protocols/http.md` §6.2.
//!
//! Every `canary_interval` the node runs `canary.lua` on each server: it writes a key, as the publish script does, and publishes
//! a serial number to the node itself. Refused (OOM, NOREPLICAS, MISCONF, READONLY, an access list), the node is not ready until
//! a canary that was sent later comes back: readiness does not flap while every second attempt fails.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::broker::RoundTrips;

/// The state of the canaries of one server.
#[derive(Debug, Default)]
pub(super) struct Canary {
    /// The pub/sub channel, and the key that is written.
    name: String,
    sent: u64,
    heard_at: Option<Instant>,
    /// The time at which the last one was due.
    due_at: Option<Instant>,
    /// Time without one that came back, in which the node ran.
    missed_for: Duration,
    refused: Option<RefusedCanary>,
    /// The newest one that was sent, and when.
    under_way: Option<(u64, Instant)>,
    round_trips: RoundTrips,
    last_round_trip: Option<Duration>,
    /// This machine's clock minus the server's.
    clock_offset: Option<f64>,
}

/// The newest canary that the server did not publish.
#[derive(Debug)]
struct RefusedCanary {
    serial: u64,
    reason: String,
}

impl Canary {
    pub(super) fn new(name: String) -> Self {
        Self { name, ..Self::default() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn set_name(&mut self, name: String) {
        self.name = name;
    }

    /// The next one is due. Gives the time without one that came back, as far as the node ran: a pause of the process itself
    /// (a busy machine, a frozen one) counts as one interval, since what arrived meanwhile is still to be read.
    pub(super) fn due(&mut self, interval: Duration) -> Duration {
        let now = Instant::now();
        let since = self.due_at.replace(now).map_or(Duration::ZERO, |before| now.duration_since(before));
        self.missed_for += since.min(interval);
        self.missed_for
    }

    /// The number of the next one.
    pub(super) fn next(&mut self) -> u64 {
        self.sent += 1;
        self.under_way = Some((self.sent, Instant::now()));
        self.sent
    }

    /// A canary came back.
    pub(super) fn on_received(&mut self, message: &[u8]) {
        self.received_now();
        let mut numbers = std::str::from_utf8(message).unwrap_or_default().split(' ').map(str::parse::<u64>);
        let mut next = || numbers.next().and_then(Result::ok);
        let (serial, server_time) = (next(), next().zip(next()));
        if let Some((_, sent_at)) = self.under_way.take_if(|(sent, _)| Some(*sent) == serial) {
            let took = sent_at.elapsed();
            self.round_trips.add(took);
            self.last_round_trip = Some(took);
            self.clock_offset = server_time.map(|(seconds, micros)| {
                let server = Duration::from_secs(seconds) + Duration::from_micros(micros);
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                now.as_secs_f64() - took.as_secs_f64() / 2.0 - server.as_secs_f64()
            });
        }
        self.refused.take_if(|refused| serial.is_some_and(|serial| serial > refused.serial));
    }

    /// Times between sending a canary and hearing it.
    pub(super) fn round_trips(&self) -> &RoundTrips {
        &self.round_trips
    }

    /// The newest of them.
    pub(super) fn last_round_trip(&self) -> Option<Duration> {
        self.last_round_trip
    }

    /// Seconds by which this machine's clock is ahead of the server's, as the last canary showed.
    pub(super) fn clock_offset(&self) -> Option<f64> {
        self.clock_offset
    }

    /// Restarts the clock: a canary came back, or none can be expected yet.
    pub(super) fn received_now(&mut self) {
        self.heard_at = Some(Instant::now());
        self.missed_for = Duration::ZERO;
    }

    /// Time since the last canary came back.
    pub(super) fn silence(&self) -> Option<Duration> {
        self.heard_at.map(|heard| heard.elapsed())
    }

    /// The server did not publish this one. True if the reason is another than that of the last one.
    pub(super) fn refuse(&mut self, serial: u64, reason: String) -> bool {
        let is_new = self.refused.as_ref().is_none_or(|refused| refused.reason != reason);
        self.refused = Some(RefusedCanary { serial, reason });
        is_new
    }

    /// The reason why nothing can be published: a canary was refused, and none that was sent later came back.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refused.as_ref().map(|refused| refused.reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_canary_that_comes_back_tells_how_long_it_took_and_what_the_servers_clock_says() {
        let mut canary = Canary::new("canary".to_owned());
        let serial = canary.next();
        tokio::time::advance(Duration::from_millis(3)).await;
        let server =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() - Duration::from_secs(60);
        let message = format!("{serial} {} {}", server.as_secs(), server.subsec_micros());
        canary.on_received(message.as_bytes());
        canary.on_received(message.as_bytes());
        assert_eq!(canary.round_trips().buckets.iter().sum::<u64>(), 1, "a repeated one is not a round trip");
        assert_eq!(canary.round_trips().buckets[5], 1, "3 ms");
        assert!(canary.clock_offset().is_some_and(|offset| (offset - 60.0).abs() < 5.0));
    }

    #[test]
    fn a_refusal_holds_until_a_later_canary_comes_home() {
        let mut canary = Canary::new("canary".to_owned());
        let [first, second, third] = [canary.next(), canary.next(), canary.next()];
        assert!(canary.refuse(second, "OOM".to_owned()));
        assert!(!canary.refuse(second, "OOM".to_owned()), "the same cause is told once");
        canary.on_received(first.to_string().as_bytes());
        assert_eq!(canary.refusal(), Some("OOM"), "one that was sent before proves nothing");
        canary.on_received(second.to_string().as_bytes());
        assert_eq!(canary.refusal(), Some("OOM"));
        canary.on_received(third.to_string().as_bytes());
        assert_eq!(canary.refusal(), None);
        assert!(canary.silence().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_of_the_process_is_no_missed_canary() {
        const INTERVAL: Duration = Duration::from_secs(1);
        let mut canary = Canary::new("canary".to_owned());
        canary.received_now();
        assert_eq!(canary.due(INTERVAL), Duration::ZERO);
        tokio::time::advance(60 * INTERVAL).await;
        assert_eq!(canary.due(INTERVAL), INTERVAL, "a minute in which nothing ran counts as one interval");
        for missed in 2..=4 {
            tokio::time::advance(INTERVAL).await;
            assert_eq!(canary.due(INTERVAL), missed * INTERVAL);
        }
        canary.on_received(b"1");
        tokio::time::advance(INTERVAL / 2).await;
        assert_eq!(canary.due(INTERVAL), INTERVAL / 2);
    }
}
