//! Hashes of the passwords that people log in with: PBKDF2-HMAC-SHA256 with a salt, as one line of text for the settings.
//!
//! `pbkdf2-sha256:<iterations>:<salt>:<hash>`, both in base64 without padding. No `$`, which shells and compose files replace.
//! A wrong password takes as long as a right one. Decision record 57.

use std::{fmt, num::NonZeroU32, str::FromStr};

use aws_lc_rs::{
    pbkdf2::{self, PBKDF2_HMAC_SHA256},
    rand::{SecureRandom, SystemRandom},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};

/// Iterations of a new hash: what OWASP asks for with SHA-256. It takes a core some 0.2 s.
const ITERATIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(599_999);
/// Fewer iterations let a stolen hash be tried out too fast.
const ITERATIONS_MIN: u32 = 100_000;
/// More iterations would make a login take minutes.
const ITERATIONS_MAX: u32 = 10_000_000;
/// Bytes of a salt.
const SALT_BYTES: usize = 16;
/// Bytes of a hash: those of SHA-256.
const HASH_BYTES: usize = 32;
/// The first part of the line.
const SCHEME: &str = "pbkdf2-sha256";
/// Bytes of a password at most. Hashing looks at each of them once.
pub const PASSWORD_MAX_BYTES: usize = 1024;
/// Characters of a new password at least.
const PASSWORD_MIN_CHARS: usize = 12;

/// The hash of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

/// Why a password is not hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordRefused {
    /// It can be guessed.
    #[error("a password has at least {PASSWORD_MIN_CHARS} characters")]
    TooShort,
    /// Longer than [`PASSWORD_MAX_BYTES`].
    #[error("a password has at most {PASSWORD_MAX_BYTES} bytes")]
    TooLong,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandom,
}

/// A text is no hash of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a line that `gorani password` has made")]
pub struct NotAPasswordHash;

impl PasswordHash {
    /// Hashes a new password with a salt of its own.
    pub fn of(password: &str) -> Result<Self, PasswordRefused> {
        if password.len() > PASSWORD_MAX_BYTES {
            return Err(PasswordRefused::TooLong);
        }
        if password.chars().count() < PASSWORD_MIN_CHARS {
            return Err(PasswordRefused::TooShort);
        }
        let mut salt = vec![0; SALT_BYTES];
        SystemRandom::new().fill(&mut salt).map_err(|_| PasswordRefused::NoRandom)?;
        let mut hash = vec![0; HASH_BYTES];
        pbkdf2::derive(PBKDF2_HMAC_SHA256, ITERATIONS, &salt, password.as_bytes(), &mut hash);
        Ok(Self { iterations: ITERATIONS, salt, hash })
    }

    /// A hash that no password has, to be verified where there is none: the time of an answer does not tell the two apart.
    pub fn of_nothing() -> Self {
        Self { iterations: ITERATIONS, salt: vec![0; SALT_BYTES], hash: vec![0; HASH_BYTES] }
    }

    /// True for the password that was hashed. It takes a core for a good while.
    pub fn verify(&self, password: &str) -> bool {
        let Self { iterations, salt, hash } = self;
        // What is longer was never hashed; it takes the same time, and no more.
        let is_short = password.len() <= PASSWORD_MAX_BYTES;
        let password = if is_short { password } else { "" };
        pbkdf2::verify(PBKDF2_HMAC_SHA256, *iterations, salt, password.as_bytes(), hash).is_ok() && is_short
    }
}

impl FromStr for PasswordHash {
    type Err = NotAPasswordHash;

    fn from_str(line: &str) -> Result<Self, NotAPasswordHash> {
        let mut parts = line.trim().split(':');
        let mut next = || parts.next().ok_or(NotAPasswordHash);
        if next()? != SCHEME {
            return Err(NotAPasswordHash);
        }
        let iterations: u32 = next()?.parse().map_err(|_| NotAPasswordHash)?;
        let salt = BASE64.decode(next()?).map_err(|_| NotAPasswordHash)?;
        let hash = BASE64.decode(next()?).map_err(|_| NotAPasswordHash)?;
        let is_known = (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations)
            && (SALT_BYTES..=4 * SALT_BYTES).contains(&salt.len())
            && hash.len() == HASH_BYTES
            && parts.next().is_none();
        let iterations = NonZeroU32::new(iterations).filter(|_| is_known).ok_or(NotAPasswordHash)?;
        Ok(Self { iterations, salt, hash })
    }
}

/// The line of the settings.
impl fmt::Display for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { iterations, salt, hash } = self;
        write!(formatter, "{SCHEME}:{iterations}:{}:{}", BASE64.encode(salt), BASE64.encode(hash))
    }
}

/// Without the hash.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PasswordHash(***)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const PASSWORD: &str = "고라니 runs at night";

    #[test]
    fn a_password_is_known_by_its_line_and_no_other_is() {
        let line = PasswordHash::of(PASSWORD).unwrap().to_string();
        let hash: PasswordHash = line.parse().unwrap();
        assert!(hash.verify(PASSWORD));
        assert!(!hash.verify("고라니 runs at noon") && !hash.verify("") && !hash.verify(&"x".repeat(2000)));
        assert!(!PasswordHash::of_nothing().verify("") && !PasswordHash::of_nothing().verify(PASSWORD));
        assert!(!line.contains(PASSWORD) && !format!("{hash:?}").contains(&line[20..]));
    }

    #[test]
    fn two_hashes_of_one_password_are_not_alike() {
        let (one, other) = (PasswordHash::of(PASSWORD).unwrap(), PasswordHash::of(PASSWORD).unwrap());
        assert_ne!(one, other);
    }

    #[test]
    fn a_password_that_can_be_guessed_is_not_hashed() {
        assert_eq!(PasswordHash::of("elevenchars").unwrap_err(), PasswordRefused::TooShort);
        assert_eq!(PasswordHash::of(&"x".repeat(1025)).unwrap_err(), PasswordRefused::TooLong);
    }

    #[test]
    fn a_line_that_was_not_made_here_is_refused() {
        let salt = BASE64.encode([1; SALT_BYTES]);
        let hash = BASE64.encode([2; HASH_BYTES]);
        assert!(format!("pbkdf2-sha256:600000:{salt}:{hash}").parse::<PasswordHash>().is_ok());
        for line in [
            String::new(),
            "a plain password".to_owned(),
            "$2b$10$abcdefghijklmnopqrstuv".to_owned(),
            format!("pbkdf2-sha256:99999:{salt}:{hash}"),
            format!("pbkdf2-sha256:4000000000:{salt}:{hash}"),
            format!("pbkdf2-sha256:600000:c2FsdA:{hash}"),
            format!("pbkdf2-sha256:600000:{salt}:c2FsdA"),
            format!("pbkdf2-sha256:600000:{salt}:{hash}:more"),
            format!("pbkdf2-sha256:600000:{salt}"),
        ] {
            assert_eq!(line.parse::<PasswordHash>(), Err(NotAPasswordHash), "{line}");
        }
    }
}
