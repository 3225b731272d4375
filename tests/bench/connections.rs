//! What a subscribed connection costs: CPU to set it up, memory to keep it while nothing happens.

use std::{io, time::Duration};

use indicatif::ProgressBar;

use crate::{
    plan::Plan,
    plot::{Axis, Figure, Panel, Scale, Series},
    publisher::Publisher,
    report::{Goal, Row},
    server::{Kind, Server},
    stats::Sample,
    swarm::Swarm,
};

/// Resident memory per idle subscribed connection, in KB of 1,000 bytes.
const MEMORY_GOAL: Goal = Goal::AtMost(5.0);
/// For so long the sockets are served after the last subscriber is in, so that what setting up left behind
/// (timers, buffers) is gone.
const SETTLING: Duration = Duration::from_secs(1);

/// Parts of the connections after each of which the memory is read, for the figure.
const STEPS: usize = 10;

struct Cost {
    kilobytes: f64,
    microseconds: f64,
    /// Megabytes above those of the empty server, with each step of connections more.
    megabytes: Vec<f64>,
}

pub(crate) fn measure(
    plan: &Plan,
    progress: &ProgressBar,
    figures: &mut Vec<Figure>,
) -> io::Result<Vec<Row>> {
    let mut memory = (Sample::default(), Sample::default());
    let mut cpu = (Sample::default(), Sample::default());
    let mut steps = [vec![Sample::default(); STEPS], vec![Sample::default(); STEPS]];
    for _ in 0..plan.repeats {
        let gateway = one(Kind::Gateway, plan, progress)?;
        let stock = one(Kind::Stock, plan, progress)?;
        for (steps, cost) in steps.iter_mut().zip([&gateway, &stock]) {
            steps.iter_mut().zip(&cost.megabytes).for_each(|(step, megabytes)| step.push(*megabytes));
        }
        memory.0.push(gateway.kilobytes);
        memory.1.push(stock.kilobytes);
        cpu.0.push(gateway.microseconds);
        cpu.1.push(stock.microseconds);
        progress.inc(1);
    }
    figures.push(figure(plan, &steps, [&memory.0, &memory.1]));
    Ok(vec![
        Row {
            what: format!("memory per idle subscribed connection, {} of them", plan.connections),
            unit: "KB",
            gateway: memory.0,
            stock: memory.1,
            goal: Some(MEMORY_GOAL),
        },
        Row {
            what: "set-up (connect and subscribe): CPU per connection".to_owned(),
            unit: "µs",
            gateway: cpu.0,
            stock: cpu.1,
            goal: None,
        },
    ])
}

fn figure(plan: &Plan, steps: &[Vec<Sample>; 2], memory: [&Sample; 2]) -> Figure {
    let names = plan.names();
    let of_steps = |steps: &Vec<Sample>| {
        let point =
            |(step, megabytes): (usize, &Sample)| (connections_at(plan, step) as f64, megabytes.median());
        std::iter::once((0.0, 0.0)).chain(steps.iter().enumerate().map(point)).collect()
    };
    let series = names.iter().zip(steps);
    let series =
        series.map(|(name, steps)| Series { name: (*name).to_owned(), points: of_steps(steps) }).collect();
    let told: Vec<String> =
        names.iter().zip(memory).map(|(name, memory)| format!("{name} {memory} KB each")).collect();
    Figure {
        name: "memory",
        title: "Memory by subscribed connections".to_owned(),
        description: format!(
            "Resident memory above that of the empty server while {} connections come, and at last when they are idle: {}.",
            plan.connections,
            told.join(", ")
        ),
        x: Axis { label: "connections".to_owned(), places: Vec::new() },
        y: "memory, MB".to_owned(),
        scale: Scale::FromZero,
        panels: vec![Panel { series, ..Panel::default() }],
    }
}

/// Connections that are there after a step.
fn connections_at(plan: &Plan, step: usize) -> usize {
    plan.connections * (step + 1) / STEPS
}

/// A fresh server, because memory once taken is seldom given back.
fn one(kind: Kind, plan: &Plan, progress: &ProgressBar) -> io::Result<Cost> {
    progress.set_message(format!("{} connections to the {kind:?}", plan.connections));
    let server = Server::start(kind, plan.start);
    let process = server.process();
    let (memory, cpu) = (process.resident_bytes(), process.cpu());
    let mut megabytes = Vec::with_capacity(STEPS);
    let grown = || process.resident_bytes().saturating_sub(memory) as f64;
    let mut swarm = Swarm::subscribe(&server.target(), plan.connections, |joined| {
        while megabytes.len() + 1 < STEPS && joined >= connections_at(plan, megabytes.len()) {
            megabytes.push(grown() / 1e6);
        }
        Ok(())
    })?;
    let spent = process.cpu() - cpu;
    let settled = std::time::Instant::now() + SETTLING;
    while std::time::Instant::now() < settled {
        swarm.pump(Some(Duration::from_millis(100)), |_, _| {})?;
    }
    let grown = grown();
    megabytes.push(grown / 1e6);
    // They are idle, not dead: one publication must reach every one of them.
    let mut publisher = Publisher::connect(server.address())?;
    swarm.expect(1);
    publisher.send(&server.publish_request(128))?;
    swarm.wait_for_all()?;
    publisher.finish(1)?;
    let connections = plan.connections as f64;
    Ok(Cost {
        kilobytes: grown / 1e3 / connections,
        microseconds: spent.as_secs_f64() * 1e6 / connections,
        megabytes,
    })
}
