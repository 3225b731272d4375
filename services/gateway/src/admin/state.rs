//! The state of a node's admin API: sessions, failed logins, the audit log, and the numbers of the last minutes.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::hmac::{HMAC_SHA256, Key};
use gorani_auth::PasswordHash;
use parking_lot::Mutex;
use rand::Rng as _;
use tokio::{sync::Semaphore, time::Instant};

use super::{
    audit::AuditLog, oidc::logins::Oidc, series::Sampler, sessions::EndedLogins, throttle::LoginThrottle,
    token::TokenKey,
};
use crate::{
    node::Node,
    settings::{AdminSettings, BrokerKind},
};

/// Shortest time between two lines about logins that were not looked at.
const THROTTLED_LINE_EVERY: Duration = Duration::from_secs(1);

/// Tails of a node at a time.
pub(super) const TAILS_MAX: usize = 20;

/// The admin API of a node.
pub struct Admin {
    pub(super) node: Arc<Node>,
    pub(super) settings: AdminSettings,
    /// Nobody needs a password: `development.admin`.
    pub(super) is_open: bool,
    pub(super) password: Option<PasswordHash>,
    pub(super) command_key: TokenKey,
    /// In place of the secret of a cluster, where the node is alone and has none.
    own_secret: Option<Key>,
    pub(super) throttle: LoginThrottle,
    pub(super) throttled_lines: LinePace,
    pub(super) ended: EndedLogins,
    /// Logins by a provider, where one is set.
    pub(super) oidc: Option<Oidc>,
    pub(super) audit: AuditLog,
    pub(super) sampler: Sampler,
    /// Slots of tails.
    pub(super) tails: Arc<Semaphore>,
}

/// The admin API on one worker.
pub struct AdminScope {
    pub(super) admin: Arc<Admin>,
    /// The listener speaks TLS.
    pub(super) is_tls: bool,
}

impl Admin {
    /// The one of a node that asks for it.
    pub(super) fn new(node: &Arc<Node>) -> Self {
        let settings = node.settings.admin.clone();
        let is_alone = node.settings.broker.kind == BrokerKind::Memory;
        Self {
            is_open: node.settings.development.admin,
            // Settings that hold another text were refused.
            password: settings.password().ok().flatten(),
            command_key: TokenKey::of_commands(&settings, &node.settings.cluster.secret),
            own_secret: is_alone.then(|| {
                let mut secret = [0; 32];
                rand::rng().fill_bytes(&mut secret);
                Key::new(HMAC_SHA256, &secret)
            }),
            throttle: LoginThrottle::default(),
            throttled_lines: LinePace::default(),
            ended: EndedLogins::default(),
            oidc: settings.oidc.is_on().then(|| Oidc::new(&settings)),
            audit: AuditLog::default(),
            sampler: Sampler::default(),
            tails: Arc::new(Semaphore::new(TAILS_MAX)),
            settings,
            node: node.clone(),
        }
    }

    /// The keys of sessions; the first one is to sign with. None while the secret of the cluster is not known.
    pub(super) async fn session_keys(&self) -> Vec<TokenKey> {
        self.keys_by(TokenKey::of_sessions).await
    }

    /// The keys of logins by a provider that are under way.
    pub(super) async fn attempt_keys(&self) -> Vec<TokenKey> {
        self.keys_by(TokenKey::of_attempts).await
    }

    async fn keys_by(&self, key: fn(&Key, &AdminSettings) -> TokenKey) -> Vec<TokenKey> {
        let secrets = &self.node.secrets;
        if secrets.known().is_empty() && self.own_secret.is_none() {
            secrets.renew().await;
        }
        let known = secrets.known();
        let keys = known.iter().map(|secret| secret.key());
        keys.chain(self.own_secret.as_ref().filter(|_| known.is_empty()))
            .map(|secret| key(secret, &self.settings))
            .collect()
    }
}

/// A line that is written once in a while, however often there is a reason.
#[derive(Default)]
pub(super) struct LinePace(Mutex<Option<Instant>>);

impl LinePace {
    /// True if it is to be written now.
    pub(super) fn is_due(&self) -> bool {
        let mut last = self.0.lock();
        let is_due = last.is_none_or(|at| at.elapsed() >= THROTTLED_LINE_EVERY);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}
