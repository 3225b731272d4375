//! Failovers that follow one another.

use crate::simulation::{run_schedule, schedule::ScheduleStep};

/// The second failover forgets what was accepted before the first, after which an epoch began. A part of what seed 3988 drew.
const TWO_FAILOVERS: &str = "expire short:b
    execute 1 (cluster)
    answer 1 (cluster)
    execute 0 (cluster)
    answer 0 (cluster)
    execute 1 (cluster)
    answer 1 (cluster)
    connect 2 1 0
    read 2
    subscribe 2 short:b
    execute 0 (cluster)
    answer 0 (cluster)
    execute 1 (pubsub)short:b
    answer 1 (pubsub)short:b
    publish 2 short:b
    execute 1 short:b
    answer 1 short:b
    api-publish 0 short:b
    execute 1 short:b
    execute 0 short:b
    receive 1 short:b
    receive 1 short:b
    answer 1 short:b
    read 2
    disconnect 2
    connect 1 1 1
    execute 1 short:b
    failover 1
    heal 1
    read 1
    subscribe 1 short:b
    execute 1 short:b
    failover 2
    heal 0
    api-publish 0 short:b
    api-publish 0 short:b";

#[test]
fn who_stood_before_two_failovers_is_not_recovered_over_what_the_second_forgot() {
    let steps: Vec<ScheduleStep> = TWO_FAILOVERS.lines().map(|line| line.trim().parse().unwrap()).collect();
    assert_eq!(run_schedule(1, &steps).wrong, [""; 0]);
}
