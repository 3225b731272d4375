//! `services/gateway/docs/limits.md`: every setting in it exists, every setting that limits something is in it, every row has a test.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use gorani_tests::binary;

use super::read;

/// Settings with a number or a time that bound nothing that others make a node hold, and why.
const NO_BOUNDS: [(&str, &str); 11] = [
    ("http.workers", "a number of threads that the operator chooses"),
    ("websocket.compression_threshold_bytes", "chooses how a message is sent"),
    ("sockjs.heartbeat", "how often the node sends something"),
    ("stomp.heart_beat_send", "how often the node sends something"),
    ("token.jwks_refresh", "how often the node fetches"),
    ("channel.defaults.history_size", "what a channel keeps; broker.memory.max_bytes bounds all together"),
    ("channel.defaults.history_ttl", "what a channel keeps; broker.memory.max_bytes bounds all together"),
    ("broker.redis.canary_interval", "how often the node publishes to itself"),
    ("broker.redis.database", "a name"),
    ("client.proxy.connect.breaker.min_calls", "fewer calls do not tell whether the backend is down"),
    ("cluster.heartbeat", "how often the node says that it is alive"),
];
/// What the names of limits have in them, whatever their values are.
const LIMITING: [&str; 16] = [
    "max",
    "limit",
    "timeout",
    "_per_",
    "_bytes",
    "prefetch",
    "backlog",
    "grace",
    "linger",
    "lease",
    "ttl",
    "leeway",
    "keep",
    "delay",
    "handshakes",
    "seconds",
];
/// Columns of a row: resource, bound, setting, what the one over it gets, who pays, test.
const COLUMNS: usize = 6;

/// A row's cells.
fn rows() -> Vec<Vec<String>> {
    let file = binary::workspace().join("services/gateway/docs/limits.md");
    let page = fs::read_to_string(file).unwrap();
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let rows =
        rows.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect());
    let rows: Vec<Vec<String>> = rows.collect();
    let rows = rows.into_iter().filter(|row| row[0] != "resource" && !row[0].starts_with("---"));
    let rows: Vec<Vec<String>> = rows.collect();
    assert!(rows.len() > 30, "the page has its rows");
    rows
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Every setting of `deploy/gorani.toml`, also those shown in a comment, with its value: `section.key`. Examples stand deeper in
/// their comments, and in sections of their own.
pub(super) fn settings() -> BTreeMap<String, String> {
    let (mut real, mut example) = (String::new(), String::new());
    let mut settings = BTreeMap::new();
    for line in read("gorani.toml").lines() {
        let (section, line) = match line.strip_prefix("#   ") {
            Some(line) => (&mut example, line),
            None => (&mut real, line.trim_start_matches("# ")),
        };
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            *section = name.trim_start_matches('[').to_owned();
        } else if let Some((key, value)) = line.split_once(" = ")
            && key.chars().all(|letter| letter.is_ascii_lowercase() || matches!(letter, '_' | '0'..='9'))
        {
            let value = value.split('#').next().unwrap_or_default().trim().trim_matches('"');
            settings.insert(format!("{section}.{key}"), value.to_owned());
        }
    }
    settings
}

/// Whether it is the name of a setting, rather than that of a constant.
fn is_setting(name: &str) -> bool {
    name.contains('.')
        && name.chars().all(|letter| letter.is_ascii_lowercase() || matches!(letter, '_' | '.'))
}

/// The source of every Rust and Lua file below.
fn sources(directory: &Path, into: &mut String) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "lua") {
            into.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

fn all_sources() -> String {
    let mut text = String::new();
    for part in ["services", "shared"] {
        sources(&binary::workspace().join(part), &mut text);
    }
    text
}

#[test]
fn every_setting_of_the_page_exists() {
    let known = settings();
    for row in rows() {
        assert_eq!(row.len(), COLUMNS, "{row:?}");
        for name in quoted(&row[2]).filter(|name| is_setting(name)) {
            assert!(known.contains_key(name), "no setting {name} in deploy/gorani.toml: {row:?}");
        }
    }
}

/// Whether a value is a number, or a time: `300s`, `1day`.
fn is_quantity(value: &str) -> bool {
    let unit = value.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '_');
    unit.len() < value.len() && unit.chars().all(|letter| letter.is_ascii_lowercase())
}

#[test]
fn every_setting_that_limits_something_is_on_the_page() {
    let rows = rows();
    let told: BTreeSet<&str> = rows.iter().flat_map(|row| quoted(&row[2])).collect();
    let exceptions: BTreeMap<&str, &str> = NO_BOUNDS.into_iter().collect();
    let settings = settings();
    let is_limit = |name: &str, value: &str| {
        let (section, key) = name.rsplit_once('.').unwrap();
        // Examples of namespaces and users show no settings of the node.
        let is_example = section.starts_with("channel.namespaces") || section.starts_with("stomp.users");
        !is_example && (is_quantity(value) || LIMITING.iter().any(|part| key.contains(part)))
    };
    let missing: Vec<&String> = settings
        .iter()
        .filter(|(name, value)| is_limit(name, value) && !matches!(value.as_str(), "true" | "false"))
        .map(|(name, _)| name)
        .filter(|name| !told.contains(name.as_str()) && !exceptions.contains_key(name.as_str()))
        .collect();
    assert!(missing.is_empty(), "neither on the page nor among the exceptions: {missing:?}");
    for (name, reason) in NO_BOUNDS {
        assert!(
            settings.contains_key(name) && !told.contains(name),
            "no exception any more: {name}, {reason}"
        );
    }
}

#[test]
fn every_constant_of_the_page_exists() {
    let text = all_sources();
    for row in rows() {
        for name in quoted(&row[2]).filter(|name| !is_setting(name)) {
            let is_constant =
                name.chars().all(|letter| letter.is_ascii_uppercase() || matches!(letter, '_' | '0'..='9'));
            let last = name.rsplit("::").next().unwrap_or_default();
            // As Rust and as Lua write it, or a field.
            let forms = if is_constant {
                [format!("const {name}:"), format!("local {name} =")]
            } else {
                [format!("const {last}:"), format!("pub {last}:")]
            };
            let is_there = forms.iter().any(|form| text.contains(form));
            assert!(is_there, "no constant {name}: {row:?}");
        }
    }
}

#[test]
fn every_bound_of_the_page_has_a_test_that_exists() {
    for row in rows() {
        let tests: Vec<&str> = quoted(&row[COLUMNS - 1]).collect();
        assert!(!tests.is_empty(), "no test: {row:?}");
        for test in tests {
            let (file, name) = test.split_once("::").unwrap_or_default();
            let text = fs::read_to_string(binary::workspace().join(file)).unwrap_or_default();
            let is_there =
                [format!("fn {name}("), format!("fn {name}<")].iter().any(|head| text.contains(head));
            assert!(is_there, "no test {test}: {row:?}");
        }
    }
}
