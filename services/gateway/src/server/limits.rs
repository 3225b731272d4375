//! The limit of open files: each connection is one.

/// Files that a node needs besides its connections.
const SPARE_FILES: u64 = 256;

/// Raises the soft limit as far as the system lets it, and says so when that is not enough for `connections`.
pub fn raise_file_limit(connections: usize) {
    let wanted = connections as u64 + SPARE_FILES;
    let limit = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => limit,
        Err(error) => return tracing::warn!(%error, "the limit of open files is not known"),
    };
    if limit < wanted {
        tracing::warn!(
            limit,
            wanted,
            "the system lets this process open {limit} files, too few for http.max_connections = {connections}: \
             raise it (ulimit -n, LimitNOFILE in systemd, ulimits in docker), or lower the setting"
        );
    }
}
