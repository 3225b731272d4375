//! Calls of thousands of publications let the worker's connections have their turn in between. The time of a turn is CPU time
//! of the thread, which others on the machine do not change.

use std::{
    cell::Cell,
    future::Future,
    task::{Context, Waker},
    time::Duration,
};

use super::*;
use crate::api::{
    batch,
    method::{ApiCommand, Method},
};

const COUNT: usize = 10_000;
/// Beside reading the body and writing the answer, which are not cut. A debug build is ten times slower than a release,
/// where 5 ms hold; without pauses this would be half a second and more.
const LONGEST: Duration = Duration::from_millis(50);

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

/// The longest time for which another task of the thread had to wait while a call was carried out, and the answer.
async fn longest_turn(api: &Api, method: &str, body: String) -> (Duration, Value) {
    let node = api.node.clone();
    let app = init_service(
        App::new().service(web::scope("/api").configure(|scope| routes(scope, &node, &node.settings.api))),
    )
    .await;
    let longest = Rc::new(Cell::new(Duration::ZERO));
    let other = actix_web::rt::spawn({
        let longest = longest.clone();
        async move {
            let mut before = cpu_time();
            loop {
                tokio::task::yield_now().await;
                let now = cpu_time();
                longest.set(longest.get().max(now - before));
                before = now;
            }
        }
    });
    let request = post(method).insert_header(("X-API-Key", KEY)).set_payload(body).to_request();
    let response = call_service(&app, request).await;
    let longest = longest.get();
    other.abort();
    assert_eq!(response.status(), StatusCode::OK);
    (longest, serde_json::from_slice(&read_body(response).await).unwrap())
}

/// CPU time of something that is not cut.
fn time(work: impl FnOnce()) -> Duration {
    let before = cpu_time();
    work();
    cpu_time() - before
}

#[actix_web::test]
async fn a_batch_of_ten_thousand_publications_pauses_and_keeps_its_order() {
    let api = Api::start().await;
    let publish = |number: usize| format!(r#"{{"publish":{{"channel":"kept:a","data":{number}}}}}"#);
    let commands: Vec<String> = (0..COUNT).map(publish).collect();
    let body = format!(r#"{{"commands":[{}]}}"#, commands.join(","));
    let uncut = time(|| assert!(batch::decode(body.as_bytes()).is_ok()));
    let (longest, answer) = longest_turn(&api, "batch", body).await;
    assert!(longest < LONGEST + uncut * 3, "{longest:?}, of which at most {uncut:?} are for the body");
    let replies = answer["replies"].as_array().unwrap();
    assert_eq!(replies.len(), COUNT);
    for (number, reply) in replies.iter().enumerate() {
        assert_eq!(reply["publish"]["offset"], number + 1, "{reply}");
    }
    let newest = api.ok("history", json!({"channel": "kept:a", "limit": 1, "reverse": true})).await;
    assert_eq!(newest["publications"][0]["data"], COUNT - 1);
}

#[actix_web::test]
async fn a_broadcast_to_ten_thousand_channels_pauses_and_keeps_its_order() {
    let api = Api::start().await;
    let channels: Vec<String> = (0..COUNT).map(|number| format!("\"kept:{number}\"")).collect();
    let body = format!(r#"{{"channels":[{}],"data":1}}"#, channels.join(","));
    let uncut = time(|| assert!(ApiCommand::decode(Method::Broadcast, body.as_bytes()).is_ok()));
    let (longest, answer) = longest_turn(&api, "broadcast", body).await;
    assert!(longest < LONGEST + uncut * 3, "{longest:?}, of which at most {uncut:?} are for the body");
    let responses = answer["result"]["responses"].as_array().unwrap();
    assert_eq!(responses.len(), COUNT);
    assert!(responses.iter().all(|response| response["result"]["offset"] == 1));
}

#[actix_web::test]
async fn a_broadcast_whose_caller_goes_away_is_carried_out_to_its_end() {
    let api = Api::start().await;
    let channels: Vec<String> = (0..COUNT).map(|number| format!("\"kept:{number}\"")).collect();
    let body = format!(r#"{{"channels":[{}],"data":1}}"#, channels.join(","));
    let node = api.node.clone();
    let app = init_service(
        App::new().service(web::scope("/api").configure(|scope| routes(scope, &node, &node.settings.api))),
    )
    .await;
    let request = post("broadcast").insert_header(("X-API-Key", KEY)).set_payload(body).to_request();
    let mut call = Box::pin(call_service(&app, request));
    // Looked at until the first publication is accepted, and then dropped as the server does when the caller goes.
    while api.kept("kept:0").await.is_empty() {
        let mut task = Context::from_waker(Waker::noop());
        assert!(call.as_mut().poll(&mut task).is_pending(), "it did not pause");
        tokio::task::yield_now().await;
    }
    drop(call);
    let last = format!("kept:{}", COUNT - 1);
    while api.kept(&last).await.is_empty() {
        tokio::task::yield_now().await;
    }
}
