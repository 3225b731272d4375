//! Schedules by hand, for races that chance seldom draws.

mod failovers;
mod queues;
mod receive;

use std::sync::Arc;

use super::{schedule::ScheduleStep, simulated, world::World};

const CHANNEL: &str = "kept:a";

/// Carries steps out, one a line.
async fn play(world: &mut World, schedule: &str) {
    for line in schedule.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let step: ScheduleStep = line.parse().unwrap_or_else(|_| panic!("no step: {line}"));
        assert!(world.carry_out(&step).await, "{line} makes no sense after:\n{}", world.trace.join("\n"));
    }
}

/// A client connects to a worker of the first process and subscribes, and all that comes of it happens.
async fn subscribe(world: &mut World, client: usize) {
    world.flow().await;
    play(world, &format!("connect {client} 0 {client}")).await;
    world.flow().await;
    play(world, &format!("subscribe {client} {CHANNEL}")).await;
    world.flow().await;
}

/// Clients that are present, as the broker has it.
fn present(world: &World) -> usize {
    world.network.0.lock().server.present(&Arc::from(CHANNEL)).len()
}

#[test]
fn a_second_gap_during_a_read_is_read_too() {
    simulated(1, async |world| {
        subscribe(world, 0).await;
        // The page of the first read is on its way when another publication is lost, and nothing follows it.
        play(
            world,
            "api-publish 0 kept:a
            execute 0 kept:a
            lose 0 kept:a
            receive 0 kept:a
            execute 0 kept:a
            api-publish 0 kept:a
            execute 0 kept:a
            lose 0 kept:a
            receive 0 kept:a",
        )
        .await;
        world.flow().await;
        let told = world.trace.join("\n");
        assert!(told.contains("\"offset\":1") && told.contains("\"offset\":2"), "{told}");
        assert!(!told.contains("2500"), "{told}");
        assert_eq!(world.end().await, [""; 0]);
    });
}

#[test]
fn a_leave_that_could_not_be_told_is_told_soon_after_the_broker_is_back() {
    simulated(1, async |world| {
        subscribe(world, 0).await;
        subscribe(world, 1).await;
        assert_eq!(present(world), 2);
        play(world, "cut 0 0\ndisconnect 0\nheal 0\nwait 600").await;
        world.flow().await;
        assert_eq!(present(world), 1);
        assert_eq!(world.end().await, [""; 0]);
    });
}

#[test]
fn a_watcher_that_comes_back_after_a_gap_has_left_and_joined_for_nobody() {
    simulated(1, async |world| {
        subscribe(world, 1).await;
        let from = world.trace.len();
        play(world, "api-publish 0 kept:a\nexecute 0 kept:a\nlose 0 kept:a\nreceive 0 kept:a").await;
        world.flow().await;
        play(world, "subscribe 1 kept:a").await;
        world.flow().await;
        let told = world.trace.get(from..).unwrap_or_default().join("\n");
        assert!(told.contains("2500") && told.contains("\"recovered\":true"), "{told}");
        assert!(!told.contains("\"join\"") && !told.contains("\"leave\""), "{told}");
        assert_eq!(world.end().await, [""; 0]);
    });
}

#[test]
fn a_watcher_that_does_not_come_back_after_a_gap_leaves() {
    simulated(1, async |world| {
        subscribe(world, 1).await;
        play(world, "api-publish 0 kept:a\nexecute 0 kept:a\nlose 0 kept:a\nreceive 0 kept:a").await;
        world.flow().await;
        assert_eq!(present(world), 1, "it is expected back");
        play(world, "unsubscribe 1 kept:a\nwait 26000").await;
        world.flow().await;
        assert_eq!(present(world), 0);
        assert_eq!(world.end().await, [""; 0]);
    });
}
