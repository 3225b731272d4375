//! The way in: keys, verbs, unknown methods, sizes.

use actix_web::{FromRequest as _, dev::Payload, error::PayloadError, web::Bytes};
use futures_util::stream;

use super::*;
use crate::api::{call::ApiCall, error::ApiError};

const MESSAGE: &str = r#"{"channel":"news","data":1}"#;

#[actix_web::test]
async fn each_key_opens_in_either_header() {
    let api = Api::start().await;
    for header in [
        ("X-API-Key", KEY.to_owned()),
        ("x-api-key", SECOND_KEY.to_owned()),
        ("Authorization", format!("apikey {KEY}")),
        ("Authorization", format!("ApiKey {SECOND_KEY}")),
    ] {
        let request = post("publish").insert_header(header.clone()).set_payload(MESSAGE);
        assert_eq!(api.send(request).await.0, 200, "{header:?}");
    }
}

#[actix_web::test]
async fn no_key_and_a_wrong_key_are_401_and_say_which() {
    let api = Api::start().await;
    let ((status, body), headers) = api.send_whole(post("publish").set_payload(MESSAGE)).await;
    assert_eq!((status.as_u16(), body["error"]["code"].as_u64()), (401, Some(101)));
    assert!(body["error"]["message"].as_str().unwrap().contains("X-API-Key"), "{body}");
    assert_eq!(headers.get("www-authenticate").unwrap(), "apikey");
    for header in [("X-API-Key", "first-kez"), ("Authorization", "apikey nope"), ("X-API-Key", "first-key ,")]
    {
        let (status, body) = api.send(post("publish").insert_header(header).set_payload(MESSAGE)).await;
        assert_eq!((status.as_u16(), &body["error"]["message"]), (401, &json!("wrong API key")));
    }
    let bearer = post("publish").insert_header(("Authorization", "Bearer first-key")).set_payload(MESSAGE);
    assert_eq!(api.send(bearer).await.0, 401);
}

#[actix_web::test]
async fn without_keys_the_api_is_closed_and_says_so() {
    let mut settings = settings();
    settings.api.keys.clear();
    let api = Api::of(Node::start(settings).await.unwrap());
    for method in ["publish", "batch", "info", "no_such_method"] {
        let request = post(method).insert_header(("X-API-Key", "")).set_payload("{}");
        let (status, body) = api.send(request).await;
        assert_eq!(status, 401, "{method}");
        assert!(body["error"]["message"].as_str().unwrap().starts_with("the API is closed"), "{body}");
    }
}

#[actix_web::test]
async fn an_unknown_method_is_404_with_its_name_and_for_strangers_401() {
    let api = Api::start().await;
    assert_eq!(api.refused("pubish", "{}").await, (404, 104, "unknown method `pubish`".to_owned()));
    assert_eq!(api.refused("publish/now", "{}").await.0, 404);
    assert_eq!(api.send(post("pubish")).await.0, 401);
}

#[actix_web::test]
async fn another_verb_is_405_and_tells_the_right_one() {
    let api = Api::start().await;
    for (verb, path, allow) in [
        (Verb::GET, "/api/publish", "POST"),
        (Verb::PUT, "/api/batch", "POST"),
        (Verb::POST, "/api/openapi.json", "GET, HEAD"),
    ] {
        let request = TestRequest::default().method(verb).uri(path).insert_header(("X-API-Key", KEY));
        let ((status, body), headers) = api.send_whole(request).await;
        assert_eq!((status.as_u16(), body["error"]["code"].as_u64()), (405, Some(107)));
        assert_eq!(headers.get("allow").unwrap(), allow);
    }
}

#[actix_web::test]
async fn a_body_over_the_limit_is_413_whether_announced_or_not() {
    let api = Api::start().await;
    let limit = api.node.settings.api.body_max_bytes;
    let fits = json!({"channel": "news", "data": "x".repeat(limit - 100)}).to_string();
    assert_eq!(api.raw("publish", fits).await.0, 200);
    let over = json!({"channel": "news", "data": "x".repeat(limit)}).to_string();
    let (status, code, sentence) = api.refused("publish", &over).await;
    assert_eq!((status, code), (413, 106));
    assert!(sentence.contains("1048576"), "{sentence}");
    let announced = post("publish")
        .insert_header(("X-API-Key", KEY))
        .set_payload("{}")
        .insert_header(("Content-Length", "9999999999999"));
    assert_eq!(api.send(announced).await.0, 413);
}

#[actix_web::test]
async fn any_content_type_is_taken_as_json() {
    let api = Api::start().await;
    for content_type in ["application/x-www-form-urlencoded", "text/plain", "nonsense"] {
        let request = post("publish")
            .insert_header(("X-API-Key", KEY))
            .insert_header(("Content-Type", content_type))
            .set_payload(MESSAGE);
        assert_eq!(api.send(request).await.0, 200);
    }
}

/// Reads a body that comes in these pieces, the last of which may be an error.
async fn read(api: &Api, pieces: Vec<Result<Bytes, PayloadError>>) -> Result<Bytes, ApiError> {
    let data = web::Data::from(api.node.clone());
    let settings = web::Data::new(api.node.settings.api.clone());
    let request = TestRequest::default()
        .app_data(data)
        .app_data(settings)
        .insert_header(("X-API-Key", KEY))
        .to_http_request();
    let mut payload: Payload = Payload::Stream { payload: Box::pin(stream::iter(pieces)) };
    ApiCall::from_request(&request, &mut payload).await.map(|call| call.body)
}

#[actix_web::test]
async fn a_body_in_pieces_is_read_whole_up_to_the_limit() {
    let api = Api::start().await;
    let limit = api.node.settings.api.body_max_bytes;
    let pieces = |sizes: &[usize]| -> Vec<Result<Bytes, PayloadError>> {
        let letters = b'a'..=b'z';
        sizes.iter().zip(letters).map(|(size, letter)| Ok(Bytes::from(vec![letter; *size]))).collect()
    };
    assert_eq!(read(&api, Vec::new()).await.unwrap(), "");
    assert_eq!(read(&api, pieces(&[3])).await.unwrap(), "aaa");
    assert_eq!(read(&api, pieces(&[0, 3])).await.unwrap(), "bbb");
    assert_eq!(read(&api, pieces(&[2, 0, 1, 3])).await.unwrap(), "aacddd");
    assert_eq!(read(&api, pieces(&[limit - 1, 1])).await.unwrap().len(), limit);
    for over in [pieces(&[limit + 1]), pieces(&[limit, 1]), pieces(&[1, limit - 1, 1])] {
        assert_eq!(read(&api, over).await.unwrap_err().code().code, 106);
    }
    let cut = vec![Ok(Bytes::from_static(b"{")), Err(PayloadError::Incomplete(None))];
    assert_eq!(read(&api, cut).await.unwrap_err().code().code, 107);
}

#[actix_web::test]
async fn wrong_keys_are_limited_by_address_and_a_right_one_never_is() {
    let mut settings = settings();
    settings.api.wrong_keys_per_minute = 3;
    let api = Api::of(Node::start(settings).await.unwrap());
    let call = |address: &str, key: &'static str| {
        let peer = std::net::SocketAddr::new(address.parse().unwrap(), 1);
        api.send(post("publish").insert_header(("X-API-Key", key)).peer_addr(peer).set_payload(MESSAGE))
    };
    for status in [401, 401, 401, 429, 429] {
        assert_eq!(call("192.0.2.1", "wrong").await.0, status);
    }
    assert_eq!(call("192.0.2.1", KEY).await.0, 200);
    assert_eq!(call("192.0.2.1", "wrong").await.1["error"]["code"], 111);
    assert_eq!(call("192.0.2.2", "wrong").await.0, 401);
}
