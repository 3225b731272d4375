//! Settings that are fine for a try and not for users.

use serde_json::Value;

use super::Finding;
use crate::{
    cli::output::rows,
    server::ConnectionLimits,
    settings::{BrokerKind, Settings},
    startup_warnings,
};

/// Looks at the settings, and at the nodes if one of them has answered.
pub(super) fn findings(settings: &Settings, nodes: Option<&Value>) -> Vec<Finding> {
    let mut findings =
        vec![development(settings), origins(settings), recovery(settings), broker(settings), drain(settings)];
    // The check of open files says it.
    let files = ConnectionLimits::warning(&settings.http);
    let warnings = startup_warnings(settings).into_iter().filter(|warning| Some(warning) != files.as_ref());
    findings.extend(warnings.map(|warning| Finding::warning("settings", warning, "")));
    findings.extend(nodes.map(cluster));
    findings
}

fn development(settings: &Settings) -> Finding {
    const CHECK: &str = "development";
    let development = &settings.development;
    let on: Vec<&str> = [
        ("page", development.page),
        ("page_api_key", development.page_api_key),
        ("echo", development.echo),
        ("sockjs_conformance", development.sockjs_conformance),
        ("admin", development.admin),
    ]
    .into_iter()
    .filter_map(|(name, is_on)| is_on.then_some(name))
    .collect();
    if on.is_empty() {
        Finding::fine(CHECK, "nothing of [development] is on")
    } else {
        Finding::bad(
            CHECK,
            format!("on: development.{}", on.join(", development.")),
            "switch it off: it is for a try, and open to everybody who reaches the node",
        )
    }
}

fn origins(settings: &Settings) -> Finding {
    const CHECK: &str = "origins";
    let origins = &settings.client.allowed_origins;
    if origins.iter().any(|origin| origin == "*") {
        let advice = "name the origins of your pages in client.allowed_origins";
        Finding::bad(CHECK, "client.allowed_origins holds *: any page may connect as its visitor", advice)
    } else {
        Finding::fine(CHECK, format!("{} origins besides the node's own", origins.len()))
    }
}

fn recovery(settings: &Settings) -> Finding {
    const CHECK: &str = "recovery";
    let defaults = ("channel.defaults", &settings.channel.defaults);
    let namespaces = settings.channel.namespaces.iter();
    let namespaces = namespaces.map(|namespace| (namespace.name.as_str(), &namespace.options));
    let without: Vec<&str> = std::iter::once(defaults)
        .chain(namespaces)
        .filter(|(_, options)| options.force_recovery && !options.has_history())
        .map(|(name, _)| name)
        .collect();
    if without.is_empty() {
        Finding::fine(CHECK, "each namespace with recovery has a history")
    } else {
        Finding::bad(
            CHECK,
            format!("force_recovery without a history: {}", without.join(", ")),
            "set history_size and history_ttl there",
        )
    }
}

fn broker(settings: &Settings) -> Finding {
    const CHECK: &str = "broker_kind";
    match settings.broker.kind {
        BrokerKind::Memory => Finding::bad(
            CHECK,
            "the embedded broker: one node, and a restart loses histories and presence",
            "set broker.kind = \"redis\"",
        ),
        BrokerKind::Redis => Finding::fine(CHECK, "redis"),
    }
}

fn drain(settings: &Settings) -> Finding {
    const CHECK: &str = "drain";
    let (grace, seconds) = (settings.drain.grace, settings.drain.seconds);
    if grace.is_zero() {
        Finding::warning(
            CHECK,
            "drain.grace is 0: a stopping node closes its port before balancers have noticed",
            "set drain.grace to the time that the balancer takes for two health checks, such as 5s",
        )
    } else {
        let least = grace.as_secs() + u64::from(seconds) + settings.http.shutdown_timeout.as_secs();
        Finding::fine(
            CHECK,
            format!(
                "stopping takes up to {least} s: terminationGracePeriodSeconds and TimeoutStopSec must be longer"
            ),
        )
    }
}

fn cluster(nodes: &Value) -> Finding {
    const CHECK: &str = "nodes";
    match rows(nodes).len() {
        0 | 1 => {
            Finding::warning(CHECK, "one node: an update or a fault ends every connection", "run two or more")
        }
        count => Finding::fine(CHECK, format!("{count} nodes")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::doctor::FindingState;

    #[test]
    fn settings_of_a_try_are_bad_for_users() {
        let mut settings = Settings::default();
        settings.development.echo = true;
        settings.client.allowed_origins = vec!["*".to_owned()];
        settings.channel.defaults.force_recovery = true;
        let one = json!({"result": [{}]});
        let bad: Vec<_> = findings(&settings, Some(&one))
            .into_iter()
            .filter(|finding| finding.state >= FindingState::Warning && finding.check != "settings")
            .map(|finding| finding.check)
            .collect();
        assert_eq!(bad, ["development", "origins", "recovery", "broker_kind", "drain", "nodes"]);
    }

    #[test]
    fn settings_of_a_cluster_are_fine() {
        let mut settings = Settings::default();
        settings.broker.kind = BrokerKind::Redis;
        settings.drain.grace = std::time::Duration::from_secs(5);
        let two = json!({"result": [{}, {}]});
        let bad: Vec<_> = findings(&settings, Some(&two))
            .into_iter()
            .filter(|finding| finding.state == FindingState::Bad)
            .collect();
        assert_eq!(bad, []);
    }
}
