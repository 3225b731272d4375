//! Questions to the servers about themselves, for operators who look for what is set wrong. On connections of their own, which end with
//! the answers.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use redis::{FromRedisValue, aio::MultiplexedConnection, cmd};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use super::{
    super::settings::{RedisSettings, RedisSettingsError},
    Dialer,
};

/// The answers of a server about itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExaminedServer {
    /// Host and port.
    pub address: String,
    /// The fields of `INFO`, by name.
    pub info: BTreeMap<String, String>,
    /// The values of `CONFIG GET` that were asked for; empty where the server does not tell them.
    pub config: BTreeMap<String, String>,
    /// The fields of `CLUSTER INFO`; empty where there is no cluster.
    pub cluster: BTreeMap<String, String>,
    /// Its clock minus this machine's, in milliseconds; not known to less than half of the round trip.
    pub clock_offset_ms: Option<i64>,
    /// The shortest of a few round trips.
    pub round_trip: Duration,
}

/// Values of `CONFIG GET` that are asked for.
const CONFIG: [&str; 3] = ["maxmemory", "maxmemory-policy", "client-output-buffer-limit"];
/// Round trips that are measured.
const ROUND_TRIPS: usize = 5;

/// Asks each server that the settings name. Of one that does not answer the reason is given, with its address.
///
/// # Errors
/// The settings cannot be used.
pub async fn examine(
    settings: &RedisSettings,
) -> Result<Vec<Result<ExaminedServer, (String, String)>>, RedisSettingsError> {
    let dialer = Dialer::new(settings)?;
    let mut dialers = Vec::new();
    if settings.cluster.is_some() {
        dialers.extend(settings.seeds()?.iter().map(|(host, port)| dialer.at(host, *port)));
    } else {
        dialers.push(dialer);
    }
    let mut servers = Vec::new();
    for dialer in dialers {
        let answers = timeout(settings.connect_timeout + settings.request_timeout, one(&dialer)).await;
        let server = match answers {
            Ok(answers) => answers,
            Err(_) => Err("no answer in time".to_owned()),
        };
        servers.push(server.map_err(|error| (dialer.server(), error)));
    }
    Ok(servers)
}

async fn one(dialer: &Dialer) -> Result<ExaminedServer, String> {
    let mut connection = dialer.dial(Arc::new(Notify::new()), |_| {}).await?;
    let info: String = ask(&mut connection, &["INFO"]).await?;
    // Providers of Redis forbid it.
    let config: BTreeMap<String, String> =
        ask(&mut connection, &[&["CONFIG", "GET"], &CONFIG[..]].concat()).await.unwrap_or_default();
    let cluster: String = ask(&mut connection, &["CLUSTER", "INFO"]).await.unwrap_or_default();
    let mut round_trip = Duration::MAX;
    let mut clock_offset_ms = None;
    for _ in 0..ROUND_TRIPS {
        let (asked_at, before) = (SystemTime::now(), Instant::now());
        let time: Vec<u64> = ask(&mut connection, &["TIME"]).await?;
        let took = before.elapsed();
        if took < round_trip {
            round_trip = took;
            clock_offset_ms = offset(&time, asked_at + took / 2);
        }
    }
    Ok(ExaminedServer {
        address: dialer.server(),
        info: fields(&info),
        config,
        cluster: fields(&cluster),
        clock_offset_ms,
        round_trip,
    })
}

async fn ask<T: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    command: &[&str],
) -> Result<T, String> {
    let (name, arguments) = command.split_first().ok_or_else(|| "no command".to_owned())?;
    cmd(name).arg(arguments).query_async(connection).await.map_err(|error| format!("{name}: {error}"))
}

/// The answer of `TIME` minus a time of this machine, in milliseconds.
fn offset(time: &[u64], here: SystemTime) -> Option<i64> {
    let [seconds, microseconds] = time else { return None };
    let there = seconds.checked_mul(1000)?.checked_add(microseconds / 1000)?;
    let here = here.duration_since(UNIX_EPOCH).ok()?.as_millis();
    i64::try_from(there).ok()?.checked_sub(i64::try_from(here).ok()?)
}

/// The lines `name:value` of a text of Redis.
fn fields(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_an_info_are_read_and_headings_are_not() {
        let read =
            fields("# Server\r\nredis_version:7.0.15\r\n\r\nbad\r\nrole:master\r\nslave0:ip=a,port=1\r\n");
        let names: Vec<_> = read.keys().map(String::as_str).collect();
        assert_eq!(names, ["redis_version", "role", "slave0"]);
        assert_eq!(read["slave0"], "ip=a,port=1");
    }

    #[test]
    fn clocks_are_compared_in_milliseconds() {
        let here = UNIX_EPOCH + Duration::from_millis(10_500);
        assert_eq!(offset(&[11, 250_000], here), Some(750));
        assert_eq!(offset(&[10, 0], here), Some(-500));
        assert_eq!((offset(&[1], here), offset(&[u64::MAX, 0], here)), (None, None));
    }
}
