//! Overview, nodes and broker: what each node reports of itself, and the sums.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::admin::{
    answer::{AdminAnswer, Parameters, parts},
    counters::reason,
    error::AdminError,
    inspector::InspectQuery,
    report::{BrokerReport, NodeReport},
    series::{NAMES, merge},
    state::Admin,
};
use crate::{
    clock::unix_ms,
    metrics::histogram::{add_counts, percentile_99},
};

pub(super) async fn overview(admin: &Admin, parameters: &Parameters) -> Result<AdminAnswer, AdminError> {
    // In milliseconds, as all times.
    let since = parameters.number("since")?.unwrap_or_default() / 1000;
    let mut nodes = admin.ask(None, &InspectQuery::Report { since: Some(since) }).await?;
    let reports: Vec<(String, NodeReport)> = parts(&mut nodes);
    let reports: Vec<NodeReport> = reports.into_iter().map(|(_, report)| report).collect();
    let mut disconnects: BTreeMap<u16, f64> = BTreeMap::new();
    for (code, rate) in reports.iter().flat_map(|report| &report.rates.disconnects) {
        *disconnects.entry(*code).or_default() += rate;
    }
    let disconnects = disconnects.into_iter();
    let disconnects: Vec<Value> = disconnects
        .map(|(code, rate)| json!({"code": code, "reason": reason(code), "per_second": rate}))
        .collect();
    let mut fanouts = Vec::new();
    for report in &reports {
        add_counts(&mut fanouts, report.rates.fanouts.iter().copied());
    }
    let sum = |of: fn(&NodeReport) -> f64| reports.iter().map(of).sum::<f64>();
    let lags = reports.iter().flat_map(|report| &report.workers).map(|worker| worker.lag_ms);
    let worst_lag =
        lags.fold(None, |worst: Option<f64>, lag| Some(worst.map_or(lag, |worst| worst.max(lag))));
    let ill = reports.iter().find(|report| report.broker.state != "ready");
    // Subscriptions of one channel on several nodes are one channel each: the sum is what all nodes receive.
    let channels: i64 = reports.iter().map(|report| report.channels).sum();
    let all: Vec<_> = reports.iter().map(|report| report.series.clone()).collect();
    let series = merge(&all);
    let values = NAMES.iter().enumerate().map(|(index, name)| {
        let values: Vec<Option<f64>> =
            series.samples.iter().map(|sample| sample.get(index).copied().flatten()).collect();
        ((*name).to_owned(), json!(values))
    });
    let names: serde_json::Map<String, Value> = values.collect();
    let result = json!({
        "nodes_up": reports.len(),
        "nodes_expected": nodes.len(),
        "connections": reports.iter().flat_map(|report| report.connections.values()).sum::<i64>(),
        "clients": reports.iter().map(|report| report.clients).sum::<usize>(),
        "channels": channels,
        "subscriptions": reports.iter().map(|report| report.subscriptions).sum::<usize>(),
        "publications_per_second": sum(|report| report.rates.publications),
        "deliveries_per_second": sum(|report| report.rates.deliveries),
        "events_per_second": sum(|report| report.rates.events),
        "bytes_per_second": sum(|report| report.rates.bytes),
        "messages_received_per_second": sum(|report| report.rates.messages_received),
        "disconnects": disconnects,
        "fanout_p99_ms": percentile_99(&fanouts).map(|seconds| 1000.0 * seconds),
        "worst_lag_ms": worst_lag,
        "broker": {"state": ill.map_or("ready", |report| &report.broker.state)},
        "series": {"step_seconds": 1, "begin": 1000 * series.begin, "names": names},
    });
    Ok(AdminAnswer::of(result).with_nodes(nodes))
}

pub(super) async fn nodes(admin: &Admin) -> Result<AdminAnswer, AdminError> {
    let asked_ms = unix_ms();
    let mut nodes = admin.ask(None, &InspectQuery::Report { since: None }).await?;
    let reports: Vec<(String, NodeReport)> = parts(&mut nodes);
    let listed = reports.into_iter().map(|(_, report)| {
        // It answered at some time between: half of what is left over is a fair guess, and 0 where it fits in.
        let (earliest, latest) = (asked_ms, unix_ms());
        let offset = report.clock_ms.cast_signed() - report.clock_ms.clamp(earliest, latest).cast_signed();
        let mut value = serde_json::to_value(report).unwrap_or_default();
        if let Some(fields) = value.as_object_mut() {
            ["series", "rates", "broker", "cpu_seconds", "at_ms", "clock_ms"].iter().for_each(|name| {
                fields.remove(*name);
            });
            fields.insert("clock_offset_ms".to_owned(), offset.into());
        }
        value
    });
    let listed: Vec<Value> = listed.collect();
    Ok(AdminAnswer::of(listed.into()).with_nodes(nodes))
}

pub(super) async fn broker(admin: &Admin) -> Result<AdminAnswer, AdminError> {
    let mut nodes = admin.ask(None, &InspectQuery::Report { since: None }).await?;
    let reports: Vec<(String, NodeReport)> = parts(&mut nodes);
    let mut servers: Vec<Value> = Vec::new();
    for (node, report) in &reports {
        let rows = report.broker.each.iter().map(|server| serde_json::to_value(server).unwrap_or_default());
        let mut rows: Vec<Value> = rows.collect();
        // Within the node, or of an older version, which tells of the broker as a whole.
        if rows.is_empty() {
            rows.push(serde_json::to_value(&report.broker).unwrap_or_default());
        }
        for mut row in rows {
            if let Some(fields) = row.as_object_mut() {
                fields.remove("each");
                fields.insert("node".to_owned(), node.as_str().into());
            }
            servers.push(row);
        }
    }
    let pending =
        |of: fn(&BrokerReport) -> usize| reports.iter().map(|(_, report)| of(&report.broker)).sum::<usize>();
    let requests = pending(|broker| broker.pending_requests);
    let bytes = pending(|broker| broker.pending_bytes);
    let kind = reports.first().map_or("", |(_, report)| report.broker.kind.as_str());
    Ok(AdminAnswer::of(json!({
        "kind": kind, "servers": servers, "pending_requests": requests, "pending_bytes": bytes,
    }))
    .with_nodes(nodes))
}
