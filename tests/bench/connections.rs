//! What a subscribed connection costs: CPU to set it up, memory to keep it while nothing happens.

use std::{io, time::Duration};

use indicatif::ProgressBar;

use crate::{
    plan::Plan,
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

struct Cost {
    kilobytes: f64,
    microseconds: f64,
}

pub(crate) fn measure(plan: &Plan, progress: &ProgressBar) -> io::Result<Vec<Row>> {
    let mut memory = (Sample::default(), Sample::default());
    let mut cpu = (Sample::default(), Sample::default());
    for _ in 0..plan.repeats {
        let gateway = one(Kind::Gateway, plan, progress)?;
        let stock = one(Kind::Stock, plan, progress)?;
        memory.0.push(gateway.kilobytes);
        memory.1.push(stock.kilobytes);
        cpu.0.push(gateway.microseconds);
        cpu.1.push(stock.microseconds);
        progress.inc(1);
    }
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

/// A fresh server, because memory once taken is seldom given back.
fn one(kind: Kind, plan: &Plan, progress: &ProgressBar) -> io::Result<Cost> {
    progress.set_message(format!("{} connections to the {kind:?}", plan.connections));
    let server = Server::start(kind, plan.start);
    let process = server.process();
    let (memory, cpu) = (process.resident_bytes(), process.cpu());
    let mut swarm = Swarm::subscribe(&server.target(), plan.connections, |_| Ok(()))?;
    let spent = process.cpu() - cpu;
    let settled = std::time::Instant::now() + SETTLING;
    while std::time::Instant::now() < settled {
        swarm.pump(Some(Duration::from_millis(100)), |_, _| {})?;
    }
    let grown = process.resident_bytes().saturating_sub(memory);
    // They are idle, not dead: one publication must reach every one of them.
    let mut publisher = Publisher::connect(server.address())?;
    swarm.expect(1);
    publisher.send(&server.publish_request(128))?;
    swarm.wait_for_all()?;
    publisher.finish(1)?;
    let connections = plan.connections as f64;
    Ok(Cost {
        kilobytes: grown as f64 / 1e3 / connections,
        microseconds: spent.as_secs_f64() * 1e6 / connections,
    })
}
