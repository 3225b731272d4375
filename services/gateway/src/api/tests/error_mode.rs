//! Errors in the body of a 200, or by the status.

use super::*;

/// A call with these headers: status and code.
async fn ask(api: &Api, method: &str, body: Value, headers: &[(&str, &str)]) -> (u16, Value) {
    let mut request = post(method).insert_header(("X-API-Key", KEY));
    for (name, value) in headers {
        request = request.insert_header((*name, *value));
    }
    let (status, answer) = api.send(request.set_payload(body.to_string())).await;
    (status.as_u16(), answer["error"]["code"].clone())
}

#[actix_web::test]
async fn libraries_get_the_errors_of_a_call_in_the_body_of_a_200() {
    let api = Api::start().await;
    for (method, body, code, status) in [
        ("publish", json!({"channel": "nowhere:a", "data": 1}), 102, 404),
        ("publish", json!({}), 107, 400),
        ("publish", json!({"channel": "a", "data": 1, "nonsense": 1}), 107, 400),
        ("history", json!({"channel": "seen:a"}), 108, 409),
        ("presence", json!({"channel": "kept:a"}), 108, 409),
        ("history", json!({"channel": "kept:a", "since": {"offset": 1, "epoch": "x"}}), 112, 409),
        ("batch", json!({"commands": 7}), 107, 400),
    ] {
        for (headers, status) in [
            (&[][..], 200),
            (&[("X-Gorani-Error-Mode", "body")], 200),
            (&[("X-Gorani-Error-Mode", "status")], status),
            (&[("X-Centrifugo-Error-Mode", "transport")], status),
        ] {
            let answer = ask(&api, method, body.clone(), headers).await;
            assert_eq!(answer, (status, json!(code)), "{method} {body} {headers:?}");
        }
    }
}

#[actix_web::test]
async fn what_is_no_error_of_the_call_keeps_its_status() {
    let api = Api::start().await;
    let too_large = json!({"channel": "a", "data": "x".repeat(2 * 1024 * 1024)});
    assert_eq!(ask(&api, "publish", too_large, &[]).await, (413, json!(106)));
    assert_eq!(ask(&api, "nothing", json!({}), &[]).await, (404, json!(104)));
    let (status, answer) = api.send(post("publish").set_payload("{}")).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (401, &json!(101)));
    let mode = [("X-Gorani-Error-Mode", "loud")];
    assert_eq!(ask(&api, "info", json!({}), &mode).await, (400, json!(107)), "it is not passed over");
}

#[test]
fn what_the_node_could_not_do_keeps_its_status_in_either_mode() {
    for code in [
        ErrorCode::INTERNAL,
        ErrorCode::TOO_MANY_REQUESTS,
        ErrorCode::UNAVAILABLE,
        ErrorCode::UNKNOWN_OUTCOME,
    ] {
        for mode in [ErrorMode::Body, ErrorMode::Status] {
            assert!(ApiError::from(code).in_mode(mode).is_err(), "{code} {mode:?}");
        }
    }
}
