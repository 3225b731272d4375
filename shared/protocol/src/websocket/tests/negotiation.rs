//! `docs/protocols/websocket.md` §11: the offers of permessage-deflate and the answers to them.

use crate::websocket::{DeflateParams, HandshakeRefusal, Offer};

const BASE: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

fn offer(headers: &[&str]) -> Result<Offer, HandshakeRefusal> {
    let mut all = vec![
        ("Host", "a"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ];
    all.extend(headers.iter().map(|value| ("Sec-WebSocket-Extensions", *value)));
    Offer::parse("GET", true, all.iter().map(|(name, value)| (*name, value.as_bytes())))
}

fn answer(header: &str) -> Option<String> {
    offer(&[header]).unwrap().negotiate_deflate().map(|params| params.to_string())
}

#[test]
fn line_11_an_offer_is_answered_without_context_takeover_on_either_side() {
    for header in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=8",
        "permessage-deflate; client_max_window_bits=15; client_no_context_takeover",
        "permessage-deflate; server_no_context_takeover",
        "Permessage-Deflate ;server_no_context_takeover;client_no_context_takeover",
        "permessage-deflate; client_max_window_bits=\"10\"",
    ] {
        assert_eq!(answer(header).as_deref(), Some(BASE), "{header}");
    }
}

#[test]
fn line_11_every_window_of_the_server_that_is_asked_for_is_promised() {
    for bits in 8..=15 {
        for header in [
            format!("permessage-deflate; server_max_window_bits={bits}"),
            format!("permessage-deflate; server_max_window_bits=\"{bits}\"; client_max_window_bits"),
            format!("permessage-deflate; server_no_context_takeover; server_max_window_bits={bits}"),
        ] {
            assert_eq!(answer(&header), Some(format!("{BASE}; server_max_window_bits={bits}")), "{header}");
            let params: DeflateParams = offer(&[&header]).unwrap().negotiate_deflate().unwrap();
            assert_eq!(params.server_max_window_bits, bits);
        }
    }
}

#[test]
fn line_11_an_offer_that_cannot_be_met_is_declined() {
    for header in [
        "",
        "x-webkit-deflate-frame",
        "permessage-bzip2; permessage-deflate",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=010",
        "permessage-deflate; server_max_window_bits=256",
        "permessage-deflate; server_max_window_bits=+9",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=ten",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=\"true\"",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
        "permessage-deflate; unheard_of",
    ] {
        assert_eq!(answer(header), None, "{header}");
    }
}

#[test]
fn line_11_the_first_offer_that_can_be_met_is_answered() {
    let with_window = format!("{BASE}; server_max_window_bits=9");
    let header = "x-other; a=\"b\", permessage-deflate; server_max_window_bits=99, \
        permessage-deflate; server_max_window_bits=9, permessage-deflate";
    assert_eq!(answer(header), Some(with_window.clone()));
    let headers = ["permessage-deflate; unheard_of", "permessage-deflate; server_max_window_bits=9"];
    let params = offer(&headers).unwrap().negotiate_deflate().unwrap();
    assert_eq!(params.to_string(), with_window);
    assert_eq!(answer(", ,permessage-deflate,").as_deref(), Some(BASE));
}

#[test]
fn line_11_a_header_that_breaks_the_grammar_is_refused() {
    for header in [
        "permessage-deflate; =10",
        "permessage-deflate;",
        "permessage-deflate; server_max_window_bits=",
        "permessage-deflate; server_max_window_bits=\"10",
        "permessage-deflate; server_max_window_bits=\"\"",
        "permessage-deflate; server_max_window_bits=\"1 0\"",
        "permessage deflate",
        "=",
        "permessage-deflate\u{e9}",
    ] {
        assert_eq!(offer(&[header]).unwrap_err().status(), 400, "{header}");
    }
}
