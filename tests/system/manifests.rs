//! The files of `deploy/` that no test can run for want of docker or Kubernetes: read, and held against each other and against the node.
//!
//! [`kubernetes`] and [`compose`] look at names, ports and times, [`backend`] at what they say about a backend, [`paths`] at the ways in from the outside, [`rolling`] runs the update of `make up`, [`image`] at the Dockerfile, [`package`] at the service of systemd and the Debian package, [`numbers`] at what Prometheus and Grafana ask for,
//! [`limits`] at the page of what bounds a node, [`scale`] at that of what limits a cluster, [`references`] at whatever names a page or a record, [`journeys`] at the page of journeys, [`docs`] at the pages for users.

mod alerts;
mod backend;
mod compose;
mod docs;
mod image;
mod journeys;
mod kubernetes;
mod limits;
mod numbers;
mod package;
mod paths;
mod references;
mod rolling;
mod scale;

use std::{fs, path::PathBuf, process::Command, time::Duration};

use gorani_tests::binary;
use serde_json::Value;

/// A file of `deploy/`.
fn path(file: &str) -> PathBuf {
    binary::workspace().join("deploy").join(file)
}

fn read(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("deploy/{file}: {error}"))
}

/// A YAML file of one document.
fn yaml(file: &str) -> Value {
    serde_saphyr::from_str(&read(file)).unwrap_or_else(|error| panic!("deploy/{file}: {error}"))
}

/// The text at a pointer, which must be there.
fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {pointer}: {value}"))
}

/// The list at a pointer, which must be there.
fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .unwrap_or_else(|| panic!("no list at {pointer}: {value}"))
}

/// The value of a setting in `deploy/gorani.toml` (which is equal to the code): what stands after `key = `, without quotes.
fn default_of(section: &str, key: &str) -> String {
    let shown = read("gorani.toml");
    let (_, section) =
        shown.split_once(&format!("\n[{section}]")).unwrap_or_else(|| panic!("no [{section}]"));
    let value = section.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix("= "));
    let value = value.unwrap_or_else(|| panic!("no {key}"));
    value.split('#').next().unwrap_or_default().trim().trim_matches('"').to_owned()
}

/// The longest that a node takes from SIGTERM to its end, by the settings' defaults.
fn longest_drain() -> Duration {
    let duration = |section, key| humantime::parse_duration(&default_of(section, key)).unwrap();
    let spread = Duration::from_secs(default_of("drain", "seconds").parse().unwrap());
    duration("drain", "grace") + spread + duration("http", "shutdown_timeout")
}

/// Whether `gorani check` takes a settings file's text with these variables; what it says against it otherwise.
fn check(settings: &str, environment: &[(&str, &str)]) -> Result<(), String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), settings).unwrap();
    let output = Command::new(binary::node())
        .args(["check", "--config"])
        .arg(file.path())
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}
