//! The service of systemd and the Debian package: what they name exists, they agree with each other and with the node.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command, time::Duration};

use gorani_tests::binary::{self, workspace};
use serde_json::Value;

use super::{check, list, longest_drain, path, read, text};

const SERVICE: &str = "systemd/gorani.service";
/// Time that a node waits for the first contact with its broker before it tells that it is ready all the same.
const FIRST_CONTACT: Duration = Duration::from_secs(20);
/// Best that `systemd-analyze security` may think of the service; 10 is the worst.
const EXPOSURE_MAX: f64 = 2.0;

/// The directory of the gateway's manifest, from which it names files.
fn gateway() -> PathBuf {
    workspace().join("services/gateway")
}

/// The values of a key of the service, in order.
fn values(key: &str) -> Vec<String> {
    let service = read(SERVICE);
    let of_key = service.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    of_key.map(str::to_owned).collect()
}

fn value(key: &str) -> String {
    let values = values(key);
    assert_eq!(values.len(), 1, "{key}: {values:?}");
    values[0].clone()
}

fn seconds(key: &str) -> Duration {
    Duration::from_secs(value(key).parse().unwrap())
}

/// `[package.metadata.deb]` of the gateway.
fn metadata() -> Value {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(workspace())
        .args(["metadata", "--locked", "--offline", "--format-version", "1", "--no-deps"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let gateway = list(&metadata, "/packages").iter().find(|package| package["name"] == "gorani").unwrap();
    gateway["metadata"]["deb"].clone()
}

/// Source, place and mode of each file of the package.
fn assets() -> Vec<(String, String, u32)> {
    let metadata = metadata();
    let files = list(&metadata, "/assets").iter().map(|asset| {
        let part = |index: usize| asset[index].as_str().unwrap().to_owned();
        (part(0), part(1), u32::from_str_radix(&part(2), 8).unwrap())
    });
    files.collect()
}

#[test]
fn the_service_gives_a_node_the_time_that_it_takes_to_start_and_to_drain() {
    assert_eq!(value("Type"), "notify");
    assert!(seconds("TimeoutStopSec") > longest_drain());
    assert!(seconds("TimeoutStartSec") > FIRST_CONTACT);
    // Bad settings are not tried again and again.
    assert_eq!(value("RestartPreventExitStatus"), "78");
}

#[test]
fn systemd_finds_nothing_wrong_with_the_service_and_little_that_it_may_do() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("gorani.service");
    // The program has to be there for it.
    let service = read(SERVICE).replace("/usr/bin/gorani", binary::node().to_str().unwrap());
    fs::write(&file, service).unwrap();
    let analyze = |arguments: &[&str]| {
        let output = Command::new("systemd-analyze").args(arguments).arg(&file).output();
        let output = output.expect("systemd-analyze, which `make test-tools` installs");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), said(&output.stdout), said(&output.stderr))
    };
    let (is_fine, _, said) = analyze(&["verify"]);
    // It speaks of other units of the machine too, and of a manual page that is not installed here.
    let about_it: Vec<_> = said.lines().filter(|line| line.contains("gorani.service")).collect();
    assert!(about_it.iter().all(|line| line.contains("man")), "{said}");
    assert!(is_fine || about_it.len() == said.lines().count(), "{said}");
    let (_, table, said) = analyze(&["security", "--offline=true", "--no-pager"]);
    let (_, exposure) =
        table.rsplit_once("exposure level for gorani.service: ").unwrap_or_else(|| panic!("{table}{said}"));
    let exposure: f64 = exposure.split_whitespace().next().unwrap().parse().unwrap();
    assert!(exposure <= EXPOSURE_MAX, "{exposure}\n{table}");
}

#[test]
fn whatever_the_package_holds_exists() {
    let generated = tempfile::TempDir::new().unwrap();
    let script = Command::new(path("debian/generate.sh"))
        .arg(binary::node())
        .arg(generated.path().join("packaging"))
        .status();
    assert!(script.unwrap().success());
    for (source, _, mode) in assets() {
        match source.strip_prefix("target/release/") {
            Some("gorani") => assert_eq!(mode, 0o755),
            Some(made) => {
                let (directory, name) = made.rsplit_once('/').unwrap();
                let found = fs::read_dir(generated.path().join(directory)).unwrap();
                let ending = name.trim_start_matches('*');
                let found = found
                    .filter(|file| file.as_ref().unwrap().file_name().to_str().unwrap().ends_with(ending));
                assert!(found.count() > 0, "{source}");
            }
            None => assert!(gateway().join(&source).is_file(), "{source}"),
        }
    }
    let metadata = metadata();
    assert!(gateway().join(text(&metadata, "/changelog")).is_file());
    // Without a directory of them cargo-deb would leave out the scripts that enable and start the service.
    assert!(gateway().join(text(&metadata, "/maintainer-scripts")).is_dir());
    let unit = |key: &str| text(&metadata, &format!("/systemd-units/{key}"));
    // cargo-deb takes both by their names.
    for ending in ["service", "sysusers"] {
        let file = format!("{}.{ending}", unit("unit-name"));
        assert!(gateway().join(unit("unit-scripts")).join(&file).is_file(), "{file}");
    }
}

#[test]
fn the_service_and_the_package_name_the_same_files_and_the_same_user() {
    let places: BTreeSet<_> = assets()
        .into_iter()
        .map(|(source, place, _)| {
            let name = if place.ends_with('/') { source.rsplit('/').next().unwrap_or_default() } else { "" };
            format!("/{place}{name}")
        })
        .collect();
    let is_there = |place: &str| assert!(places.contains(place), "{place}: {places:?}");
    for key in ["ExecStartPre", "ExecStart"] {
        let command = value(key);
        let words: Vec<_> = command.split(' ').collect();
        is_there(words[0]);
        is_there(words[words.iter().position(|word| *word == "--config").unwrap() + 1]);
    }
    is_there(value("EnvironmentFile").trim_start_matches('-'));
    list(&metadata(), "/conf-files").iter().for_each(|file| is_there(file.as_str().unwrap()));
    // Secrets are not for everybody.
    let (_, _, mode) = assets().into_iter().find(|(_, place, _)| place == "etc/default/gorani").unwrap();
    assert_eq!(mode, 0o600);
    let user = value("User");
    assert!(read("systemd/gorani.sysusers").starts_with(&format!("u {user} ")));
}

#[test]
fn the_node_takes_the_settings_and_the_variables_of_the_package() {
    check(&read("debian/gorani.toml"), &[]).unwrap();
    // With what is commented out in it as well.
    let example = read("debian/gorani.toml").replace("#   ", "");
    check(&example, &[]).unwrap();
    assert!(example.contains("\n[[channel.namespaces]]"));
    let variables = read("debian/gorani.default");
    let variables: Vec<_> = variables.lines().filter_map(|line| line.strip_prefix("#GORANI")).collect();
    assert!(!variables.is_empty());
    for variable in variables {
        let name = format!("GORANI{}", variable.strip_suffix('=').unwrap());
        check(&read("debian/gorani.toml"), &[(&name, "a-secret-of-more-than-thirty-two-bytes")]).unwrap();
    }
}
