//! The ways in from the outside lead to every path that the node serves to clients and backends, and to no other.

use std::{collections::BTreeSet, fs, path::Path, sync::LazyLock};

use gorani_tests::binary::workspace;
use regex::Regex;

use super::{list, text, yaml};

/// A path where it is given to a table of routes, or the constant of a path.
static SERVED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?:route|resource|scope)\(\s*"(/[\w/]+)"|PATH: &str = "(/[\w/]+)""#).unwrap()
});
/// Endpoints for the test suites of SockJS, which no node for others serves.
const CONFORMANCE: &str = "conformance.rs";
/// For the network inside.
const INSIDE: [&str; 3] = ["/health", "/metrics", "/admin"];

/// True if a path is below another, as `Prefix` and `PathPrefix` mean it.
pub(super) fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn collect(directory: &Path, served: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("tests") {
            collect(&path, served);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with(CONFORMANCE)
        {
            let source = fs::read_to_string(&path).unwrap();
            let found = SERVED.captures_iter(&source);
            served.extend(
                found.filter_map(|found| found.get(1).or(found.get(2))).map(|path| path.as_str().to_owned()),
            );
        }
    }
}

/// Every path in the source of the node, without those of the development page and of the conformance tests.
pub(super) fn served() -> BTreeSet<String> {
    let mut served = BTreeSet::new();
    collect(&workspace().join("services/gateway/src"), &mut served);
    for known in ["/connection/websocket", "/connection/sse", "/emulation", "/stomp", "/api", "/metrics"] {
        assert!(served.contains(known), "{known} is not found: {served:?}");
    }
    served
}

fn of_ingress() -> Vec<String> {
    let ingress = yaml("kubernetes/ingress.yaml");
    let paths = list(&ingress, "/spec/rules/0/http/paths").iter();
    paths
        .map(|path| {
            assert_eq!(text(path, "/pathType"), "Prefix");
            text(path, "/path").to_owned()
        })
        .collect()
}

fn of_gateway() -> Vec<String> {
    let route = yaml("kubernetes/httproute.yaml");
    let matches = list(&route, "/spec/rules/0/matches").iter();
    matches
        .map(|found| {
            assert_eq!(text(found, "/path/type"), "PathPrefix");
            text(found, "/path/value").to_owned()
        })
        .collect()
}

#[test]
fn every_path_that_the_node_serves_is_routed_from_the_outside_and_none_that_is_for_the_inside() {
    let served = served();
    for (name, routed) in [("ingress", of_ingress()), ("httproute", of_gateway())] {
        for path in &served {
            let is_routed = routed.iter().any(|prefix| is_below(path, prefix));
            let is_inside = INSIDE.iter().any(|prefix| is_below(path, prefix));
            assert_ne!(is_routed, is_inside, "{name}: {path}");
        }
        for prefix in routed {
            assert!(served.iter().any(|path| is_below(path, &prefix)), "{name}: no node serves {prefix}");
        }
    }
}
