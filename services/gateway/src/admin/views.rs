//! Reads of the admin API: each asks all nodes and says which of them answered. Publications' data, connection info and claims only with
//! the right `contents`.

mod channels;
mod connections;
mod nodes;

use serde_json::{Value, json};

use super::{
    access::AdminCaller,
    answer::{AdminAnswer, Parameters, parts},
    audit::AuditRecord,
    error::AdminError,
    inspector::InspectQuery,
    login::described,
    state::Admin,
};
use crate::settings::{
    live::is_live,
    visible::{VisibleSetting, visible},
};

/// The reads.
const READS: [&str; 14] = [
    "session",
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
    "slow",
    "disconnects",
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
        "settings" => settings(admin).await,
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
    Ok(AdminAnswer::of(json!({"settings": listed, "last_reload": null})).with_nodes(nodes))
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
