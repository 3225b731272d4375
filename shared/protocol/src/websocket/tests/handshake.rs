//! `docs/protocols/websocket.md` §1 to §4: the opening handshake.

use crate::websocket::{HandshakeRefusal, Offer, SubprotocolPolicy, accept_key};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

type Headers = Vec<(&'static str, &'static str)>;

fn good() -> Headers {
    vec![
        ("Host", "server.gorany.org"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
    ]
}

fn with(name: &'static str, value: &'static str) -> Headers {
    let mut headers: Headers = good().into_iter().filter(|(other, _)| *other != name).collect();
    headers.push((name, value));
    headers
}

fn without(name: &str) -> Headers {
    good().into_iter().filter(|(other, _)| *other != name).collect()
}

fn parse(headers: &Headers) -> Result<Offer, HandshakeRefusal> {
    Offer::parse("GET", true, headers.iter().map(|(name, value)| (*name, value.as_bytes())))
}

fn status(headers: &Headers) -> u16 {
    parse(headers).unwrap_err().status()
}

#[test]
fn line_1_a_well_formed_request_is_an_offer() {
    let mut headers = good();
    headers.push(("Origin", "https://gorany.org"));
    let offer = parse(&headers).unwrap();
    assert_eq!(offer.key, KEY);
    assert_eq!(offer.host, "server.gorany.org");
    assert_eq!(offer.origin.as_deref(), Some("https://gorany.org"));
    assert!(offer.subprotocols.is_empty() && offer.extensions.is_empty());
}

#[test]
fn line_1_tokens_may_be_in_any_case_and_in_a_list() {
    assert!(parse(&with("Upgrade", "h2c, WebSocket")).is_ok());
    assert!(parse(&with("Connection", "keep-alive, UPGRADE")).is_ok());
    let lower = good().into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
    let lower: Vec<_> = lower.collect();
    let headers = lower.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    assert!(Offer::parse("GET", true, headers).is_ok());
}

#[test]
fn line_1_another_method_is_refused_with_405_and_allow() {
    let refusal = Offer::parse("POST", true, []).unwrap_err();
    assert_eq!((refusal.status(), refusal.headers()), (405, &[("Allow", "GET")][..]));
}

#[test]
fn line_1_missing_or_bad_parts_are_refused_with_400_and_one_sentence() {
    let headers = good();
    let old = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
    assert_eq!(Offer::parse("GET", false, old).unwrap_err().status(), 400);
    for name in ["Host", "Sec-WebSocket-Key", "Sec-WebSocket-Version"] {
        assert_eq!(status(&without(name)), 400, "without {name}");
        assert!(!parse(&without(name)).unwrap_err().to_string().is_empty());
    }
    for (name, value) in [
        ("Host", ""),
        ("Host", "a b"),
        ("Sec-WebSocket-Key", ""),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZSBsb25n"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=*"),
        ("Sec-WebSocket-Protocol", "a b"),
        ("Sec-WebSocket-Extensions", "permessage-deflate; =1"),
        ("Content-Length", "5"),
        ("Transfer-Encoding", "chunked"),
    ] {
        assert_eq!(status(&with(name, value)), 400, "{name}: {value}");
    }
}

#[test]
fn line_1_a_request_without_an_upgrade_is_426_and_says_how_to_come() {
    for headers in [
        without("Upgrade"),
        without("Connection"),
        with("Upgrade", "websockets"),
        with("Upgrade", "h2c"),
        with("Connection", "keep-alive"),
    ] {
        let refusal = parse(&headers).unwrap_err();
        assert_eq!((&refusal, refusal.status()), (&HandshakeRefusal::UpgradeRequired, 426));
        assert_eq!(refusal.headers(), [("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")]);
        assert!(refusal.to_string().contains("wss://"), "{refusal}");
    }
}

#[test]
fn line_1_a_header_that_stands_for_itself_may_not_be_repeated() {
    for repeated in ["Host", "Sec-WebSocket-Key", "Sec-WebSocket-Version"] {
        let mut headers = good();
        headers.extend(good().into_iter().filter(|(name, _)| *name == repeated));
        assert_eq!(status(&headers), 400, "{repeated}");
    }
}

#[test]
fn line_1_another_version_is_refused_with_426_and_the_right_one() {
    for version in ["8", "0", "14", "013", ""] {
        let refusal = parse(&with("Sec-WebSocket-Version", version)).unwrap_err();
        assert_eq!(refusal.status(), 426);
        assert!(refusal.headers().contains(&("Sec-WebSocket-Version", "13")));
    }
}

#[test]
fn line_1_a_foreign_origin_and_a_draining_node_have_their_status() {
    assert_eq!(HandshakeRefusal::OriginForbidden.status(), 403);
    assert_eq!(HandshakeRefusal::Draining.status(), 503);
}

#[test]
fn line_2_the_key_of_the_example_is_accepted_with_the_value_of_the_example() {
    assert_eq!(accept_key(KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn line_3_the_best_known_subprotocol_is_chosen() {
    let offer = parse(&with("Sec-WebSocket-Protocol", "v10.stomp, v11.stomp, my-team-custom")).unwrap();
    assert_eq!(offer.subprotocols, ["v10.stomp", "v11.stomp", "my-team-custom"]);
    let stomp = ["v12.stomp", "v11.stomp", "v10.stomp"];
    assert_eq!(offer.choose_subprotocol(&stomp, SubprotocolPolicy::Strict), Ok(Some("v11.stomp")));
    assert_eq!(
        offer.choose_subprotocol(&["my-team-custom"], SubprotocolPolicy::Strict),
        Ok(Some("my-team-custom"))
    );
}

#[test]
fn line_3_subprotocols_may_stand_in_several_headers() {
    let mut headers = good();
    headers.push(("Sec-WebSocket-Protocol", "one"));
    headers.push(("sec-websocket-protocol", "two,three"));
    assert_eq!(parse(&headers).unwrap().subprotocols, ["one", "two", "three"]);
}

#[test]
fn line_3_unknown_subprotocols_are_refused_if_strict_and_passed_over_if_lenient() {
    let offer = parse(&with("Sec-WebSocket-Protocol", "soap, wamp")).unwrap();
    let refusal = offer.choose_subprotocol(&["v12.stomp"], SubprotocolPolicy::Strict).unwrap_err();
    assert_eq!(refusal.status(), 400);
    assert!(refusal.to_string().contains("soap, wamp"), "{refusal}");
    assert!(refusal.to_string().ends_with("known are: v12.stomp"), "{refusal}");
    let refusal = offer.choose_subprotocol(&[], SubprotocolPolicy::Strict).unwrap_err();
    assert!(refusal.to_string().ends_with("connect without a subprotocol"), "{refusal}");
    assert_eq!(offer.choose_subprotocol(&["v12.stomp"], SubprotocolPolicy::Lenient), Ok(None));
}

#[test]
fn line_3_no_subprotocol_offered_is_none_chosen() {
    let offer = parse(&good()).unwrap();
    assert_eq!(offer.choose_subprotocol(&["v12.stomp"], SubprotocolPolicy::Strict), Ok(None));
}

#[test]
fn line_3_a_refusal_repeats_only_so_much_of_what_was_offered() {
    let tokens: Vec<String> = (0..1000).map(|number| format!("token-{number}")).collect();
    let refusal = HandshakeRefusal::unknown_subprotocol(&tokens, &[]);
    assert!(refusal.to_string().len() < 256, "{refusal}");
    let refusal = HandshakeRefusal::unknown_subprotocol(&["x".repeat(10_000)], &[]);
    assert!(refusal.to_string().len() < 256, "{refusal}");
}

#[test]
fn line_4_the_101_carries_exactly_the_headers_it_must() {
    let offer = parse(&good()).unwrap();
    let plain = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    assert_eq!(String::from_utf8(offer.response(None, None)).unwrap(), plain);

    let offer =
        parse(&with("Sec-WebSocket-Extensions", "permessage-deflate; server_max_window_bits=10")).unwrap();
    let deflate = offer.negotiate_deflate().unwrap();
    let full = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: v12.stomp\r\n\
        Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
        client_no_context_takeover; server_max_window_bits=10\r\n\r\n";
    assert_eq!(String::from_utf8(offer.response(Some("v12.stomp"), Some(&deflate))).unwrap(), full);
}
