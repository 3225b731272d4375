//! The store of hooks in memory, by random changes: the checks are those of the contract.

use std::{sync::Arc, time::Duration};

use proptest::{collection::vec, prelude::*};

use super::{super::ManualClock, contract::OneNode};
use crate::contract::{
    Harness as _,
    hook_fixture::{HookNode, plan},
    hook_random::{RandomChange, Round, check_rounds, clients, keys},
};

fn change() -> impl Strategy<Value = RandomChange> {
    let key = 0..keys().len();
    prop_oneof![
        3 => (0..clients()).prop_map(RandomChange::Connect),
        2 => (0..clients()).prop_map(RandomChange::Lose),
        1 => (0..clients()).prop_map(RandomChange::Note),
        3 => key.clone().prop_map(RandomChange::Enter),
        3 => (key, any::<bool>()).prop_map(|(key, has_grace)| RandomChange::Leave(key, has_grace)),
        1 => Just(RandomChange::Append),
    ]
}

fn round() -> impl Strategy<Value = Round> {
    let changes = [vec(change(), 0..6), vec(change(), 0..6), vec(change(), 0..6)];
    (changes, 0..20_usize, prop::bool::weighted(0.1)).prop_map(|(changes, taken, begins)| Round {
        changes,
        taken,
        begins,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_changes_fold_to_the_state(rounds in vec(round(), 1..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let harness = OneNode { clock: Arc::<ManualClock>::default() };
            let mut plan = plan(&harness);
            plan.sequence_ttl = Duration::from_secs(3600);
            let node = HookNode::join_with(&harness, "one", plan).await;
            harness.pass(harness.span()).await;
            check_rounds(&[node], &rounds).await;
        });
    }
}
