//! Reloads at the request of an operator: on all nodes or one, with the report of each, and with the number of subscriptions that the
//! settings no longer permit. Records 61 and 71.

use serde_json::{Value, json};

use super::{
    answer::AdminAnswer, by_node::node_id, error::AdminError, inspector::InspectQuery, state::Admin,
};
use crate::node::live::ReloadMode;

/// A reload that is asked for.
pub(super) struct ReloadAction<'a> {
    /// The node, by its id or its name; absent for all.
    pub(super) node: Option<&'a str>,
    /// True for the node that is asked.
    pub(super) this_node: bool,
    /// The parts of it that are carried out.
    pub(super) mode: ReloadMode,
}

/// Has nodes read their settings again. Beside the number of each stands the report of what changes.
///
/// # Errors
/// There is no such node, or nobody can be asked.
pub(super) async fn reload(admin: &Admin, action: ReloadAction<'_>) -> Result<AdminAnswer, AdminError> {
    let ReloadAction { node, this_node, mode } = action;
    let only =
        if this_node { Some(admin.node.policy.node_id.to_string()) } else { node_id(admin, node).await? };
    let nodes = admin.ask(only.as_deref(), &InspectQuery::Reload(mode)).await?;
    let rows: Vec<Value> = nodes
        .iter()
        .map(|node| {
            let part = node.value.clone().unwrap_or_else(|| json!({"error": "no answer"}));
            json!({
                "id": node.asked.id, "name": node.asked.name, "count": part["count"], "error": trouble(&part, mode),
                "report": part["report"],
            })
        })
        .collect();
    let reports: Vec<&Value> =
        rows.iter().map(|row| &row["report"]).filter(|report| !report.is_null()).collect();
    let merged = |list: &str| {
        let all = reports.iter().flat_map(|report| report[list].as_array().into_iter().flatten());
        // Nodes with the same file change the same.
        all.fold(Vec::<&Value>::new(), |mut seen, entry| {
            if !seen.contains(&entry) {
                seen.push(entry);
            }
            seen
        })
    };
    let total = merged("live").len() + merged("certificates").len();
    // Nothing is taken for 0 that a node does not tell.
    let not_permitted: Option<u64> =
        rows.iter().map(|row| row["report"]["not_permitted"].as_u64()).sum::<Option<u64>>();
    let ended: u64 = reports
        .iter()
        .filter(|report| report["enforced"] == true)
        .filter_map(|report| report["not_permitted"].as_u64())
        .sum();
    let result = json!({
        "total": total, "by_node": rows, "live": merged("live"), "restart": merged("restart"),
        "certificates": merged("certificates"), "effects": merged("effects"),
        "not_permitted": not_permitted, "ended": ended,
    });
    Ok(AdminAnswer::of(result).with_nodes(nodes))
}

/// The reason for which a node did not do all that was asked of it; null if it did.
fn trouble(part: &Value, mode: ReloadMode) -> Value {
    let report = &part["report"];
    let is_enforced = report["enforced"].as_bool();
    if !part["error"].is_null() || !mode.enforce || report.is_null() {
        return part["error"].clone();
    }
    match (mode.dry_run, is_enforced, report["not_permitted"].is_null()) {
        (true, Some(_), true) => "a worker did not answer in time: subscriptions were not counted".into(),
        (false, Some(false), _) => {
            "the settings are in place, but a worker did not answer in time: no subscription was ended".into()
        }
        (true, None, _) => "this version of the node cannot end subscriptions".into(),
        (false, None, _) => {
            "the settings are in place, but this version of the node cannot end subscriptions".into()
        }
        _ => Value::Null,
    }
}

/// The reach of a reload that ends subscriptions, for the audit log.
pub(super) fn enforced(answer: &AdminAnswer) -> String {
    format!("enforce: {} subscriptions end", answer.field("ended"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_did_not_end_subscriptions_is_told_and_one_that_did_is_not() {
        let enforce = ReloadMode { dry_run: false, enforce: true };
        let look = ReloadMode { dry_run: true, enforce: true };
        let part = |report: Value| json!({"count": 1, "report": report});
        let done = part(json!({"not_permitted": 7, "enforced": true}));
        let counted = part(json!({"not_permitted": 7, "enforced": false}));
        let not_counted = part(json!({"not_permitted": null, "enforced": false}));
        let older = part(json!({"live": []}));
        for (part, mode, expected) in [
            (&done, enforce, None),
            (&counted, look, None),
            (&not_counted, enforce, Some("no subscription was ended")),
            (&not_counted, look, Some("were not counted")),
            (&older, enforce, Some("this version")),
            (&older, look, Some("this version")),
            (&older, ReloadMode::default(), None),
            (&not_counted, ReloadMode::default(), None),
            (&json!({"error": "no answer"}), enforce, Some("no answer")),
        ] {
            let told = trouble(part, mode);
            assert_eq!(told.is_null(), expected.is_none(), "{part} {mode:?}: {told}");
            assert!(told.as_str().unwrap_or_default().contains(expected.unwrap_or_default()), "{told}");
        }
    }
}
