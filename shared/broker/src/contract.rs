//! The requirements for every [`Broker`], as scenarios that any implementation runs. `docs/architecture.md` §4.6 (the memory
//! broker and Redis pass the same suite).
//!
//! An implementation writes a [`Harness`] and one line, `gorani_broker::broker_contract!(MyHarness::connect().await)`; that
//! becomes one `#[tokio::test]` per scenario, named like it. The expression is evaluated for each scenario and must give a
//! medium of its own (a key prefix, for example). Scenarios do not know how many nodes there are: with one node, the
//! publisher and the subscriber are the same.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test suite; a scenario's name is its sentence"
)]

pub mod connections;
pub mod delivery;
pub mod fidelity;
pub mod history;
pub(crate) mod hook_fixture;
pub mod hook_occupancy;
pub mod hook_queues;
pub mod hook_random;
pub mod hook_sessions;
pub mod idempotency;
pub mod members;
pub mod messages;
pub mod order;
pub mod ownership;
pub mod presence;
pub mod queue;
mod recording_sink;
pub mod retention;
mod samples;

use std::{sync::Arc, time::Duration};

pub use self::recording_sink::RecordingSink;
use crate::{Broker, Cluster};

/// One node's end of the medium: its broker, started, the sink that it was started with, and the id under which it receives
/// messages ([`crate::Cluster::listen`], called before the start).
pub struct ContractNode {
    pub id: String,
    pub broker: Arc<dyn Broker>,
    pub sink: Arc<RecordingSink>,
}

impl ContractNode {
    /// A broker that is not started yet, started here.
    pub async fn start(broker: Arc<dyn Broker>) -> Self {
        let id = format!("{:08x}", rand::random::<u32>());
        broker.cluster().listen(&id);
        let sink = Arc::new(RecordingSink::default());
        broker.start(Arc::clone(&sink) as _).await.unwrap();
        Self { id, broker, sink }
    }

    pub fn cluster(&self) -> &dyn Cluster {
        self.broker.cluster()
    }
}

/// A medium to which nodes can be joined, and its time.
pub trait Harness: Sync {
    /// The number of nodes that can be joined at the same time, at least 1.
    fn max_nodes(&self) -> usize;

    /// Joins one more node. Called [`Harness::max_nodes`] times at most.
    fn node(&self) -> impl Future<Output = ContractNode> + Send;

    /// The unit of the scenarios' expiry times: long against what a few calls take, and a whole number of the medium's
    /// steps of time. With real waiting about 300 ms do; a scenario waits for ten of them at most.
    fn span(&self) -> Duration;

    /// Lets that much time pass for the medium and its nodes.
    fn pass(&self, time: Duration) -> impl Future<Output = ()> + Send;
}

/// Expands to one test per scenario. See the [module](crate::contract).
#[macro_export]
macro_rules! broker_contract {
    ($harness:expr) => {
        $crate::broker_contract! { @each $harness;
            order:
                offsets_grow_by_one_within_one_epoch,
                channels_count_their_offsets_apart,
                concurrent_publishers_share_one_order,
                calls_made_before_any_is_awaited_keep_their_order,
                a_publish_whose_future_is_dropped_still_happens;
            delivery:
                a_started_broker_is_ready,
                what_is_published_after_subscribe_resolves_is_seen,
                every_subscribed_node_sees_every_event_once,
                subscribing_twice_delivers_once,
                many_channels_can_be_subscribed_in_one_call,
                after_unsubscribe_nothing_arrives,
                one_nodes_unsubscribe_leaves_the_others_alone,
                events_of_channels_not_subscribed_never_arrive,
                joins_and_leaves_are_delivered_in_order,
                without_history_there_is_no_offset,
                skip_history_delivers_live_and_leaves_the_stream_alone,
                an_offset_and_epoch_of_the_publishers_count_for_nothing;
            fidelity:
                every_field_survives_the_trip_without_history,
                every_field_survives_the_trip_and_the_history,
                every_kind_of_data_survives,
                a_large_payload_survives,
                odd_channel_names_are_told_apart;
            history:
                forward_reads_begin_after_since,
                reverse_reads_begin_before_since,
                limit_bounds_a_page_from_its_beginning,
                bytes_bound_a_page_and_it_says_so,
                pages_of_few_bytes_cover_the_whole_history,
                limit_zero_reads_the_position_alone,
                a_read_beyond_the_top_is_empty,
                a_stream_never_written_has_an_epoch_that_stays,
                every_node_reads_the_same_history,
                a_channel_without_retention_has_no_history,
                removed_history_leaves_the_position,
                the_size_of_a_history_is_that_of_what_it_keeps;
            retention:
                the_newest_publications_are_kept_up_to_the_size,
                a_publication_is_forgotten_when_its_time_is_over,
                the_position_outlives_the_history;
            idempotency:
                the_same_key_gets_the_same_answer_and_publishes_nothing,
                the_same_key_on_another_channel_is_another_publication,
                a_key_is_forgotten_when_its_time_is_over,
                of_concurrent_publications_with_one_key_one_is_published,
                a_key_guards_a_channel_without_history_too;
            queue:
                each_message_goes_to_one_consumer_in_order,
                what_is_acknowledged_is_gone_and_what_is_given_back_comes_again_first,
                a_message_that_was_tried_often_enough_is_a_dead_letter,
                a_queue_is_bounded_in_messages_and_bytes,
                a_queue_that_nobody_uses_is_forgotten,
                every_node_that_listens_is_woken,
                what_a_name_holds_and_its_worker_does_not_comes_back,
                a_dead_letter_for_which_there_is_no_room_waits_and_is_counted;
            presence:
                those_who_were_added_are_present_on_every_node,
                those_who_were_removed_are_not_present,
                those_who_are_not_refreshed_are_forgotten,
                a_refresh_brings_the_newest_info,
                stats_count_clients_and_distinct_users,
                joins_and_leaves_are_told_by_what_enters_and_takes_out,
                whoever_finds_that_a_clients_time_is_over_tells_that_it_left,
                presence_of_one_channel_says_nothing_of_another,
                clients_of_one_node_are_reaped_and_given,
                of_concurrent_reapers_each_client_is_given_to_one,
                those_who_are_forgotten_are_not_reaped,
                many_clients_are_read_in_pages,
                bytes_bound_a_page_of_presence,
                of_many_whose_time_is_over_none_is_shown,
                all_clients_of_one_node_are_reaped_among_many,
                nodes_with_clients_are_told_each_once;
            members:
                those_who_announce_are_members_until_they_retire,
                a_lease_that_is_not_renewed_ends,
                the_newest_description_counts,
                an_announcement_tells_whether_the_lease_was_running,
                every_announcement_tells_who_is_there_now;
            messages:
                a_message_to_a_node_reaches_that_node_alone,
                a_message_to_all_reaches_every_node_once,
                messages_keep_their_order,
                a_message_to_nobody_is_no_error,
                a_large_message_survives;
            connections:
                as_many_enter_as_the_limit_allows,
                whoever_is_there_may_enter_again,
                whoever_left_makes_room,
                those_who_are_not_refreshed_do_not_count,
                a_refresh_tells_who_is_not_there,
                users_count_their_connections_apart,
                of_concurrent_clients_as_many_enter_as_there_is_room;
            ownership:
                the_first_to_claim_a_name_owns_it,
                the_owner_may_claim_again_and_again,
                a_named_owner_is_replaced_and_no_other,
                a_released_name_is_free_and_only_its_owner_releases_it,
                an_ownership_that_is_not_renewed_ends,
                of_concurrent_claims_one_succeeds;
            hook_sessions:
                a_session_is_told_once_and_its_events_are_numbered,
                sessions_without_a_user_are_numbered_and_not_counted,
                only_its_own_node_ends_a_session,
                a_users_sessions_are_counted_over_all_nodes,
                a_lost_session_that_comes_back_goes_on_with_its_number,
                the_number_of_a_lost_session_is_forgotten_when_its_time_is_over,
                changes_of_one_call_are_made_in_their_order,
                too_many_changes_and_odd_names_are_refused_whole,
                odd_names_are_told_apart,
                what_a_node_has_is_read_in_pages,
                entries_that_stay_are_given_once_although_others_go,
                of_concurrent_reapers_each_end_is_told_by_one,
                the_number_of_partitions_is_the_first_one,
                a_store_that_is_not_open_refuses,
                a_partition_without_a_run_takes_no_changes,
                of_concurrent_callers_one_begins_a_partition,
                a_partition_that_begins_anew_has_nothing_but_its_queues,
                a_call_repeated_after_an_unknown_outcome_tells_nothing_twice;
            hook_occupancy:
                the_first_and_the_last_node_of_a_channel_are_told,
                members_are_told_by_user_and_apart_from_their_channel,
                a_return_within_the_grace_is_told_by_nothing,
                an_end_is_told_once_when_its_grace_is_over,
                the_latest_leave_counts_for_the_grace,
                ends_are_due_in_the_order_of_their_times,
                an_event_for_no_endpoint_changes_the_store_and_is_not_told;
            hook_queues:
                every_field_of_an_event_survives,
                ids_ascend_and_name_their_partition,
                each_queue_has_the_events_that_are_for_its_endpoint,
                a_head_is_bounded_in_events_and_bytes_and_has_one,
                an_event_that_a_delivery_names_twice_or_that_is_far_from_the_head_is_taken_once,
                what_is_taken_is_gone_and_the_rest_stays_in_order,
                the_state_of_delivery_is_that_of_all_nodes,
                over_its_bound_the_oldest_events_go_and_are_counted,
                over_its_bytes_the_oldest_events_go,
                dead_letters_are_kept_with_their_reason,
                dead_letters_are_read_in_pages_in_the_order_of_their_events,
                a_replayed_event_keeps_its_id_and_its_numbers,
                dead_letters_are_bounded_and_the_oldest_go,
                replayed_events_are_bounded_as_others,
                endpoints_of_no_plan_are_forgotten_when_their_time_is_over;
            hook_random:
                random_changes_of_several_nodes_fold_to_the_state;
        }
    };
    (@each $harness:expr; $($room:ident: $($scenario:ident),+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                let harness = $harness;
                $crate::contract::$room::$scenario(&harness).await;
            }
        )+)+
    };
}

#[cfg(test)]
mod tests {
    //! The list in the macro and the scenarios must be the same.

    const LIST: &str = include_str!("contract.rs");
    const ROOMS: [(&str, &str); 16] = [
        ("order", include_str!("contract/order.rs")),
        ("delivery", include_str!("contract/delivery.rs")),
        ("fidelity", include_str!("contract/fidelity.rs")),
        ("history", include_str!("contract/history.rs")),
        ("retention", include_str!("contract/retention.rs")),
        ("idempotency", include_str!("contract/idempotency.rs")),
        ("queue", include_str!("contract/queue.rs")),
        ("presence", include_str!("contract/presence.rs")),
        ("members", include_str!("contract/members.rs")),
        ("messages", include_str!("contract/messages.rs")),
        ("connections", include_str!("contract/connections.rs")),
        ("ownership", include_str!("contract/ownership.rs")),
        ("hook_sessions", include_str!("contract/hook_sessions.rs")),
        ("hook_occupancy", include_str!("contract/hook_occupancy.rs")),
        ("hook_queues", include_str!("contract/hook_queues.rs")),
        ("hook_random", include_str!("contract/hook_random.rs")),
    ];

    #[test]
    fn every_scenario_is_in_the_list() {
        for (room, source) in ROOMS {
            let listed = LIST.split_once(&format!("            {room}:\n")).unwrap().1;
            let listed: Vec<&str> = listed.split_once(';').unwrap().0.split(',').map(str::trim).collect();
            let written: Vec<&str> = (source.split("pub async fn ").skip(1))
                .map(|rest| rest.split_once(['(', '<']).unwrap().0)
                .collect();
            assert_eq!(listed, written, "the scenarios of {room}");
        }
    }
}
