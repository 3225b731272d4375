//! Finds the binaries under test: named by the environment, or built once with cargo and taken from the target
//! directory in which the running test or bench was itself built.

use std::{
    cell::Cell,
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

/// The variable that names a ready-made node binary, so that tests can run against any build.
pub const NODE_BINARY_VARIABLE: &str = "GORANI_BIN";
/// The variable that names the binary of another version. Of the nodes that a test starts, every second one is of this version
/// then, so that each scenario of a cluster also runs with two versions in it.
pub const OTHER_BINARY_VARIABLE: &str = "GORANI_OTHER_BIN";
/// The variable that says which version the first node of each test has: `other`, or that of [`node`].
pub const FIRST_VARIABLE: &str = "GORANI_FIRST";

thread_local! {
    /// Nodes that this thread has started; each test has a thread of its own.
    static STARTED: Cell<usize> = const { Cell::new(0) };
}

/// The node's binary: `GORANI_BIN`, or a build of `gorani` in the profile of the running executable.
///
/// # Panics
/// If the variable names no file, or the build fails.
pub fn node() -> PathBuf {
    named(NODE_BINARY_VARIABLE).unwrap_or_else(|| built("gorani"))
}

/// The binary of another version.
///
/// # Panics
/// If none is named.
pub fn other_node() -> PathBuf {
    named(OTHER_BINARY_VARIABLE).unwrap_or_else(|| panic!("{OTHER_BINARY_VARIABLE} names no binary"))
}

/// The binary of the next node that this thread starts: [`node`], or where another version is named the two in turn.
///
/// # Panics
/// As [`node`].
pub fn next_node() -> PathBuf {
    let Some(other) = named(OTHER_BINARY_VARIABLE) else { return node() };
    let started = STARTED.replace(STARTED.get() + 1);
    let is_other_first = env::var(FIRST_VARIABLE).is_ok_and(|first| first == "other");
    if is_other(started, is_other_first) { other } else { node() }
}

/// True if a node is of the other version, by how many were started before it.
fn is_other(started: usize, is_other_first: bool) -> bool {
    started.is_multiple_of(2) == is_other_first
}

/// The file that a variable names.
fn named(variable: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os(variable)?);
    assert!(path.is_file(), "{variable} names no file: {}", path.display());
    Some(path)
}

/// Builds the binary `name`, once per process, and returns its path. With the whole workspace: its package by itself would be compiled
/// once more, with other features of its dependencies.
///
/// # Panics
/// If cargo cannot be started or the build fails; cargo's own words are on standard error by then.
pub fn built(name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    // Held during the build: of several tests that start at once, one builds and the others wait for it.
    let mut built = BUILT.lock().unwrap();
    if let Some(path) = built.get(name) {
        return path.clone();
    }
    let profile_dir = profile_dir();
    let target_dir = profile_dir.parent().expect("a profile directory lies in a target directory");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace()).args(["build", "--quiet", "--workspace", "--bin", name]);
    cargo.arg("--target-dir").arg(target_dir);
    if profile_dir.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo can be started");
    assert!(status.success(), "building {name} failed");
    let path = profile_dir.join(name);
    built.insert(name.to_owned(), path.clone());
    path
}

/// The workspace's root directory.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// `target/debug` or `target/release`: where the running executable lies, tests one level deeper in `deps`.
fn profile_dir() -> PathBuf {
    let executable = env::current_exe().expect("the running executable has a path");
    let dir = executable.parent().expect("an executable lies in a directory");
    if dir.ends_with("deps") {
        dir.parent().expect("deps lies in a profile directory").into()
    } else {
        dir.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_versions_each_has_every_second_node_and_either_may_be_first() {
        let others = |first| (0..4).map(|started| is_other(started, first)).collect::<Vec<_>>();
        assert_eq!(others(false), [false, true, false, true]);
        assert_eq!(others(true), [true, false, true, false]);
    }
}
