//! Settings of hooks: what is refused, and which endpoint wants what.

use gorani_broker::hook_store::HookEventKind;

use super::*;

const GOOD: &str =
    "[[hooks.endpoints]]\nname = 'shop'\nurl = 'http://localhost:1/hooks'\nevents = ['connected']\n";

#[test]
fn an_endpoint_that_cannot_work_is_refused_by_its_name() {
    load(GOOD).unwrap();
    for (text, named) in [
        ("[hooks]\npartitions = 0".to_owned(), "hooks.partitions"),
        ("[hooks]\ngrace = '1h'".to_owned(), "hooks.grace"),
        (format!("{GOOD}{GOOD}"), "twice"),
        (GOOD.replace("'shop'", "''"), "number 1: name"),
        (GOOD.replace("'shop'", "'a b'"), "name"),
        (GOOD.replace("http://localhost:1/hooks", "grpc://localhost:1"), "url"),
        (GOOD.replace("http://localhost:1/hooks", "http://me:it@localhost"), "headers"),
        (GOOD.replace("['connected']", "[]"), "events"),
        (GOOD.replace("['connected']", "['gap']"), "events"),
        (GOOD.replace("['connected']", "['conected']"), "events"),
        (format!("{GOOD}namespaces = ['nowhere']"), "nowhere"),
        (format!("{GOOD}timeout = '0s'"), "timeout"),
        (format!("{GOOD}batch_max_events = 0"), "batch_max_events"),
        (format!("{GOOD}batch_max_bytes = 1"), "batch_max_bytes"),
        (format!("{GOOD}max_age = '0s'"), "max_age"),
        (format!("{GOOD}max_backlog_events = 1"), "max_backlog_events"),
        (format!("{GOOD}format = 'pusher'"), "no connected"),
        (format!("{GOOD}pusher_key = 'a'"), "pusher_key"),
        (format!("{GOOD}[hooks.endpoints.headers]\nHost = 'a'"), "by the node"),
        (format!("{GOOD}[hooks.endpoints.headers]\n'a b' = 'a'"), "headers"),
        (format!("{GOOD}colour = 'blue'"), "colour"),
    ] {
        let error = load(&text).unwrap_err();
        assert!(error.contains(named), "{text:?} gave {error:?}");
        assert_eq!(error.trim().lines().count(), 1, "{error:?}");
    }
}

#[test]
fn an_endpoint_is_sent_the_kinds_and_namespaces_that_it_lists() {
    let text = "[[channel.namespaces]]\nname = 'chat'\n[[hooks.endpoints]]\nname = 'shop'\nurl = 'http://a/'\n\
                events = ['occupied', 'connected']\nnamespaces = ['chat']\n";
    let settings = load(text).unwrap();
    let endpoint = &settings.hooks.endpoints[0];
    assert!(endpoint.wants(HookEventKind::Occupied, Some("chat")));
    assert!(endpoint.wants(HookEventKind::Connected, None));
    assert!(endpoint.wants(HookEventKind::Reset, None));
    assert!(!endpoint.wants(HookEventKind::Occupied, Some("")));
    assert!(!endpoint.wants(HookEventKind::Vacated, Some("chat")));
    assert_eq!(settings.hooks.plan().endpoints[0].max_events, 62_500);
}

#[test]
fn no_secret_of_an_endpoint_is_shown() {
    let text = format!("{GOOD}secrets = ['s3cr3t']\n[hooks.endpoints.headers]\nAuthorization = 's3cr3t'");
    let Ok(settings) = load(&text) else { panic!("refused") };
    assert!(!format!("{settings:?}").contains("s3cr3t"));
}
