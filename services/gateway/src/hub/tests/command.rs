//! Orders: whom they are about, and the end of all sessions.

use std::time::Duration;

use super::{Client, Hub, faulty::Faulty};
use crate::{
    disconnect::Disconnect,
    session_command::{ServerSubscribe, SessionCommand, SessionTarget},
};

/// Every order for one target.
fn orders(user: &str, client: Option<&str>) -> [SessionCommand; 4] {
    let target = || SessionTarget { user: user.to_owned(), client: client.map(str::to_owned), session: None };
    [
        SessionCommand::Disconnect { target: target(), disconnect: Disconnect::SHUTDOWN, spared: Vec::new() },
        SessionCommand::Unsubscribe { target: target(), channel: "a".to_owned() },
        SessionCommand::Subscribe { target: target(), subscribe: ServerSubscribe::default() },
        SessionCommand::Refresh {
            target: target(),
            expired: false,
            expire_at: None,
            info: Default::default(),
        },
    ]
}

#[test]
fn orders_for_one_user_have_one_subject_and_those_for_an_anonymous_client_are_about_the_client() {
    for (user, client, subject) in
        [("42", None, "42"), ("42", Some("one"), "42"), ("", Some("one"), "one"), ("", None, "")]
    {
        for command in orders(user, client) {
            assert_eq!((command.subject(), command.client()), (subject, client));
        }
    }
}

#[actix_rt::test]
async fn only_the_sessions_of_the_target_are_found() {
    let mut hub = Hub::new(usize::MAX);
    let clients = ["one", "two", "three"].map(|name| Client::enter(&mut hub, name));
    for client in &clients[..2] {
        let name = client.info.client.as_str().into();
        hub.registry_mut().identify(client.key, "42".into(), name);
    }
    for (user, client, expected) in [
        ("42", None, vec![clients[0].key, clients[1].key]),
        ("42", Some("two"), vec![clients[1].key]),
        ("42", Some("three"), vec![]),
        ("", Some("three"), vec![clients[2].key]),
        ("43", None, vec![]),
    ] {
        for command in orders(user, client) {
            let mut found = hub.registry().keys_of(command.target());
            found.sort_unstable();
            assert_eq!(found, expected);
        }
    }
}

async fn told(clients: &[Client]) -> usize {
    let mut told = 0;
    for client in clients {
        told += usize::from(client.was_told_to_end(Disconnect::SHUTDOWN.code).await);
    }
    told
}

#[actix_rt::test]
async fn a_node_that_goes_down_ends_its_sessions_spread_over_the_time_or_all_at_once() {
    tokio::time::pause();
    for over in [Duration::ZERO, Duration::from_secs(100)] {
        let (worker, inbox) = Faulty::new().worker().await;
        let clients: Vec<Client> =
            (0..10).map(|number| Client::enter(&mut worker.hub_mut(), &number.to_string())).collect();
        inbox.drain(over).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        if over.is_zero() {
            assert_eq!(told(&clients).await, 10);
            continue;
        }
        for tenth in 1..=10 {
            tokio::time::sleep(over / 10).await;
            // To look takes some milliseconds, in which the next one may be told.
            let told = told(&clients).await;
            assert!((tenth..=tenth + 1).contains(&told), "{told} after {tenth} tenths of the time");
        }
    }
}
