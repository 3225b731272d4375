//! Changes of the admin API. Each takes `dry_run`, with which it says by node what it would do; each is one line of the audit log.
//! There is no undo. Operators only.

use bytes::Bytes;
use gorani_broker::{DataKind, Publication, Published};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tokio::time::Instant;

use super::{
    access::AdminCaller,
    answer::{AdminAnswer, decode},
    by_node::{by_node, count, count_subscribers, node_id},
    error::AdminError,
    explanation::explain_query,
    inspector::InspectQuery,
    reload::{ReloadAction, enforced, reload},
    state::Admin,
    traces::{self, TraceRequest},
    user_token,
};
use crate::{
    clock::unix_ms,
    disconnect::{Disconnect, ErrorCode},
    hub::scan::detail::ConnectionFilter,
    node::{cluster::inspect::NodeAnswer, live::ReloadMode},
    session_command::{SessionCommand, SessionTarget},
    telemetry,
};

/// The changes.
const CHANGES: [&str; 15] = [
    "login",
    "oidc_login",
    "logout",
    "explain",
    "actions/disconnect",
    "actions/unsubscribe",
    "actions/refresh",
    "actions/publish",
    "actions/history_remove",
    "actions/ping",
    "actions/trace",
    "actions/drain",
    "actions/log_level",
    "actions/reload",
    "actions/try",
];
/// Bytes of a disconnect's reason at most: those of a WebSocket close.
const REASON_MAX_BYTES: usize = 123;

/// True for the name of a change.
pub fn is_change(call: &str) -> bool {
    CHANGES.contains(&call)
}

/// The request of an action. Not every field is for each.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ActionRequest {
    user: Option<String>,
    client: Option<String>,
    channel: Option<String>,
    node: Option<String>,
    this_node: bool,
    level: Option<String>,
    code: Option<u16>,
    reason: String,
    data: Option<Box<RawValue>>,
    expired: bool,
    expire_at: Option<u64>,
    dry_run: bool,
    seconds: Option<u64>,
    end: Option<String>,
    trace: bool,
    enforce: bool,
}

/// Carries a change out.
///
/// # Errors
/// The caller only sees, or the change makes no sense, or it could not be carried out.
pub async fn change(
    admin: &Admin,
    caller: &AdminCaller,
    call: &str,
    body: &[u8],
) -> Result<AdminAnswer, AdminError> {
    if call == "explain" {
        // It changes nothing, and may be long: who sees may ask.
        return explain_query(admin, caller, decode(body)?).await;
    }
    let started = Instant::now();
    let name = call.strip_prefix("actions/").ok_or(AdminError::UnknownCall)?;
    let (target, is_dry, result) = match decode::<ActionRequest>(body) {
        Ok(request) => {
            let mut target = described(&request);
            let result = match caller.check_operator() {
                Ok(()) if name == "try" => {
                    user_token::answer(admin, caller, request.user.as_deref(), request.dry_run)
                }
                Ok(()) => run(admin, &caller.grant.name, name, &request).await,
                Err(error) => Err(error),
            };
            if let (true, Ok(answer)) = (request.enforce, &result) {
                target.push_str(&enforced(answer));
            }
            (target, request.dry_run, result)
        }
        Err(error) => (String::new(), false, Err(error)),
    };
    // A look ahead changes nothing.
    if !is_dry || result.is_err() {
        admin.audit_action(caller, name, &target, result.as_ref().map(|_| ()), started.elapsed());
    }
    result
}

impl ActionRequest {
    fn reload(&self) -> ReloadAction<'_> {
        let mode = ReloadMode { dry_run: self.dry_run, enforce: self.enforce };
        ReloadAction {
            node: self.node.as_deref().filter(|node| !node.is_empty()),
            this_node: self.this_node,
            mode,
        }
    }

    fn trace(&self) -> TraceRequest<'_> {
        TraceRequest {
            channel: self.channel.as_deref(),
            user: self.user.as_deref(),
            lasts_seconds: self.seconds,
            end: self.end.as_deref(),
            dry_run: self.dry_run,
        }
    }
}

/// The target of an action, for the audit log.
fn described(request: &ActionRequest) -> String {
    let parts = [
        ("user", &request.user),
        ("client", &request.client),
        ("channel", &request.channel),
        ("node", &request.node),
        ("level", &request.level),
        ("trace", &request.end),
    ];
    let named = parts.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_deref()?)));
    named.collect::<Vec<_>>().join(", ")
}

async fn run(
    admin: &Admin,
    who: &str,
    name: &str,
    request: &ActionRequest,
) -> Result<AdminAnswer, AdminError> {
    match name {
        "disconnect" => {
            let disconnect = disconnect(request)?;
            let command = |target| SessionCommand::Disconnect { target, disconnect, spared: Vec::new() };
            on_sessions(admin, request, None, command).await
        }
        "unsubscribe" => {
            let channel = needed(&request.channel, "channel")?.to_owned();
            let command = |target| SessionCommand::Unsubscribe { target, channel: channel.clone() };
            on_sessions(admin, request, Some(channel.clone()), command).await
        }
        "refresh" => {
            let (expired, expire_at) = (request.expired, request.expire_at);
            let command = |target| SessionCommand::Refresh { target, expired, expire_at, info: Bytes::new() };
            on_sessions(admin, request, None, command).await
        }
        "publish" => publish(admin, who, request).await,
        "history_remove" => history_remove(admin, request).await,
        "ping" => ping(admin, request).await,
        "trace" => traces::trace(admin, who, request.trace()).await,
        "drain" => drain(admin, request).await,
        "log_level" => log_level(admin, request).await,
        "reload" => reload(admin, request.reload()).await,
        _ => Err(AdminError::UnknownCall),
    }
}

fn missing(name: &str) -> AdminError {
    AdminError::BadRequest(format!("{name}: is missing"))
}

/// A field that must be there.
fn needed<'r>(value: &'r Option<String>, name: &str) -> Result<&'r str, AdminError> {
    value.as_deref().filter(|value| !value.is_empty()).ok_or_else(|| missing(name))
}

fn disconnect(request: &ActionRequest) -> Result<Disconnect, AdminError> {
    if request.reason.len() > REASON_MAX_BYTES {
        return Err(AdminError::BadRequest(format!("reason: longer than {REASON_MAX_BYTES} bytes")));
    }
    match request.code {
        None if request.reason.is_empty() => Ok(Disconnect::FORCE_DISCONNECT),
        None => Ok(Disconnect::new(Disconnect::FORCE_DISCONNECT.code, request.reason.clone())),
        Some(code @ 3000..=4999) => Ok(Disconnect::new(code, request.reason.clone())),
        Some(_) => Err(AdminError::BadRequest("code: must be between 3000 and 4999".to_owned())),
    }
}

/// Carries a command out on the sessions of a user, or on one of them.
async fn on_sessions(
    admin: &Admin,
    request: &ActionRequest,
    channel: Option<String>,
    command: impl FnOnce(SessionTarget) -> SessionCommand,
) -> Result<AdminAnswer, AdminError> {
    let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    let (user, client) = (given(&request.user), given(&request.client));
    if user.is_none() && client.is_none() {
        return Err(missing("user or client"));
    }
    let filter = ConnectionFilter {
        user: user.clone(),
        client: client.clone(),
        channel,
        ..ConnectionFilter::default()
    };
    let (answer, found_user) = count(admin, filter).await?;
    if request.dry_run {
        return Ok(answer);
    }
    // A command names the user of its client.
    let user = match (user, found_user, &client) {
        (Some(user), ..) => user,
        (None, Some(user), Some(_)) => user,
        _ => return Err(AdminError::NotFound("there is no such client".to_owned())),
    };
    admin.node.cluster.send_command(command(SessionTarget { user, client, session: None })).await?;
    Ok(answer)
}

async fn publish(admin: &Admin, who: &str, request: &ActionRequest) -> Result<AdminAnswer, AdminError> {
    let channel = needed(&request.channel, "channel")?;
    let data = request.data.as_ref().ok_or_else(|| missing("data"))?;
    admin.options(channel)?;
    let mut answer = count_subscribers(admin, channel).await?;
    if !request.dry_run {
        let publication = Publication {
            data: Bytes::copy_from_slice(data.get().as_bytes()),
            kind: DataKind::Json,
            time_ms: unix_ms(),
            ..Publication::default()
        };
        if request.trace {
            let spec = traces::begin_publication(&admin.node, who, channel, &publication).await?;
            answer = answer.with_result("trace", Some(spec.id.into()));
        }
        let published = admin.node.publisher.publish(channel, publication, false, None).await;
        let Published { position, .. } = published.map_err(refused)?;
        answer = answer.with_result("offset", Some(position.offset.into()));
    }
    Ok(answer)
}

fn refused(error: ErrorCode) -> AdminError {
    if error.temporary || error == ErrorCode::UNKNOWN_OUTCOME {
        AdminError::Unavailable(error.message.to_owned())
    } else {
        AdminError::BadRequest(format!("publish: {}", error.message))
    }
}

async fn history_remove(admin: &Admin, request: &ActionRequest) -> Result<AdminAnswer, AdminError> {
    let channel = needed(&request.channel, "channel")?;
    if !admin.options(channel)?.has_history() {
        return Err(AdminError::BadRequest("channel: keeps no history".to_owned()));
    }
    let answer = count_subscribers(admin, channel).await?;
    if !request.dry_run {
        let removed = admin.node.broker().remove_history(channel).await;
        removed.map_err(|error| AdminError::Unavailable(error.to_string()))?;
    }
    Ok(answer)
}

/// Sends a client a ping, and says how long its pong took.
async fn ping(admin: &Admin, request: &ActionRequest) -> Result<AdminAnswer, AdminError> {
    let client = needed(&request.client, "client")?.to_owned();
    if request.dry_run {
        let filter = ConnectionFilter { client: Some(client), ..ConnectionFilter::default() };
        return Ok(count(admin, filter).await?.0);
    }
    let nodes = admin.ask(None, &InspectQuery::Ping { client }).await?;
    let part = |name: &str| nodes.iter().filter_map(|node| node.value.as_ref()?.get(name).cloned()).next();
    let (took, error) = (part("rtt_ms"), part("error"));
    let number = |node: &NodeAnswer| node.value.as_ref()?["count"].as_u64();
    let is_somewhere = nodes.iter().any(|node| number(node) == Some(1));
    match (took, error) {
        (None, None) if !is_somewhere && nodes.iter().all(|node| node.asked.answered) => {
            Err(AdminError::NotFound("there is no such client".to_owned()))
        }
        (took, error) => Ok(by_node(nodes, number).with_result("rtt_ms", took).with_result("error", error)),
    }
}

async fn drain(admin: &Admin, request: &ActionRequest) -> Result<AdminAnswer, AdminError> {
    let named = needed(&request.node, "node")?;
    let nodes = admin.ask(None, &InspectQuery::Report { since: None }).await?;
    let mut found = nodes.into_iter().filter(|node| node.asked.id == named || node.asked.name == named);
    let (node, another) = (found.next(), found.next());
    let node = node.ok_or_else(|| AdminError::NotFound("there is no such node".to_owned()))?;
    if another.is_some() {
        return Err(AdminError::BadRequest("node: several have this name, give its id".to_owned()));
    }
    if request.dry_run {
        let open = |node: &NodeAnswer| {
            let connections = node.value.as_ref()?["connections"].as_object()?;
            Some(connections.values().filter_map(Value::as_u64).sum())
        };
        return Ok(by_node(vec![node], open));
    }
    let nodes = admin.ask(Some(&node.asked.id), &InspectQuery::Drain).await?;
    let is_done = nodes.iter().any(|node| node.asked.answered);
    let answer = by_node(nodes, |node| node.value.as_ref()?["count"].as_u64());
    if is_done {
        Ok(answer)
    } else {
        Err(AdminError::Unavailable("the node did not answer: it is not known whether it drains".to_owned()))
    }
}

/// Another level of the log, on all nodes or on one, until a restart or a reload.
async fn log_level(admin: &Admin, request: &ActionRequest) -> Result<AdminAnswer, AdminError> {
    let level = needed(&request.level, "level")?.to_owned();
    telemetry::check_level(&level).map_err(|error| AdminError::BadRequest(error.to_string()))?;
    let only = request.node.as_deref().filter(|node| !node.is_empty());
    let (id, query) = (node_id(admin, only).await?, InspectQuery::LogLevel { level });
    let query = if request.dry_run { InspectQuery::Report { since: None } } else { query };
    let nodes = admin.ask(id.as_deref(), &query).await?;
    Ok(by_node(nodes, |node| node.value.as_ref().map(|_| 1)))
}
