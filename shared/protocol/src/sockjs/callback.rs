//! The name of the function that htmlfile and jsonp call: `?c=name`. It ends up inside a script, so only harmless names
//! pass. `docs/protocols/sockjs.md` §5.10.
//!
//! The body of `jsonp_send`: a form with the field `d`, or the batch itself. `docs/protocols/sockjs.md` §5.9.

use std::{borrow::Cow, fmt};

/// Longest name: those of sockjs-client have about 14 characters.
const MAX_BYTES: usize = 32;

/// A harmless name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback(String);

/// Why there is no callback. The text is what SockJS answers with 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// No `c` in the query, or an empty one.
    #[error("\"callback\" parameter required")]
    Missing,
    /// Something else than letters, digits, `-`, `_` and `.`, or too long.
    #[error("invalid \"callback\" parameter")]
    Invalid,
}

impl Callback {
    /// Reads it from a query, without the `?`.
    ///
    /// # Errors
    /// [`CallbackError`].
    pub fn from_query(query: &str) -> Result<Self, CallbackError> {
        let field = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "c");
        let name =
            field.map(|(_, name)| name).filter(|name| !name.is_empty()).ok_or(CallbackError::Missing)?;
        let is_harmless = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.len() > MAX_BYTES || !name.bytes().all(is_harmless) {
            return Err(CallbackError::Invalid);
        }
        Ok(Self(name.into_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The type of a body that is a form.
const FORM: &str = "application/x-www-form-urlencoded";

/// The batch in a body: the first field `d` of a form, all of it of any other type. Empty if there is none.
#[must_use]
pub fn payload<'b>(content_type: Option<&str>, body: &'b [u8]) -> Cow<'b, [u8]> {
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case(FORM) {
        return Cow::Borrowed(body);
    }
    let field = form_urlencoded::parse(body).find(|(name, _)| name == "d");
    match field {
        Some((_, Cow::Borrowed(value))) => Cow::Borrowed(value.as_bytes()),
        Some((_, Cow::Owned(value))) => Cow::Owned(value.into_bytes()),
        None => Cow::Borrowed(&[]),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn item_29_a_harmless_name_is_taken_also_percent_encoded() {
        assert_eq!(Callback::from_query("c=callback").unwrap().as_str(), "callback");
        assert_eq!(Callback::from_query("t=1&c=%63allback").unwrap().as_str(), "callback");
        assert_eq!(Callback::from_query("c=_jp.a-Z09").unwrap().as_str(), "_jp.a-Z09");
    }

    #[test]
    fn item_29_without_a_name_it_is_required() {
        for query in ["", "c", "c=", "d=x", "cc=x"] {
            assert_eq!(Callback::from_query(query), Err(CallbackError::Missing), "{query}");
        }
        assert_eq!(CallbackError::Missing.to_string(), "\"callback\" parameter required");
    }

    #[test]
    fn item_29_a_name_with_other_characters_or_of_more_than_32_is_invalid() {
        for query in ["c=a(", "c=%20", "c=abc()", "c=a%3Balert", "c=%3Cscript%3E", "c=%EA%B0%80", "c=a+b"] {
            assert_eq!(Callback::from_query(query), Err(CallbackError::Invalid), "{query}");
        }
        assert!(Callback::from_query(&format!("c={}", "x".repeat(32))).is_ok());
        assert_eq!(Callback::from_query(&format!("c={}", "x".repeat(33))), Err(CallbackError::Invalid));
        assert_eq!(CallbackError::Invalid.to_string(), "invalid \"callback\" parameter");
    }

    proptest! {
        #[test]
        fn nothing_that_passes_can_leave_its_place_in_a_script(query in any::<String>()) {
            if let Ok(callback) = Callback::from_query(&query) {
                let name = callback.as_str();
                prop_assert!(!name.is_empty() && name.len() <= MAX_BYTES);
                prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)));
            }
        }
    }

    #[test]
    fn item_28_a_form_carries_the_batch_in_its_field_d() {
        for content_type in [FORM, "Application/X-WWW-Form-Urlencoded; charset=UTF-8"] {
            assert_eq!(*payload(Some(content_type), b"d=%5B%22abc%22%5D"), *b"[\"abc\"]");
            assert_eq!(*payload(Some(content_type), b"x=1&d=%5B%22a+b%22%5D&d=2"), *b"[\"a b\"]");
        }
    }

    #[test]
    fn item_28_plain_text_is_the_batch_and_is_not_decoded() {
        for content_type in [Some("text/plain"), Some(""), None] {
            assert_eq!(*payload(content_type, b"[\"%61bc\"]"), *b"[\"%61bc\"]");
        }
    }

    #[test]
    fn item_28_a_form_without_the_field_or_with_an_empty_one_has_no_payload() {
        for body in [b"".as_slice(), b"d", b"d=", b"e=%5B%5D"] {
            assert_eq!(*payload(Some(FORM), body), *b"");
        }
    }
}
