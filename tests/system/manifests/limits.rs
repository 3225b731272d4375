//! `services/gateway/docs/limits.md`: every setting in it exists, every setting that limits something is in it, every row has a test.

use std::{collections::BTreeSet, fs, path::Path};

use gorani_tests::binary;

use super::read;

/// Parts of the names of settings that limit something.
const LIMITING: [&str; 12] = [
    "max", "limit", "timeout", "_per_", "prefetch", "backlog", "grace", "linger", "lease", "ttl", "leeway",
    "keep",
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

/// Every setting of `deploy/gorani.toml`, also those shown in a comment: `section.key`.
fn settings() -> BTreeSet<String> {
    let mut section = String::new();
    let mut settings = BTreeSet::new();
    for line in read("gorani.toml").lines() {
        let line = line.trim_start_matches("# ");
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            section = name.trim_start_matches('[').to_owned();
        } else if let Some((key, _)) = line.split_once(" = ")
            && key.chars().all(|letter| letter.is_ascii_lowercase() || matches!(letter, '_' | '0'..='9'))
        {
            settings.insert(format!("{section}.{key}"));
        }
    }
    settings
}

/// Whether it is the name of a setting, rather than that of a constant.
fn is_setting(name: &str) -> bool {
    name.contains('.')
        && name.chars().all(|letter| letter.is_ascii_lowercase() || matches!(letter, '_' | '.'))
}

/// The source of every Rust file below.
fn sources(directory: &Path, into: &mut String) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_setting_of_the_page_exists() {
    let known = settings();
    for row in rows() {
        assert_eq!(row.len(), COLUMNS, "{row:?}");
        for name in quoted(&row[2]).filter(|name| is_setting(name)) {
            assert!(known.contains(name), "no setting {name} in deploy/gorani.toml: {row:?}");
        }
    }
}

#[test]
fn every_setting_that_limits_something_is_on_the_page() {
    let rows = rows();
    let told: BTreeSet<&str> = rows.iter().flat_map(|row| quoted(&row[2])).collect();
    let limits = |name: &&String| {
        let (section, key) = name.rsplit_once('.').unwrap();
        // Namespaces and their options say what a channel keeps; the page says what bounds a node.
        !section.starts_with("channel")
            && !section.is_empty()
            && LIMITING.iter().any(|part| key.contains(part))
    };
    let missing: Vec<String> =
        settings().iter().filter(limits).filter(|name| !told.contains(name.as_str())).cloned().collect();
    assert!(missing.is_empty(), "not on the page: {missing:?}");
}

#[test]
fn every_bound_of_the_page_has_a_test_that_exists() {
    let mut text = String::new();
    for part in ["services", "shared", "tests/system"] {
        sources(&binary::workspace().join(part), &mut text);
    }
    for row in rows() {
        let tests: Vec<&str> = quoted(&row[COLUMNS - 1]).collect();
        assert!(!tests.is_empty(), "no test: {row:?}");
        for test in tests {
            let name = test.rsplit("::").next().unwrap_or_default();
            assert!(test.contains("::") && text.contains(&format!("fn {name}(")), "no test {test}: {row:?}");
        }
    }
}
