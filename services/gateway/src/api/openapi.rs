//! The OpenAPI document, made from the types that requests are decoded into and answers are written from.
//! `docs/protocols/http.md` §4.12.

use std::sync::LazyLock;

use utoipa::openapi::{
    ComponentsBuilder, Content, ContentBuilder, HttpMethod, InfoBuilder, ObjectBuilder, OneOfBuilder,
    OpenApi, OpenApiBuilder, PathItem, PathsBuilder, RefOr, ResponseBuilder, Schema,
    path::OperationBuilder,
    request_body::{RequestBody, RequestBodyBuilder},
    schema::Type,
    security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme},
};

use crate::api::{
    batch::{BatchRequest, BatchResult},
    error::ErrorAnswer,
    lines::{CommandLine, NDJSON},
    method::{ApiCommand, Method, reference, register},
};

/// Statuses that an answer may have besides 200, and what they mean.
const ERRORS: [(&str, &str); 10] = [
    ("400", "The request is malformed (107)"),
    ("401", "No API key, or a wrong one (101)"),
    ("404", "The channel's namespace (102) or the method (104) does not exist"),
    ("405", "The path takes another verb (107)"),
    ("409", "The channel keeps no presence or history (108), or the position is of another epoch (112)"),
    ("413", "The body or the message is larger than a limit (106)"),
    ("415", "The body is compressed (107, its `reason` is `unsupported_content_encoding`): send it as it is"),
    ("429", "Too many requests at the moment (111)"),
    ("500", "Something failed inside the node (100)"),
    (
        "503",
        "The broker cannot be reached and nothing was done (120), or the broker or a living node gave no answer and the outcome is unknown (121)",
    ),
];

/// The document.
pub fn document() -> OpenApi {
    let mut components = register::<ErrorAnswer>(ComponentsBuilder::new());
    let mut paths = PathsBuilder::new();
    for method in Method::ALL {
        let schemas = ApiCommand::schemas(method);
        components = (schemas.register)(components);
        let path = format!("/api/{}", method.name());
        let result = ObjectBuilder::new().property("result", schemas.result).required("result").into();
        let operation = operation(method.name(), method.summary(), schemas.request, result);
        paths = paths.path(path, PathItem::new(HttpMethod::Post, operation));
    }
    components = register::<BatchResult>(register::<BatchRequest<'_>>(components));
    let summary = "Many commands in one call, with a reply for each, in order. Publications that follow one \
                   another share the broker's round trips";
    let operation = operation("batch", summary, reference::<BatchRequest<'_>>(), reference::<BatchResult>());
    paths = paths.path("/api/batch", PathItem::new(HttpMethod::Post, operation));
    components = register::<CommandLine<'_>>(components);
    paths = paths.path("/api", PathItem::new(HttpMethod::Post, lines()));
    paths = paths.path("/api/openapi.json", PathItem::new(HttpMethod::Get, this()));
    let header = |name| SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new(name)));
    components = components.security_scheme("X-API-Key", header("X-API-Key")).security_scheme(
        "Authorization",
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
            "Authorization",
            "`apikey`, a space, and the key",
        ))),
    );
    OpenApiBuilder::new()
        .info(InfoBuilder::new().title("Gorani").version(env!("CARGO_PKG_VERSION")).description(Some(
            "The push API for backends. Every call acts on the whole cluster, whichever node it is sent to. Unknown fields are \
             refused; for a string, null and empty mean absent. Errors of a call are answered with 200 and `error`, unless \
             `api.error_mode` is `status` or the call has the header `X-Gorani-Error-Mode: status` (or \
             `X-Centrifugo-Error-Mode: transport`).",
        )))
        .components(Some(components.build()))
        .paths(paths.build())
        .build()
}

/// The document as JSON.
pub fn document_text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| document().to_json().unwrap_or_default());
    &TEXT
}

/// The result of a call that was answered with 200.
const DONE: &str =
    "Done; or, with `api.error_mode = \"body\"`, what is wrong with the call (102, 103, 105 to 110, 112)";

fn operation(name: &str, summary: &str, request: RefOr<Schema>, result: RefOr<Schema>) -> OperationBuilder {
    let body = RequestBodyBuilder::new().content("application/json", json(request)).build();
    let answer = OneOfBuilder::new().item(result).item(reference::<ErrorAnswer>()).into();
    let done = ResponseBuilder::new().description(DONE).content("application/json", json(answer));
    with_errors(name, summary, body, done)
}

/// Commands in lines. The schemas are those of one line.
fn lines() -> OperationBuilder {
    let summary = "Commands in lines, with a line of reply for each, in order: a result or an error";
    let body = RequestBodyBuilder::new().content(NDJSON, json(reference::<CommandLine<'_>>())).build();
    let result = ObjectBuilder::new().property("result", ObjectBuilder::new()).required("result");
    let line = OneOfBuilder::new().item(result).item(reference::<ErrorAnswer>()).into();
    let done = ResponseBuilder::new()
        .description(DONE)
        .content(NDJSON, json(line))
        .content("application/json", json(reference::<ErrorAnswer>()));
    with_errors("lines", summary, body, done)
}

fn json(schema: RefOr<Schema>) -> Content {
    ContentBuilder::new().schema(Some(schema)).build()
}

fn with_errors(name: &str, summary: &str, body: RequestBody, done: ResponseBuilder) -> OperationBuilder {
    let mut operation = OperationBuilder::new()
        .operation_id(Some(name))
        .summary(Some(summary))
        .request_body(Some(body))
        .response("200", done)
        .security(SecurityRequirement::new("X-API-Key", Vec::<String>::new()))
        .security(SecurityRequirement::new("Authorization", Vec::<String>::new()));
    for (status, meaning) in ERRORS {
        let content = json(reference::<ErrorAnswer>());
        operation = operation.response(
            status,
            ResponseBuilder::new().description(meaning).content("application/json", content),
        );
    }
    operation
}

fn this() -> OperationBuilder {
    let schema = ObjectBuilder::new().schema_type(Type::Object);
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let done = ResponseBuilder::new().description("The document").content("application/json", content);
    OperationBuilder::new().operation_id(Some("openapi")).summary(Some("This document")).response("200", done)
}
