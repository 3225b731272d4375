//! `POST /api`: commands in lines, as gocent sends them.

use super::*;

/// The status, the media type and the lines of an answer; each is held against the document.
async fn lines(api: &Api, body: impl Into<web::Bytes>) -> (u16, String, Vec<Value>) {
    let node = api.node.clone();
    let app = init_service(
        App::new().service(web::scope("/api").configure(|scope| routes(scope, &node, &node.settings.api))),
    )
    .await;
    let request = TestRequest::post()
        .uri("/api")
        .insert_header(("Authorization", format!("apikey {KEY}")))
        .insert_header(("Content-Type", "application/json"))
        .set_payload(body);
    let response = call_service(&app, request.to_request()).await;
    let status = response.status().as_u16();
    let media = response.headers().get("content-type").unwrap().to_str().unwrap().to_owned();
    let body = read_body(response).await;
    let lines: Vec<Value> = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let schema = schema_at(&format!(
        "/paths/~1api/post/responses/{status}/content/{}/schema",
        media.replace('/', "~1")
    ));
    for line in &lines {
        schema.validate(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    (status, media, lines)
}

#[actix_web::test]
async fn every_line_is_a_command_and_has_its_line_of_reply_in_order() {
    let api = Api::start().await;
    let body = concat!(
        r#"{"method":"publish","params":{"channel":"kept:a","data":{"a":1}}}"#,
        "\n",
        r#"{"method":"publish","params":{"channel":"nowhere:a","data":1}}"#,
        "\n\n",
        "{\"params\":{\"channel\":\"kept:a\",\n\"data\":2},\"method\":\"publish\"}",
        r#"{"method":"history","params":{"channel":"kept:a","limit":-1}}"#,
        "\r\n",
        r#"{"method":"pubish","params":{}}"#,
        "\n",
        r#"{"method":"publish","params":{"channel":"kept:a","dta":1}}"#,
        "\n",
        r#"{"method":"info","params":null}"#,
        "\n",
        r#"{"method":"broadcast","params":{"channels":["kept:a","nowhere:a"],"data":3}}"#,
    );
    let (status, media, replies) = lines(&api, body).await;
    assert_eq!((status, media.as_str(), replies.len()), (200, "application/x-ndjson", 8), "{replies:?}");
    assert_eq!(replies[0]["result"]["offset"], 1);
    assert_eq!(replies[1]["error"]["code"], 102);
    assert_eq!(replies[2]["result"]["offset"], 2);
    assert_eq!(replies[3]["result"]["publications"].as_array().unwrap().len(), 2);
    assert_eq!(replies[4]["error"]["code"], 104);
    assert!(replies[5]["error"]["message"].as_str().unwrap().contains("unknown field `dta`"));
    assert_eq!(replies[6]["result"]["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(replies[7]["result"]["responses"][1]["error"]["code"], 102);
}

#[actix_web::test]
async fn a_body_that_is_no_lines_of_commands_is_one_error_and_nothing_is_done() {
    let api = Api::start().await;
    let good = r#"{"method":"publish","params":{"channel":"kept:a","data":1}}"#;
    let many = format!("{good}\n").repeat(10_001);
    for (body, says) in [
        (String::new(), "no command"),
        (" \n\n".to_owned(), "no command"),
        ("{}".to_owned(), "command 1: missing field `method`"),
        (format!("{good}\n[\"publish\",{{}}]"), "command 2: the body must be a JSON object"),
        (format!("{good}\n{{\"method\":\"info\""), "command 2: EOF while parsing"),
        (format!("{good}\nnonsense"), "command 2: expected"),
        (format!("{good}\n{{\"method\":\"info\",\"id\":1}}"), "command 2: id: unknown field `id`"),
        (format!("{good}\n{{\"method\":\"info\",\"method\":\"info\"}}"), "duplicate field `method`"),
        (many, "more than 10000 commands"),
    ] {
        let (status, media, answer) = lines(&api, body.clone()).await;
        assert_eq!((status, media.as_str(), answer.len()), (200, "application/json", 1));
        assert_eq!(answer[0]["error"]["code"], 107, "{answer:?}");
        let message = answer[0]["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{says}: {message}");
        let request = TestRequest::post().uri("/api").insert_header(("X-API-Key", KEY));
        let strict = request.insert_header(("X-Gorani-Error-Mode", "status")).set_payload(body);
        assert_eq!(api.send(strict).await.0, 400);
    }
    assert!(api.kept("kept:a").await.is_empty());
}

#[actix_web::test]
async fn lines_want_a_key_and_post() {
    let api = Api::start().await;
    let line = r#"{"method":"info"}"#;
    assert_eq!(api.send(TestRequest::post().uri("/api").set_payload(line)).await.0, 401);
    let ((status, _), headers) = api.send_whole(TestRequest::get().uri("/api")).await;
    assert_eq!((status.as_u16(), headers.get("allow").unwrap().to_str().unwrap()), (405, "POST"));
    assert_eq!(lines(&api, line).await.2.len(), 1);
}

#[actix_web::test]
async fn the_lines_of_one_call_read_as_much_as_one_call_may() {
    let mut settings = settings();
    settings.api.reply_max_bytes = 1024;
    let api = Api::of(Node::start(settings).await.unwrap());
    api.ok("publish", json!({"channel": "kept:a", "data": "x".repeat(1500)})).await;
    let line = r#"{"method":"history","params":{"channel":"kept:a","limit":10}}"#;
    let (_, _, replies) = lines(&api, format!("{line}\n{line}")).await;
    assert_eq!(replies[0]["result"]["publications"].as_array().unwrap().len(), 1);
    assert_eq!(replies[1]["error"]["code"], 106);
}
