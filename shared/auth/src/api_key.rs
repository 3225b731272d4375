//! The keys of the backends: which of them opens the HTTP API. First thing on the journey of a publish from
//! outside. `docs/protocols/http.md` §4.2.

use std::fmt;

use aws_lc_rs::constant_time;

/// Longest accepted key, in bytes.
pub const API_KEY_MAX_BYTES: usize = 256;

/// Scheme of the `Authorization` header that carries a key, compared without regard to case.
const AUTHORIZATION_SCHEME: &[u8] = b"apikey";

/// Why a list of keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// An empty key would accept every request with an empty header.
    #[error("API key number {number} is empty")]
    Empty {
        /// Place in the list, from 1. The key itself is never named.
        number: usize,
    },
    /// Longer than [`API_KEY_MAX_BYTES`].
    #[error("API key number {number} is longer than {API_KEY_MAX_BYTES} bytes")]
    TooLong {
        /// Place in the list, from 1.
        number: usize,
    },
    /// A key that no HTTP header can carry would never match.
    #[error("API key number {number} has a character other than printable ASCII, or a space")]
    NotPrintable {
        /// Place in the list, from 1.
        number: usize,
    },
}

/// The valid keys; several, so that they can be rotated. Cheap to check from many threads.
#[derive(Default)]
pub struct ApiKeys {
    keys: Vec<Box<[u8]>>,
}

impl ApiKeys {
    /// Takes the keys of the settings. An empty list is valid and matches nothing.
    pub fn new(keys: Vec<String>) -> Result<Self, ApiKeyError> {
        let checked = keys.into_iter().enumerate().map(|(index, key)| {
            let number = index + 1;
            if key.is_empty() {
                return Err(ApiKeyError::Empty { number });
            }
            if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(ApiKeyError::NotPrintable { number });
            }
            if key.len() > API_KEY_MAX_BYTES {
                return Err(ApiKeyError::TooLong { number });
            }
            Ok(key.into_bytes().into_boxed_slice())
        });
        Ok(Self { keys: checked.collect::<Result<_, _>>()? })
    }

    /// True when there is no key, so that every request to the API is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// True if this is one of the keys.
    #[must_use]
    pub fn check(&self, presented: &[u8]) -> bool {
        self.find(presented).is_some()
    }

    /// The place in the list, from 0, of this key. Compares with every key, and each comparison takes the same time wherever the two
    /// differ. A key's length is no secret: comparing at one padded size cost 8 % of a publish (callgrind).
    #[must_use]
    pub fn find(&self, presented: &[u8]) -> Option<usize> {
        let is = |key: &[u8]| constant_time::verify_slices_are_equal(key, presented).is_ok();
        self.keys.iter().enumerate().fold(None, |found, (at, key)| if is(key) { Some(at) } else { found })
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({} redacted)", self.keys.len())
    }
}

/// The key in a request's header values: `X-API-Key: k`, else `Authorization: apikey k` (scheme in any case).
/// None when neither header carries one; an `Authorization` of another scheme is for another service and carries
/// none.
#[must_use]
pub fn from_headers<'a>(x_api_key: Option<&'a [u8]>, authorization: Option<&'a [u8]>) -> Option<&'a [u8]> {
    if let Some(key) = x_api_key.map(<[u8]>::trim_ascii).filter(|key| !key.is_empty()) {
        return Some(key);
    }
    let value = authorization?.trim_ascii();
    let (scheme, key) = value.split_at_checked(AUTHORIZATION_SCHEME.len())?;
    let separated = key.first().is_some_and(u8::is_ascii_whitespace);
    (separated && scheme.eq_ignore_ascii_case(AUTHORIZATION_SCHEME)).then(|| key.trim_ascii())
}

#[cfg(test)]
mod tests;
