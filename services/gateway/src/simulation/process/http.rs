//! Requests over HTTP to a simulated node: the real routes of the gateway on each worker, asked in memory. What is below
//! them is the real thing; sockets and HTTP/1.1 itself are not.

use std::{future::poll_fn, pin::Pin, rc::Rc, sync::Arc};

use actix_http::Request;
use actix_web::{
    App,
    body::{BoxBody, MessageBody as _},
    dev::{Service as _, ServiceResponse},
    http::header,
    test::{TestRequest, init_service},
};
use bytes::Bytes;
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use tokio::sync::{OnceCell, mpsc};

use super::Process;
use crate::{
    CLIENT_SOCKJS_PATH,
    endpoints::client::ClientEndpoint,
    forward::Forwarder,
    http_session::WorkerContext,
    receive,
    sockjs::{
        self,
        options::{SockJs, SockJsEndpoint},
    },
};

/// Parts of an answer that may be on their way: who does not read holds its session up.
const PARTS: usize = 2;

/// A part of an answer.
#[derive(Debug)]
pub(in crate::simulation) enum AnswerPart {
    /// Status and entity tag.
    Head(u16, Option<String>),
    Chunk(Bytes),
    /// The answer is whole.
    End,
    /// The connection broke before that.
    Broken,
}

/// The client's end of a request. Dropping it closes the connection.
pub(in crate::simulation) struct Exchange(mpsc::Receiver<AnswerPart>);

impl Exchange {
    /// The next part, if it is there.
    pub(in crate::simulation) fn next(&mut self) -> Option<AnswerPart> {
        match self.0.try_recv() {
            Ok(part) => Some(part),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => Some(AnswerPart::Broken),
        }
    }

    /// True if nothing has arrived that the client has not read.
    pub(in crate::simulation) fn is_silent(&self) -> bool {
        self.0.is_empty()
    }
}

type Serve = Box<dyn Fn(Request) -> LocalBoxFuture<'static, ServiceResponse<BoxBody>>>;

/// The routes of a worker, made for its first request.
pub(super) struct ProcessRoutes {
    local: WorkerContext,
    serve: OnceCell<Serve>,
}

impl ProcessRoutes {
    async fn make(local: &WorkerContext) -> Serve {
        let endpoint = Arc::new(ClientEndpoint::text_only(local.node.clone()));
        let settings = &local.node.settings.sockjs;
        let endpoint = Arc::new(SockJsEndpoint::new(CLIENT_SOCKJS_PATH, endpoint, &SockJs::new(), settings));
        let forwarder = actix_web::web::Data::new(Forwarder::new(
            local.node.clone(),
            Arc::default(),
            &local.node.settings,
        ));
        let app = App::new().configure(|config| {
            receive::routes(config, local, &forwarder, &local.node.settings.poll);
            sockjs::routes(config, &endpoint);
        });
        let app = init_service(app).await;
        Box::new(move |request| app.call(request).map(Result::unwrap).boxed_local())
    }

    /// Answers a request, for as long as its client is there.
    async fn answer(self: Rc<Self>, request: Request, parts: mpsc::Sender<AnswerPart>) {
        let answered = async {
            let serve = self.serve.get_or_init(|| Self::make(&self.local)).await;
            let response = serve(request).await;
            let tag = response.headers().get(header::ETAG);
            let tag = tag.map(|tag| tag.to_str().unwrap().trim_matches('"').to_owned());
            // Nobody misses what is sent to a client that has gone.
            let _ = parts.send(AnswerPart::Head(response.status().as_u16(), tag)).await;
            let mut body = response.into_body();
            while let Some(chunk) = poll_fn(|task| Pin::new(&mut body).poll_next(task)).await {
                let _ = parts.send(AnswerPart::Chunk(chunk.unwrap())).await;
            }
            let _ = parts.send(AnswerPart::End).await;
        };
        tokio::select! {
            biased;
            () = parts.closed() => {}
            () = answered => {}
        }
    }
}

impl Process {
    /// Asks a worker. `None` while the node is not there.
    pub(in crate::simulation) fn ask(&mut self, request: TestRequest, worker: usize) -> Option<Exchange> {
        if self.routes.is_empty() {
            let routes = |local| Rc::new(ProcessRoutes { local, serve: OnceCell::new() });
            self.routes = self.upgrades.iter().map(|upgrades| routes(upgrades.local.clone())).collect();
        }
        let worker = worker.checked_rem(self.routes.len())?;
        let (routes, thread) = (self.routes.get(worker)?.clone(), self.threads.get(worker + 1)?);
        let request = request.insert_header((header::HOST, "simulation")).to_request();
        let (sender, receiver) = mpsc::channel(PARTS);
        thread.tasks.spawn_local(routes.answer(request, sender));
        Some(Exchange(receiver))
    }

    /// The number of HTTP sessions that requests come for.
    pub(in crate::simulation) fn held_sessions(&self) -> usize {
        self.upgrades.first().map_or(0, |upgrades| upgrades.local.registry.len())
    }

    /// The number of polls that wait, and of HTTP sessions that wait for their next request.
    pub(in crate::simulation) fn waiting(&self) -> usize {
        self.upgrades.first().map_or(0, |upgrades| upgrades.local.registry.waiting())
    }
}
