//! Reloads of a node in this process: what is put in place, what is told, and what changes nothing.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;

use parking_lot::Mutex;

use super::*;
use crate::node::live::ReloadFailed;

/// A node whose settings stand in this text.
struct Reloadable {
    node: Arc<Node>,
    text: Arc<Mutex<String>>,
    signals: mpsc::Sender<()>,
}

impl Reloadable {
    async fn start(text: &str) -> Self {
        let text = Arc::new(Mutex::new(text.to_owned()));
        let read = text.clone();
        let load: LoadSettings = Arc::new(move || Settings::from_text(&read.lock(), &HashMap::new()));
        let node = Node::start(load().unwrap()).await.unwrap();
        let (signals, received) = mpsc::channel(1);
        let reloader = Reloader::new(node.clone(), Certificates::default(), load);
        node.tasks.spawn(reloader.run(received));
        // The reloader takes the requests in its first turn.
        tokio::task::yield_now().await;
        Self { node, text, signals }
    }

    fn write(&self, text: &str) {
        *self.text.lock() = text.to_owned();
    }
}

impl Drop for Reloadable {
    fn drop(&mut self) {
        self.node.stop();
    }
}

#[test]
fn a_secret_is_dropped_where_neither_of_the_next_two_is_it() {
    let secrets = |now: &str, previous: &str| TokenSettings {
        hmac_secret: now.to_owned(),
        hmac_secret_previous: previous.to_owned(),
        ..TokenSettings::default()
    };
    for (today, tomorrow, expected) in [
        (secrets("a", ""), secrets("b", "a"), false),
        (secrets("a", ""), secrets("a", ""), false),
        (secrets("", ""), secrets("b", ""), false),
        (secrets("b", "a"), secrets("b", ""), false),
        (secrets("a", ""), secrets("b", ""), true),
        (secrets("a", ""), secrets("", ""), true),
        (secrets("b", "a"), secrets("c", "a"), true),
    ] {
        assert_eq!(drops_secret(&today, &tomorrow), expected, "{today:?} {tomorrow:?}");
    }
}

#[actix_rt::test]
async fn a_dry_run_tells_what_a_reload_would_do_and_changes_nothing() {
    let node = Reloadable::start("[client]\nmax_errors = 5").await;
    node.write("[client]\nmax_errors = 6\nmax_reads = 3\n[api]\nkeys = ['a-key-of-the-tests-1']");
    let dry = node.node.live.reload(ReloadMode { dry_run: true, ..ReloadMode::default() }).await.unwrap();
    let keys = |changes: &[crate::settings::reload_report::SettingChange]| {
        changes.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(dry.dry_run);
    assert_eq!(keys(&dry.live), ["api.keys: changed", "client.max_errors: 5 → 6"]);
    assert_eq!(keys(&dry.restart), ["client.max_reads: 2 → 3"]);
    assert_eq!(node.node.policy.get().settings.max_errors, 5);
    assert!(node.node.policy.get().api_keys.keys.is_empty());

    let done = node.node.live.reload(ReloadMode::default()).await.unwrap();
    assert_eq!((done.live, done.restart, done.dry_run), (dry.live, dry.restart, false));
    assert_eq!(node.node.policy.get().settings.max_errors, 6);
    assert!(node.node.policy.get().api_keys.keys.check(b"a-key-of-the-tests-1"));
    assert_eq!(node.node.metrics.reload.restart_pending.get(), 1);
    assert_eq!(node.node.live.running().fingerprint(), done.fingerprint);
}

#[actix_rt::test]
async fn only_a_reload_that_is_asked_to_enforce_does_and_a_dry_run_counts() {
    let node = Reloadable::start("[client]\nmax_errors = 5").await;
    for (dry_run, enforce, expected) in
        [(false, false, false), (true, false, false), (true, true, false), (false, true, true)]
    {
        let report = node.node.live.reload(ReloadMode { dry_run, enforce }).await.unwrap();
        assert_eq!((report.not_permitted, report.enforced), (Some(0), expected), "{dry_run} {enforce}");
    }
}

#[actix_rt::test]
async fn a_live_setting_that_needs_one_of_a_restart_changes_nothing() {
    let node = Reloadable::start("[client]\nmax_errors = 5").await;
    let before = node.node.live.running().fingerprint();
    node.write(
        "[client]\nmax_errors = 6\n[[channel.namespaces]]\nname = 'chat'\nsubscribe_proxy_enabled = true\nsubscribe_proxy_name = 'new'\n\
         [[proxies]]\nname = 'new'\nendpoint = 'http://127.0.0.1:9'",
    );
    let Err(ReloadFailed::Refused(why)) = node.node.live.reload(ReloadMode::default()).await else {
        unreachable!("the proxy is not there before a restart")
    };
    assert!(why.contains("restart"), "{why}");
    assert_eq!(node.node.policy.get().settings.max_errors, 5);
    assert_eq!(node.node.live.running().fingerprint(), before);
}

#[actix_rt::test]
async fn a_watched_file_is_reloaded_when_its_content_changes_and_a_refusal_is_told_once() {
    let watched = |errors: u32| format!("[settings]\nwatch = '1s'\n[client]\nmax_errors = {errors}");
    let node = Reloadable::start(&watched(5)).await;
    tokio::time::pause();
    let reloads = |result: &str| {
        let text = node.node.metrics.text(&node.node.broker().stats()).unwrap();
        let line = format!("gorani_settings_reloads_total{{result=\"{result}\"}} ");
        text.lines().find_map(|told| told.strip_prefix(&line)?.parse::<u32>().ok()).unwrap_or_default()
    };
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((reloads("done"), reloads("refused")), (0, 0), "nothing has changed");
    node.write(&watched(6));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((node.node.policy.get().settings.max_errors, reloads("done")), (6, 1));
    node.write("[settings]\nwatch = '1s'\n[client]\nno_such_key = 1");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((node.node.policy.get().settings.max_errors, reloads("refused")), (6, 1));
    // The file of before: the node runs with it, and the refusal is over.
    node.write(&watched(6));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((reloads("done"), reloads("refused")), (2, 1));
    // A signal reloads as well.
    node.write(&watched(7));
    node.signals.send(()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(node.node.policy.get().settings.max_errors, 7);
}

#[actix_rt::test]
async fn more_reloads_than_may_wait_are_refused() {
    let node = Node::start(Settings::default()).await.unwrap();
    assert_eq!(
        node.live.reload(ReloadMode::default()).await,
        Err(ReloadFailed::NotAvailable),
        "nobody carries it out"
    );
    let requests = node.live.reload_requests().unwrap();
    assert!(node.live.reload_requests().is_none(), "one carries them out");
    let asked = || {
        futures_util::FutureExt::now_or_never(
            node.live.reload(ReloadMode { dry_run: true, ..ReloadMode::default() }),
        )
    };
    let waiting = (0..8).filter(|_| asked().is_none()).count();
    assert_eq!(waiting, 8);
    assert_eq!(asked(), Some(Err(ReloadFailed::Busy)));
    drop(requests);
    assert_eq!(asked(), Some(Err(ReloadFailed::NotAvailable)));
    node.stop();
}

#[actix_rt::test]
async fn renewed_certificates_are_taken_at_their_interval_and_unreadable_ones_change_nothing() {
    let files = std::env::temp_dir().join(format!("gorani-renewed-{}", std::process::id()));
    std::fs::create_dir_all(&files).unwrap();
    let write = || {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(files.join("certificate.pem"), certified.cert.pem()).unwrap();
        std::fs::write(files.join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    };
    write();
    let mut settings = Settings::default();
    settings.http.tls.certificate = files.join("certificate.pem");
    settings.http.tls.key = files.join("key.pem");
    let node = Node::start(settings.clone()).await.unwrap();
    let certificates = Certificates::open(&settings).unwrap();
    let shown = || Certificates::open(&settings).map(|read| certificates.differing_from(&read).is_empty());
    let load: LoadSettings = Arc::new(|| Ok(Settings::default()));
    let mut reloader = Reloader::new(node.clone(), certificates.clone(), load);
    write();
    assert!(!shown().unwrap(), "nothing changes by itself");
    reloader.renew_certificates().await;
    assert!(shown().unwrap());
    std::fs::write(files.join("certificate.pem"), "nothing").unwrap();
    reloader.renew_certificates().await;
    assert!(shown().is_err());
    std::fs::remove_dir_all(&files).unwrap();
    node.stop();
}
