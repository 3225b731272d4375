//! The kinds of commands and queries that a node understands, as its lease says. Record 35.
//!
//! A number, one bit for each kind, since every node reads the leases of all every few seconds. A bit that has been given is
//! never given to another kind.

use super::envelope::{ClusterQuery, EnvelopeBody};
use crate::session_command::SessionCommand;

/// The kinds of the first version, whose lease does not list them.
const FIRST: u64 = 0b111_1111;
/// All that this version understands.
pub(super) const ALL: u64 = FIRST;

/// True if a node understands what is written to it. `told`: the kinds in its lease; 0 where it lists none.
pub(super) fn is_understood(told: u64, body: &EnvelopeBody) -> bool {
    let known = if told == 0 { FIRST } else { told };
    known & bit(body) == bit(body)
}

/// The bit of a kind; none for an answer, which goes only to a node that has asked.
fn bit(body: &EnvelopeBody) -> u64 {
    match body {
        EnvelopeBody::Order(SessionCommand::Disconnect { .. }) => 1,
        EnvelopeBody::Order(SessionCommand::Unsubscribe { .. }) => 1 << 1,
        EnvelopeBody::Order(SessionCommand::Subscribe { .. }) => 1 << 2,
        EnvelopeBody::Order(SessionCommand::Refresh { .. }) => 1 << 3,
        EnvelopeBody::Ask(ClusterQuery::Connections { .. }) => 1 << 4,
        EnvelopeBody::Ask(ClusterQuery::Channels { .. }) => 1 << 5,
        EnvelopeBody::Ask(ClusterQuery::Counts) => 1 << 6,
        EnvelopeBody::Answer(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::cluster::envelope::ClusterAnswer;

    #[test]
    fn a_lease_that_tells_nothing_is_of_a_node_that_knows_the_first_kinds() {
        let counts = EnvelopeBody::Ask(ClusterQuery::Counts);
        assert!(is_understood(0, &counts) && is_understood(ALL, &counts));
        assert!(!is_understood(ALL & !(1 << 6), &counts));
        // Bits of a newer version are no harm.
        assert!(is_understood(u64::MAX, &counts));
        assert!(is_understood(1, &EnvelopeBody::Answer(ClusterAnswer::Done)));
    }
}
