//! Ownership of names. [`crate::Cluster::claim`].

use futures_util::future::join_all;

use super::{
    ContractNode, Harness,
    samples::{LONG, nodes, two_ends},
};

impl ContractNode {
    async fn claim(&self, name: &str, owner: &str, replacing: Option<&str>) -> String {
        self.cluster().claim(name, owner, LONG, replacing).await.unwrap()
    }

    async fn owner(&self, name: &str) -> Option<String> {
        self.cluster().owner(name).await.unwrap()
    }
}

pub async fn the_first_to_claim_a_name_owns_it(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    assert_eq!(one.owner("session").await, None);
    assert_eq!(one.claim("session", "a", None).await, "a");
    assert_eq!(other.claim("session", "b", None).await, "a");
    assert_eq!(other.owner("session").await.as_deref(), Some("a"));
    assert_eq!(other.claim("other session", "b", None).await, "b");
}

pub async fn the_owner_may_claim_again_and_again(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    let span = harness.span();
    for _ in 0..3 {
        assert_eq!(one.cluster().claim("session", "a", 4 * span, None).await.unwrap(), "a");
        harness.pass(2 * span).await;
        assert_eq!(other.claim("session", "b", None).await, "a", "its time was renewed");
    }
}

pub async fn a_named_owner_is_replaced_and_no_other(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    one.claim("session", "a", None).await;
    assert_eq!(other.claim("session", "b", Some("c")).await, "a");
    assert_eq!(other.claim("session", "b", Some("a")).await, "b");
    assert_eq!(one.claim("session", "a", Some("a")).await, "b");
    assert_eq!(one.claim("free", "a", Some("b")).await, "a", "a name without an owner needs no replacing");
}

pub async fn a_released_name_is_free_and_only_its_owner_releases_it(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    one.claim("session", "a", None).await;
    other.cluster().release("session", "b").await.unwrap();
    other.cluster().release("unknown", "b").await.unwrap();
    assert_eq!(one.owner("session").await.as_deref(), Some("a"));
    other.cluster().release("session", "a").await.unwrap();
    assert_eq!(one.owner("session").await, None);
    assert_eq!(one.claim("session", "b", None).await, "b");
}

pub async fn an_ownership_that_is_not_renewed_ends(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    let span = harness.span();
    one.cluster().claim("session", "a", 2 * span, None).await.unwrap();
    harness.pass(3 * span).await;
    assert_eq!(other.owner("session").await, None);
    other.cluster().release("session", "a").await.unwrap();
    assert_eq!(other.claim("session", "b", None).await, "b");
}

pub async fn of_concurrent_claims_one_succeeds(harness: &impl Harness) {
    let nodes = nodes(harness, 3).await;
    let owners: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    let claims =
        owners.iter().zip(nodes.iter().cycle()).map(|(owner, node)| node.claim("session", owner, None));
    let answers = join_all(claims).await;
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(nodes[0].owner("session").await.as_ref(), Some(&answers[0]));
}
