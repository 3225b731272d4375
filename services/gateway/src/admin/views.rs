//! Reads of the admin API: each asks all nodes and says which of them answered. Publications' data, connection info and claims only with
//! the right `contents`.

mod channels;
mod connections;
mod nodes;
mod options;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    access::AdminCaller,
    answer::{AdminAnswer, Parameters, parts},
    audit::AuditRecord,
    error::AdminError,
    inspector::InspectQuery,
    login::described,
    state::Admin,
    traces,
};
use crate::{
    settings::{
        live::is_live,
        visible::{VisibleSetting, visible},
    },
    telemetry::last_lines::LoggedLine,
};

/// Lines of the log of all nodes in one answer.
const LOG_LINES: usize = 1000;
/// The reads.
const READS: [&str; 18] = [
    "session",
    // Answered before anybody is asked who they are ([`super::login::methods`]).
    "login_methods",
    "overview",
    "nodes",
    "channels",
    "channel",
    "subscribers",
    "connections",
    "connection",
    "user",
    "broker",
    "settings",
    "audit",
    "logs",
    "slow",
    "disconnects",
    "traces",
    // Not answered here: it is a stream ([`super::tail`]).
    "tail",
];

/// True for the name of a read.
pub fn is_read(call: &str) -> bool {
    READS.contains(&call)
}

/// Answers a read.
///
/// # Errors
/// There is no such read, or it makes no sense, or nobody could be asked.
pub async fn read(
    admin: &Admin,
    caller: &AdminCaller,
    call: &str,
    parameters: &Parameters,
) -> Result<AdminAnswer, AdminError> {
    match call {
        "session" => Ok(AdminAnswer::of(described(&caller.grant, caller.session.as_ref(), admin))),
        "overview" => nodes::overview(admin, parameters).await,
        "nodes" => nodes::nodes(admin).await,
        "broker" => nodes::broker(admin).await,
        "channels" => channels::channels(admin, parameters).await,
        "channel" => channels::channel(admin, caller, parameters).await,
        "subscribers" => channels::subscribers(admin, parameters).await,
        "connections" => connections::connections(admin, parameters).await,
        "connection" => connections::connection(admin, parameters).await,
        "user" => connections::user(admin, parameters).await,
        "slow" => Ok(AdminAnswer::reported(admin.node.cluster.slow_consumers().await?)?),
        "disconnects" => {
            let each = parameters.number("each")?.map_or(Ok(10), usize::try_from).unwrap_or(100).min(100);
            Ok(AdminAnswer::reported(admin.node.cluster.disconnects(each).await?)?)
        }
        "traces" => traces::read(admin, parameters).await,
        "settings" => settings(admin).await,
        "logs" => logs(admin).await,
        "audit" => {
            caller.check_operator()?;
            audit(admin).await
        }
        _ => Err(AdminError::UnknownCall),
    }
}

async fn settings(admin: &Admin) -> Result<AdminAnswer, AdminError> {
    let mut nodes = admin.ask(None, &InspectQuery::Settings).await?;
    let all: Vec<(String, Vec<VisibleSetting>)> = parts(&mut nodes);
    let own_name = &*admin.node.policy.node_name;
    let own = visible(&admin.node.live.running());
    let listed = own.into_iter().map(|setting| {
        let others = all.iter().filter(|(node, _)| node != own_name);
        let differs = others.filter_map(|(node, settings)| {
            let other = settings.iter().find(|other| other.name == setting.name);
            let value = other.map_or(Value::Null, |other| other.value.clone());
            (value != setting.value).then(|| json!({"node": node, "value": value}))
        });
        let differs: Vec<Value> = differs.collect();
        json!({
            "name": setting.name, "value": setting.value, "source": setting.source,
            "restart": !is_live(&setting.name), "differs": differs,
        })
    });
    let listed: Vec<Value> = listed.collect();
    Ok(AdminAnswer::of(json!({"settings": listed, "last_reload": admin.node.live.last_reload()}))
        .with_nodes(nodes))
}

/// Lines of the log of one node.
#[derive(Deserialize)]
struct NodeLines {
    lines: Vec<LoggedLine>,
    counts: BTreeMap<String, u64>,
}

async fn logs(admin: &Admin) -> Result<AdminAnswer, AdminError> {
    let mut nodes = admin.ask(None, &InspectQuery::Logs).await?;
    let all: Vec<(String, NodeLines)> = parts(&mut nodes);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut lines = Vec::new();
    for (node, own) in all {
        for (target, count) in own.counts {
            *counts.entry(target).or_default() += count;
        }
        lines.extend(own.lines.into_iter().map(|line| (node.clone(), line)));
    }
    lines.sort_by_key(|(_, line)| std::cmp::Reverse(line.at));
    let is_cut = lines.len() > LOG_LINES;
    lines.truncate(LOG_LINES);
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let counts: Vec<Value> =
        counts.into_iter().map(|(target, count)| json!({"target": target, "count": count})).collect();
    let lines: Vec<Value> = lines
        .into_iter()
        .map(|(node, line)| {
            let LoggedLine { at, level, target, message } = line;
            json!({"at": at, "node": node, "level": level, "target": target, "message": message})
        })
        .collect();
    let answer = AdminAnswer::of(json!({"counts": counts, "lines": lines}));
    Ok(answer.with_nodes(nodes).with_cursor(None, is_cut))
}

async fn audit(admin: &Admin) -> Result<AdminAnswer, AdminError> {
    let mut nodes = admin.ask(None, &InspectQuery::Audit).await?;
    let all: Vec<(String, Vec<AuditRecord>)> = parts(&mut nodes);
    let mut records: Vec<AuditRecord> = all.into_iter().flat_map(|(_, records)| records).collect();
    records.sort_by_key(|record| std::cmp::Reverse(record.at));
    records.truncate(1000);
    let records = serde_json::to_value(records).map_err(|_| AdminError::Internal)?;
    Ok(AdminAnswer::of(records).with_nodes(nodes))
}
