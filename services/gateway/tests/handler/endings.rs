//! Every way in which a session can end, and that the handler hears of each exactly once.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use gorani::SendError;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

use crate::{
    node::{Client, TIME_LIMIT, settings},
    probe::Bench,
};

/// The end as the client sees it, and the calls after `opened`; nothing may follow them, not even when the node stops.
fn ends(bench: Bench, end: impl FnOnce(&mut Client), calls: &[&str]) {
    let mut client = bench.node.open("/probe");
    end(&mut client);
    assert_eq!(bench.until_closed(), [&["opened"], calls].concat());
    drop(client);
    assert_eq!(bench.stop(), Vec::<String>::new());
}

#[test]
fn the_client_closes_with_a_code() {
    let close = |client: &mut Client| {
        let frame = CloseFrame { code: CloseCode::Library(4321), reason: "done".into() };
        client.0.close(Some(frame)).unwrap();
        assert_eq!(client.closed().0, 4321);
    };
    ends(Bench::start(), close, &["closed 4321 done"]);
}

#[test]
fn the_client_closes_without_a_code() {
    ends(Bench::start(), |client| client.0.close(None).unwrap(), &["closed 1005 "]);
}

#[test]
fn the_client_goes_away_without_a_word() {
    let cut = |client: &mut Client| client.0.get_ref().shutdown(std::net::Shutdown::Both).unwrap();
    ends(Bench::start(), cut, &["closed 1006 connection lost"]);
}

#[test]
fn the_client_breaks_the_protocol() {
    let break_it = |client: &mut Client| {
        client.0.get_mut().write_all(b"\xC1\x80\0\0\0\0").unwrap();
        assert_eq!(client.closed().0, 1002);
    };
    let reason = "reserved bits are set";
    let calls = [format!("error {reason}"), format!("closed 1002 {reason}")];
    ends(Bench::start(), break_it, &calls.each_ref().map(String::as_str));
}

#[test]
fn the_handler_closes() {
    let ask = |client: &mut Client| {
        client.send("close");
        client.send("not seen any more");
        assert_eq!(client.closed(), (4000, "asked to".to_owned()));
    };
    ends(Bench::start(), ask, &["text close", "closed 4000 asked to"]);
}

#[test]
fn a_client_that_ignores_our_close_is_dropped_in_time() {
    // Its close frame never comes, since it never reads ours.
    ends(Bench::start(), |client| client.send("close"), &["text close", "closed 4000 asked to"]);
}

/// Asks the handler to close, and reads its close frame: the rest of the connection.
fn closing(bench: &Bench) -> TcpStream {
    let mut client = bench.node.open("/probe");
    client.send("close");
    let stream = client.0.get_ref().try_clone().unwrap();
    // Not by the client's library, which answers.
    let mut frame = [0; 2 + 2 + "asked to".len()];
    (&stream).read_exact(&mut frame).unwrap();
    assert_eq!(frame[..4], [0x88, 10, 0x0F, 0xA0]);
    std::mem::forget(client);
    stream
}

#[test]
fn the_end_of_the_connection_follows_the_clients_close_frame() {
    let mut patient = settings();
    patient.websocket.close_timeout = TIME_LIMIT;
    let bench = Bench::start_with(patient, "");
    let mut stream = closing(&bench);
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let waits = stream.read(&mut [0]).unwrap_err();
    assert!(matches!(waits.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{waits}");
    stream.set_read_timeout(Some(TIME_LIMIT)).unwrap();
    let answered = Instant::now();
    stream.write_all(b"\x88\x82\0\0\0\0\x0F\xA0").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert!(answered.elapsed() < TIME_LIMIT / 2);
    assert_eq!(bench.until_closed().last().unwrap(), "closed 4000 asked to");
}

#[test]
fn the_end_of_the_connection_follows_the_time_for_a_close_frame_that_never_comes() {
    let bench = Bench::start();
    let mut stream = closing(&bench);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert_eq!(bench.until_closed().last().unwrap(), "closed 4000 asked to");
}

#[test]
fn a_client_that_breaks_the_protocol_sees_the_end_at_once() {
    let mut patient = settings();
    patient.websocket.close_timeout = TIME_LIMIT;
    let bench = Bench::start_with(patient, "");
    let mut client = bench.node.open("/probe");
    let began = Instant::now();
    client.0.get_mut().write_all(b"\xC1\x80\0\0\0\0").unwrap();
    let mut rest = Vec::new();
    client.0.get_mut().read_to_end(&mut rest).unwrap();
    assert_eq!(rest[..4], [0x88, rest[1], 0x03, 0xEA]);
    assert!(began.elapsed() < TIME_LIMIT / 2);
}

#[test]
fn the_handler_fails() {
    let fail = |client: &mut Client| {
        client.send("fail");
        assert_eq!(client.closed(), (1011, "internal error".to_owned()));
    };
    ends(Bench::start(), fail, &["text fail", "closed 1011 internal error"]);
}

#[test]
fn the_handler_panics_at_a_message() {
    let panic = |client: &mut Client| {
        client.send("panic");
        assert_eq!(client.closed(), (1011, "internal error".to_owned()));
    };
    ends(Bench::start(), panic, &["text panic", "closed 1011 internal error"]);
}

#[test]
fn the_handler_panics_when_it_is_opened() {
    let look = |client: &mut Client| assert_eq!(client.closed().0, 1011);
    ends(Bench::start_with(settings(), "opened"), look, &["closed 1011 internal error"]);
}

#[test]
fn the_handler_panics_when_it_is_closed() {
    let close = |client: &mut Client| client.0.close(None).unwrap();
    ends(Bench::start_with(settings(), "closed"), close, &["closed 1005 "]);
}

#[test]
fn the_node_stops() {
    let mut bench = Bench::start();
    let mut client = bench.node.open("/probe");
    assert_eq!(bench.call(), "opened");
    bench.node.begin_stop();
    assert_eq!(client.closed(), (3001, "shutdown".to_owned()));
    assert_eq!(bench.until_closed(), ["closed 3001 shutdown"]);
    assert_eq!(bench.stop(), Vec::<String>::new());
}

#[test]
fn a_handler_that_floods_in_a_callback_ends_as_slow() {
    let flood = |client: &mut Client| client.send("flood");
    ends(Bench::start(), flood, &["text flood", "closed 3008 slow"]);
}

#[test]
fn a_client_that_does_not_read_what_a_thread_sends_ends_as_slow() {
    // The thread sends without a pause, the client reads nothing.
    let flood = |client: &mut Client| client.send("flood from outside");
    ends(Bench::start(), flood, &["text flood from outside", "closed 3008 slow"]);
}

#[test]
fn sending_is_an_error_as_soon_as_the_session_is_over() {
    let bench = Bench::start();
    let mut client = bench.node.open("/probe");
    let session = bench.handles.recv_timeout(TIME_LIMIT).unwrap();
    assert_eq!(session.send_text("before"), Ok(()));
    assert_eq!(client.text(), "before");
    session.close(4002, "enough").unwrap();
    assert_eq!(session.send_text("after"), Err(SendError::Closed));
    assert!(!session.is_open());
    assert_eq!(client.closed(), (4002, "enough".to_owned()));
    assert_eq!(bench.until_closed(), ["opened", "closed 4002 enough"]);
    drop(bench);
    assert_eq!(session.send_binary(vec![1]), Err(SendError::Closed));
    assert_eq!(session.close(1000, ""), Ok(()));
}

#[test]
fn a_panic_harms_no_neighbour_on_the_same_worker() {
    let bench = Bench::start();
    let mut neighbour = bench.node.open("/probe");
    for _ in 0..10 {
        let mut client = bench.node.open("/probe");
        client.send("panic");
        assert_eq!(client.closed().0, 1011);
        neighbour.send("still here");
        assert_eq!(neighbour.text(), "still here");
    }
    let calls: Vec<_> = bench.calls.try_iter().map(|call| call.session).collect();
    let own = calls.iter().filter(|session| **session == calls[0]).count();
    assert_eq!(own, 1 + 10, "opened, and ten messages");
}
