//! The table of methods: their names, requests, results and summaries. Everything that needs one line a method is made from it:
//! the paths, the decoder, the dispatch, the replies of a batch, and the OpenAPI document. `docs/protocols/http.md` §5.

use actix_web::HttpResponse;
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{ComponentsBuilder, Ref, RefOr, Schema},
};

use crate::{
    api::{
        call::CallContext,
        channels::{
            self, ChannelRequest, HistoryRequest, HistoryResult, PresenceRequest, PresenceResult,
            PresenceStatsResult,
        },
        error::{ApiError, EmptyResult, ErrorAnswer, ErrorView, encode, ok, with_result},
        explain::{self, ExplainRequest},
        hooks::{self, DeadLettersRequest, DeadLettersResult, DeadLettersTakenResult},
        overview::{
            self, ChannelsRequest, ChannelsResult, ConnectionsRequest, ConnectionsResult, InfoRequest,
            InfoResult,
        },
        publish::{self, BroadcastRequest, BroadcastResult, PublishRequest, PublishResult},
        sessions::{self, DisconnectRequest, RefreshRequest, SubscribeRequest, UnsubscribeRequest},
        value::object,
    },
    disconnect::ErrorCode,
    explain::answer::Explanation,
};

/// Makes [`Method`], [`ApiCommand`] and [`MethodAnswer`] from the table. The name is a `tt`: the macro of the schemas does not
/// see a `literal` that another macro hands on.
macro_rules! methods {
    ($($method:ident $name:tt: $group:ident::$run:ident($request:ty) -> $result:ty, $summary:literal;)+) => {
        /// One method of the API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Method {
            $(#[doc = $summary] $method,)+
        }

        impl Method {
            /// All of them, in the order of the table. `batch` is not among them: it holds them.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$method),+];

            /// The name in paths and batches.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$method => $name,)+
                }
            }

            /// One sentence for the OpenAPI document.
            pub(super) const fn summary(self) -> &'static str {
                match self {
                    $(Self::$method => $summary,)+
                }
            }
        }

        /// A decoded request of one method.
        pub enum ApiCommand<'a> {
            $(#[doc = $summary] $method($request),)+
        }

        impl<'a> ApiCommand<'a> {
            /// Decodes the request of a method. An empty body is that of an empty object.
            pub fn decode(method: Method, body: &'a [u8]) -> Result<Self, ApiError> {
                Ok(match method {
                    $(Method::$method => Self::$method(object(body)?),)+
                })
            }

            /// Carries it out. Boxed: without that every call is as large as the largest, and moved several times.
            pub(super) async fn run(self, call: &CallContext<'_>) -> Result<MethodAnswer, ApiError> {
                Ok(match self {
                    $(Self::$method(request) => {
                        MethodAnswer::$method(Box::pin($group::$run(request, call)).await?)
                    })+
                })
            }

            /// The schemas of a method.
            pub(super) fn schemas(method: Method) -> MethodSchemas {
                match method {
                    $(Method::$method => MethodSchemas::of::<$request, $result>(),)+
                }
            }
        }

        /// The outcome of a method. As JSON it is a reply of a batch: the result under the method's name, or an error.
        #[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
        #[schema(as = BatchReply)]
        #[expect(missing_docs, reason = "the methods, whose results are documented with their types")]
        pub enum MethodAnswer {
            $(#[serde(rename = $name)] $method($result),)+
            /// It failed.
            #[serde(rename = "error")]
            Error(ErrorView),
        }

        impl MethodAnswer {
            /// The answer to a call of one method: `{"result": …}`.
            pub(super) fn into_response(self) -> Result<HttpResponse, ApiError> {
                self.into_line().map(ok)
            }

            /// The same as a line of JSON without its end.
            pub(super) fn into_line(self) -> Result<Vec<u8>, ApiError> {
                match self {
                    $(Self::$method(result) => with_result(&result),)+
                    Self::Error(error) => encode(&ErrorAnswer { error }),
                }
            }
        }
    };
}

methods! {
    Publish "publish": publish::publish(PublishRequest<'a>) -> PublishResult,
        "One message to one channel, or to a user's personal channel";
    Broadcast "broadcast": publish::broadcast(BroadcastRequest<'a>) -> BroadcastResult,
        "The same message to many channels, with a result or an error for each";
    Subscribe "subscribe": sessions::subscribe(SubscribeRequest<'a>) -> EmptyResult,
        "Subscribe the connections of a user to a channel";
    Unsubscribe "unsubscribe": sessions::unsubscribe(UnsubscribeRequest<'a>) -> EmptyResult,
        "End a subscription of the connections of a user";
    Disconnect "disconnect": sessions::disconnect(DisconnectRequest<'a>) -> EmptyResult,
        "End the connections of a user";
    Refresh "refresh": sessions::refresh(RefreshRequest<'a>) -> EmptyResult,
        "Prolong or end the life of the connections of a user";
    Presence "presence": channels::presence(PresenceRequest<'a>) -> PresenceResult,
        "The clients that are in a channel";
    PresenceStats "presence_stats": channels::presence_stats(ChannelRequest<'a>) -> PresenceStatsResult,
        "How many clients and users are in a channel";
    History "history": channels::history(HistoryRequest<'a>) -> HistoryResult,
        "A page of what was published to a channel, and its position";
    HistoryRemove "history_remove": channels::history_remove(ChannelRequest<'a>) -> EmptyResult,
        "Forget what was published to a channel; its position stays";
    Channels "channels": overview::channels(ChannelsRequest<'a>) -> ChannelsResult,
        "Channels with subscribers on any node, in pages";
    Connections "connections": overview::connections(ConnectionsRequest<'a>) -> ConnectionsResult,
        "Clients that are connected to any node, in pages";
    Info "info": overview::info(InfoRequest) -> InfoResult,
        "The nodes of the cluster and their numbers";
    Explain "explain": explain::explain(ExplainRequest<'a>) -> Explanation,
        "Why a user got a publication of a channel, or did not";
    HooksDeadLetters "hooks_dead_letters": hooks::dead_letters(DeadLettersRequest<'a>) -> DeadLettersResult,
        "Events that an endpoint of the backend did not take, in pages";
    HooksReplay "hooks_replay": hooks::replay(DeadLettersRequest<'a>) -> DeadLettersTakenResult,
        "Send such events again";
    HooksDiscard "hooks_discard": hooks::discard(DeadLettersRequest<'a>) -> DeadLettersTakenResult,
        "Delete such events";
}

impl Method {
    /// The method of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }
}

/// 104 with the name that was asked for.
pub(super) fn unknown_method(name: &str) -> ApiError {
    ApiError::new(ErrorCode::METHOD_NOT_FOUND, format!("unknown method `{name}`"))
}

/// The schemas of one method.
pub(super) struct MethodSchemas {
    /// The schema of the request.
    pub(super) request: RefOr<Schema>,
    /// The schema of the result.
    pub(super) result: RefOr<Schema>,
    /// Adds both to the document.
    pub(super) register: fn(ComponentsBuilder) -> ComponentsBuilder,
}

impl MethodSchemas {
    pub(super) fn of<Request: ToSchema, Result: ToSchema>() -> Self {
        Self {
            request: reference::<Request>(),
            result: reference::<Result>(),
            register: |components| register::<Result>(register::<Request>(components)),
        }
    }
}

/// A reference to a type of the document.
pub(super) fn reference<T: ToSchema>() -> RefOr<Schema> {
    Ref::from_schema_name(T::name()).into()
}

/// Adds a type and all that it refers to.
pub(super) fn register<T: ToSchema>(components: ComponentsBuilder) -> ComponentsBuilder {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    components.schemas_from_iter(schemas)
}
