//! The body of `jsonp_send`: a form with the field `d`, or the batch itself. `docs/protocols/sockjs.md` §5.9.

use std::borrow::Cow;

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
    use super::*;

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
