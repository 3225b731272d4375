//! `publish` and `broadcast`: from the request to [`Node::publish`]. `docs/architecture.md` §2.3.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use gorani_broker::{Publication, Published};

use crate::{
    api::{
        answer::{BroadcastResult, PublishResponse, PublishResult},
        channel::explain,
        error::ApiError,
        pace::CallPace,
        request::{BroadcastRequest, PublishRequest, RequestPayload},
    },
    disconnect::ErrorCode,
    node::Node,
    session::Now,
};

/// A publication that has its place in line, and the channel that it goes to.
pub(super) struct PendingPublish {
    channel: String,
    accepted: BoxFuture<'static, Result<Published, ErrorCode>>,
}

/// Publishes. The place in the channel's order is taken now; [`finish`] only waits for the answer.
pub(super) fn begin(
    node: &Arc<Node>,
    request: PublishRequest<'_>,
    body: &Bytes,
) -> Result<PendingPublish, ApiError> {
    let (kind, data) = RequestPayload::of(request.data, &request.b64data)?.into_data(body);
    let key = request.key()?;
    let channel = request.address()?.into_owned();
    let publication = Publication {
        data,
        kind,
        time_ms: Now::read().unix_ms,
        exclude_client: request.exclude_client.to_string(),
        tags: request.tags.into_pairs(),
        ..Publication::default()
    };
    let accepted =
        node.publisher.publish(&channel, publication, request.skip_history.unwrap_or_default(), key);
    Ok(PendingPublish { channel, accepted })
}

/// Waits for the broker's answer.
pub(super) async fn finish(node: &Node, accepting: PendingPublish) -> Result<PublishResult, ApiError> {
    let PendingPublish { channel, accepted } = accepting;
    let Published { position, .. } = accepted.await.map_err(|error| explain(node, &channel, error))?;
    Ok(PublishResult { offset: position.offset, epoch: position.epoch.as_ref().to_owned() })
}

/// Publishes to each channel, in their order; all places are taken when this returns. An error in what the channels share
/// is returned at once.
pub(super) async fn begin_broadcast(
    node: &Arc<Node>,
    request: BroadcastRequest<'_>,
    body: &Bytes,
) -> Result<Vec<Result<PendingPublish, ApiError>>, ApiError> {
    let (kind, data) = RequestPayload::of(request.data, &request.b64data)?.into_data(body);
    let key = request.key()?;
    let skip_history = request.skip_history.unwrap_or_default();
    let publication = Publication {
        data,
        kind,
        time_ms: Now::read().unix_ms,
        exclude_client: request.exclude_client.to_string(),
        tags: request.tags.clone().into_pairs(),
        ..Publication::default()
    };
    let publish = |channel: Result<Cow<'_, str>, ApiError>| {
        let channel = channel?.into_owned();
        let accepted = node.publisher.publish(&channel, publication.clone(), skip_history, key.clone());
        Ok(PendingPublish { channel, accepted })
    };
    let addresses = request.addresses()?;
    let mut accepting = Vec::with_capacity(addresses.len());
    let mut pace = CallPace::begin();
    for channel in addresses {
        accepting.push(publish(channel));
        pace.pause().await;
    }
    Ok(accepting)
}

/// Waits for the broker's answers.
pub(super) async fn finish_broadcast(
    node: &Node,
    accepting: Vec<Result<PendingPublish, ApiError>>,
) -> BroadcastResult {
    let mut responses = Vec::with_capacity(accepting.len());
    let mut pace = CallPace::begin();
    // One after the other: the broker is at all of them already.
    for accepting in accepting {
        let result = async { finish(node, accepting?).await };
        responses.push(match result.await {
            Ok(result) => PublishResponse::Result(result),
            Err(error) => PublishResponse::Error(error.view()),
        });
        pace.pause().await;
    }
    BroadcastResult { responses }
}
