//! Fan-out: what one delivery costs the server, by payload and by how many publications are in flight.
//!
//! "k in flight": k publish requests are written at once, pipelined on one keep-alive connection, and the next
//! k only when every subscriber has received all of them. The cost of the requests is part of the cost, for
//! both servers alike.

use std::io;

use indicatif::ProgressBar;

use crate::{
    plan::Plan,
    plot::{Axis, Figure, Panel, Scale, Series},
    publisher::Publisher,
    report::{Goal, Row},
    server::{Kind, Server},
    stats::Sample,
    swarm::{Swarm, Target},
};

/// Goals for 128-byte payloads. At 1 in flight the system call dominates; at 32 batching has to show.
const GOAL_AT_1: Goal = Goal::RatioAtMost(1.1);
/// See [`GOAL_AT_1`].
const GOAL_AT_32: Goal = Goal::RatioAtMost(0.7);

struct Side {
    server: Server,
    swarm: Swarm,
}

/// With subscribers of the client protocol.
pub(crate) fn measure(
    plan: &Plan,
    progress: &ProgressBar,
    figures: &mut Vec<Figure>,
) -> io::Result<Vec<Row>> {
    let rows = of_protocol("", Server::target, plan, progress)?;
    let measured = plan
        .payloads_bytes
        .iter()
        .flat_map(|payload| plan.in_flight.iter().map(move |(at_once, _)| (*payload, *at_once)));
    let points: Vec<CpuPoint> = measured
        .zip(&rows)
        .map(|((payload_bytes, in_flight), row)| CpuPoint {
            payload_bytes,
            in_flight,
            medians: [row.gateway.median(), row.stock.median()],
        })
        .collect();
    figures.push(cpu_figure(plan.subscribers, plan.names(), &points));
    Ok(rows)
}

/// The cost of a delivery on both servers, in microseconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CpuPoint {
    pub(crate) payload_bytes: usize,
    pub(crate) in_flight: u64,
    pub(crate) medians: [f64; 2],
}

/// A line for each server and payload.
pub(crate) fn cpu_figure(subscribers: usize, names: [&str; 2], points: &[CpuPoint]) -> Figure {
    let mut places: Vec<u64> = points.iter().map(|point| point.in_flight).collect();
    places.sort_unstable();
    places.dedup();
    let place_of = |point: &CpuPoint| places.iter().position(|place| *place == point.in_flight);
    let mut series = Vec::new();
    for of_payload in points.chunk_by(|one, other| one.payload_bytes == other.payload_bytes) {
        for (server, name) in names.iter().enumerate() {
            let points =
                of_payload.iter().filter_map(|point| Some((place_of(point)? as f64, point.medians[server])));
            series.push(Series {
                name: format!("{name}, {} B", of_payload[0].payload_bytes),
                points: points.collect(),
            });
        }
    }
    let told: Vec<String> = points
        .iter()
        .map(|point| {
            let CpuPoint { payload_bytes, in_flight, medians: [mine, other] } = point;
            format!(
                "{payload_bytes} B, {in_flight} in flight: {} {mine:.2}, {} {other:.2}",
                names[0], names[1]
            )
        })
        .collect();
    Figure {
        name: "cpu",
        title: format!("CPU of a delivery to {subscribers} subscribers"),
        description: format!("Medians in microseconds. {}.", told.join(". ")),
        x: Axis {
            label: "publications in flight".to_owned(),
            places: places.iter().map(u64::to_string).collect(),
        },
        y: "CPU, µs".to_owned(),
        scale: Scale::FromZero,
        panels: vec![Panel { series, ..Panel::default() }],
    }
}

/// With subscribers of STOMP. The baseline stays what it is.
pub(crate) fn measure_stomp(plan: &Plan, progress: &ProgressBar) -> io::Result<Vec<Row>> {
    of_protocol(" by STOMP", Server::stomp_target, plan, progress)
}

fn of_protocol(
    name: &str,
    target: fn(&Server) -> Target,
    plan: &Plan,
    progress: &ProgressBar,
) -> io::Result<Vec<Row>> {
    progress.set_message("fan-out: subscribing");
    let mut gateway = Side::prepare(Kind::Gateway, target, plan, progress)?;
    let mut stock = Side::prepare(Kind::Stock, Server::target, plan, progress)?;
    let mut rows = Vec::new();
    for &payload_bytes in &plan.payloads_bytes {
        for side in [&mut gateway, &mut stock] {
            side.warm_up(payload_bytes)?;
        }
        for &(in_flight, rounds) in &plan.in_flight {
            progress.set_message(format!("fan-out: {payload_bytes} B, {in_flight} in flight"));
            let (mut of_gateway, mut of_stock) = (Sample::default(), Sample::default());
            for _ in 0..plan.repeats {
                of_gateway.push(gateway.microseconds_per_delivery(payload_bytes, in_flight, rounds)?);
                of_stock.push(stock.microseconds_per_delivery(payload_bytes, in_flight, rounds)?);
                gateway.swarm.rest()?;
                progress.inc(1);
            }
            let goal = match (payload_bytes, in_flight) {
                // MESSAGE frames are larger than what the baseline sends.
                _ if !name.is_empty() => None,
                (128, 1) => Some(GOAL_AT_1),
                (128, 32) => Some(GOAL_AT_32),
                _ => None,
            };
            rows.push(Row {
                what: format!(
                    "fan-out to {}{name}, {payload_bytes} B, {in_flight} in flight: CPU per delivery",
                    plan.subscribers
                ),
                unit: "µs",
                gateway: of_gateway,
                stock: of_stock,
                goal,
            });
        }
    }
    Ok(rows)
}

impl Side {
    fn prepare(
        kind: Kind,
        target: fn(&Server) -> Target,
        plan: &Plan,
        progress: &ProgressBar,
    ) -> io::Result<Self> {
        let server = Server::start(kind, plan.start);
        let swarm = Swarm::subscribe(&target(&server), plan.subscribers, |joined| {
            progress.set_position(joined as u64);
            Ok(())
        })?;
        Ok(Self { server, swarm })
    }

    /// One publication to learn its size on the wire, then some to fill every cache.
    fn warm_up(&mut self, payload_bytes: usize) -> io::Result<()> {
        self.swarm.expect_another_size();
        let request = self.server.publish_request(payload_bytes);
        let mut publisher = Publisher::connect(self.server.address())?;
        self.round(&mut publisher, &request, 1)?;
        for _ in 0..3 {
            self.round(&mut publisher, &request.repeat(8), 8)?;
        }
        Ok(())
    }

    fn microseconds_per_delivery(
        &mut self,
        payload_bytes: usize,
        in_flight: u64,
        rounds: u64,
    ) -> io::Result<f64> {
        let requests = self.server.publish_request(payload_bytes).repeat(in_flight as usize);
        let process = self.server.process();
        // A new one each time: servers close a keep-alive connection that rests while the other has its turn.
        let mut publisher = Publisher::connect(self.server.address())?;
        self.round(&mut publisher, &requests, in_flight)?;
        let before = process.cpu();
        for _ in 0..rounds {
            self.round(&mut publisher, &requests, in_flight)?;
        }
        let spent = process.cpu() - before;
        let deliveries = rounds * in_flight * self.swarm.len() as u64;
        Ok(spent.as_secs_f64() * 1e6 / deliveries as f64)
    }

    fn round(&mut self, publisher: &mut Publisher, requests: &[u8], in_flight: u64) -> io::Result<()> {
        self.swarm.expect(in_flight);
        publisher.send(requests)?;
        self.swarm.wait_for_all()?;
        publisher.finish(in_flight as usize)
    }
}
