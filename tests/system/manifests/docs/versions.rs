//! The versions of clients and libraries in the tables of SDKs are those that the tests install.

use std::{collections::BTreeMap, sync::LazyLock};

use regex::Regex;
use serde_json::Value;

use super::blocks::text;

const PAGES: [&str; 3] = ["README.md", "services/gateway/docs/sdks.md", "services/gateway/docs/README.ko.md"];
/// A module of Go without the number of its major version.
static MODULE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^(?:require )?\s*\S+/([\w-]+)(?:/v\d+)? v(\S+)$").unwrap());

/// A dependency of Maven.
static ARTIFACT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"<artifactId>([\w-]+)</artifactId>\s*<version>([\w.]+)</version>").unwrap());

/// The packages that the tests install, by name.
fn installed() -> BTreeMap<String, String> {
    let package: Value = serde_json::from_str(&text("tests/e2e/package.json")).unwrap();
    let npm = package["devDependencies"].as_object().unwrap().iter();
    let mut installed: BTreeMap<String, String> =
        npm.map(|(name, version)| (name.clone(), version.as_str().unwrap().to_owned())).collect();
    let pip = text("tests/e2e/requirements.txt");
    let pip = pip.lines().filter_map(|line| line.split_once("=="));
    installed.extend(pip.map(|(name, version)| (name.to_owned(), version.to_owned())));
    let modules = text("tests/e2e/go/go.mod");
    installed
        .extend(MODULE.captures_iter(&modules).map(|module| (module[1].to_owned(), module[2].to_owned())));
    let java = text("tests/java/pom.xml");
    installed.extend(ARTIFACT.captures_iter(&java).map(|found| (found[1].to_owned(), found[2].to_owned())));
    assert!(installed.len() > 8, "{installed:?}");
    installed
}

#[test]
fn every_sdk_of_a_table_is_named_with_the_version_that_the_tests_install() {
    let installed = installed();
    let mut checked = 0;
    for page in PAGES {
        for row in text(page).lines().filter(|line| line.starts_with('|')) {
            // The paths that a client uses, and the tests that run it, are in other cells.
            let names = row.split('`').skip(1).step_by(2);
            for (name, version) in names.filter_map(|name| installed.get_key_value(name)) {
                assert!(row.contains(&**version), "{page}: {name} is tested in {version}: {row}");
                checked += 1;
            }
        }
    }
    assert!(checked > 8, "the tables name what is tested: {checked}");
}
