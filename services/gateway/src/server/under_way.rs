//! Requests under way: while one is, its connection is not idle. In a reserved slot ([`super::slots`]) only health and metrics
//! are served, each on a connection that ends with the answer.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_http::{
    ConnectionType, Request, Response,
    body::{BodySize, BoxBody, MessageBody},
};
use actix_service::Service;
use bytes::Bytes;

use super::{
    request::{HttpConnection, RequestInProgress},
    slots::{RequestUnderWay, Watched},
};
use crate::{disconnect::Disconnect, transport::http::refusal::HttpRefusal};

/// Served when the node holds as many connections as it may.
const RESERVED_PATHS: [&str; 3] = ["/health/live", "/health/ready", "/metrics"];

/// The answer to all other requests, and to WebSocket handshakes.
pub(super) const FULL: &str = "this node holds as many connections as it may";

/// Serves a request, or refuses it with 503 where its slot is a reserved one.
pub(super) fn serve<S>(
    request: Request,
    service: &S,
) -> impl Future<Output = Result<Response<WatchedBody>, S::Error>> + use<S>
where
    S: Service<Request>,
    S::Response: Into<Response<BoxBody>>,
{
    let watched = request.conn_data::<Rc<Watched>>().cloned();
    let is_reserved = watched.as_ref().is_some_and(|watched| watched.is_reserved);
    let under_way = watched.map(Watched::begin);
    let answering = request.conn_data::<Rc<HttpConnection>>().cloned().map(HttpConnection::answer);
    let is_served = !is_reserved || RESERVED_PATHS.contains(&request.path());
    let call = is_served.then(|| service.call(request));
    async move {
        let mut response = match call {
            Some(call) => call.await?.into(),
            None => full(),
        };
        if is_reserved {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        Ok(response.map_body(|_, body| WatchedBody { body, _under_way: under_way, _answering: answering }))
    }
}

fn full() -> Response<BoxBody> {
    let refusal = HttpRefusal { message: FULL.into(), ..HttpRefusal::from(Disconnect::CONNECTION_LIMIT) };
    refusal.response().into()
}

/// A response's body; the request is under way until it is dropped.
pub(super) struct WatchedBody {
    body: BoxBody,
    _under_way: Option<RequestUnderWay>,
    _answering: Option<RequestInProgress>,
}

impl MessageBody for WatchedBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(task)
    }
}
