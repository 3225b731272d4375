//! Items 16 to 26 and 59.

use super::*;
use crate::session::{
    shared::login_limit::Credential,
    tests::{Failures, token_of, token_without_subject},
};

fn connect(headers: &str) -> (TestClient, ServerFrame) {
    let mut client = TestClient::new();
    let sent = client.ask(&format!("CONNECT\n{headers}\n\0"));
    (client, sent)
}

#[test]
fn item_17_anything_before_connect_is_an_error() {
    let mut client = TestClient::new();
    assert_eq!(
        client.error("SEND\ndestination:/topic/open:a\n\n\0"),
        "the first frame must be CONNECT or STOMP"
    );
    assert_eq!(client.say("CONNECT\n\n\0"), []);
}

#[test]
fn item_17_a_client_that_does_not_connect_in_time_is_closed() {
    let mut client = TestClient::new();
    client.advance(Duration::from_secs(59));
    assert_eq!(client.signal(Signal::Timer), []);
    assert_eq!(client.until_deadline()[0].command, "ERROR");
    assert_eq!(client.closed, Some(Disconnect::STALE));
}

#[test]
fn item_18_stomp_is_connect() {
    let mut client = TestClient::new();
    assert_eq!(client.ask("STOMP\naccept-version:1.2\n\n\0").get("version"), Some("1.2"));
}

#[test]
fn items_19_to_22_the_version_is_negotiated_and_told() {
    for (headers, version) in
        [("", "1.0"), ("accept-version:1.2,1.1,1.0\n", "1.2"), ("accept-version:1.0,1.1,2.0\n", "1.1")]
    {
        let (_, sent) = connect(headers);
        assert_eq!((sent.command.as_str(), sent.get("version")), ("CONNECTED", Some(version)));
        assert!(!sent.get("session").unwrap().is_empty());
        assert!(sent.get("server").unwrap().starts_with("gorani/"));
    }
}

#[test]
fn item_21_without_a_common_version_the_known_ones_are_listed() {
    let mut client = TestClient::new();
    let sent = client.ask("CONNECT\naccept-version:2.0\n\n\0");
    assert_eq!((sent.command.as_str(), sent.get("version")), ("ERROR", Some("1.0,1.1,1.2")));
    assert_eq!(sent.get("content-type"), Some("text/plain"));
    assert!(client.closed.is_some());
}

#[test]
fn item_23_host_may_be_missing_or_anything() {
    assert_eq!(connect("accept-version:1.2\nhost:who.knows\n").1.command, "CONNECTED");
}

#[test]
fn items_24_and_59_bad_credentials_are_refused_and_not_repeated() {
    for headers in [
        "passcode:secret-word\n",
        "login:guest\npasscode:secret-word\n",
        "login:shop\npasscode:secret-word\n",
        "Authorization:Bearer secret-word\n",
    ] {
        let mut client = TestClient::new();
        let sent = client.ask(&format!("CONNECT\naccept-version:1.2\n{headers}\n\0"));
        assert_eq!(sent.command, "ERROR", "{headers}");
        assert!(!format!("{sent:?}").contains("secret-word"));
        assert!(client.closed.is_some());
    }
}

#[test]
fn item_59_a_token_is_a_passcode_or_a_bearer() {
    let token = token(60, &[]);
    for headers in [format!("login:any\npasscode:{token}\n"), format!("Authorization:Bearer {token}\n")] {
        let (_, sent) = connect(&format!("accept-version:1.2\n{headers}"));
        assert_eq!(sent.get("user-name"), Some("42"), "{sent:?}");
    }
}

#[test]
fn item_59_a_backend_has_a_name_and_a_password() {
    let (mut client, sent) = connect("accept-version:1.2\nlogin:shop\npasscode:hush\n");
    assert_eq!((sent.command.as_str(), sent.get("user-name")), ("CONNECTED", Some("shop")));
    client.say("SEND\ndestination:/topic/closed:a\n\n1\0SUBSCRIBE\nid:0\ndestination:/topic/closed:a\n\n\0");
    assert_eq!(client.next_publish().1, "closed:a");
    client.grant(Subscribed::default());
    assert!(matches!(client.actions.pop_front(), Some(Action::Release(channel)) if *channel == *"closed:a"));
    let refused = client.ask("SEND\ndestination:/topic/nowhere:a\n\n\0");
    assert_eq!((&*refused.command, refused.get("message")), ("ERROR", Some("unknown channel")));
    assert_eq!(client.closed, None, "record 42");
}

#[test]
fn item_59_nobody_may_connect_without_credentials_unless_the_settings_say_so() {
    let mut client = TestClient::with(ClientSettings::default(), stomp_settings());
    assert_eq!(client.error("CONNECT\naccept-version:1.2\n\n\0"), "unauthorized");
}

#[test]
fn item_59_a_session_ends_with_its_token() {
    let mut client = TestClient::new();
    client.say(&format!("CONNECT\naccept-version:1.2\npasscode:{}\n\n\0", token(30, &[])));
    client.advance(Duration::from_secs(29));
    assert_eq!(client.signal(Signal::Timer), []);
    let sent = client.until_deadline();
    assert_eq!(sent[0].get("message"), Some("connection expired"));
    assert_eq!(client.closed, Some(Disconnect::EXPIRED));
}

#[test]
fn item_25_a_second_connect_is_an_error() {
    assert_eq!(
        TestClient::connected("1.2").error("CONNECT\naccept-version:1.2\n\n\0"),
        "the session is open already"
    );
}

#[test]
fn item_26_a_heart_beat_that_is_no_pair_of_numbers_is_an_error() {
    let mut client = TestClient::new();
    assert_eq!(client.error("CONNECT\nheart-beat:often\n\n\0"), "heart-beat is not two numbers");
}

#[test]
fn item_16_an_unknown_command_is_an_error() {
    assert_eq!(TestClient::connected("1.2").error("PING\n\n\0"), "unknown command");
    assert_eq!(TestClient::connected("1.0").error("NACK\nmessage-id:1\n\n\0"), "unknown command");
}

/// A client whose user's connections are limited, with a frame behind its CONNECT.
fn entering(frames: &str) -> (TestClient, Ticket) {
    let settings =
        ClientSettings { allow_anonymous: true, max_connections_per_user: 3, ..ClientSettings::default() };
    let mut client = TestClient::with(settings, stomp_settings());
    assert_eq!(client.say(frames), []);
    assert!(matches!(client.actions.pop_front(), Some(Action::Identify { .. })));
    let Some(Action::Enter(ticket, 3)) = client.actions.pop_front() else { panic!("nobody asked for room") };
    assert!(client.actions.is_empty(), "nothing begins before the answer");
    (client, ticket)
}

#[test]
fn where_connections_are_limited_connected_and_what_follows_wait_for_a_place() {
    let frames = format!("CONNECT\npasscode:{}\n\n\0SEND\ndestination:/topic/open:a\n\nhi\0", token(60, &[]));
    let (mut client, ticket) = entering(&frames);
    assert_eq!(client.settle(ticket, Outcome::Entered(Ok(())))[0].command, "CONNECTED");
    assert_eq!(client.next_publish().1, "open:a");
}

#[test]
fn without_a_place_the_connection_ends_with_an_error() {
    let (mut client, ticket) = entering(&format!("CONNECT\npasscode:{}\n\n\0", token(60, &[])));
    let sent = client.settle(ticket, Outcome::Entered(Err(Disconnect::CONNECTION_LIMIT)));
    assert_eq!((sent[0].command.as_str(), sent[0].get("message")), ("ERROR", Some("connection limit")));
    assert_eq!(client.closed, Some(Disconnect::CONNECTION_LIMIT));
}

#[test]
fn a_client_whose_connect_takes_too_long_is_to_come_again() {
    let (mut client, _) = entering(&format!("CONNECT\npasscode:{}\n\n\0", token(60, &[])));
    let sent = client.until_deadline();
    assert_eq!((sent[0].command.as_str(), sent[0].get("reconnect")), ("ERROR", Some("true")));
    assert_eq!(client.closed, Some(Disconnect::INTERNAL));
}

#[test]
fn anonymous_clients_and_backends_need_no_place() {
    for headers in ["", "login:shop\npasscode:hush\n"] {
        let settings = ClientSettings {
            allow_anonymous: true,
            max_connections_per_user: 1,
            ..ClientSettings::default()
        };
        let mut client = TestClient::with(settings, stomp_settings());
        assert_eq!(client.ask(&format!("CONNECT\n{headers}\n\0")).command, "CONNECTED");
    }
}

/// The answer to a login: the ERROR or CONNECTED, and the disconnect if the session ends.
fn log_in(login: &str, passcode: &str, limit: &Arc<Failures>) -> (ServerFrame, Option<Disconnect>) {
    let mut client = TestClient::new();
    client.session = client.session.with_login_limit(limit.clone());
    let sent = client.ask(&format!("CONNECT\naccept-version:1.2\nlogin:{login}\npasscode:{passcode}\n\n\0"));
    (sent, client.closed)
}

/// Passcodes that admit no client: no password, no token, tokens that are over or of another key.
fn wrong_passcodes() -> Vec<String> {
    let forged = token(60, &[]).replace('.', ".x");
    ["hus", "hush ", "HUSH", "hush-and-more", "a.b.c", &forged, &token(0, &[])].map(str::to_owned).to_vec()
}

#[test]
fn item_59_who_is_refused_does_not_learn_whether_there_is_such_a_user() {
    let limit = Failures::at_most(usize::MAX);
    for passcode in wrong_passcodes() {
        let (known, known_end) = log_in("shop", &passcode, &limit);
        for login in ["nobody", "shoq", "sho", "shop2", "SHOP"] {
            let (unknown, unknown_end) = log_in(login, &passcode, &limit);
            assert_eq!(unknown.command, "ERROR");
            assert_eq!(unknown_end, known_end, "{login} {passcode}");
            // The body repeats the login that was sent; but for that the frames are the same.
            let without_login = |frame: &ServerFrame, login: &str| {
                let other_headers = frame.headers.iter().filter(|(name, _)| name != "content-length");
                let body = frame.body.replace(&format!("`{login}`"), "`…`");
                (other_headers.cloned().collect::<Vec<_>>(), body)
            };
            assert_eq!(without_login(&unknown, login), without_login(&known, "shop"), "{passcode}");
        }
        let counted = std::mem::take(&mut *limit.counted.lock());
        assert!(matches!(counted.len(), 0 | 6), "both are counted, or none: {counted:?}");
    }
}

#[test]
fn item_59_a_refused_login_says_what_was_looked_for() {
    let (sent, _) = log_in("guest", "guest", &Failures::at_most(1));
    let expected = "CONNECT: unauthorized: no user `guest` with this passcode in stomp.users, and its passcode is no token";
    assert_eq!((sent.get("message"), &*sent.body), (Some("unauthorized"), expected));
    // Spring's relay logs in as guest where there are no users at all.
    let mut client = TestClient::with(ClientSettings::default(), StompSettings::default());
    let sent = client.ask("CONNECT\naccept-version:1.2\nlogin:guest\npasscode:guest\n\n\0");
    assert!(
        sent.body
            .ends_with("no user `guest` with this passcode in stomp.users, and its passcode is no token"),
        "{sent:?}"
    );
    assert_eq!(client.closed, Some(Disconnect::INVALID_TOKEN));
}

#[test]
fn item_59_a_token_without_a_subject_opens_no_session_where_anonymous_clients_are_refused() {
    let closed = || TestClient::with(ClientSettings::default(), stomp_settings());
    let token = token_without_subject(60);
    for login in ["", "login:nobody\n"] {
        let mut client = closed();
        let sent = client.ask(&format!("CONNECT\naccept-version:1.2\n{login}passcode:{token}\n\n\0"));
        assert_eq!((sent.get("message"), sent.get("code")), (Some("unauthorized"), Some("101")), "{sent:?}");
    }
    let empty = token_of("", 60, &[]);
    let sent = closed().ask(&format!("CONNECT\naccept-version:1.2\npasscode:{empty}\n\n\0"));
    assert_eq!(sent.command, "CONNECTED", "an empty sub means an anonymous client");
}

#[test]
fn item_59_a_token_lets_in_whatever_login_is_named() {
    for login in ["shop", "nobody"] {
        let (sent, _) = log_in(login, &token(60, &[]), &Failures::at_most(1));
        assert_eq!(sent.get("user-name"), Some("42"), "{login}: {sent:?}");
    }
}

#[test]
fn item_59_after_too_many_wrong_logins_none_is_looked_at_and_the_client_comes_back_later() {
    let limit = Failures::at_most(2);
    for _ in 0..2 {
        assert_eq!(log_in("shop", "wrong", &limit).0.get("message"), Some("unauthorized"));
    }
    assert_eq!(*limit.counted.lock(), [Credential::Password; 2]);
    let (refused, end) = log_in("shop", "hush", &limit);
    assert_eq!(
        (refused.get("message"), refused.get("reconnect")),
        (Some("too many wrong logins from this address, come back later"), Some("true"))
    );
    assert_eq!(end, Some(Disconnect::TOO_MANY_REQUESTS));
}

#[test]
fn item_59_a_right_login_costs_nothing_and_a_wrong_token_counts_as_one() {
    let limit = Failures::at_most(1);
    for _ in 0..3 {
        assert_eq!(log_in("shop", "hush", &limit).0.command, "CONNECTED");
    }
    let mut client = TestClient::new();
    client.session = client.session.with_login_limit(limit.clone());
    client.say("CONNECT\naccept-version:1.2\nAuthorization:Bearer a.b.c\n\n\0");
    assert_eq!(client.closed, Some(Disconnect::INVALID_TOKEN));
    assert_eq!(*limit.counted.lock(), [Credential::Token]);
}
