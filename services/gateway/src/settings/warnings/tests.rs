//! Warnings: what is wrong with a namespace, alone and beside the rest of the settings, and what is right.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::HashMap;

use super::*;

/// Users with tokens, anonymous clients and backends: nothing is missing around the namespaces.
const OPEN: &str =
    "api.keys = ['0123456789abcdef']\ntoken.hmac_secret = '0123456789abcdef'\nclient.allow_anonymous = true";
const HISTORY: &str = "history_size = 10\nhistory_ttl = '5m'";

/// The warnings that are not of [`OPEN`] itself.
fn warnings(text: &str) -> Vec<String> {
    let settings = Settings::from_text(text, &HashMap::new()).unwrap();
    let all = settings.warnings().into_iter();
    all.filter(|warning| !warning.starts_with("client.allow_anonymous lets everybody")).collect()
}

/// The warnings about a namespace with these options.
fn of_namespace(around: &str, options: &str) -> Vec<String> {
    let options = options.replace("HISTORY", HISTORY);
    let found = warnings(&format!(
        "{around}\n[[channel.namespaces]]\nname = 'fine'\n[[channel.namespaces]]\nname = 'chat'\n{options}"
    ));
    let named = warnings(&format!("{around}\n[channel.defaults]\n{options}"));
    let of_chat: Vec<_> = found.iter().filter_map(|text| text.strip_prefix("namespace \"chat\": ")).collect();
    // Channels without a namespace are warned about in the same words.
    let of_defaults: Vec<_> =
        named.iter().filter_map(|text| text.strip_prefix("channel.defaults: ")).collect();
    assert_eq!(of_chat, of_defaults);
    of_chat.into_iter().map(str::to_owned).collect()
}

#[test]
fn options_that_contradict_one_another_are_named_with_their_namespace() {
    for (options, expected) in [
        (
            "allow_subscribe_for_anonymous = true",
            "allow_subscribe_for_anonymous opens nothing without allow_subscribe_for_client",
        ),
        (
            "allow_publish_for_anonymous = true",
            "allow_publish_for_anonymous opens nothing without allow_publish_for_client or allow_publish_for_subscriber",
        ),
        ("allow_presence_for_client = true", "allow_presence_for_client shows nothing: presence is off"),
        (
            "allow_presence_for_subscriber = true",
            "allow_presence_for_subscriber shows nothing: presence is off",
        ),
        ("allow_history_for_client = true", "allow_history_for_client shows nothing: history_size is 0"),
        (
            "allow_history_for_client = true\nallow_history_for_subscriber = true",
            "allow_history_for_subscriber, allow_history_for_client shows nothing: history_size is 0",
        ),
        (
            "presence = true",
            "presence is on, and no client may read it (the API alone does): allow_presence_for_subscriber and \
             allow_presence_for_client are off",
        ),
        (
            "HISTORY\nallow_recovery = false",
            "history is kept, and no client may recover or read it (the API alone does): allow_recovery, \
             allow_history_for_subscriber and allow_history_for_client are off",
        ),
        (
            "HISTORY\nallow_recovery = false\nforce_recovery = true",
            "allow_recovery = false closes nothing, since force_recovery is on",
        ),
        (
            "HISTORY\nallow_positioning = false",
            "force_positioning = false and allow_positioning = false close nothing, since force_recovery is on: what recovers \
             has a position",
        ),
        (
            "HISTORY\nforce_recovery = false\nforce_positioning = true\nallow_positioning = false",
            "allow_positioning = false closes nothing, since force_positioning is on",
        ),
        (
            "join_leave = true",
            "join_leave is on, and only clients with a subscription token that ask for them can receive joins and leaves: \
             allow_subscribe_for_client, allow_user_limited_channels and force_push_join_leave are off",
        ),
        (
            "history_size = 10\nhistory_ttl = '60days'",
            "history is kept no longer than broker.memory.position_ttl, which history_ttl exceeds",
        ),
    ] {
        assert_eq!(of_namespace(OPEN, options), [expected], "{options}");
    }
}

#[test]
fn permissions_are_compared_with_who_can_connect() {
    let users = "api.keys = ['0123456789abcdef']\ntoken.hmac_secret = '0123456789abcdef'";
    let anonymous = "api.keys = ['0123456789abcdef']\nclient.allow_anonymous = true";
    let closed = "token.hmac_secret = '0123456789abcdef'";
    for (around, options, expected) in [
        (
            users,
            "allow_subscribe_for_client = true\nallow_subscribe_for_anonymous = true",
            "allow_subscribe_for_anonymous opens nothing: client.allow_anonymous is off",
        ),
        (
            anonymous,
            "allow_subscribe_for_client = true",
            "allow_subscribe_for_client opens nothing: [token] has no key, so every client is anonymous, and \
             allow_subscribe_for_anonymous is off",
        ),
        (
            anonymous,
            "join_leave = true",
            "join_leave is on, and nobody can receive joins and leaves: allow_subscribe_for_client, \
             allow_user_limited_channels and force_push_join_leave are off",
        ),
        (
            closed,
            "presence = true",
            "presence is on, and no client may read it (nor the API, which is closed): allow_presence_for_subscriber and \
             allow_presence_for_client are off",
        ),
    ] {
        assert_eq!(of_namespace(around, options), [expected], "{around} {options}");
    }
}

#[test]
fn namespaces_that_mean_what_they_say_are_no_warning() {
    for options in [
        "",
        "HISTORY",
        "HISTORY\nforce_recovery = false",
        "HISTORY\nforce_recovery = true\nforce_positioning = true",
        "HISTORY\nallow_recovery = true\nallow_positioning = true",
        "HISTORY\nallow_recovery = false\nallow_history_for_subscriber = true",
        "HISTORY\nallow_recovery = false\nforce_positioning = true\nallow_history_for_client = true",
        "allow_subscribe_for_client = true\nallow_subscribe_for_anonymous = true",
        "allow_publish_for_subscriber = true\nallow_publish_for_anonymous = true",
        "presence = true\nallow_presence_for_subscriber = true",
        "presence = true\nallow_presence_for_client = true\nallow_presence_for_anonymous = true",
        "join_leave = true\nallow_subscribe_for_client = true",
        "join_leave = true\nallow_user_limited_channels = true",
        "join_leave = true\nforce_push_join_leave = true",
    ] {
        assert_eq!(of_namespace(OPEN, options), Vec::<String>::new(), "{options}");
    }
}

#[test]
fn a_node_that_nobody_can_use_says_so() {
    let found = warnings("");
    assert!(found.iter().any(|text| text.starts_with("no client can connect")), "{found:?}");
    assert!(found.iter().any(|text| text.starts_with("api.keys is empty")), "{found:?}");
    let found = warnings("client.allow_anonymous = true\nclient.personal_channels = ['orders']");
    assert!(found.iter().any(|text| text.starts_with("client.personal_channels has no effect")), "{found:?}");
    for enough in [
        "token.hmac_secret = '0123456789abcdef'",
        "client.allow_anonymous = true",
        "stomp.users = [{ name = 'shop', password = '0123456789abcdef' }]",
    ] {
        let found = warnings(enough);
        assert!(!found.iter().any(|text| text.starts_with("no client can connect")), "{enough} {found:?}");
    }
}

#[test]
fn a_node_of_a_cluster_that_speaks_tls_needs_an_address_for_the_others() {
    let tls =
        format!("{OPEN}\nbroker.kind = 'redis'\nhttp.tls.certificate = 'a.pem'\nhttp.tls.key = 'b.pem'");
    assert!(warnings(&tls).iter().any(|text| text.starts_with("cluster.advertise is empty")));
    assert_eq!(warnings(&format!("{tls}\ncluster.advertise = '10.0.0.7:8000'")), Vec::<String>::new());
    assert_eq!(warnings(OPEN), Vec::<String>::new());
}
