//! From the moment a publish request is written to the moment a subscriber has read it, at a fixed rate.

use std::{
    io,
    time::{Duration, Instant},
};

use indicatif::ProgressBar;

use crate::{
    plan::{LatencyPlan, Plan},
    plot::{Axis, Figure, Panel, Scale, Windows},
    publisher::Publisher,
    report::Row,
    server::{Kind, Server},
    stats::Sample,
    swarm::Swarm,
};

/// Bytes of data in each publication.
const PAYLOAD_BYTES: usize = 128;
/// The kernel wakes a waiting thread on whole milliseconds; closer to the next publication the client looks
/// without waiting.
const LOOK_WITHOUT_WAITING: Duration = Duration::from_millis(2);
/// The percentiles of the figure are those of so long, or of a part of a shorter repeat.
const WINDOW: Duration = Duration::from_millis(250);
/// Windows of a repeat at least.
const WINDOWS: f64 = 4.0;
/// Publications before the counted ones.
const WARM_UP: u64 = 20;

struct Side {
    server: Server,
    swarm: Swarm,
    published: u64,
}

pub(crate) fn measure(
    plan: &Plan,
    progress: &ProgressBar,
    figures: &mut Vec<Figure>,
) -> io::Result<Vec<Row>> {
    let LatencyPlan { subscribers, per_second, .. } = plan.latency;
    progress.set_message(format!("latency at {per_second}/s to {subscribers}"));
    let mut sides = [Side::prepare(Kind::Gateway, plan)?, Side::prepare(Kind::Stock, plan)?];
    let mut p50 = [Sample::default(), Sample::default()];
    let mut p99 = [Sample::default(), Sample::default()];
    let mut windows = [Windows::default(), Windows::default()];
    for repeat in 0..plan.repeats {
        let before = plan.latency.lasting.as_secs_f64() * repeat as f64;
        for (at, side) in sides.iter_mut().enumerate() {
            let nanoseconds = side.latencies(plan.latency, before, &mut windows[at])?;
            p50[at].push(percentile(&nanoseconds, 50) / 1e3);
            p99[at].push(percentile(&nanoseconds, 99) / 1e3);
        }
        sides.iter_mut().try_for_each(|side| side.swarm.rest())?;
        progress.inc(1);
    }
    figures.push(figure(plan, &windows, [&p50, &p99]));
    let row = |name: &str, [gateway, stock]: [Sample; 2]| Row {
        what: format!("latency at {per_second}/s to {subscribers} subscribers, {name}"),
        unit: "µs",
        gateway,
        stock,
        goal: None,
    };
    Ok(vec![row("p50", p50), row("p99", p99)])
}

fn figure(plan: &Plan, windows: &[Windows; 2], [p50, p99]: [&[Sample; 2]; 2]) -> Figure {
    let LatencyPlan { subscribers, per_second, lasting } = plan.latency;
    let [mine, other] = plan.names();
    let length = (lasting.as_secs_f64() / WINDOWS).min(WINDOW.as_secs_f64());
    let mut series = windows[0].series(&format!("{mine} "), length);
    series.extend(windows[1].series(&format!("{other} "), length));
    let told = |at: usize| format!("p50 {}, p99 {}", p50[at], p99[at]);
    Figure {
        name: "latency",
        title: format!("Latency at {per_second} publications a second to {subscribers} subscribers"),
        description: format!(
            "Percentiles in microseconds over the seconds of all {} repeats, one after the other. {mine}: {}. {other}: {}.",
            plan.repeats,
            told(0),
            told(1)
        ),
        x: Axis { label: "seconds of measurement".to_owned(), places: Vec::new() },
        y: "latency, µs".to_owned(),
        scale: Scale::Decades,
        panels: vec![Panel { series, ..Panel::default() }],
    }
}

impl Side {
    fn prepare(kind: Kind, plan: &Plan) -> io::Result<Self> {
        let server = Server::start(kind, plan.start);
        let swarm = Swarm::subscribe(&server.target(), plan.latency.subscribers, |_| Ok(()))?;
        Ok(Self { server, swarm, published: 0 })
    }

    /// Every delivery's time in nanoseconds, sorted. `before`: seconds of the repeats before this one.
    fn latencies(&mut self, plan: LatencyPlan, before: f64, windows: &mut Windows) -> io::Result<Vec<u32>> {
        let request = self.server.publish_request(PAYLOAD_BYTES);
        // A new one each time: servers close a keep-alive connection that rests while the other has its turn.
        let mut publisher = Publisher::connect(self.server.address())?;
        for _ in 0..WARM_UP {
            self.swarm.expect(1);
            publisher.send(&request)?;
            self.swarm.wait_for_all()?;
            publisher.finish(1)?;
            self.published += 1;
        }
        let period = Duration::from_secs(1) / plan.per_second;
        let total = plan.lasting.as_millis() as usize * plan.per_second as usize / 1000;
        let first = self.published;
        let mut written: Vec<Instant> = Vec::with_capacity(total);
        let mut nanoseconds = Vec::with_capacity(total * self.swarm.len());
        self.swarm.expect(total as u64);
        let start = Instant::now();
        let mut answered = 0;
        while written.len() < total || !self.swarm.all_have_all() {
            let next = start + period * written.len() as u32;
            let now = Instant::now();
            if written.len() < total && now >= next {
                // The answer to the one before is in long ago, unless the server falls behind; then this waits.
                if answered < written.len() {
                    publisher.finish(written.len() - answered)?;
                    answered = written.len();
                }
                written.push(Instant::now());
                publisher.send(&request)?;
            }
            let left = next.saturating_duration_since(now);
            let wait = if left > LOOK_WITHOUT_WAITING { left - LOOK_WITHOUT_WAITING } else { Duration::ZERO };
            self.swarm.pump(Some(wait), |from, to| {
                let now = Instant::now();
                for number in from..to {
                    if let Some(written) = written.get((number - first) as usize) {
                        let took = now.duration_since(*written);
                        nanoseconds.push(took.as_nanos() as u32);
                        let at = before + written.duration_since(start).as_secs_f64();
                        windows.add(at, took.as_secs_f64() * 1e6);
                    }
                }
            })?;
            if start.elapsed() > plan.lasting * 4 + Duration::from_secs(10) {
                return Err(io::Error::other("publications are missing"));
            }
        }
        publisher.finish(total - answered)?;
        self.published += total as u64;
        nanoseconds.sort_unstable();
        Ok(nanoseconds)
    }
}

/// The value below which `percent` of the sorted values lie.
fn percentile(sorted: &[u32], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().map_or(f64::NAN, f64::from)
}
