//! Asks the admin API for what is shown: the overview and one table.

use super::{snapshot::Snapshot, state::TopState, table::TopTable};
use crate::cli::{
    admin_client::{AdminCallFailed, AdminClient},
    output::missing_nodes,
};

/// The questions of one poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopQuery {
    table: TopTable,
    filter: String,
    rows: usize,
}

/// A call of the admin API and its parameters by name.
type TopCall = (&'static str, Vec<(String, String)>);

impl TopQuery {
    /// The questions for this state of the screen.
    pub(super) fn of(state: &TopState) -> Self {
        let is_asked = state.table.is_asked_with_filter();
        let filter = if is_asked { state.filter.clone() } else { String::new() };
        Self { table: state.table, filter, rows: state.rows }
    }

    fn call(&self) -> Result<TopCall, AdminCallFailed> {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Ok(match self.table {
            TopTable::Nodes | TopTable::Transports => ("nodes", Vec::new()),
            TopTable::Channels => ("channels", vec![pair("top", "50")]),
            TopTable::Slow => ("slow", Vec::new()),
            TopTable::Connections | TopTable::Users => {
                let limit = pair("limit", &self.rows.clamp(1, 1000).to_string());
                let mut pairs = vec![limit];
                if self.filter.is_empty() {
                    pairs.push(pair("lagging", "1"));
                }
                for part in self.filter.split_whitespace() {
                    let (name, value) = part.split_once('=').ok_or_else(|| {
                        AdminCallFailed::Use(format!(
                            "{part:?}: a filter is user=, address=, transport= or sdk="
                        ))
                    })?;
                    pairs.push(pair(name, value));
                }
                ("connections", pairs)
            }
        })
    }
}

/// Asks once.
pub(super) fn ask(client: &AdminClient<'_>, query: &TopQuery) -> Result<Snapshot, AdminCallFailed> {
    // The page's series are not for here.
    let since = crate::clock::unix_ms().to_string();
    let overview = client.get("overview", &[("since", &since)])?;
    let mut snapshot = Snapshot {
        table: query.table,
        missing: missing_nodes(&overview),
        overview: overview.get("result").cloned().unwrap_or_default(),
        rows: Vec::new(),
        trouble: None,
    };
    if let Some(overview) = snapshot.overview.as_object_mut() {
        overview.remove("series");
    }
    let asked = query.call().and_then(|(call, pairs)| {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        client.get(call, &pairs)
    });
    match asked {
        Ok(answer) => snapshot.rows = query.table.rows(&answer["result"]),
        // A filter is typed letter by letter.
        Err(AdminCallFailed::Use(trouble) | AdminCallFailed::Failed(trouble)) => {
            snapshot.trouble = Some(trouble);
        }
        Err(error) => return Err(error),
    }
    Ok(snapshot)
}
