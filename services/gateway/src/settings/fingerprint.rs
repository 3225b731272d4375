//! Fingerprints of settings that must be equal on all nodes of a cluster. Each node tells its own with its lease, and names the nodes
//! that differ and in which sections. Record 62.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;

use super::Settings;

/// Bytes of a digest that are told: enough to find what differs. A whole digest of a section with a secret could be searched for it.
const FINGERPRINT_BYTES: usize = 4;

impl Settings {
    /// The fingerprints of the sections that must be equal on all nodes.
    pub fn fingerprints(&self) -> BTreeMap<String, String> {
        let sections = [
            ("api.keys", fingerprint(&self.api.keys)),
            ("broker.redis.prefix", fingerprint(&self.broker.redis.prefix)),
            ("channel", fingerprint(&self.channel)),
            ("client", fingerprint(&self.client)),
            ("hooks", fingerprint(&self.hooks)),
            ("proxies", fingerprint(&self.proxies)),
            ("rpc", fingerprint(&self.rpc)),
            ("stomp.queue", fingerprint(&self.stomp.queue)),
            ("token", fingerprint(&self.token)),
        ];
        sections.into_iter().map(|(section, fingerprint)| (section.to_owned(), fingerprint)).collect()
    }

    /// One fingerprint of all of them.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.fingerprints())
    }
}

fn fingerprint(section: &impl Serialize) -> String {
    let text = serde_json::to_vec(section).unwrap_or_default();
    digest(&SHA256, &text).as_ref().iter().take(FINGERPRINT_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_section_that_differs_has_another_fingerprint() {
        let before = Settings::default();
        let mut after = before.clone();
        after.token.hmac_secret = "another".to_owned();
        after.http.workers = 3;
        let (one, other) = (before.fingerprints(), after.fingerprints());
        let differ: Vec<&String> = one.keys().filter(|key| one.get(*key) != other.get(*key)).collect();
        assert_eq!(differ, ["token"]);
        assert_ne!(before.fingerprint(), after.fingerprint());
        assert_eq!(before.fingerprint(), Settings::default().fingerprint());
    }
}
