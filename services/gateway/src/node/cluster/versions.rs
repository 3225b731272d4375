//! Nodes of other versions in one cluster: which may be there, and what they cannot be asked. Record 65.

use super::{ClusterMember, envelope::EnvelopeBody, membership::NodeDescription};

/// The version of this node.
const OWN: &str = env!("CARGO_PKG_VERSION");

/// Nodes of a version that this one is not made to run with.
#[derive(Debug, thiserror::Error)]
#[error(
    "{nodes} of this cluster and this node ({OWN}) are more than one minor version apart; upgrade one minor version after the other"
)]
pub struct DistantVersion {
    nodes: String,
}

impl ClusterMember {
    /// Fails where a living node is of a version that is not this one or the one before or after it. Where the broker cannot be asked
    /// nothing is known, and the node starts.
    pub(in crate::node) async fn refuse_distant_versions(&self) -> Result<(), DistantVersion> {
        let Ok(members) = self.broker.cluster().members().await else { return Ok(()) };
        let mut nodes = Vec::new();
        for member in &*members {
            let NodeDescription { name, version, .. } = NodeDescription::read(&member.description);
            if !is_beside(OWN, &version) {
                let name = if name.is_empty() { &member.node } else { &name };
                nodes.push(format!("{name} ({version})"));
            }
        }
        if nodes.is_empty() { Ok(()) } else { Err(DistantVersion { nodes: nodes.join(", ") }) }
    }

    /// True if the node's lease says that it does not know this kind of query.
    pub(super) fn cannot_be_asked(&self, node: &str, body: &EnvelopeBody) -> bool {
        !body.is_understood_by(self.peers.description(node).understands)
    }
}

/// True if nodes of the two versions may be in one cluster. A version that cannot be read is not judged.
fn is_beside(own: &str, other: &str) -> bool {
    let minor = |version: &str| {
        let mut numbers = version.split('.').map(|number| number.parse::<u64>().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    match (minor(own), minor(other)) {
        (Some((own_major, own_minor)), Some((major, minor))) => {
            own_major == major && own_minor.abs_diff(minor) <= 1
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_runs_with_itself_and_the_minor_versions_beside_it() {
        for beside in ["1.4.0", "1.4.7", "1.3.9", "1.5.0-rc.1", "", "next"] {
            assert!(is_beside("1.4.2", beside), "{beside}");
        }
        for distant in ["1.2.9", "1.6.0", "0.4.2", "2.4.0"] {
            assert!(!is_beside("1.4.2", distant), "{distant}");
        }
    }
}
