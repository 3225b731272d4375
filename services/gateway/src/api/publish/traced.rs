//! `publish` with `trace`: every node follows the publication before it is published. `docs/explain.md`.

use super::{PendingPublish, PublishRequest, PublishResult};
use crate::{
    api::{call::CallContext, error::ApiError},
    disconnect::ErrorCode,
    event_log::trace::{TraceQuery, TraceTarget, TracedPublication},
    node::cluster::traces::{PUBLICATION_TRACE_LASTS, TraceError},
};

impl From<TraceError> for ApiError {
    fn from(error: TraceError) -> Self {
        match error {
            TraceError::TooMany => Self::new(ErrorCode::TOO_MANY_REQUESTS, error.to_string()),
            TraceError::Cluster(error) => error.into(),
        }
    }
}

impl PublishRequest<'_> {
    /// True if it is to be traced.
    pub(super) fn is_traced(&self) -> bool {
        self.trace.unwrap_or_default()
    }

    /// Publishes once all nodes that answer follow it.
    pub(super) async fn publish_traced(mut self, call: &CallContext<'_>) -> Result<PublishResult, ApiError> {
        if !call.node.settings.api.allow_trace {
            return Err(ApiError::new(ErrorCode::PERMISSION_DENIED, "trace: api.allow_trace is off"));
        }
        let message = self.take_message(call)?;
        let is_counted = self.num_subscribers.unwrap_or_default();
        let channel = self.address()?;
        let cluster = &call.node.cluster;
        let target = TraceTarget::Publication(TracedPublication::of(&channel, &message.publication));
        let (spec, _) = cluster.begin_trace(target, "a key of the API", PUBLICATION_TRACE_LASTS).await?;
        let pending = PendingPublish { is_counted, ..message.publish(call.node, channel) };
        match pending.finish(call).await {
            Ok(result) => Ok(PublishResult { trace: Some(spec.id), ..result }),
            Err(error) => {
                // It ends by itself, if they cannot be asked.
                let _ended = cluster.traces(TraceQuery::End { id: spec.id }).await;
                Err(error)
            }
        }
    }
}
