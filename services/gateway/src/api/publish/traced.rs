//! `publish` with `trace`, or with a sampled `traceparent` where the namespace says so: every node follows the publication before it
//! is published. `docs/explain.md`.

use gorani_broker::TraceContext;

use super::{PendingPublish, PublishRequest, PublishResult};
use crate::{
    api::{
        call::{CallContext, CallerTrace},
        error::ApiError,
    },
    disconnect::ErrorCode,
    event_log::trace::{TraceQuery, TraceTarget, TracedPublication},
    node::cluster::traces::{PUBLICATION_TRACE_LASTS, TraceError},
    telemetry::spans::context_in_tags,
};

impl From<TraceError> for ApiError {
    fn from(error: TraceError) -> Self {
        match error {
            TraceError::TooMany => Self::new(ErrorCode::TOO_MANY_REQUESTS, error.to_string()),
            TraceError::Cluster(error) => error.into(),
        }
    }
}

/// The reason for which a publication is traced.
pub(super) enum WantedTrace {
    /// The request asks for it.
    Requested,
    /// It has a sampled context, of the trace with this id.
    Sampled(String),
}

impl PublishRequest<'_> {
    /// True if it asks for a trace.
    pub(super) fn is_traced(&self) -> bool {
        self.trace.unwrap_or_default()
    }

    /// The reason for which it is to be traced, if it is.
    pub(super) fn wanted_trace(&self, call: &CallContext<'_>) -> Option<WantedTrace> {
        if self.is_traced() {
            return Some(WantedTrace::Requested);
        }
        self.sampled_trace(call).map(WantedTrace::Sampled)
    }

    /// The id of the sampled trace that it belongs to, by its call, else by its tags. `None` where the options of the channel do not
    /// ask for it.
    fn sampled_trace(&self, call: &CallContext<'_>) -> Option<String> {
        let trace_id = match call.caller_trace {
            CallerTrace::Unread => return None,
            CallerTrace::Sampled(id) => id,
            CallerTrace::Unsampled => {
                context_in_tags(self.tags.pairs()).filter(TraceContext::is_sampled)?.trace_id
            }
        };
        let channel = self.address().ok()?;
        let policy = call.node.policy.get();
        let options = policy.channel_options(&channel).ok()?;
        options.trace_sampled.then(|| trace_id.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Publishes once all nodes that answer follow it. A request for a trace fails where there is no room for one; a sampled
    /// publication goes out without.
    pub(super) async fn publish_traced(
        mut self,
        wanted: WantedTrace,
        call: &CallContext<'_>,
    ) -> Result<PublishResult, ApiError> {
        if matches!(wanted, WantedTrace::Requested) && !call.node.settings.api.allow_trace {
            return Err(ApiError::new(ErrorCode::PERMISSION_DENIED, "trace: api.allow_trace is off"));
        }
        let message = self.take_message(call)?;
        let channel = self.address()?;
        let publication = TracedPublication::of(&channel, &message.publication);
        let cluster = &call.node.cluster;
        let spec = match wanted {
            WantedTrace::Requested => {
                let target = TraceTarget::Publication(publication);
                let by = "a key of the API";
                Some(cluster.begin_trace(target, by, PUBLICATION_TRACE_LASTS).await?.0)
            }
            WantedTrace::Sampled(trace_id) => cluster.begin_sampled_trace(publication, trace_id).await,
        };
        let is_counted = self.num_subscribers.unwrap_or_default();
        let pending = PendingPublish { is_counted, ..message.publish(call.node, channel) };
        match (pending.finish(call).await, spec) {
            (Ok(result), spec) => Ok(PublishResult { trace: spec.map(|spec| spec.id), ..result }),
            (Err(error), spec) => {
                if let Some(spec) = spec {
                    // It ends by itself, if they cannot be asked.
                    let _ended = cluster.traces(TraceQuery::End { id: spec.id }).await;
                }
                Err(error)
            }
        }
    }
}
