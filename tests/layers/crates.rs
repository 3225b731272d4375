//! The direction between packages (`docs/architecture.md` §2.1): shared crates never depend on one another, the wire formats know no runtime, and the
//! tests see the gateway as a process.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The package that joins the shared crates.
const GATEWAY: &str = "gorani";
/// The black-box tests.
const TESTS: &str = "gorani-tests";
/// The package that stays free of IO, and what it must not reach, not even through others.
const SANS_IO: &str = "gorani-protocol";
const RUNTIMES: &[&str] = &["tokio", "mio", "async-std", "smol"];
/// Whatever starts so is a runtime too.
const RUNTIME_PREFIX: &str = "actix";

/// What `cargo metadata` says of the workspace at `top`.
pub(crate) fn metadata(top: &Path) -> io::Result<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(["metadata", "--format-version", "1"]).current_dir(top).output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Everything that is wrong between the packages of `metadata`.
pub(crate) fn check(metadata: &Value) -> Vec<String> {
    let packages = Packages::read(metadata);
    let mut violations = Vec::new();
    for shared in &packages.shared {
        for used in packages.direct(shared, true) {
            if packages.shared.contains(used) || used == GATEWAY {
                violations
                    .push(format!("{shared} depends on {used}: only the gateway joins the shared crates"));
            }
        }
    }
    if packages.direct(TESTS, true).any(|used| used == GATEWAY) {
        violations.push(format!("{TESTS} depends on {GATEWAY}: the tests see the gateway as a process"));
    }
    for reached in packages.reachable(SANS_IO) {
        if RUNTIMES.contains(&reached.as_str()) || reached.starts_with(RUNTIME_PREFIX) {
            violations.push(format!("{SANS_IO} reaches {reached}: the wire formats do no IO"));
        }
    }
    violations
}

/// The graph of packages, by name.
struct Packages {
    /// Those whose manifest is under `shared/`.
    shared: BTreeSet<String>,
    /// Name → what it depends on, and whether only its tests do.
    edges: BTreeMap<String, Vec<(String, bool)>>,
}

impl Packages {
    fn read(metadata: &Value) -> Self {
        let top = metadata["workspace_root"].as_str().unwrap_or_default();
        let mut names = BTreeMap::new();
        let mut shared = BTreeSet::new();
        for package in metadata["packages"].as_array().into_iter().flatten() {
            let name = package["name"].as_str().unwrap_or_default();
            names.insert(package["id"].as_str().unwrap_or_default(), name);
            if package["manifest_path"].as_str().unwrap_or_default().starts_with(&format!("{top}/shared/")) {
                shared.insert(name.to_owned());
            }
        }
        let mut edges: BTreeMap<String, Vec<(String, bool)>> = BTreeMap::new();
        for node in metadata["resolve"]["nodes"].as_array().into_iter().flatten() {
            let Some(from) = node["id"].as_str().and_then(|id| names.get(id)) else { continue };
            for dependency in node["deps"].as_array().into_iter().flatten() {
                let Some(to) = dependency["pkg"].as_str().and_then(|id| names.get(id)) else { continue };
                let kinds = dependency["dep_kinds"].as_array();
                let only_tests = kinds.is_some_and(|kinds| kinds.iter().all(|kind| kind["kind"] == "dev"));
                edges.entry((*from).to_owned()).or_default().push(((*to).to_owned(), only_tests));
            }
        }
        Self { shared, edges }
    }

    /// What `name` depends on itself, with or without what only its tests need.
    fn direct(&self, name: &str, with_tests: bool) -> impl Iterator<Item = &String> {
        let edges = self.edges.get(name).into_iter().flatten();
        edges.filter(move |(_, only_tests)| with_tests || !only_tests).map(|(to, _)| to)
    }

    /// What `name` is built from, through any number of steps.
    fn reachable(&self, name: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut waiting = vec![name.to_owned()];
        while let Some(next) = waiting.pop() {
            for used in self.direct(&next, false) {
                if seen.insert(used.clone()) {
                    waiting.push(used.clone());
                }
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use serde_json::{Value, json};

    /// A workspace with the packages of ours, and these dependencies: from, to, kind.
    fn workspace(dependencies: &[(&str, &str, Option<&str>)]) -> Value {
        let places = [
            ("gorani", "services/gateway"),
            ("gorani-protocol", "shared/protocol"),
            ("gorani-broker", "shared/broker"),
            ("gorani-tests", "tests"),
            ("tokio", "elsewhere"),
            ("bytes", "elsewhere"),
        ];
        let packages: Vec<Value> = places
            .iter()
            .map(|(name, place)| json!({ "id": name, "name": name, "manifest_path": format!("/r/{place}/Cargo.toml") }))
            .collect();
        let nodes: Vec<Value> = dependencies
            .iter()
            .map(|(from, to, kind)| json!({ "id": from, "deps": [{ "pkg": to, "dep_kinds": [{ "kind": kind }] }] }))
            .collect();
        json!({ "workspace_root": "/r", "packages": packages, "resolve": { "nodes": nodes } })
    }

    #[test]
    fn the_gateway_may_join_the_shared_crates() {
        let dependencies = [
            ("gorani", "gorani-protocol", None),
            ("gorani", "gorani-broker", None),
            ("gorani", "tokio", None),
        ];
        assert!(check(&workspace(&dependencies)).is_empty());
    }

    #[test]
    fn a_shared_crate_that_uses_another_one_is_told_even_in_its_tests() {
        assert_eq!(check(&workspace(&[("gorani-broker", "gorani-protocol", None)])).len(), 1);
        assert_eq!(check(&workspace(&[("gorani-broker", "gorani-protocol", Some("dev"))])).len(), 1);
        assert_eq!(check(&workspace(&[("gorani-broker", "gorani", None)])).len(), 1);
    }

    #[test]
    fn a_runtime_behind_another_crate_of_the_protocol_is_told() {
        let through_bytes = [("gorani-protocol", "bytes", None), ("bytes", "tokio", None)];
        assert_eq!(check(&workspace(&through_bytes)).len(), 1);
        let in_tests = [("gorani-protocol", "tokio", Some("dev"))];
        assert!(check(&workspace(&in_tests)).is_empty());
    }

    #[test]
    fn tests_that_link_the_gateway_are_told() {
        assert_eq!(check(&workspace(&[("gorani-tests", "gorani", None)])).len(), 1);
        assert!(check(&workspace(&[("gorani-tests", "gorani-protocol", None)])).is_empty());
    }
}
