//! The server's version: for replies, the API, the console and the command line.

/// As in the package's manifest.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
