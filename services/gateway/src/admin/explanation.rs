//! The question why a user got a publication or did not, and a ping of the client that the answer is about. `docs/explain.md`.

use serde::Deserialize;
use serde_json::json;

use super::{
    access::AdminCaller, answer::AdminAnswer, error::AdminError, inspector::InspectQuery, state::Admin,
};
use crate::{
    explain::{
        ExplainError,
        answer::Explanation,
        explain,
        query::{ExplainQuery, Selection},
    },
    node::cluster::inspect::NodeAnswer,
};

/// A question about what a user got.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainBody {
    channel: String,
    user: Option<String>,
    client: Option<String>,
    offset: Option<u64>,
    epoch: Option<String>,
    since: Option<u64>,
    last: Option<u32>,
    /// Sends a ping to the client that the verdict is about.
    #[serde(default)]
    probe: bool,
}

/// Answers it.
pub(super) async fn explain_query(
    admin: &Admin,
    caller: &AdminCaller,
    body: ExplainBody,
) -> Result<AdminAnswer, AdminError> {
    let ExplainBody { channel, user, client, offset, epoch, since, last, probe } = body;
    let publications = match (offset, since, last) {
        (Some(offset), None, None) => Selection::Offset(offset, epoch),
        (None, Some(since), None) => Selection::Since(since),
        (None, None, last) => Selection::Last(last.unwrap_or(10)),
        _ => return Err(AdminError::BadRequest("offset, since, last: one of them at most".to_owned())),
    };
    if probe {
        caller.check_operator()?;
    }
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let query = ExplainQuery { channel, user: given(user), client: given(client), publications };
    let mut explained = explain(&admin.node, &query).await.map_err(|error| match error {
        ExplainError::Request(problem) => AdminError::BadRequest(problem.to_owned()),
        ExplainError::Cluster(error) => error.into(),
        ExplainError::Broker(error) => AdminError::Unavailable(error.to_string()),
    })?;
    if probe && explained.can_be_confirmed() {
        confirm(admin, &mut explained).await?;
    }
    let nodes = explained.nodes.iter().map(NodeAnswer::from).collect();
    let result = json!({
        "verdict": explained.verdict, "evidence": explained.evidence, "advice": explained.advice,
        "exit": explained.exit,
    });
    Ok(AdminAnswer::of(result).with_nodes(nodes))
}

/// Pings the client of an explanation: what was in its outbox before is read when its pong comes.
async fn confirm(admin: &Admin, explained: &mut Explanation) -> Result<(), AdminError> {
    let nodes = admin.ask(None, &InspectQuery::Ping { client: explained.client.clone() }).await?;
    let pong =
        nodes.iter().find_map(|node| Some((&node.asked.name, node.value.as_ref()?["rtt_ms"].as_f64()?)));
    match pong {
        Some((node, rtt_ms)) => explained.confirm(node, rtt_ms),
        None => explained.note_silence(),
    }
    Ok(())
}
