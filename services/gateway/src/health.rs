//! Health and metrics: whether the process lives, whether it would deliver, and what it counts. `docs/protocols/http.md` §6.

use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::node::Node;

/// The process runs.
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "live"}))
}

/// 200 only if this node would deliver right now, else 503 with the reason by part.
pub async fn ready(node: web::Data<Node>) -> HttpResponse {
    match node.readiness() {
        Ok(()) => {
            let open = node.proxies.open_breakers();
            // Clients that no such proxy is asked about are served as ever.
            let status = if open.is_empty() {
                json!({"status": "ready"})
            } else {
                json!({"status": "ready", "backends_not_answering": open})
            };
            HttpResponse::Ok().json(status)
        }
        Err(reasons) => {
            let reasons: serde_json::Map<_, _> =
                reasons.into_iter().map(|(part, reason)| (part.to_owned(), reason.into())).collect();
            HttpResponse::ServiceUnavailable().json(json!({"status": "not ready", "reasons": reasons}))
        }
    }
}

/// The counters, for Prometheus.
pub async fn metrics(node: web::Data<Node>) -> HttpResponse {
    node.metrics.memory.set(&node.memory);
    node.proxies.set_gauges(&node.policy.proxy_counts);
    node.metrics.ready.set(i64::from(node.readiness().is_ok()));
    node.metrics.draining.set(i64::from(node.lifecycle.is_shutting_down()));
    node.metrics.workers.set(node.workers.inbox_entries().into_iter());
    match node.metrics.text(&node.broker().stats()) {
        Ok(text) => HttpResponse::Ok()
            .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
            .body(text),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}
