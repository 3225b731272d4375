//! Limits of tokens, and of the keys that check them.

use std::time::Duration;

/// Longest token, in bytes; longer ones are refused before anything is decoded. Fits the header block (16
/// KiB) that tokens travel in elsewhere; usual ones have 200 to 2,000 bytes.
pub const TOKEN_MAX_BYTES: usize = 16 * 1024;

/// Deepest nesting of the claims, less deep than messages: parts of them go to other clients.
pub const TOKEN_MAX_JSON_DEPTH: usize = 32;

/// Largest JWK set, in bytes. A key takes 0.5 to 4 KiB (with a certificate chain).
pub const JWKS_MAX_BYTES: usize = 256 * 1024;

/// Most keys in a set; providers have two to ten.
pub const JWKS_MAX_KEYS: usize = 64;

/// Longest leeway. More would keep clients for minutes after the backend wanted them gone; clocks of servers
/// differ by seconds.
pub const LEEWAY_MAX: Duration = Duration::from_mins(5);
