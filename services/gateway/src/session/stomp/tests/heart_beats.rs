//! Items 27 to 30, and the transport's pings for those who agreed to none.

use super::*;

fn beating(offer: &str) -> (TestClient, ServerFrame) {
    let mut client = TestClient::new();
    let sent = client.ask(&format!("CONNECT\naccept-version:1.2\nheart-beat:{offer}\n\n\0"));
    (client, sent)
}

#[test]
fn item_27_connected_tells_the_servers_own_numbers() {
    assert_eq!(beating("1,50000").1.get("heart-beat"), Some("10000,10000"));
}

#[test]
fn items_28_and_30_a_line_end_comes_well_before_the_time_is_over() {
    let (mut client, _) = beating("0,20000");
    for _ in 0..3 {
        let before = client.now.instant;
        assert_eq!(client.until_deadline()[0].command, "beat");
        let waited = client.now.instant - before;
        assert!(waited <= Duration::from_secs(17) && waited >= Duration::from_secs(15), "{waited:?}");
    }
}

#[test]
fn item_27_who_wants_no_beats_gets_none_and_owes_none() {
    let (client, _) = beating("0,0");
    assert_eq!(client.session.deadline(), None);
}

#[test]
fn item_29_a_client_that_is_silent_for_twice_its_time_is_closed() {
    let (mut client, _) = beating("5000,0");
    client.advance(Duration::from_secs(19));
    assert_eq!(client.signal(Signal::Timer), []);
    assert_eq!(client.say("\n"), []);
    client.advance(Duration::from_secs(19));
    assert_eq!(client.signal(Signal::Timer), []);
    assert_eq!(client.until_deadline()[0].command, "ERROR");
    assert_eq!(client.closed, Some(Disconnect::NO_PONG));
}

#[test]
fn item_29_any_bytes_count_and_so_does_a_part_of_a_frame() {
    let (mut client, _) = beating("5000,0");
    for part in ["SEND\nde", "stination:/top", "ic/open:a\n", "\n"] {
        client.advance(Duration::from_secs(15));
        assert_eq!(client.signal(Signal::Timer), []);
        client.say(part);
    }
    assert_eq!(client.closed, None);
}

/// A session over WebSocket, in whose settings pings come each 25 s and are to be answered within 8 s.
fn pinged(offer: &str) -> TestClient {
    let settings = ClientSettings { allow_anonymous: true, ..ClientSettings::default() };
    let traits = StompTraits { has_pings: true, ..StompTraits::default() };
    let mut client = TestClient::over(traits, settings, stomp_settings());
    let sent = client.ask(&format!("CONNECT\naccept-version:1.2\nheart-beat:{offer}\n\n\0"));
    assert_eq!(sent.command, "CONNECTED");
    client.actions.clear();
    client
}

fn is_pinged(client: &mut TestClient) -> bool {
    client.actions.drain(..).any(|action| matches!(action, Action::Ping))
}

#[test]
fn who_agreed_to_no_beats_is_pinged_and_closed_without_an_answer() {
    let mut client = pinged("0,0");
    let opened = client.now.instant;
    assert_eq!(client.until_deadline(), []);
    assert!(is_pinged(&mut client));
    let waited = client.now.instant - opened;
    assert!(waited >= Duration::from_millis(12_500) && waited <= Duration::from_millis(25_001), "{waited:?}");
    let sent = client.until_deadline();
    assert_eq!(
        (sent[0].command.as_str(), sent[0].get("message")),
        ("ERROR", Some("no pong from the client"))
    );
    assert_eq!(client.now.instant - opened - waited, Duration::from_millis(8_001));
    assert_eq!(client.closed, Some(Disconnect::NO_PONG));
}

#[test]
fn a_pong_and_any_bytes_answer_a_ping() {
    let mut client = pinged("0,0");
    for answer in ["pong", "bytes", "pong"] {
        assert_eq!(client.until_deadline(), []);
        assert!(is_pinged(&mut client));
        match answer {
            "pong" => client.session.pong(client.now),
            _ => drop(client.say("\n")),
        }
        client.advance(Duration::from_secs(9));
        assert_eq!(client.signal(Signal::Timer), []);
        assert!(!is_pinged(&mut client));
    }
    assert_eq!(client.closed, None);
}

#[test]
fn who_promised_beats_is_not_pinged() {
    let mut client = pinged("5000,0");
    assert_eq!(client.until_deadline()[0].get("message"), Some("no heart-beat from the client"));
    assert!(!is_pinged(&mut client));
}

#[test]
fn who_wants_beats_and_promised_none_is_pinged_too() {
    let mut client = pinged("0,60000");
    assert_eq!(client.until_deadline(), []);
    assert!(is_pinged(&mut client));
}

#[test]
fn who_is_leaving_is_neither_pinged_nor_beaten() {
    let mut client = pinged("0,20000");
    assert_eq!(
        client.say("SEND\ndestination:/topic/open:a\nreceipt:r\n\n\0DISCONNECT\nreceipt:bye\n\n\0"),
        []
    );
    assert_eq!(client.session.deadline(), None);
    let (ticket, ..) = client.next_publish();
    assert_eq!(client.published(ticket, None).len(), 2);
    assert_eq!(client.session.deadline(), Some(client.now.instant + Duration::from_secs(2)));
}
