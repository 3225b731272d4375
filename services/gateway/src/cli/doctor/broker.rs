//! The broker as it is set up: Redis's version, what it does when it is full, its buffers for subscribers, replication, slots, its clock and
//! its distance.

use std::time::Duration;

use gorani_broker::redis::examine::{ExaminedServer, examine};
use serde_json::Value;

use super::Finding;
use crate::{
    cli::{
        admin_client::AdminCallFailed,
        output::{missing_nodes, rows},
        terminal::printable,
    },
    settings::{BrokerKind, Settings},
};

/// Versions of Redis from which on everything works: alone, and as a cluster with sharded pub/sub.
const VERSION_ALONE: (u32, u32) = (6, 2);
const VERSION_CLUSTER: (u32, u32) = (7, 0);
/// Milliseconds between two clocks that are nothing to worry about.
const CLOCK_OFFSET_MS: u64 = 1000;
/// A round trip that slows each publish noticeably.
const ROUND_TRIP: Duration = Duration::from_millis(5);
/// Bytes of the buffer for subscribers below which a burst ends the connection: 32 MiB, Redis's default.
const PUBSUB_BUFFER: u64 = 32 * 1024 * 1024;

/// Looks at the servers that the settings name.
pub(super) fn findings(settings: &Settings) -> Vec<Finding> {
    if settings.broker.kind == BrokerKind::Memory {
        return vec![Finding::fine("broker", "embedded: one node, everything in its memory")];
    }
    let is_cluster = settings.broker.redis.cluster.is_some();
    let examined = actix_rt::System::new().block_on(examine(&settings.broker.redis));
    match examined {
        Err(error) => vec![Finding::bad("broker", error.to_string(), "mend the settings of broker.redis")],
        Ok(servers) => servers
            .iter()
            .flat_map(|server| match server {
                Ok(server) => of_server(server, is_cluster),
                Err((address, error)) => vec![Finding::bad(
                    "broker",
                    format!("{address}: {}", printable(error)),
                    "look whether Redis runs there, whether the network lets this machine through, and whether user and password are right",
                )],
            })
            .collect(),
    }
}

fn of_server(server: &ExaminedServer, is_cluster: bool) -> Vec<Finding> {
    let mut findings = vec![version(server, is_cluster), eviction(server), buffer(server)];
    findings.extend(replication(server));
    findings.extend(is_cluster.then(|| slots(server)));
    findings.push(clock(server));
    findings.push(distance(server));
    findings
}

fn info<'a>(server: &'a ExaminedServer, name: &str) -> &'a str {
    server.info.get(name).map_or("", String::as_str)
}

fn version(server: &ExaminedServer, is_cluster: bool) -> Finding {
    const CHECK: &str = "broker_version";
    let text = info(server, "redis_version");
    let is_valkey = server.info.contains_key("valkey_version");
    let mut numbers = text.split('.').map(|number| number.parse::<u32>().ok());
    let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next()) else {
        return Finding::unknown(CHECK, format!("{}: it does not tell its version", server.address), "");
    };
    let (needed, what) =
        if is_cluster { (VERSION_CLUSTER, "a cluster") } else { (VERSION_ALONE, "one server") };
    let name = if is_valkey { "Valkey, as Redis" } else { "Redis" };
    if (major, minor) < needed {
        Finding::bad(
            CHECK,
            format!("{}: {name} {}", server.address, printable(text)),
            format!("{what} needs Redis {}.{} or later, or Valkey", needed.0, needed.1),
        )
    } else {
        Finding::fine(CHECK, format!("{}: {name} {}", server.address, printable(text)))
    }
}

fn eviction(server: &ExaminedServer) -> Finding {
    const CHECK: &str = "broker_eviction";
    let configured = server.config.get("maxmemory-policy").map(String::as_str);
    let policy = configured.unwrap_or_else(|| info(server, "maxmemory_policy"));
    if policy.is_empty() {
        return Finding::unknown(CHECK, format!("{}: it does not tell maxmemory-policy", server.address), "");
    }
    if policy == "noeviction" {
        return Finding::fine(CHECK, format!("{}: maxmemory-policy is noeviction", server.address));
    }
    let limit = server.config.get("maxmemory").map_or_else(|| info(server, "maxmemory"), String::as_str);
    let text = format!("{}: maxmemory-policy is {}", server.address, printable(policy));
    let advice = "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf: else Redis deletes histories, presence and the nodes' leases when it is full";
    if limit == "0" {
        Finding::warning(CHECK, format!("{text}, without a limit of memory so far"), advice)
    } else {
        Finding::bad(CHECK, text, advice)
    }
}

fn buffer(server: &ExaminedServer) -> Finding {
    const CHECK: &str = "broker_pubsub_buffer";
    let Some(limits) = server.config.get("client-output-buffer-limit") else {
        let text = format!("{}: it does not tell client-output-buffer-limit", server.address);
        return Finding::unknown(CHECK, text, "");
    };
    let mut words = limits.split_whitespace().skip_while(|word| *word != "pubsub").skip(1);
    let hard = words.next().and_then(|bytes| bytes.parse::<u64>().ok());
    match hard {
        None => Finding::unknown(CHECK, format!("{}: {}", server.address, printable(limits)), ""),
        Some(hard) if hard != 0 && hard < PUBSUB_BUFFER => Finding::warning(
            CHECK,
            format!("{}: Redis ends the connection of a node for which {hard} bytes wait", server.address),
            "CONFIG SET client-output-buffer-limit \"pubsub 256mb 64mb 60\": a burst of publications is then no gap",
        ),
        Some(0) => Finding::fine(CHECK, format!("{}: no limit", server.address)),
        Some(hard) => Finding::fine(CHECK, format!("{}: {hard} bytes", server.address)),
    }
}

fn replication(server: &ExaminedServer) -> Option<Finding> {
    const CHECK: &str = "broker_replication";
    let address = &server.address;
    match (info(server, "role"), info(server, "connected_slaves")) {
        ("slave", _) => Some(Finding::bad(
            CHECK,
            format!("{address}: it is a replica, which takes no publications"),
            "name the primary in broker.redis.url, or use broker.redis.sentinel",
        )),
        ("master", "0") => Some(Finding::fine(CHECK, format!("{address}: no replica"))),
        ("master", replicas) => {
            let lagging: Vec<&str> = server
                .info
                .iter()
                .filter(|(name, value)| {
                    name.strip_prefix("slave").is_some_and(|number| number.parse::<u32>().is_ok())
                        && !value.contains("state=online")
                })
                .map(|(_, value)| value.as_str())
                .collect();
            Some(if lagging.is_empty() {
                Finding::fine(CHECK, format!("{address}: {} replicas online", printable(replicas)))
            } else {
                Finding::warning(
                    CHECK,
                    format!("{address}: not online: {}", printable(&lagging.join("; "))),
                    "look at the log of that replica: a failover to it would lose what it lacks",
                )
            })
        }
        _ => None,
    }
}

fn slots(server: &ExaminedServer) -> Finding {
    const CHECK: &str = "broker_slots";
    let field = |name: &str| server.cluster.get(name).map_or("", String::as_str);
    let text = format!(
        "{}: cluster_state {}, {} slots assigned",
        server.address,
        printable(field("cluster_state")),
        printable(field("cluster_slots_assigned"))
    );
    if field("cluster_state") == "ok" && field("cluster_slots_assigned") == "16384" {
        Finding::fine(CHECK, text)
    } else {
        Finding::bad(
            CHECK,
            text,
            "redis-cli --cluster check, then --cluster fix: channels of slots that nobody serves fail",
        )
    }
}

fn clock(server: &ExaminedServer) -> Finding {
    const CHECK: &str = "clock";
    let half = u64::try_from(server.round_trip.as_millis() / 2).unwrap_or(u64::MAX);
    match server.clock_offset_ms {
        None => Finding::unknown(CHECK, format!("{}: its time is not known", server.address), ""),
        Some(offset) if offset.unsigned_abs().saturating_sub(half) > CLOCK_OFFSET_MS => Finding::bad(
            CHECK,
            format!(
                "this machine's clock and that of {} differ by {} ms",
                server.address,
                offset.unsigned_abs()
            ),
            "let both follow the same time servers (chrony, systemd-timesyncd): tokens expire too early or too late",
        ),
        Some(offset) => Finding::fine(CHECK, format!("{offset} ms from that of {}", server.address)),
    }
}

fn distance(server: &ExaminedServer) -> Finding {
    const CHECK: &str = "broker_round_trip";
    let text = format!("{}: {:.1} ms", server.address, server.round_trip.as_secs_f64() * 1000.0);
    if server.round_trip > ROUND_TRIP {
        let advice = "put nodes and Redis into one zone: each publication waits for a round trip";
        Finding::warning(CHECK, text, advice)
    } else {
        Finding::fine(CHECK, text)
    }
}

/// The last message that each node sent itself through the broker, as the admin API tells it.
pub(super) fn canary(settings: &Settings, broker: Result<Value, AdminCallFailed>) -> Option<Finding> {
    const CHECK: &str = "broker_canary";
    if settings.broker.kind == BrokerKind::Memory {
        return None;
    }
    let broker = match broker {
        Ok(broker) => broker,
        Err(error) => {
            let advice = "set admin.enabled, or name a node with --server and --key";
            return Some(Finding::unknown(CHECK, format!("no node was asked: {error}"), advice));
        }
    };
    let silent = missing_nodes(&broker);
    let most = u64::try_from(settings.broker.redis.canary_timeout.as_millis()).unwrap_or(u64::MAX);
    let servers = broker["result"]["servers"].as_array().map_or(rows(&broker), Vec::as_slice);
    let ages = servers.iter().map(|server| (server["node"].as_str(), server["canary_age_ms"].as_u64()));
    let deaf: Vec<String> = ages
        .filter(|(_, age)| age.is_none_or(|age| age > most))
        .map(|(node, _)| printable(node.unwrap_or_default()))
        .collect();
    Some(if !deaf.is_empty() {
        Finding::bad(
            CHECK,
            format!("not heard for more than {most} ms: {}", deaf.join(", ")),
            "look at the log of that node and at CLIENT LIST in Redis: it does not get what others publish",
        )
    } else if silent.is_empty() {
        Finding::fine(CHECK, format!("heard by {} nodes", servers.len()))
    } else {
        Finding::unknown(
            CHECK,
            format!("heard by {} nodes; {}", servers.len(), silent.trim_end().replace('\n', "; ")),
            "look at the log of that node, and whether it still runs",
        )
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::cli::doctor::FindingState;

    fn server(info: &[(&str, &str)], config: &[(&str, &str)]) -> ExaminedServer {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        ExaminedServer {
            address: "r:1".to_owned(),
            info: map(info),
            config: map(config),
            ..Default::default()
        }
    }

    #[test]
    fn old_versions_are_bad_and_a_cluster_needs_a_newer_one() {
        let state =
            |text: &str, is_cluster| version(&server(&[("redis_version", text)], &[]), is_cluster).state;
        assert_eq!((state("5.0.14", false), state("6.0.16", false)), (FindingState::Bad, FindingState::Bad));
        assert_eq!((state("6.2.7", false), state("6.2.7", true)), (FindingState::Fine, FindingState::Bad));
        assert_eq!(
            (state("7.0.15", true), state("255.255.255", true)),
            (FindingState::Fine, FindingState::Fine)
        );
        assert_eq!((state("", false), state("x.y", false)), (FindingState::Unknown, FindingState::Unknown));
    }

    #[test]
    fn eviction_is_bad_where_memory_is_limited() {
        let state = |policy: &str, limit: &str| {
            eviction(&server(&[], &[("maxmemory-policy", policy), ("maxmemory", limit)])).state
        };
        assert_eq!(
            (state("allkeys-lru", "100"), state("volatile-ttl", "0")),
            (FindingState::Bad, FindingState::Warning)
        );
        assert_eq!(state("noeviction", "100"), FindingState::Fine);
        // A provider that forbids CONFIG still tells it in INFO.
        let forbidden = server(&[("maxmemory_policy", "allkeys-lru"), ("maxmemory", "9")], &[]);
        assert_eq!(eviction(&forbidden).state, FindingState::Bad);
        assert_eq!(eviction(&server(&[], &[])).state, FindingState::Unknown);
    }

    #[test]
    fn small_buffers_replicas_and_missing_slots_are_seen() {
        let limits = |text: &str| buffer(&server(&[], &[("client-output-buffer-limit", text)])).state;
        assert_eq!(limits("normal 0 0 0 slave 1 2 3 pubsub 1048576 8388608 60"), FindingState::Warning);
        assert_eq!(limits("normal 0 0 0 slave 1 2 3 pubsub 33554432 8388608 60"), FindingState::Fine);
        assert_eq!((limits("pubsub"), limits("pubsub 0 0 0")), (FindingState::Unknown, FindingState::Fine));
        let role = |info: &[(&str, &str)]| replication(&server(info, &[])).map(|finding| finding.state);
        assert_eq!(role(&[("role", "slave")]), Some(FindingState::Bad));
        let replica = |state| [("role", "master"), ("connected_slaves", "1"), ("slave0", state)];
        assert_eq!(role(&replica("ip=1,state=online")), Some(FindingState::Fine));
        assert_eq!(role(&replica("ip=1,state=wait_bgsave")), Some(FindingState::Warning));
        let mut cluster = server(&[], &[]);
        assert_eq!(slots(&cluster).state, FindingState::Bad);
        cluster.cluster.insert("cluster_state".into(), "ok".into());
        cluster.cluster.insert("cluster_slots_assigned".into(), "16384".into());
        assert_eq!(slots(&cluster).state, FindingState::Fine);
    }

    #[test]
    fn clocks_may_differ_by_what_the_way_takes() {
        let state = |offset, round_trip| {
            let round_trip = Duration::from_millis(round_trip);
            let server = ExaminedServer { clock_offset_ms: offset, round_trip, ..server(&[], &[]) };
            (clock(&server).state, distance(&server).state)
        };
        assert_eq!(state(Some(-1500), 1), (FindingState::Bad, FindingState::Fine));
        assert_eq!(state(Some(1500), 2000), (FindingState::Fine, FindingState::Warning));
        assert_eq!(state(None, 0).0, FindingState::Unknown);
        assert_eq!(state(Some(i64::MIN), 0).0, FindingState::Bad);
    }

    #[test]
    fn a_node_that_does_not_hear_itself_is_named() {
        let mut settings = Settings::default();
        settings.broker.kind = BrokerKind::Redis;
        let answer = json!({"result": {"servers": [{"node": "n1", "canary_age_ms": 10}, {"node": "n2"}]}});
        let finding =
            canary(&settings, Ok(answer)).map(|finding| (finding.state, finding.text.ends_with("n2")));
        assert_eq!(finding, Some((FindingState::Bad, true)));
        let silent = json!({
            "result": {"servers": [{"node": "n1", "canary_age_ms": 10}]},
            "nodes": [{"name": "n1", "answered": true}, {"name": "n2", "answered": false}],
        });
        let finding = canary(&settings, Ok(silent)).map(|finding| (finding.state, finding.text));
        let text = "heard by 1 nodes; n2 did not answer, its part is missing".to_owned();
        assert_eq!(finding, Some((FindingState::Unknown, text)));
        settings.broker.kind = BrokerKind::Memory;
        assert_eq!(canary(&settings, Ok(json!({}))), None);
    }
}
