//! Clients that receive over HTTP, at one process and then at another.

use super::{play, simulated};
use crate::simulation::world::World;

/// Plays steps, one a line, and lets all come of each that comes of it.
async fn flow(world: &mut World, steps: &str) {
    world.flow().await;
    for step in steps.lines().map(str::trim) {
        play(world, step).await;
        world.flow().await;
    }
}

/// The lines of the trace from a position in it.
fn told(world: &World, from: usize) -> String {
    world.trace.get(from..).unwrap_or_default().join("\n")
}

#[test]
fn a_poll_at_one_process_goes_on_where_the_answer_of_another_ended() {
    simulated(1, async |world| {
        flow(world, "subscribe 5 kept:a\npoll 5 0 0 0\napi-publish 0 kept:a\napi-publish 1 kept:a").await;
        let from = world.trace.len();
        flow(world, "poll 5 1 1 25").await;
        assert!(told(world, from).contains(r#""position":"kept~3aa.2."#), "{}", told(world, from));
        // It waits, and what is published elsewhere meanwhile ends it.
        let from = world.trace.len();
        flow(world, "poll 5 0 1 25").await;
        assert!(!told(world, from).contains("read 5"), "{}", told(world, from));
        flow(world, "api-publish 1 kept:a").await;
        assert!(told(world, from).contains(r#""position":"kept~3aa.3."#), "{}", told(world, from));
        assert_eq!(world.end().await, [""; 0]);
    });
}

#[test]
fn a_poll_that_waits_ends_with_its_time_or_with_its_process_and_misses_nothing() {
    simulated(1, async |world| {
        flow(world, "subscribe 5 kept:a\npoll 5 0 0 0\npoll 5 0 0 5").await;
        let from = world.trace.len();
        flow(world, "wait 5000").await;
        assert!(told(world, from).contains("read 5: 304"), "{}", told(world, from));
        flow(world, "poll 5 0 0 25").await;
        let from = world.trace.len();
        flow(world, "kill 0 0\napi-publish 1 kept:a\npoll 5 1 0 25").await;
        let told = told(world, from);
        assert!(told.contains("read 5: broken") && told.contains(r#"{"n":1}"#), "{told}");
        assert_eq!(world.end().await, [""; 0]);
    });
}

#[test]
fn a_poll_is_told_that_the_broker_is_slow_and_not_that_it_may_not_ask() {
    simulated(1, async |world| {
        flow(world, "subscribe 5 kept:a\npoll 5 0 0 0").await;
        let from = world.trace.len();
        play(world, "poll 5 0 0 60\nwait 11000\nread 5\nread 5").await;
        assert!(told(world, from).contains("read 5: 503"), "{}", told(world, from));
        assert_eq!(world.end().await, [""; 0]);
    });
}

#[test]
fn a_stream_goes_on_at_another_process_when_its_own_is_killed() {
    // Server-sent events, and lines.
    for client in [7, 8] {
        simulated(1, async |world| {
            let steps = format!("subscribe {client} kept:a\nconnect {client} 0 0\napi-publish 0 kept:a");
            flow(world, &steps).await;
            flow(world, "kill 0 0\napi-publish 1 kept:a").await;
            let from = world.trace.len();
            flow(world, &format!("connect {client} 1 0")).await;
            let told = told(world, from);
            assert!(told.contains(r#""recovered":true"#) && told.contains(r#"{"n":2}"#), "{told}");
            assert!(!told.contains(r#"{"n":1}"#), "{told}");
            assert_eq!(world.end().await, [""; 0]);
        });
    }
}

#[test]
fn a_client_of_sockjs_recovers_in_a_new_session_when_the_process_of_its_own_is_killed() {
    simulated(1, async |world| {
        flow(world, "connect 9 0 0\nsubscribe 9 kept:a\napi-publish 0 kept:a\nkill 0 0\nstart 0").await;
        flow(world, "api-publish 1 kept:a").await;
        let from = world.trace.len();
        flow(world, "connect 9 1 0\nsubscribe 9 kept:a").await;
        let told = told(world, from);
        assert!(told.contains("recovered") && told.contains(r#"{\"n\":2}"#), "{told}");
        assert_eq!(world.end().await, [""; 0]);
    });
}

#[test]
fn a_session_of_sockjs_whose_poll_broke_off_is_over() {
    simulated(1, async |world| {
        flow(world, "connect 9 0 0\nsubscribe 9 kept:a").await;
        let from = world.trace.len();
        flow(world, "disconnect 9").await;
        assert!(told(world, from).contains("c[1002,"), "{}", told(world, from));
        assert_eq!(world.end().await, [""; 0]);
    });
}

#[test]
fn a_poll_is_told_that_a_second_failover_took_what_the_first_had_left() {
    simulated(1, async |world| {
        flow(world, "subscribe 5 short:b\napi-publish 1 short:b\npoll 5 1 1 0").await;
        flow(world, "api-publish 1 short:b\napi-publish 1 short:b\nfailover 2\nheal 0\nheal 1").await;
        flow(world, "api-publish 0 short:b\nfailover 2\nheal 0\nheal 1\napi-publish 1 short:b").await;
        let from = world.trace.len();
        flow(world, "poll 5 1 1 0").await;
        let told = told(world, from);
        assert!(told.contains(r#""unrecovered_reasons":{"short:b":"position_lost"}"#), "{told}");
        assert_eq!(world.end().await, [""; 0]);
    });
}
