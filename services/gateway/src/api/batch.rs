//! `batch`: many commands in one call.
//!
//! Publications that follow one another are all handed to the broker before any answer is waited for, so that they share its
//! round trips; any other command waits for those before it, unless the batch is `parallel`.

use std::{borrow::Cow, fmt};

use futures_util::future::{LocalBoxFuture, join_all, ready};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, OneOfBuilder, RefOr, Schema, schema::AdditionalProperties},
};

use crate::api::{
    call::CallContext,
    error::ApiError,
    method::{ApiCommand, Method, MethodAnswer, unknown_method},
    publish::CallPace,
    value::{ListField, TextField, object},
};

/// Commands of a batch at most.
pub const BATCH_MAX: usize = 10_000;

/// Commands of a batch whose answers are waited for together.
const AT_A_TIME: usize = 64;

/// Many commands in one call.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest<'a> {
    /// The commands, each an object with one method.
    #[serde(borrow)]
    #[schema(value_type = Vec<NamedCommand<'static>>, max_items = 10_000)]
    pub commands: ListField<NamedCommand<'a>, BATCH_MAX>,
    /// True if commands may be carried out at the same time. Publications of one channel keep their order either way.
    #[serde(default)]
    #[schema(value_type = bool)]
    pub parallel: Option<bool>,
}

/// `{"<method>": {params}}`, one command of a batch.
pub struct NamedCommand<'a> {
    /// The only name in the object.
    pub method: TextField<'a>,
    /// The parameters under the method's name, a JSON value.
    pub params: &'a str,
}

impl<'de: 'a, 'a> Deserialize<'de> for NamedCommand<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsNamed;
        impl<'de> Visitor<'de> for AsNamed {
            type Value = NamedCommand<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object with one method: {\"publish\": {…}}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let Some((method, params)) = map.next_entry::<_, &RawValue>()? else {
                    return Err(A::Error::custom("a command without a method"));
                };
                if map.next_key::<TextField<'de>>()?.is_some() {
                    return Err(A::Error::custom("a command with more than one method"));
                }
                Ok(NamedCommand { method, params: params.get() })
            }
        }
        deserializer.deserialize_map(AsNamed)
    }
}

impl PartialSchema for NamedCommand<'_> {
    fn schema() -> RefOr<Schema> {
        let command = |method: Method| {
            ObjectBuilder::new()
                .property(method.name(), ApiCommand::schemas(method).request)
                .required(method.name())
                .additional_properties(Some(AdditionalProperties::FreeForm(false)))
        };
        Method::ALL.into_iter().fold(OneOfBuilder::new(), |one, method| one.item(command(method))).into()
    }
}

impl ToSchema for NamedCommand<'_> {
    fn name() -> Cow<'static, str> {
        "BatchCommand".into()
    }
}

/// The result of `batch`: a reply for each command, in order.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct BatchResult {
    /// The replies.
    pub replies: Vec<MethodAnswer>,
}

/// Decodes one command of a batch.
pub fn decode_named<'a>(named: &NamedCommand<'a>) -> Result<ApiCommand<'a>, ApiError> {
    let method = Method::of(&named.method).ok_or_else(|| unknown_method(&named.method))?;
    ApiCommand::decode(method, named.params.as_bytes())
}

/// Decodes a batch. Its commands are decoded one by one, so that a bad one does not take the others along.
pub fn decode(body: &[u8]) -> Result<BatchRequest<'_>, ApiError> {
    object(body)
}

/// A command that is under way or will be when it is polled.
type CommandInProgress<'a> = LocalBoxFuture<'a, Result<MethodAnswer, ApiError>>;

/// Begins a command: a publication has its position in the channel's order when this returns.
async fn begin<'a>(command: ApiCommand<'a>, call: &'a CallContext<'_>) -> CommandInProgress<'a> {
    match command {
        ApiCommand::Publish(request) => match request.begin(call) {
            Ok(pending) => Box::pin(async { pending.finish(call).await.map(MethodAnswer::Publish) }),
            Err(error) => Box::pin(ready(Err(error))),
        },
        ApiCommand::Broadcast(request) => match request.begin(call).await {
            Ok(pending) => Box::pin(async { Ok(MethodAnswer::Broadcast(pending.finish(call).await)) }),
            Err(error) => Box::pin(ready(Err(error))),
        },
        other => Box::pin(other.run(call)),
    }
}

/// True if a command may be under way together with those before it.
fn joins(command: &Result<ApiCommand<'_>, ApiError>) -> bool {
    matches!(command, Ok(ApiCommand::Publish(_) | ApiCommand::Broadcast(_)) | Err(_))
}

/// Carries a batch out; replies are in the order of the commands.
pub(super) async fn run(batch: &BatchRequest<'_>, call: &CallContext<'_>) -> BatchResult {
    let parallel = batch.parallel.unwrap_or_default();
    let mut replies = Vec::with_capacity(batch.commands.len());
    let mut under_way: Vec<CommandInProgress<'_>> = Vec::new();
    let mut pace = CallPace::begin();
    for named in batch.commands.iter() {
        let command = decode_named(named);
        let alone = !parallel && !joins(&command);
        if alone {
            finish_all(&mut under_way, &mut replies).await;
        }
        under_way.push(match command {
            Ok(command) => begin(command, call).await,
            Err(error) => Box::pin(ready(Err(error))),
        });
        if alone {
            finish_all(&mut under_way, &mut replies).await;
        }
        pace.pause().await;
    }
    finish_all(&mut under_way, &mut replies).await;
    BatchResult { replies }
}

/// Waits for all that is under way.
async fn finish_all(under_way: &mut Vec<CommandInProgress<'_>>, replies: &mut Vec<MethodAnswer>) {
    let mut pace = CallPace::begin();
    while !under_way.is_empty() {
        let some = under_way.drain(..under_way.len().min(AT_A_TIME));
        let settled = join_all(some).await.into_iter();
        replies
            .extend(settled.map(|result| result.unwrap_or_else(|error| MethodAnswer::Error(error.view()))));
        pace.pause().await;
    }
}
