//! Bodies that nobody means well with: each gets its error, and a sentence of bounded length.

use super::*;

/// The answer to a body that is refused.
async fn refused(api: &Api, method: &str, body: Vec<u8>) -> String {
    let (status, answer) = api.raw(method, body).await;
    assert_eq!((status.as_u16(), answer["error"]["code"].as_u64()), (400, Some(107)), "{answer}");
    let sentence = answer["error"]["message"].as_str().unwrap().to_owned();
    assert!(sentence.len() < 600, "{} bytes", sentence.len());
    sentence
}

#[actix_web::test]
async fn nesting_is_bounded_in_payloads_and_everywhere_else() {
    let api = Api::start().await;
    for depth in [129, 100_000] {
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let body = format!(r#"{{"channel":"a","data":{deep}}}"#);
        assert!(refused(&api, "publish", body.into()).await.contains("nested deeper than 128"));
        for method in ["publish", "batch", "history"] {
            refused(&api, method, format!(r#"{{"channel":{deep}}}"#).into()).await;
            refused(&api, method, format!(r#"{{"x":{deep}}}"#).into()).await;
            refused(&api, method, deep.clone().into()).await;
        }
        refused(&api, "batch", format!(r#"{{"commands":{deep}}}"#).into()).await;
        refused(&api, "publish", "[".repeat(depth).into()).await;
        refused(&api, "publish", r#"{"a":"#.repeat(depth).into()).await;
    }
    let deepest = format!(r#"{{"channel":"a","data":{}{}}}"#, "[".repeat(128), "]".repeat(128));
    assert_eq!(api.raw("publish", deepest).await.0, 200);
}

#[actix_web::test]
async fn a_deep_payload_in_a_batch_is_an_error_of_its_command() {
    let api = Api::start().await;
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    let body = format!(r#"{{"commands":[{{"publish":{{"channel":"a","data":{deep}}}}},{{"info":{{}}}}]}}"#);
    let (status, answer) = api.raw("batch", body).await;
    assert_eq!(status, 200);
    assert_eq!(answer["replies"][0]["error"]["code"], 107);
    assert!(answer["replies"][1]["info"].is_object());
}

#[actix_web::test]
async fn what_is_not_utf8_is_refused() {
    let api = Api::start().await;
    refused(&api, "publish", b"{\"channel\":\"a\",\"data\":\"\xff\"}".to_vec()).await;
    refused(&api, "publish", b"{\"channel\":\"\xc3\x28\",\"data\":1}".to_vec()).await;
    refused(&api, "publish", b"{\"\xff\":1}".to_vec()).await;
    refused(&api, "publish", vec![0xff; 1000]).await;
}

#[actix_web::test]
async fn what_is_not_one_json_object_is_refused() {
    let api = Api::start().await;
    for body in [
        "{",
        "}",
        "{}{}",
        "nul",
        "\u{0}",
        "{\"channel\":\"a\",\"data\":1}x",
        "{\"channel\":\"a\",\"data\":01}",
    ] {
        refused(&api, "publish", body.into()).await;
    }
}

#[actix_web::test]
async fn a_field_given_twice_is_refused() {
    let api = Api::start().await;
    let body = r#"{"channel":"a","data":1,"channel":"b"}"#;
    assert!(refused(&api, "publish", body.into()).await.contains("duplicate field `channel`"));
    let body = r#"{"channel":"a","data":1,"data":2}"#;
    assert!(refused(&api, "publish", body.into()).await.contains("duplicate field `data`"));
    let body = r#"{"channel":"a","data":1,"tags":{"x":"1","x":"2"}}"#;
    assert!(refused(&api, "publish", body.into()).await.contains("the same tag twice"));
}

#[actix_web::test]
async fn numbers_out_of_range_are_refused_with_their_field() {
    let api = Api::start().await;
    for number in ["1e400", "18446744073709551616", "-1", "1.5", "99999999999999999999999999999999999"] {
        let body = format!(r#"{{"channel":"kept:a","since":{{"offset":{number}}}}}"#);
        refused(&api, "history", body.into()).await;
        refused(&api, "refresh", format!(r#"{{"user":"1","expire_at":{number}}}"#).into()).await;
    }
    let body = r#"{"channel":"kept:a","since":{"offset":18446744073709551615}}"#;
    assert_eq!(api.raw("history", body).await.0, 200);
}

#[actix_web::test]
async fn what_is_quoted_in_an_error_is_cut() {
    let api = Api::start().await;
    let long = "é".repeat(100_000);
    refused(&api, "publish", json!({ &long: 1 }).to_string().into()).await;
    refused(&api, "publish", json!({"channel": "a", "data": 1, "skip_history": &long}).to_string().into())
        .await;
    refused(&api, "publish", json!({"channel": &long, "data": 1}).to_string().into()).await;
    let commands = json!({"commands": [{ &long: {} }]});
    let reply = api.ok("batch", commands).await;
    assert!(reply[0]["error"]["message"].as_str().unwrap().len() < 600);
}
