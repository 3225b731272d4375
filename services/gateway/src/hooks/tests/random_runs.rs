//! Random runs: whatever comes, goes and breaks on several nodes, the backend is told of it in order, and believes in the end what is.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::nodes::{HookNodes, settings, simulated};

/// Steps of a run.
const STEPS: usize = 150;
/// Time for which `make test` runs.
const TIME: Duration = Duration::from_secs(4);

/// A run of a seed.
fn run(seed: u64) {
    simulated(async || {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut settings = settings();
        settings.collapse = rng.random_bool(0.7);
        settings.grace = Duration::from_secs(rng.random_range(0..4));
        settings.session_grace = Duration::from_secs(if rng.random_bool(0.3) { 3 } else { 0 });
        let mut all = HookNodes::start(3, settings).await;
        let mut clients = 0;
        for _ in 0..STEPS {
            let node = rng.random_range(0..all.nodes.len());
            let some: Vec<String> = all.nodes[node].sessions.keys().cloned().collect();
            let client = (!some.is_empty()).then(|| some[rng.random_range(0..some.len())].clone());
            let channel = format!("c{}", rng.random_range(0..4));
            let is_running = !all.nodes[node].is_frozen;
            match (rng.random_range(0..100), client) {
                (0..25, _) if is_running => {
                    clients += 1;
                    let user = ["", "1", "2", "3"][rng.random_range(0..4)];
                    all.connect(node, &format!("client-{clients}"), user);
                }
                (25..50, Some(client)) if is_running => all.subscribe(node, &client, &channel),
                (50..60, Some(client)) if is_running => all.unsubscribe(node, &client, &channel),
                (60..72, Some(client)) if is_running => all.disconnect(node, &client),
                (72..84, _) => all.run().await,
                (84..90, _) => all.pass(Duration::from_millis(rng.random_range(1..4000))).await,
                (90, _) => drop(all.broker.is_away.fetch_xor(true, Ordering::Relaxed)),
                (91, _) => all.broker.unanswered.store(rng.random_range(1..4), Ordering::Relaxed),
                (92, _) => all.lose_data().await,
                (93, _) if is_running && all.nodes.len() > 1 => {
                    all.kill(node);
                    all.add();
                }
                (94..96, _) if is_running => {
                    all.nodes[node].is_frozen = true;
                    all.dies(node);
                }
                (96..98, _) if !is_running => all.returns(node),
                // A lease that ran out although the node went on.
                (98, _) if is_running => {
                    all.dies(node);
                    all.run().await;
                    all.returns(node);
                }
                _ => {}
            }
            assert_eq!(all.folded.faults, [""; 0], "seed {seed}: {:#?}", all.folded.lines);
        }
        all.broker.is_away.store(false, Ordering::Relaxed);
        for node in 0..all.nodes.len() {
            all.returns(node);
        }
        println!("seed {seed}");
        all.check().await;
    });
}

/// `SEEDS`: the number of seeds, from `FROM` on, not a time.
#[test]
fn whatever_breaks_the_backend_is_told_in_order_and_knows_in_the_end_what_is() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (began, first) = (Instant::now(), number("FROM").unwrap_or(1));
    let mut seed = first;
    while number("SEEDS").map_or(began.elapsed() < TIME, |seeds| seed - first < seeds) {
        run(seed);
        seed += 1;
    }
    assert!(seed > first);
    println!("{} runs of {STEPS} steps", seed - first);
}
