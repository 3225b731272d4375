//! The page to try the node with, and the one that compares the transports, embedded in the binary. Only with `development.page`.

use actix_web::{
    HttpResponse,
    web::{self, ServiceConfig},
};
use serde_json::{Value, json};

/// The page takes everything from its own node.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Name, type and content of a file of the page.
type Asset = (&'static str, &'static str, &'static str);

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

const ASSETS: [Asset; 15] = [
    ("/", HTML, include_str!("../assets/index.html")),
    ("/app.js", SCRIPT, include_str!("../assets/app.js")),
    ("/feed.js", SCRIPT, include_str!("../assets/feed.js")),
    ("/page.js", SCRIPT, include_str!("../assets/page.js")),
    ("/travel.js", SCRIPT, include_str!("../assets/travel.js")),
    ("/theme.js", SCRIPT, include_str!("../assets/theme.js")),
    ("/presence.js", SCRIPT, include_str!("../assets/presence.js")),
    ("/centrifuge.js", SCRIPT, include_str!("../assets/centrifuge.js")),
    (
        "/centrifuge.LICENSE.txt",
        "text/plain; charset=utf-8",
        include_str!("../assets/centrifuge.LICENSE.txt"),
    ),
    ("/style.css", STYLE, include_str!("../assets/style.css")),
    ("/compare", HTML, include_str!("../assets/compare.html")),
    ("/compare.js", SCRIPT, include_str!("../assets/compare.js")),
    ("/receivers.js", SCRIPT, include_str!("../assets/receivers.js")),
    ("/compare.css", STYLE, include_str!("../assets/compare.css")),
    ("/favicon.svg", "image/svg+xml", include_str!("../assets/favicon.svg")),
];

/// The channel that the page opens first.
const FIRST_CHANNEL: &str = "demo:lobby";

/// The files of the page, and what it asks of the node. `api_key`: the key that it publishes with, in development.
pub fn routes(config: &mut ServiceConfig, api_key: Option<String>) {
    for (path, content_type, content) in ASSETS {
        config.route(path, web::get().to(move || std::future::ready(file(content_type, content))));
    }
    let about = json!({ "channel": FIRST_CHANNEL, "api_key": api_key, "token": null, "version": env!("CARGO_PKG_VERSION") });
    config.route("/page.json", web::get().to(move || std::future::ready(about_node(&about))));
}

fn file(content_type: &'static str, content: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(content_type)
        .insert_header(("Cache-Control", "no-cache"))
        .insert_header(("Content-Security-Policy", CONTENT_SECURITY_POLICY))
        .insert_header(("X-Content-Type-Options", "nosniff"))
        .insert_header(("Referrer-Policy", "no-referrer"))
        .body(content)
}

/// Data that the page cannot know.
fn about_node(about: &Value) -> HttpResponse {
    HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(about)
}
