//! Settings that are allowed and should be known: what opens something to everybody, closes something whole, is weak, or has no
//! effect. `gorani serve` logs them at the start, and `gorani check` prints the same ones.

mod callers;
mod namespaces;
mod proxies;
#[cfg(test)]
mod tests;
pub mod variables;

use self::callers::Callers;
use super::{BrokerKind, Settings, cluster::SECRET_MIN_BYTES};

impl Settings {
    /// A sentence for each setting that opens something to everybody, closes something whole, is weak, or has no effect beside
    /// the others. None shows a secret.
    pub fn warnings(&self) -> Vec<String> {
        let callers = Callers::of(self);
        let nobody_connects = !callers.users && !callers.anonymous && !callers.stomp_users;
        let is_unreachable = self.broker.kind == BrokerKind::Redis
            && self.http.tls.is_on()
            && self.cluster.advertise.is_empty();
        let warnings = [
            (
                self.development.page_api_key,
                "DEVELOPMENT: development.page_api_key gives an API key to whoever opens the page",
            ),
            (
                self.development.admin,
                "DEVELOPMENT: development.admin lets everybody on this machine into the admin page, and act there",
            ),
            (self.development.echo, "DEVELOPMENT: development.echo serves /echo to everybody"),
            (callers.anonymous, "client.allow_anonymous lets everybody connect without a token"),
            (!callers.api, "api.keys is empty: the HTTP API is closed"),
            (
                nobody_connects,
                "no client can connect: [token] has no key, client.allow_anonymous is off and stomp.users is empty",
            ),
            (
                !self.client.personal_channels.is_empty() && !callers.users,
                "client.personal_channels has no effect: personal channels belong to users, and [token] has no key",
            ),
            (
                is_unreachable,
                "cluster.advertise is empty and http.tls is on: other nodes cannot take requests to this one. Nodes do not \
                 speak TLS with one another: set cluster.advertise, or let the balancer keep clients at their node",
            ),
        ];
        let mut warnings: Vec<_> =
            warnings.into_iter().filter(|(holds, _)| *holds).map(|(_, text)| text.to_owned()).collect();
        warnings.extend(self.weak_secrets().into_iter().map(|key| {
            format!("{key}: a secret of fewer than 16 characters can be guessed; make one with: openssl rand -hex 32")
        }));
        warnings.extend(self.namespace_warnings(callers));
        warnings.extend(self.proxy_warnings());
        warnings.extend(self.telemetry.ignored_variables.iter().cloned());
        warnings
    }

    /// The settings whose secret is shorter than 16 bytes, each once.
    pub fn weak_secrets(&self) -> Vec<&'static str> {
        let is_weak = |secret: &str| !secret.is_empty() && secret.len() < SECRET_MIN_BYTES;
        let found = [
            ("api.keys", self.api.keys.iter().any(|key| is_weak(key))),
            ("token.hmac_secret", is_weak(&self.token.hmac_secret)),
            ("token.hmac_secret_previous", is_weak(&self.token.hmac_secret_previous)),
            ("stomp.users", self.stomp.users.iter().any(|user| user.password.len() < SECRET_MIN_BYTES)),
        ];
        found.into_iter().filter_map(|(key, is_weak)| is_weak.then_some(key)).collect()
    }

    /// Options that contradict one another in `channel.defaults` and in each namespace.
    fn namespace_warnings(&self, callers: Callers) -> Vec<String> {
        let (position_ttl, position_key) = match self.broker.kind {
            BrokerKind::Memory => (self.broker.memory.position_ttl, "broker.memory.position_ttl"),
            BrokerKind::Redis => (self.broker.redis.position_ttl, "broker.redis.position_ttl"),
        };
        let namespaces = self.channel.namespaces.iter();
        let named =
            namespaces.map(|namespace| (format!("namespace {:?}", namespace.name), namespace.options));
        let all = std::iter::once(("channel.defaults".to_owned(), self.channel.defaults)).chain(named);
        all.flat_map(|(address, options)| {
            let mut problems = namespaces::contradictions(&options, callers);
            if options.history_ttl > position_ttl {
                problems.push(format!(
                    "history is kept no longer than {position_key}, which history_ttl exceeds"
                ));
            }
            problems.into_iter().map(move |problem| format!("{address}: {problem}"))
        })
        .collect()
    }
}
