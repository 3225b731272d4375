//! The requests to a backend: the JSON of each kind and the headers.

use actix_http::header::{HeaderName, HeaderValue};

use super::*;
use crate::backend::{Signer, SigningSecret};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn body(lines: &str, call: ProxyCall) -> String {
    let asked = Asked::new(lines, good).await;
    asked.clients.clone().call(call).await.unwrap();
    asked.backend.last().body
}

#[actix_rt::test]
async fn each_kind_has_the_json_of_centrifugo() {
    let connect = ProxyRequest::Connect {
        data: Some(json("{\"a\":\n1}")),
        name: "js".to_owned(),
        version: String::new(),
        channels: vec!["x".to_owned(), "\"".to_owned()],
    };
    let data = Some(json("[1]"));
    let common = r#""client":"c-1","transport":"websocket","protocol":"json","encoding":"json""#;
    for (request, expected) in [
        (connect, r#","name":"js","channels":["x","\""],"data":{"a":1}"#),
        (ProxyRequest::Refresh, r#","user":"42""#),
        (
            ProxyRequest::Subscribe { channel: "chat".into(), token: "t".to_owned(), data: data.clone() },
            r#","user":"42","channel":"chat","token":"t","data":[1]"#,
        ),
        (ProxyRequest::SubRefresh { channel: "chat".into() }, r#","user":"42","channel":"chat""#),
        (publish(), r#","user":"42","channel":"chat","data":1"#),
        (
            ProxyRequest::Rpc { method: "sum".to_owned(), data, headers: Vec::new() },
            r#","user":"42","method":"sum","data":[1]"#,
        ),
        (ProxyRequest::Rpc { method: String::new(), data: None, headers: Vec::new() }, r#","user":"42""#),
    ] {
        assert_eq!(body("", call(request)).await, format!("{{{common}{expected}}}"));
    }
}

#[actix_rt::test]
async fn an_anonymous_user_is_an_empty_text_everywhere_but_in_connect() {
    let anonymous = || ProxyCaller { user: "".into(), ..caller() };
    assert!(body("", call_of(anonymous(), rpc())).await.contains(r#""user":"""#));
    let connect = ProxyRequest::Connect {
        data: None,
        name: String::new(),
        version: String::new(),
        channels: Vec::new(),
    };
    let text = body("", call_of(anonymous(), connect)).await;
    assert_eq!(text, r#"{"client":"c-1","transport":"websocket","protocol":"json","encoding":"json"}"#);
}

#[actix_rt::test]
async fn meta_is_sent_if_the_settings_say_so_and_never_with_a_connect() {
    let with_meta = || ProxyCaller { meta: "{\"m\":1}".into(), ..caller() };
    assert!(!body("", call_of(with_meta(), rpc())).await.contains("meta"));
    let on = "include_connection_meta = true";
    assert!(body(on, call_of(with_meta(), rpc())).await.ends_with(r#","meta":{"m":1}}"#));
    assert!(!body(on, call(rpc())).await.contains("meta"));
    let connect = ProxyRequest::Connect {
        data: None,
        name: String::new(),
        version: String::new(),
        channels: Vec::new(),
    };
    assert!(!body(on, call_of(with_meta(), connect)).await.contains("meta"));
}

#[actix_rt::test]
async fn a_payload_that_is_no_json_is_a_text_or_base64_and_the_encoding_tells_which() {
    let publish = |data: &'static [u8], kind| ProxyRequest::Publish {
        channel: "chat".into(),
        data: ProxyPayload { data: data.into(), kind },
    };
    let text = body("", call(publish(b"say \"hi\"", DataKind::Text))).await;
    assert!(text.contains(r#""encoding":"json""#) && text.ends_with(r#""data":"say \"hi\""}"#), "{text}");
    let bytes = body("", call(publish(&[255, 0], DataKind::Binary))).await;
    assert!(bytes.contains(r#""encoding":"binary""#) && bytes.ends_with(r#""b64data":"/wA="}"#), "{bytes}");
    let binary = "binary_encoding = true";
    let json = body(binary, call(publish(b"{}", DataKind::Json))).await;
    assert!(json.contains(r#""encoding":"binary""#) && json.ends_with(r#""b64data":"e30="}"#), "{json}");
    let nothing = body(binary, call(rpc())).await;
    assert!(nothing.contains(r#""encoding":"binary""#) && !nothing.contains("b64data"), "{nothing}");
}

fn headers_of_client() -> ProxyHeaders {
    let value = HeaderValue::from_static;
    ProxyHeaders {
        http: vec![
            (HeaderName::from_static("cookie"), value("a=1")),
            (HeaderName::from_static("cookie"), value("b=2")),
            (HeaderName::from_static("x-both"), value("transport")),
            (HeaderName::from_static("x-real-ip"), value("192.0.2.66")),
        ],
        emulated: vec![("x-both".into(), "emulated".into()), ("x-static".into(), "emulated".into())],
        address: None,
    }
}

#[actix_rt::test]
async fn no_header_of_a_client_is_forwarded_unless_it_is_listed() {
    let asked = Asked::new("", good).await;
    let caller = ProxyCaller { headers: headers_of_client().into(), ..caller() };
    asked.clients.clone().call(call_of(caller, rpc())).await.unwrap();
    let request = asked.backend.last();
    for name in ["cookie", "x-both", "x-static", "x-real-ip", "webhook-id"] {
        assert!(request.header(name).is_empty(), "{name}");
    }
    assert_eq!(request.header("content-type"), ["application/json"]);
    assert_eq!(request.header("x-request-id"), ["c-1:7"]);
}

#[actix_rt::test]
async fn of_one_name_the_request_counts_more_than_the_command_and_both_more_than_the_settings() {
    let lines = "http_headers = ['Cookie', 'X-Both', 'X-Real-IP']\nemulated_headers = ['x-both', 'X-Static']\n\
                 [rpc.proxy.http.static_headers]\nX-Static = 'static'\nx-both = 'static'\nAuthorization = 'Bearer x'";
    let asked = Asked::new(lines, good).await;
    let mut headers = headers_of_client();
    for (address, expected) in [(None, "192.0.2.66"), (Some("2001:db8::7".parse().unwrap()), "2001:db8::7")] {
        headers.address = address;
        let caller = ProxyCaller { headers: headers.clone().into(), ..caller() };
        asked.clients.clone().call(call_of(caller, rpc())).await.unwrap();
        let request = asked.backend.last();
        assert_eq!(request.header("cookie"), ["a=1", "b=2"]);
        assert_eq!(request.header("x-both"), ["transport"]);
        assert_eq!(request.header("x-static"), ["emulated"]);
        assert_eq!(request.header("authorization"), ["Bearer x"]);
        assert_eq!(request.header("x-real-ip"), [expected]);
    }
}

#[actix_rt::test]
async fn headers_of_one_stomp_frame_go_with_its_call_if_they_are_listed() {
    let asked = Asked::new("emulated_headers = ['stomp-priority']", good).await;
    let headers = vec![("stomp-priority".into(), "9".into()), ("stomp-other".into(), "1".into())];
    asked.ask(ProxyRequest::Rpc { method: String::new(), data: None, headers }).await.unwrap();
    let request = asked.backend.last();
    assert_eq!(request.header("stomp-priority"), ["9"]);
    assert!(request.header("stomp-other").is_empty());
}

#[actix_rt::test]
async fn a_call_is_signed_over_the_bytes_that_are_sent_by_every_secret() {
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let asked = Asked::new(&format!("secrets = ['{SECRET}', '{other}']"), good).await;
    asked.ask(rpc()).await.unwrap();
    let request = asked.backend.last();
    let timestamp: u64 = request.header("webhook-timestamp")[0].parse().unwrap();
    assert!(clock::unix_ms() / 1000 - timestamp < 60);
    let secrets: Vec<SigningSecret> = vec![SECRET.parse().unwrap(), other.parse().unwrap()];
    let expected = Signer::new(secrets).headers("c-1:7", timestamp, request.body.as_bytes());
    assert_eq!(request.header("webhook-id"), ["c-1:7"]);
    assert_eq!(request.header("webhook-signature"), [expected[2].1.as_str()]);
}

/// The `traceparent` of the call that a client with these headers makes.
async fn trace_of(settings: &str, headers: ProxyHeaders, of_frame: &[(&str, &str)]) -> Option<String> {
    let backend = TestBackend::start(good).await;
    let (pool, _metrics) = pool_of(&backend.url, "", settings);
    let clients = Rc::new(ProxyClients::default());
    clients.share(pool);
    let headers_of_frame = of_frame.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    let request =
        ProxyRequest::Rpc { method: "sum".to_owned(), data: None, headers: headers_of_frame.collect() };
    let caller = ProxyCaller { headers: headers.into(), ..caller() };
    clients.call(call_of(caller, request)).await.unwrap();
    backend.last().header("traceparent").first().map(ToString::to_string)
}

#[actix_rt::test]
async fn a_call_goes_on_with_the_trace_of_the_frame_the_request_or_the_command_or_begins_one() {
    const ON: &str = "[client.proxy]\ntraceparent = true";
    let trace = |digit: &str| format!("00-{}-00f067aa0ba902b7-01", digit.repeat(32));
    let of_request = |text: &str| {
        (HeaderName::from_static("traceparent"), actix_http::header::HeaderValue::from_str(text).unwrap())
    };
    let command =
        ProxyHeaders { emulated: vec![("traceparent".into(), trace("a").into())], ..ProxyHeaders::default() };
    let request = ProxyHeaders { http: vec![of_request(&trace("b"))], ..command.clone() };
    let broken = ProxyHeaders { http: vec![of_request("broken")], ..ProxyHeaders::default() };
    let of_frame = trace("c");
    let of_frame = [("stomp-traceparent", of_frame.as_str())];
    assert_eq!(trace_of(ON, command.clone(), &[]).await, Some(trace("a")));
    assert_eq!(trace_of(ON, request.clone(), &[]).await, Some(trace("b")));
    assert_eq!(trace_of(ON, request.clone(), &of_frame).await, Some(trace("c")));
    for headers in [ProxyHeaders::default(), broken] {
        let begun = trace_of(ON, headers, &[]).await.unwrap();
        assert!(begun.len() == 55 && begun.starts_with("00-") && begun.ends_with("-01"), "{begun}");
    }
    assert_eq!(trace_of("", request, &of_frame).await, None, "off");
}
