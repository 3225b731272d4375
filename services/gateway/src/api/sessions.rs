//! `subscribe`, `unsubscribe`, `disconnect` and `refresh`: commands for the sessions of a user on all nodes. They are done when
//! every node's workers have them; a user without connections is no error.

use bytes::Bytes;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    api::{
        call::CallContext,
        channels::{PositionRequest, options},
        error::{ApiError, EmptyResult},
        value::{Json, LIST_MAX, ListField, TextField, check_depth},
    },
    disconnect::Disconnect,
    session_command::{ServerSubscribe, SessionCommand, SessionTarget},
};

/// Bytes of a disconnect's reason at most: what a close frame holds beside the code.
const REASON_MAX_BYTES: usize = 123;
/// Codes that a backend may disconnect with.
const DISCONNECT_CODES: std::ops::RangeInclusive<u32> = 3000..=4999;

/// Makes the request of a command: whose connections it is for, and fields of its own. A request for a channel has `[channel]` behind
/// its name. A shared struct would not do: serde refuses no
/// unknown fields where one is flattened into another.
macro_rules! session_request {
    ($(#[$about:meta])* $request:ident $([$channel:ident])? { $($own:tt)* }) => {
        $(#[$about])*
        #[derive(Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $request<'a> {
            /// Whose connections; may be empty, for an anonymous client, only with `client`.
            #[serde(borrow)]
            #[schema(value_type = String, example = "42")]
            pub user: TextField<'a>,
            $(
            /// The channel.
            #[serde(borrow)]
            #[schema(value_type = String, min_length = 1, max_length = 255)]
            pub $channel: TextField<'a>,
            )?
            /// Only this client of theirs.
            #[serde(borrow, default)]
            #[schema(value_type = String)]
            pub client: TextField<'a>,
            $($own)*
        }

        impl $request<'_> {
            fn target(&self) -> Result<SessionTarget, ApiError> {
                target(&self.user, &self.client)
            }
        }
    };
}

session_request! {
    /// Subscribes the connections of a user to a channel.
    SubscribeRequest[channel] {
        /// Shown to others as channel info, in presence, joins and leaves.
        #[serde(borrow, default)]
        #[schema(value_type = serde_json::Value)]
        pub info: Json<'a>,
        /// Handed to the client with the subscription.
        #[serde(borrow, default)]
        #[schema(value_type = serde_json::Value)]
        pub data: Json<'a>,
        /// Bring what was published after this position, too.
        #[serde(borrow, default)]
        #[schema(value_type = PositionRequest<'static>)]
        pub recover_since: Option<PositionRequest<'a>>,
    }
}

session_request! {
    /// Ends a subscription of the connections of a user.
    UnsubscribeRequest[channel] {}
}

session_request! {
    /// Ends the connections of a user. Without a code: 3503, after which a client does not come back.
    DisconnectRequest {
        /// 3000 to 4999; clients come back after 3000 to 3499 and 4000 to 4499. 0 or absent: 3503.
        #[serde(default)]
        #[schema(value_type = u32, maximum = 4999)]
        pub code: Option<u32>,
        /// Short text for people, at most 123 bytes.
        #[serde(borrow, default)]
        #[schema(value_type = String, max_length = 123)]
        pub reason: TextField<'a>,
        /// Code and reason as an object, as some libraries send them; then not beside it.
        #[serde(borrow, default)]
        #[schema(value_type = DisconnectWith<'static>)]
        pub disconnect: Option<DisconnectWith<'a>>,
        /// Client ids that stay.
        #[serde(borrow, default)]
        #[schema(value_type = Vec<String>, max_items = 10_000)]
        pub whitelist: ListField<TextField<'a>, LIST_MAX>,
    }
}

/// A code and a reason.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Disconnect)]
pub struct DisconnectWith<'a> {
    /// As `code` of the request.
    #[serde(default)]
    #[schema(value_type = u32, maximum = 4999)]
    pub code: Option<u32>,
    /// As `reason` of the request.
    #[serde(borrow, default)]
    #[schema(value_type = String, max_length = 123)]
    pub reason: TextField<'a>,
}

session_request! {
    /// Prolongs or ends the life of the connections of a user. Without `expired` and `expire_at` they no longer expire.
    RefreshRequest {
        /// End them now, with 3005.
        #[serde(default)]
        #[schema(value_type = bool)]
        pub expired: Option<bool>,
        /// Expiry of the sessions, in seconds since the Unix epoch. 0 or absent: never.
        #[serde(default)]
        #[schema(value_type = u64)]
        pub expire_at: Option<u64>,
    }
}

/// Whose connections are meant.
pub fn target(user: &TextField<'_>, client: &TextField<'_>) -> Result<SessionTarget, ApiError> {
    if user.is_empty() && client.is_empty() {
        return Err(ApiError::bad_request("user is empty: name a user, or a client that has none"));
    }
    Ok(SessionTarget { user: user.to_string(), client: client.given().map(str::to_owned) })
}

impl DisconnectRequest<'_> {
    /// The disconnect that is sent to them.
    pub fn disconnect(&self) -> Result<Disconnect, ApiError> {
        let beside = self.code.is_some() || !self.reason.is_empty();
        let (code, reason) = match &self.disconnect {
            Some(_) if beside => {
                return Err(ApiError::bad_request("code and reason either in disconnect or beside it"));
            }
            Some(with) => (with.code, &with.reason),
            None => (self.code, &self.reason),
        };
        if reason.len() > REASON_MAX_BYTES {
            let message = format!("reason: longer than {REASON_MAX_BYTES} bytes");
            return Err(ApiError::bad_request(message));
        }
        match (code.filter(|code| *code != 0), reason.given()) {
            (None, None) => Ok(Disconnect::FORCE_DISCONNECT),
            (None, Some(reason)) => Ok(Disconnect::new(Disconnect::FORCE_DISCONNECT.code, reason.to_owned())),
            (Some(code), _) => match u16::try_from(code) {
                Ok(short) if DISCONNECT_CODES.contains(&code) => {
                    Ok(Disconnect::new(short, reason.to_string()))
                }
                _ => Err(ApiError::bad_request("code: must be between 3000 and 4999")),
            },
        }
    }
}

pub(super) async fn subscribe(
    request: SubscribeRequest<'_>,
    call: &CallContext<'_>,
) -> Result<EmptyResult, ApiError> {
    let target = request.target()?;
    options(call.node, &request.channel)?;
    let subscribe = ServerSubscribe {
        channel: request.channel.to_string(),
        info: json("info", request.info)?,
        data: json("data", request.data)?,
        recover: request.recover_since.as_ref().map(|since| since.position()),
    };
    send(call, SessionCommand::Subscribe { target, subscribe }).await
}

pub(super) async fn unsubscribe(
    request: UnsubscribeRequest<'_>,
    call: &CallContext<'_>,
) -> Result<EmptyResult, ApiError> {
    let target = request.target()?;
    options(call.node, &request.channel)?;
    send(call, SessionCommand::Unsubscribe { target, channel: request.channel.to_string() }).await
}

pub(super) async fn disconnect(
    request: DisconnectRequest<'_>,
    call: &CallContext<'_>,
) -> Result<EmptyResult, ApiError> {
    let target = request.target()?;
    let disconnect = request.disconnect()?;
    let spared = request.whitelist.iter().map(|client| client.to_string()).collect();
    send(call, SessionCommand::Disconnect { target, disconnect, spared }).await
}

pub(super) async fn refresh(
    request: RefreshRequest<'_>,
    call: &CallContext<'_>,
) -> Result<EmptyResult, ApiError> {
    let target = request.target()?;
    let expired = request.expired.unwrap_or_default();
    let expire_at = request.expire_at.filter(|at| *at != 0);
    send(call, SessionCommand::Refresh { target, expired, expire_at }).await
}

async fn send(call: &CallContext<'_>, command: SessionCommand) -> Result<EmptyResult, ApiError> {
    call.node.cluster.send_command(command).await?;
    Ok(EmptyResult {})
}

/// Its own memory: it lives as long as the subscription, and must not keep the request's body.
fn json(field: &'static str, json: Json<'_>) -> Result<Bytes, ApiError> {
    let Some(json) = json.not_null() else { return Ok(Bytes::new()) };
    check_depth(field, json)?;
    Ok(Bytes::copy_from_slice(json.as_bytes()))
}
