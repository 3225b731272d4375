//! The baseline of the bench: a WebSocket push server as the actix examples build one.
//!
//! One `ws::WebsocketContext` actor per connection, one hub actor that holds a `Recipient` of each and sends
//! a `String` to every one of them. The hub lives on the single worker thread, which spares the baseline a
//! thread hop. `GET /ws` subscribes to the one channel, `POST /pub` broadcasts the body, `POST /echo` only reads
//! and writes JSON. With a second argument, `shared`, all subscribers share one `ByteString` instead of getting
//! a copy each: a baseline at its best.
#![allow(clippy::print_stdout, reason = "a program that says where it listens")]
#![expect(clippy::disallowed_methods, reason = "the examples send without a bound")]

use actix::prelude::*;
use actix_web::{App, Error, HttpRequest, HttpResponse, HttpServer, web};
use actix_web_actors::ws;
use bytestring::ByteString;
use serde_json::Value;

/// A message for everybody, and for one subscriber.
#[derive(Message, Clone)]
#[rtype(result = "()")]
enum Text {
    /// As the examples have it: every subscriber gets a copy.
    Copied(String),
    /// What a careful author would write.
    Shared(ByteString),
}

#[derive(Message)]
#[rtype(result = "()")]
struct Join(Recipient<Text>);

#[derive(Default)]
struct Hub {
    subscribers: Vec<Recipient<Text>>,
}

impl Actor for Hub {
    type Context = Context<Self>;
}

impl Handler<Join> for Hub {
    type Result = ();
    fn handle(&mut self, join: Join, _: &mut Self::Context) {
        self.subscribers.push(join.0);
    }
}

impl Handler<Text> for Hub {
    type Result = ();
    fn handle(&mut self, text: Text, _: &mut Self::Context) {
        for subscriber in &self.subscribers {
            subscriber.do_send(text.clone());
        }
    }
}

struct Connection {
    hub: Addr<Hub>,
}

impl Actor for Connection {
    type Context = ws::WebsocketContext<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        self.hub.do_send(Join(ctx.address().recipient()));
    }
}

impl Handler<Text> for Connection {
    type Result = ();
    fn handle(&mut self, text: Text, ctx: &mut Self::Context) {
        match text {
            Text::Copied(text) => ctx.text(text),
            Text::Shared(text) => ctx.text(text),
        }
    }
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for Connection {
    fn handle(&mut self, message: Result<ws::Message, ws::ProtocolError>, ctx: &mut Self::Context) {
        match message {
            Ok(ws::Message::Ping(payload)) => ctx.pong(&payload),
            Ok(ws::Message::Close(reason)) => {
                ctx.close(reason);
                ctx.stop();
            }
            Ok(_) => {}
            Err(_) => ctx.stop(),
        }
    }
}

async fn subscribe(
    request: HttpRequest,
    body: web::Payload,
    hub: web::Data<Addr<Hub>>,
) -> Result<HttpResponse, Error> {
    ws::start(Connection { hub: hub.get_ref().clone() }, &request, body)
}

async fn publish_copied(text: String, hub: web::Data<Addr<Hub>>) -> HttpResponse {
    hub.do_send(Text::Copied(text));
    HttpResponse::Ok().finish()
}

async fn publish_shared(text: String, hub: web::Data<Addr<Hub>>) -> HttpResponse {
    hub.do_send(Text::Shared(text.into()));
    HttpResponse::Ok().finish()
}

async fn echo(json: web::Json<Value>) -> web::Json<Value> {
    json
}

async fn ready() -> &'static str {
    "ready"
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9000".to_owned());
    let shared = std::env::args().nth(2).is_some_and(|text| text == "shared");
    println!("stock baseline on {address}");
    HttpServer::new(move || {
        let publish = if shared { web::post().to(publish_shared) } else { web::post().to(publish_copied) };
        // Runs on the worker's own thread.
        App::new()
            .app_data(web::Data::new(Hub::default().start()))
            .route("/ws", web::get().to(subscribe))
            .route("/pub", publish)
            .route("/echo", web::post().to(echo))
            .route("/health/ready", web::get().to(ready))
    })
    .workers(1)
    .bind(address)?
    .run()
    .await
}
