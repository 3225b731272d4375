//! Work queues: messages that a consumer leaves behind.

use super::{play, simulated};
use crate::simulation::world::World;

/// Plays steps, one a line, and lets all come of each that comes of it.
async fn flow(world: &mut World, steps: &str) {
    world.flow().await;
    for step in steps.lines() {
        play(world, step).await;
        world.flow().await;
    }
}

/// The other consumer has these messages within a minute.
async fn the_other_has(world: &mut World, count: usize) {
    for _ in 0..20 {
        flow(world, "wait 3000").await;
    }
    assert_eq!(world.stomp[1].held().count(), count, "{}", world.trace.join("\n"));
    assert_eq!(world.end().await, [""; 0]);
}

/// Two consumers on one worker. The first holds a message, the other waits.
async fn a_consumer_with_a_message(world: &mut World) {
    flow(world, "connect 3 0 0\nconsume 3 2 live:jobs\nsend 3 live:jobs").await;
    flow(world, "connect 4 0 0\nconsume 4 2 live:jobs").await;
    assert_eq!(world.stomp[0].held().count(), 1);
}

#[test]
fn what_a_consumer_refused_comes_to_another_one_although_that_got_lost_with_its_connection() {
    simulated(1, async |world| {
        a_consumer_with_a_message(world).await;
        play(world, "nack 3 0\ndisconnect 3\ncut 0 0\nheal 0").await;
        the_other_has(world, 1).await;
    });
}

#[test]
fn what_a_consumer_acknowledged_comes_again_if_that_got_lost_with_its_connection() {
    simulated(1, async |world| {
        a_consumer_with_a_message(world).await;
        play(world, "ack 3 0\ndisconnect 3\ncut 0 0\nheal 0").await;
        the_other_has(world, 1).await;
    });
}

#[test]
fn a_worker_without_consumers_keeps_nothing_of_a_queue_that_was_left_with_the_connection() {
    simulated(65, async |world| {
        // As many as it wants at a time, so that it waits for no more.
        flow(world, "connect 3 0 0\nconsume 3 2 live:jobs\nsend 3 live:jobs\nsend 3 live:jobs").await;
        flow(world, "connect 4 0 1").await;
        assert_eq!(world.stomp[0].held().count(), 2);
        play(world, "leave 3 live:jobs\ndisconnect 3\ncut 0 0\nheal 0\nconsume 4 2 live:jobs").await;
        the_other_has(world, 2).await;
    });
}
