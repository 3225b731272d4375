//! Tests of the origin rules.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;

fn check(list: &[&str], cases: &[(&str, bool)]) {
    let origins = Origins::new(list).unwrap();
    for &(origin, expected) in cases {
        assert_eq!(
            origins.allows(Some(origin), "push.example.com"),
            expected,
            "{origin:?} with the list {list:?}"
        );
    }
}

#[test]
fn a_client_without_an_origin_is_no_browser_and_is_allowed() {
    for list in [&[][..], &["https://example.com"], &["*"]] {
        assert!(Origins::new(list).unwrap().allows(None, "push.example.com"));
    }
}

#[test]
fn without_a_list_only_the_own_host_and_port_may_connect() {
    let origins = Origins::default();
    for (origin, host, expected) in [
        ("https://example.com", "example.com", true),
        ("http://example.com", "example.com", true),
        ("https://example.com", "EXAMPLE.com", true),
        ("HTTPS://Example.Com", "example.com", true),
        ("https://example.com", "example.com:443", true),
        ("https://example.com:443", "example.com", true),
        ("http://example.com", "example.com:80", true),
        ("http://localhost:8000", "localhost:8000", true),
        ("http://[::1]:8000", "[::1]:8000", true),
        ("http://[::1]", "[::1]", true),
        ("http://[::1]", "[::1]:80", true),
        ("http://example.com", "example.com:443", false),
        ("https://example.com:8443", "example.com", false),
        ("https://example.com", "example.com:8443", false),
        ("http://localhost:3000", "localhost:8000", false),
        ("http://[::1]:8000", "[::2]:8000", false),
        ("https://evil.test", "example.com", false),
        ("https://example.com.evil.test", "example.com", false),
        ("https://sub.example.com", "example.com", false),
        ("null", "example.com", false),
        ("null", "null", false),
        ("", "", false),
        ("https://", "", false),
        ("://example.com", "example.com", false),
        ("example.com", "example.com", false),
        ("https://example.com/", "example.com", false),
        ("https://example.com@evil.test", "example.com", false),
        ("https://example.com:x", "example.com:x", false),
        ("https://example.com https://evil.test", "example.com", false),
    ] {
        assert_eq!(origins.allows(Some(origin), host), expected, "{origin:?} at {host:?}");
    }
}

#[test]
fn a_list_alone_decides() {
    check(
        &["https://app.example.com", "http://localhost:3000"],
        &[
            ("https://app.example.com", true),
            ("https://app.example.com:443", true),
            ("https://APP.example.com", true),
            ("http://localhost:3000", true),
            ("https://push.example.com", false),
            ("http://app.example.com", false),
            ("https://app.example.com:8443", false),
            ("http://localhost:3001", false),
            ("null", false),
        ],
    );
}

#[test]
fn a_default_port_in_the_list_is_the_same_as_none() {
    check(&["https://example.com:443"], &[("https://example.com", true), ("https://example.com:443", true)]);
}

#[test]
fn globs_match_inside_an_origin_and_not_past_it() {
    check(
        &["https://*.example.com"],
        &[
            ("https://app.example.com", true),
            ("https://a.b.example.com", true),
            ("https://example.com", false),
            ("https://evilexample.com", false),
            ("http://app.example.com", false),
            ("https://app.example.com.evil.test", false),
            ("https://app.example.com:8443", false),
            ("https://evil.test/.example.com", false),
            ("https://evil.test#.example.com", false),
            ("https://evil.test?.example.com", false),
            ("https://evil.test:.example.com", false),
            ("https://evil.test\\.example.com", false),
            ("https://evil@x.example.com", false),
        ],
    );
    check(&["http://localhost:*"], &[("http://localhost:5173", true), ("http://localhost:evil", false)]);
    check(&["*://example.com"], &[("http://example.com", true), ("https://example.com", true)]);
}

#[test]
fn a_star_allows_every_page_and_null_only_pages_without_an_origin() {
    check(&["*"], &[("https://evil.test", true), ("null", true), ("file://", true)]);
    check(&["null"], &[("null", true), ("https://null", false), ("https://push.example.com", false)]);
}

#[test]
fn an_endless_origin_is_refused() {
    let endless = format!("https://{}.example.com", "a".repeat(100_000));
    check(&["https://*.example.com"], &[(&endless, false)]);
}

#[test]
fn entries_that_would_never_match_are_refused_with_their_text() {
    for entry in
        ["", "example.com", "https://", "://x", "https://a b", "https://x@y", "https://x?y", "*.example.com"]
    {
        assert_eq!(Origins::new(&[entry]).unwrap_err(), OriginError::Shape(entry.to_owned()));
    }
    for entry in ["https://example.com/", "https://example.com/app", "https://*/x"] {
        assert_eq!(Origins::new(&["*", entry]).unwrap_err(), OriginError::Path(entry.to_owned()));
    }
}
