//! Keys of the provider that change, that are made up, and that cannot be fetched.

use std::time::Instant;

use gorani_tests::{backend::Answer, node::Node};

use super::{
    failed, log_in,
    provider::{IdentityProvider, Signing},
    refused, with_provider, writes,
};

/// Seconds between two fetches that tokens with unknown keys ask for.
const FETCH_AT_MOST_EVERY: u64 = 10;

#[test]
fn a_login_finds_the_new_key_of_a_provider_at_once_and_the_old_one_stays_good() {
    let provider = IdentityProvider::start();
    let node = Node::start(with_provider(&provider.issuer()));
    assert_eq!(log_in(node.address(), &provider, 60).head.status, 200);
    assert_eq!(provider.asked("/keys"), 1);
    provider.rotate();
    for _ in 0..2 {
        assert_eq!(log_in(node.address(), &provider, 60).head.status, 200);
    }
    provider.sign_by(Signing::Es256);
    assert_eq!(log_in(node.address(), &provider, 60).head.status, 200);
    assert_eq!(provider.asked("/keys"), 2);
}

#[test]
fn a_flood_of_tokens_with_unknown_keys_is_no_flood_of_requests_for_keys() {
    let provider = IdentityProvider::start();
    let node = Node::start(with_provider(&provider.issuer()));
    assert_eq!(log_in(node.address(), &provider, 61).head.status, 200);
    provider.sign_by(Signing::UnknownKey);
    let began = Instant::now();
    std::thread::scope(|scope| {
        // Each address has its own failures, and four of them are not too many.
        for from in 70..78 {
            let (node, provider) = (&node, &provider);
            scope.spawn(move || {
                for _ in 0..4 {
                    let answered = log_in(node.address(), provider, from);
                    assert_eq!(failed(&answered), refused(401, "oidc_token"));
                }
            });
        }
    });
    assert_eq!(provider.asked("/token"), 33);
    let most = 2 + began.elapsed().as_secs() / FETCH_AT_MOST_EVERY;
    let asked = provider.asked("/keys") as u64;
    assert!((2..=most).contains(&asked), "{asked} of {most}");
    provider.sign_by(Signing::Es256);
    assert_eq!(log_in(node.address(), &provider, 61).head.status, 200);
}

#[test]
fn the_old_keys_go_on_while_new_ones_cannot_be_fetched() {
    // A node each: one does not ask again soon.
    for answer in [Answer::status(503), Answer::Hang, Answer::Reset] {
        let provider = IdentityProvider::start();
        let node = Node::start(with_provider(&provider.issuer()).set("admin.oidc.timeout", "\"5s\""));
        assert_eq!(log_in(node.address(), &provider, 62).head.status, 200);
        provider.answer_keys_by(Some(answer));
        provider.sign_by(Signing::UnknownKey);
        assert_eq!(failed(&log_in(node.address(), &provider, 62)), refused(401, "oidc_token"));
        assert_eq!(provider.asked("/keys"), 2);
        provider.sign_by(Signing::Es256);
        assert_eq!(log_in(node.address(), &provider, 62).head.status, 200);
        writes(&node, "asking the identity provider failed");
    }
}
