//! OTLP over HTTP: spans as an OpenTelemetry collector takes them. Decision record 66.
//!
//! All names of attributes stand here: those of messaging are in development in the semantic conventions (1.44), and may change.
//! Beside them: the protobuf messages (`messages`) and the task that sends them (`exporter`), both with the feature `otlp`.

#[cfg(feature = "otlp")]
pub mod exporter;
#[cfg(feature = "otlp")]
pub mod messages;

/// Attributes of the resource.
pub mod resource {
    /// The name of the service: `telemetry.otlp.service_name`.
    pub const SERVICE_NAME: &str = "service.name";
    /// The id of the node.
    pub const SERVICE_INSTANCE_ID: &str = "service.instance.id";
    /// The version of the server.
    pub const SERVICE_VERSION: &str = "service.version";
}

/// The name of the instrumentation, as collectors show it.
pub const SCOPE: &str = "gorani";

/// The value of [`MESSAGING_SYSTEM`].
pub const SYSTEM: &str = "gorani";

/// `http.request.method`.
pub const HTTP_METHOD: &str = "http.request.method";
/// `http.route`: the path without what varies.
pub const HTTP_ROUTE: &str = "http.route";
/// `http.response.status_code`.
pub const HTTP_STATUS: &str = "http.response.status_code";
/// `server.address`: the host of a backend.
pub const SERVER_ADDRESS: &str = "server.address";
/// `error.type`: the code of an error, or its kind.
pub const ERROR_TYPE: &str = "error.type";
/// `messaging.system`.
pub const MESSAGING_SYSTEM: &str = "messaging.system";
/// `messaging.operation.name`.
pub const OPERATION_NAME: &str = "messaging.operation.name";
/// `messaging.operation.type`.
pub const OPERATION_TYPE: &str = "messaging.operation.type";
/// `messaging.destination.template`: the namespace.
pub const DESTINATION_TEMPLATE: &str = "messaging.destination.template";
/// `messaging.destination.name`: the channel, with `telemetry.channel_names` only.
pub const DESTINATION_NAME: &str = "messaging.destination.name";
/// `messaging.message.body.size`: bytes of a publication's data.
pub const BODY_SIZE: &str = "messaging.message.body.size";
/// `messaging.batch.message_count`: events of a request to an endpoint of hooks.
pub const BATCH_COUNT: &str = "messaging.batch.message_count";
/// The publisher: `api` or `client`.
pub const SOURCE: &str = "gorani.source";
/// The offset that the broker gave a publication.
pub const OFFSET: &str = "gorani.offset";
/// Subscribers of a channel on the node.
pub const MATCHED: &str = "gorani.deliver.matched";
/// Forms in which a publication was written, the most on one worker.
pub const ENCODINGS: &str = "gorani.deliver.encodings";
/// Bytes of these forms, each once a worker.
pub const ENCODED_BYTES: &str = "gorani.deliver.encoded_bytes";
/// Workers whose inbox had no room for a publication.
pub const OVERFLOWS: &str = "gorani.deliver.overflows";
/// Publications that a recovery brought.
pub const RECOVERED: &str = "gorani.recover.publications";
/// The name of an endpoint of hooks.
pub const HOOK_ENDPOINT: &str = "gorani.hooks.endpoint";
/// The event about which a proxy is asked.
pub const PROXY_EVENT: &str = "gorani.proxy.event";
