//! `make layers`: does every part use only what stands below it (`docs/architecture.md` §2.2)? Exit code 1, and one line for each place that does not.
//!
//! - [`crates`]: the packages of the workspace, asked of `cargo metadata`. - [`rooms`]: the top-level modules of the gateway, read
//!   from its sources. - [`files`]: what every Rust file must look like.

mod crates;
mod files;
mod rooms;
mod source;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The rooms of the gateway from the top to the bottom: a room may use rooms of later lines only, so those of one line know nothing
/// of one another. A new room gets its place here.
const ROOMS: &[&[&str]] = &[
    &["main", "cli", "lib", "simulation"],
    &["server", "conformance"],
    &["receive", "sockjs", "api", "page", "health", "endpoints", "http", "forward", "http_session", "connection"],
    &["drain"],
    &["node"],
    &["hub"],
    &["session", "outbox", "telemetry"],
    &["settings", "metrics", "disconnect"],
    &["memory"],
    &["clock", "random", "forward_broker"],
];

/// Where the rooms are, from the top of the repository.
const GATEWAY_SOURCES: &str = "services/gateway/src";

/// Directories whose Rust files are looked at.
const SOURCE_DIRECTORIES: &[&str] = &["services", "shared", "tests"];

fn main() -> ExitCode {
    let top = std::env::args_os().nth(1).map_or_else(repository, PathBuf::from);
    let mut out = std::io::stdout().lock();
    match check(&top) {
        Ok(violations) if violations.is_empty() => {
            let _ = writeln!(out, "layers: every part uses only what stands below it");
            ExitCode::SUCCESS
        }
        Ok(violations) => {
            for violation in &violations {
                let _ = writeln!(out, "layers: {violation}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            let _ = writeln!(out, "layers: cannot look: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The top of the repository that this program was built in.
fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// Everything that is wrong under `top`, one line each.
fn check(top: &Path) -> std::io::Result<Vec<String>> {
    let mut violations = crates::check(&crates::metadata(top)?);
    let sources = source::read(top, SOURCE_DIRECTORIES)?;
    violations.extend(rooms::check(ROOMS, GATEWAY_SOURCES, &sources));
    violations.extend(files::check(&sources));
    Ok(violations)
}
