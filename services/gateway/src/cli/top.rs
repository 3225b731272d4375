//! `gorani top`: the cluster in one screen of the terminal, asked for once a second; with `--once` for scripts. Keys and flags are those that
//! users of nats-top know. `docs/commands.md`.
//!
//! - `table`: the tables and their rows. `poll`: asks the admin API. `once`: text, JSON and CSV.
//! - `state`: what keys do. `screen`: what is drawn. `run`: the terminal.

mod once;
mod poll;
mod run;
mod screen;
mod snapshot;
mod state;
mod table;

use std::{io::IsTerminal as _, time::Duration};

use clap::Args;

use self::{poll::TopQuery, state::TopState, table::TopTable};
use super::{
    admin_client::{AdminCallFailed, AdminClient, ServerArguments},
    output::CommandOutput,
};
use crate::settings::Settings;

/// Arguments of `gorani top`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gorani top\n  gorani top slow -d 5\n  gorani top channels --once --json\n\nExit codes: 0 ended, 1 failure, 2 bad use, 3 no node reached, 4 refused. Keys: ? shows them."
)]
pub(super) struct TopArguments {
    /// The table that is shown first.
    #[arg(value_enum, default_value_t = TopTable::Nodes)]
    table: TopTable,
    /// Seconds between two polls.
    #[arg(long, short, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=3600))]
    delay: u32,
    /// Ends after so many polls.
    #[arg(long, short)]
    rounds: Option<u32>,
    /// Rows at most.
    #[arg(short = 'n', long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rows: u16,
    /// The column by which rows are sorted; the largest first.
    #[arg(short = 'o', long, value_name = "COLUMN")]
    sort: Option<String>,
    /// Only rows that hold this text; for connections and users a filter of the admin API, such as user=42.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Ask once, print, and end.
    #[arg(long)]
    once: bool,
    /// With --once: one object a line.
    #[arg(long, requires = "once")]
    json: bool,
    /// With --once: comma-separated values.
    #[arg(long, requires = "once", conflicts_with = "json")]
    csv: bool,
    #[command(flatten)]
    server: ServerArguments,
}

impl TopArguments {
    /// Shows; what is left to be printed.
    pub(super) fn run(&self, settings: &Settings) -> Result<CommandOutput, AdminCallFailed> {
        let client = AdminClient::new(&self.server, settings)?;
        let mut state = TopState::new(self.table, usize::from(self.rows), self.filter.clone());
        if let Some(column) = &self.sort {
            let names =
                || self.table.columns().iter().map(|column| column.name).collect::<Vec<_>>().join(", ");
            let is_known = state.sort_by(column);
            is_known.then_some(()).ok_or_else(|| {
                AdminCallFailed::Use(format!("--sort: no column {column:?}; there are {}", names()))
            })?;
        }
        if self.once {
            let snapshot = poll::ask(&client, &TopQuery::of(&state))?;
            let text = match (self.json, self.csv) {
                (true, _) => once::json(&snapshot, &state),
                (_, true) => once::csv(&snapshot, &state),
                _ => once::text(&snapshot, &state),
            };
            return Ok(CommandOutput { text, notes: snapshot.notes(), code: 0 });
        }
        if !std::io::stdout().is_terminal() {
            return Err(AdminCallFailed::Use(
                "this is no terminal: use --once, with --json or --csv".to_owned(),
            ));
        }
        // Before the screen is taken: why there is nothing to show stays to be read.
        let first = poll::ask(&client, &TopQuery::of(&state))?;
        let delay = Duration::from_secs(self.delay.into());
        let text = run::run(&client, state, first, delay, self.rounds)
            .map_err(|error| AdminCallFailed::Failed(format!("terminal: {error}")))?;
        Ok(CommandOutput { text, notes: String::new(), code: 0 })
    }
}
