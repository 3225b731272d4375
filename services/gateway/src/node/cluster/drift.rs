//! Nodes whose settings differ from those of this one, by the fingerprints that each tells with its lease. Record 62.

use std::{collections::BTreeMap, sync::Arc};

use gorani_broker::Member;
use parking_lot::Mutex;

use super::membership::NodeDescription;

/// Fingerprints by section of the settings.
pub(super) type Fingerprints = BTreeMap<String, String>;

/// The differences between this node's settings and those of the others.
#[derive(Default)]
pub struct SettingsDrift(Mutex<DriftState>);

#[derive(Default)]
struct DriftState {
    own: Fingerprints,
    /// The members of the last look; where they are the same there is nothing to look at, however many they are.
    seen: Option<Arc<[Member]>>,
    differing: BTreeMap<String, Vec<String>>,
}

impl SettingsDrift {
    /// The fingerprints of this node, for its lease.
    pub(super) fn own(&self) -> Fingerprints {
        self.0.lock().own.clone()
    }

    /// Puts this node's fingerprints in place of those before.
    pub(in crate::node) fn replace_own(&self, own: Fingerprints) {
        let mut state = self.0.lock();
        state.own = own;
        state.seen = None;
    }

    /// The nodes that differ, by their ids, each with the sections that do. A node that tells no fingerprints is not among them.
    pub fn differing(&self) -> BTreeMap<String, Vec<String>> {
        self.0.lock().differing.clone()
    }

    /// Compares this node, whose id is `own`, with the other members. Returns the nodes that differ, if they are not those of the last look.
    pub(super) fn compare(
        &self,
        own: &str,
        members: &Arc<[Member]>,
    ) -> Option<BTreeMap<String, Vec<String>>> {
        let mut state = self.0.lock();
        if state.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, members)) {
            return None;
        }
        state.seen = Some(members.clone());
        let differing: BTreeMap<_, _> = members
            .iter()
            // What the broker keeps of this node may be from before its last reload.
            .filter(|member| member.node != own)
            .map(|member| (member.node.clone(), state.differing_sections(member)))
            .filter(|(_, sections)| !sections.is_empty())
            .collect();
        if differing == state.differing {
            return None;
        }
        state.differing.clone_from(&differing);
        Some(differing)
    }
}

impl DriftState {
    fn differing_sections(&self, member: &Member) -> Vec<String> {
        let theirs = NodeDescription::read(&member.description).settings;
        // A section that only one of the two knows is one of another version.
        let differs = |section: &&String| {
            theirs.get(*section).is_some_and(|fingerprint| Some(fingerprint) != self.own.get(*section))
                && self.own.contains_key(*section)
        };
        theirs.keys().filter(differs).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn fingerprints(told: &[(&str, &str)]) -> Fingerprints {
        told.iter().map(|(section, fingerprint)| (section.to_string(), fingerprint.to_string())).collect()
    }

    fn member(node: &str, told: &[(&str, &str)]) -> Member {
        let description = NodeDescription { settings: fingerprints(told), ..NodeDescription::default() };
        Member { node: node.to_owned(), description: description.write() }
    }

    #[test]
    fn nodes_that_differ_are_named_with_the_sections_until_they_are_equal_again() {
        let drift = SettingsDrift::default();
        drift.replace_own(fingerprints(&[("channel", "1"), ("token", "1")]));
        let members: Arc<[Member]> = Arc::new([
            member("same", &[("channel", "1"), ("token", "1")]),
            member("other", &[("channel", "2"), ("token", "1")]),
            member("old", &[]),
            member("newer", &[("channel", "1"), ("unknown", "9")]),
        ]);
        let expected = BTreeMap::from([("other".to_owned(), vec!["channel".to_owned()])]);
        assert_eq!(drift.compare("own", &members), Some(expected.clone()));
        assert_eq!(drift.compare("own", &members), None, "told once");
        assert_eq!(drift.differing(), expected);
        drift.replace_own(fingerprints(&[("channel", "2"), ("token", "1")]));
        let now = drift.compare("own", &members).unwrap();
        assert_eq!(now.keys().collect::<Vec<_>>(), ["newer", "same"]);
    }

    #[test]
    fn a_node_that_has_reloaded_is_not_compared_with_what_it_announced_before() {
        let drift = SettingsDrift::default();
        drift.replace_own(fingerprints(&[("channel", "2")]));
        let members: Arc<[Member]> =
            Arc::new([member("own", &[("channel", "1")]), member("other", &[("channel", "1")])]);
        let expected = BTreeMap::from([("other".to_owned(), vec!["channel".to_owned()])]);
        assert_eq!(drift.compare("own", &members), Some(expected));
        let alone: Arc<[Member]> = Arc::new([member("own", &[("channel", "1")])]);
        assert_eq!(drift.compare("own", &alone), Some(BTreeMap::new()));
    }

    #[test]
    fn an_older_node_reads_a_description_with_fingerprints_and_a_newer_one_reads_it_without() {
        let told = member("a", &[("channel", "1")]).description;
        let mut value: serde_json::Value = serde_json::from_slice(&told).unwrap();
        assert_eq!(value["settings"]["channel"], "1");
        value.as_object_mut().unwrap().remove("settings");
        assert!(NodeDescription::read(value.to_string().as_bytes()).settings.is_empty());
    }
}
