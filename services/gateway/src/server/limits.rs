//! The number of connections that the node takes: as the settings ask, as far as the system gives it files. Record 22.

use crate::settings::HttpSettings;

/// Files that a node may need besides its connections and its workers: the broker, other nodes, keys.
const SPARE_FILES: usize = 256;
/// The same at least, where the limit is tiny.
const SPARE_FILES_AT_LEAST: usize = 16;
/// Files of a worker's runtime.
const FILES_PER_WORKER: usize = 4;
/// Files of the node's own runtime, its listeners, and the thread that accepts.
const FILES_AT_START: usize = 16;
/// Connections in which a worker serves health and metrics when the node holds as many as it may: a probe or two and a scrape,
/// each from several addresses, beside unauthenticated clients that are closed to make room.
const RESERVED_PER_WORKER: usize = 16;
/// While files are short, handshakes may have this part of them, and the reserve that one.
const HANDSHAKES_PART: usize = 8;
const RESERVED_PART: usize = 8;

/// Files that this process may open, once the limit is as high as the system lets it be.
fn open_files() -> usize {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(files) => usize::try_from(files).unwrap_or(usize::MAX),
        Err(error) => {
            tracing::warn!(%error, "limit of open files not known");
            usize::MAX
        }
    }
}

/// Connections of a node at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Sessions.
    pub sessions: usize,
    /// TCP connections that are served; those over it get health and metrics alone.
    pub connections: usize,
    /// TCP connections among them whose first request has not come.
    pub handshakes: usize,
    /// The same from one address.
    pub handshakes_per_address: usize,
    /// TCP connections beyond `connections`.
    pub reserved: usize,
}

impl ConnectionLimits {
    /// Raises the limit of open files as far as the system lets it.
    pub fn read(settings: &HttpSettings) -> Self {
        Self::new(settings, open_files())
    }

    /// The warning that the system lets this process open too few files for the settings.
    pub fn warning(settings: &HttpSettings) -> Option<String> {
        let files = open_files();
        let sessions = Self::new(settings, files).sessions;
        (sessions < settings.max_connections).then(|| {
            format!(
                "the system lets this process open {files} files, too few for http.max_connections = {}: it takes {sessions} \
                 sessions. Raise the limit (ulimit -n, LimitNOFILE in systemd, ulimits in docker), or lower the setting",
                settings.max_connections,
            )
        })
    }

    fn new(settings: &HttpSettings, files: usize) -> Self {
        let workers = settings.worker_count();
        let spare = (files / 8).clamp(SPARE_FILES_AT_LEAST, SPARE_FILES);
        let free = files.saturating_sub(spare + FILES_AT_START + workers * FILES_PER_WORKER);
        // Each worker has one of each, or it would serve nobody.
        let reserved = (workers * RESERVED_PER_WORKER).min(free / RESERVED_PART).max(workers);
        let handshakes = settings.max_handshakes.min(free / HANDSHAKES_PART).max(workers);
        let sessions = settings.max_connections.min(free.saturating_sub(reserved + handshakes)).max(1);
        Self {
            sessions,
            connections: sessions.saturating_add(handshakes),
            handshakes,
            handshakes_per_address: settings.max_handshakes_per_address.min(handshakes),
            reserved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(files: usize) -> ConnectionLimits {
        ConnectionLimits::new(&HttpSettings { workers: 2, ..HttpSettings::default() }, files)
    }

    #[test]
    fn with_files_enough_the_limits_are_those_of_the_settings() {
        for files in [120_000, 1 << 20, usize::MAX] {
            let limits = limits(files);
            assert_eq!(
                (limits.sessions, limits.handshakes, limits.handshakes_per_address),
                (100_000, 10_000, 2_000)
            );
            assert_eq!((limits.connections, limits.reserved), (110_000, 32));
        }
    }

    #[test]
    fn all_connections_fit_into_the_files_and_each_kind_has_some() {
        for files in [72, 80, 256, 1_024, 4_096, 65_536, 110_000] {
            let limits = limits(files);
            assert!(
                limits.connections + limits.reserved + SPARE_FILES_AT_LEAST <= files,
                "{files}: {limits:?}"
            );
            assert!(
                limits.sessions >= 10 && limits.handshakes >= 2 && limits.reserved >= 2,
                "{files}: {limits:?}"
            );
            assert!(limits.handshakes_per_address <= limits.handshakes);
        }
    }
}
