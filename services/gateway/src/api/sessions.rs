//! `subscribe`, `unsubscribe`, `disconnect` and `refresh`: commands for the sessions of a user on all nodes. They are done when
//! every node's workers have them; a user without connections is no error.

use std::ops::RangeInclusive;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use gorani_auth::OptionOverrides;
use gorani_protocol::client::{JSON_DEPTH, json_compact_check};
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
    session::Now,
    session_command::{ServerSubscribe, SessionCommand, SessionTarget},
};

/// Bytes of a disconnect's reason at most: what a close frame holds beside the code.
const REASON_MAX_BYTES: usize = 123;
/// Codes that a backend may disconnect with.
const DISCONNECT_CODES: RangeInclusive<u32> = 3000..=4999;
/// Those of them after which clients come back.
const RECONNECT_CODES: [RangeInclusive<u32>; 2] = [3000..=3499, 4000..=4499];

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
            /// The channel: at most 255 bytes of UTF-8.
            #[serde(borrow)]
            #[schema(value_type = String, min_length = 1, max_length = 255)]
            pub $channel: TextField<'a>,
            )?
            /// Only this client of theirs.
            #[serde(borrow, default)]
            #[schema(value_type = String)]
            pub client: TextField<'a>,
            /// Of these only the connection with this session id, which `http_stream` and `sse` tell their clients; others have none.
            #[serde(borrow, default)]
            #[schema(value_type = String)]
            pub session: TextField<'a>,
            $($own)*
        }

        impl $request<'_> {
            fn target(&self) -> Result<SessionTarget, ApiError> {
                let target = target(&self.user, &self.client)?;
                Ok(SessionTarget { session: self.session.given().map(str::to_owned), ..target })
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
        /// `info` as base64, in its place: bytes that are JSON are that JSON, others stay a string in base64.
        #[serde(borrow, default)]
        #[schema(value_type = String, content_encoding = "base64")]
        pub b64info: TextField<'a>,
        /// `data` as base64, in its place.
        #[serde(borrow, default)]
        #[schema(value_type = String, content_encoding = "base64")]
        pub b64data: TextField<'a>,
        /// End of the subscription, in seconds since the Unix epoch: the connection ends with 3006 then. 0 or absent: never.
        #[serde(default)]
        #[schema(value_type = u64)]
        pub expire_at: Option<u64>,
        /// Changed options of the channel, for this subscription.
        #[serde(rename = "override", default)]
        #[schema(value_type = OverrideRequest)]
        pub overrides: Option<OverrideRequest>,
        /// As `override.presence`. Libraries from before `override` have these four.
        #[serde(default)]
        #[schema(value_type = bool)]
        pub presence: Option<bool>,
        /// As `override.join_leave`.
        #[serde(default)]
        #[schema(value_type = bool)]
        pub join_leave: Option<bool>,
        /// As `override.force_positioning`.
        #[serde(default)]
        #[schema(value_type = bool)]
        pub position: Option<bool>,
        /// As `override.force_recovery`.
        #[serde(default)]
        #[schema(value_type = bool)]
        pub recover: Option<bool>,
        /// Bring what was published after this position, too.
        #[serde(borrow, default)]
        #[schema(value_type = PositionRequest<'static>)]
        pub recover_since: Option<PositionRequest<'a>>,
    }
}

impl SubscribeRequest<'_> {
    /// The changed options, of `override` and of the fields that came before it.
    ///
    /// # Errors
    /// An option is in both.
    fn overrides(&self) -> Result<OptionOverrides, ApiError> {
        let mut options = self.overrides.unwrap_or_default().options();
        for (name, beside, option) in [
            ("presence", self.presence, &mut options.presence),
            ("join_leave", self.join_leave, &mut options.join_leave),
            ("position", self.position, &mut options.force_positioning),
            ("recover", self.recover, &mut options.force_recovery),
        ] {
            if option.is_some() && beside.is_some() {
                return Err(ApiError::bad_request(format!(
                    "either {name} or its option in override, not both"
                )));
            }
            *option = option.or(beside);
        }
        Ok(options)
    }
}

/// Options of a channel, each with its changed value or absent.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SubscribeOverride)]
pub struct OverrideRequest {
    /// The client stands in the channel's presence.
    #[schema(value_type = OverrideValue, required = false)]
    pub presence: Option<OverrideValue>,
    /// Its joins and leaves are published.
    #[schema(value_type = OverrideValue, required = false)]
    pub join_leave: Option<OverrideValue>,
    /// It gets joins and leaves without asking for them.
    #[schema(value_type = OverrideValue, required = false)]
    pub force_push_join_leave: Option<OverrideValue>,
    /// It recovers what it missed.
    #[schema(value_type = OverrideValue, required = false)]
    pub force_recovery: Option<OverrideValue>,
    /// Its position is watched.
    #[schema(value_type = OverrideValue, required = false)]
    pub force_positioning: Option<OverrideValue>,
}

/// The changed value of an option.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OverrideValue {
    /// The value.
    pub value: bool,
}

impl OverrideRequest {
    fn options(self) -> OptionOverrides {
        let value = |changed: Option<OverrideValue>| changed.map(|changed| changed.value);
        OptionOverrides {
            presence: value(self.presence),
            join_leave: value(self.join_leave),
            force_push_join_leave: value(self.force_push_join_leave),
            force_recovery: value(self.force_recovery),
            force_positioning: value(self.force_positioning),
        }
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
        /// Code and reason as an object, as some libraries send them; then not beside it. gocent writes it in capitals.
        #[serde(borrow, default, alias = "Disconnect")]
        #[schema(value_type = DisconnectWith<'static>)]
        pub disconnect: Option<DisconnectWith<'a>>,
        /// Client ids that stay. gocent writes `ClientWhitelist`.
        #[serde(borrow, default, alias = "ClientWhitelist")]
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
    /// Clients look at the code alone. True only with a code after which they come back.
    #[serde(default)]
    #[schema(value_type = bool)]
    pub reconnect: Option<bool>,
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
        /// Shown to others as connection info from now on, in what the connection publishes and in channels that it subscribes
        /// to. Absent: it stays as it is.
        #[serde(borrow, default)]
        #[schema(value_type = serde_json::Value)]
        pub info: Json<'a>,
    }
}

/// Whose connections are meant.
pub fn target(user: &TextField<'_>, client: &TextField<'_>) -> Result<SessionTarget, ApiError> {
    if user.is_empty() && client.is_empty() {
        return Err(ApiError::bad_request("user is empty: name a user, or a client that has none"));
    }
    Ok(SessionTarget { user: user.to_string(), client: client.given().map(str::to_owned), session: None })
}

impl DisconnectRequest<'_> {
    /// The disconnect that is sent to them.
    pub fn disconnect(&self) -> Result<Disconnect, ApiError> {
        let beside = self.code.is_some() || !self.reason.is_empty();
        let (code, reason) = match &self.disconnect {
            Some(_) if beside => {
                return Err(ApiError::bad_request("code and reason either in disconnect or beside it"));
            }
            Some(with) => {
                let code = with.code.unwrap_or_default();
                if with.reconnect == Some(true) && !RECONNECT_CODES.iter().any(|codes| codes.contains(&code))
                {
                    return Err(ApiError::bad_request(
                        "disconnect.reconnect: clients come back after a code of 3000 to 3499 or 4000 to 4499",
                    ));
                }
                (with.code, &with.reason)
            }
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
        info: json_or_bytes("info", request.info, &request.b64info)?,
        data: json_or_bytes("data", request.data, &request.b64data)?,
        expire_at: to_come(request.expire_at)?,
        overrides: request.overrides()?,
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
    let info = json("info", request.info)?;
    send(call, SessionCommand::Refresh { target, expired, expire_at, info }).await
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

/// JSON of either field. Bytes that are JSON are that JSON; others stay a string in base64, as in tokens.
fn json_or_bytes(field: &'static str, value: Json<'_>, base64: &TextField<'_>) -> Result<Bytes, ApiError> {
    let Some(base64) = base64.given() else { return json(field, value) };
    if value.not_null().is_some() {
        return Err(ApiError::bad_request(format!("either {field} or b64{field}, not both")));
    }
    let bytes = BASE64
        .decode(base64)
        .map_err(|error| ApiError::bad_request(format!("b64{field}: not base64: {error}")))?;
    if json_compact_check(&bytes, JSON_DEPTH).is_ok() {
        return Ok(bytes.into());
    }
    Ok(serde_json::Value::from(base64).to_string().into())
}

/// A time in Unix seconds that has not passed; 0 is none.
fn to_come(expire_at: Option<u64>) -> Result<Option<u64>, ApiError> {
    match expire_at.filter(|at| *at != 0) {
        Some(at) if at <= Now::read().unix_s() => {
            Err(ApiError::bad_request("expire_at: has passed; unsubscribe ends a subscription"))
        }
        expire_at => Ok(expire_at),
    }
}
