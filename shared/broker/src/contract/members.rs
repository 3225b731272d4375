//! Which nodes are alive. [`crate::Cluster::announce`], `docs/architecture.md` §5.7.

use super::{
    ContractNode, Harness,
    samples::{LONG, two_ends},
};

async fn members(node: &ContractNode) -> Vec<(String, String)> {
    let members = node.cluster().members().await.unwrap();
    let text = |description: &[u8]| String::from_utf8(description.to_vec()).unwrap();
    members.into_iter().map(|member| (member.node, text(&member.description))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(node, description)| ((*node).to_owned(), (*description).to_owned())).collect()
}

pub async fn those_who_announce_are_members_until_they_retire(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    assert_eq!(members(&one).await, []);
    for id in ["0000000c", "0000000a", "0000000b"] {
        one.cluster().announce(id, format!("고라니 {id}").into(), LONG).await.unwrap();
    }
    let all =
        [("0000000a", "고라니 0000000a"), ("0000000b", "고라니 0000000b"), ("0000000c", "고라니 0000000c")];
    assert_eq!(members(&other).await, pairs(&all));
    other.cluster().retire("0000000b").await.unwrap();
    other.cluster().retire("unknown").await.unwrap();
    assert_eq!(members(&one).await, pairs(&[all[0], all[2]]));
}

pub async fn a_lease_that_is_not_renewed_ends(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    let span = harness.span();
    one.cluster().announce("0000000a", "".into(), 4 * span).await.unwrap();
    one.cluster().announce("0000000b", "".into(), 4 * span).await.unwrap();
    harness.pass(3 * span).await;
    one.cluster().announce("0000000b", "".into(), 4 * span).await.unwrap();
    assert_eq!(members(&other).await, pairs(&[("0000000a", ""), ("0000000b", "")]));
    harness.pass(2 * span).await;
    assert_eq!(members(&other).await, pairs(&[("0000000b", "")]));
    harness.pass(3 * span).await;
    assert_eq!(members(&other).await, []);
}

pub async fn the_newest_description_counts(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    one.cluster().announce("0000000a", "old".into(), LONG).await.unwrap();
    one.cluster().announce("0000000a", "new".into(), LONG).await.unwrap();
    assert_eq!(members(&other).await, pairs(&[("0000000a", "new")]));
}

pub async fn an_announcement_tells_whether_the_lease_was_running(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    let span = harness.span();
    let announced = one.cluster().announce("0000000a", "a".into(), 2 * span).await.unwrap();
    assert!(!announced.renewed);
    assert_eq!(*announced.members, one.cluster().members().await.unwrap());
    let announced = other.cluster().announce("0000000b", "b".into(), LONG).await.unwrap();
    assert!(!announced.renewed);
    assert_eq!(announced.members.len(), 2);
    assert!(one.cluster().announce("0000000a", "a".into(), 2 * span).await.unwrap().renewed);
    harness.pass(3 * span).await;
    assert!(!one.cluster().announce("0000000a", "a".into(), LONG).await.unwrap().renewed);
    one.cluster().retire("0000000a").await.unwrap();
    assert!(!one.cluster().announce("0000000a", "a".into(), LONG).await.unwrap().renewed);
}

/// However often the answer was the same before, and whichever node makes the change.
pub async fn every_announcement_tells_who_is_there_now(harness: &impl Harness) {
    let (one, other) = two_ends(harness).await;
    let span = harness.span();
    let told = async || -> Vec<String> {
        let announced = one.cluster().announce("0000000a", "a".into(), LONG).await.unwrap();
        announced.members.iter().map(|member| member.node.clone()).collect()
    };
    for _ in 0..3 {
        assert_eq!(told().await, ["0000000a"]);
    }
    other.cluster().announce("0000000b", "b".into(), LONG).await.unwrap();
    assert_eq!(told().await, ["0000000a", "0000000b"]);
    // One comes and one goes between two announcements: as many as before.
    other.cluster().announce("0000000c", "c".into(), LONG).await.unwrap();
    other.cluster().retire("0000000b").await.unwrap();
    assert_eq!(told().await, ["0000000a", "0000000c"]);
    other.cluster().announce("0000000d", "d".into(), span).await.unwrap();
    assert_eq!(told().await, ["0000000a", "0000000c", "0000000d"]);
    harness.pass(2 * span).await;
    // The first reader clears away the lease that is over.
    assert_eq!(other.cluster().members().await.unwrap().len(), 2);
    assert_eq!(told().await, ["0000000a", "0000000c"]);
}
