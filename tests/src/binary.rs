//! Finds the binaries under test: named by the environment, or built once with cargo and taken from the target
//! directory in which the running test or bench was itself built.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

/// The variable that names a ready-made node binary, so that tests can run against any build.
pub const NODE_BINARY_VARIABLE: &str = "GORANI_BIN";

/// The node's binary: `GORANI_BIN`, or a build of package `gorani` in the profile of the running executable.
///
/// # Panics
/// If the variable names no file, or the build fails.
pub fn node() -> PathBuf {
    match env::var_os(NODE_BINARY_VARIABLE) {
        Some(path) => {
            let path = PathBuf::from(path);
            assert!(path.is_file(), "{NODE_BINARY_VARIABLE} names no file: {}", path.display());
            path
        }
        None => built("gorani", "gorani"),
    }
}

/// Builds the binary `name` of the workspace member `package`, once per process, and returns its path.
///
/// # Panics
/// If cargo cannot be started or the build fails; cargo's own words are on standard error by then.
pub fn built(package: &str, name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    // Held during the build: of several tests that start at once, one builds and the others wait for it.
    let mut built = BUILT.lock().unwrap();
    if let Some(path) = built.get(name) {
        return path.clone();
    }
    let profile_dir = profile_dir();
    let target_dir = profile_dir.parent().expect("a profile directory lies in a target directory");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace()).args(["build", "--quiet", "--package", package, "--bin", name]);
    cargo.arg("--target-dir").arg(target_dir);
    if profile_dir.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo can be started");
    assert!(status.success(), "building {package} failed");
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
