//! `gorani doctor`: looks for what is set wrong around a node, and says how to mend it: this machine, the broker, and with `--url` the way
//! through the balancer. `docs/doctor.md`.
//!
//! - `machine`: limits of the system.
//! - `broker`: Redis.
//! - `balancer`: what clients meet on their way; `websocket`: a connection as an SDK has it.
//! - `production`: settings that are fine for a try and not for users.

mod balancer;
mod broker;
mod finding;
mod machine;
mod production;
mod seen;
mod websocket;

use std::{path::Path, time::Duration};

use clap::Args;
use url::Url;

use self::balancer::Balancer;
pub(super) use self::finding::{Finding, FindingState};
use super::{
    admin_client::{AdminCallFailed, AdminClient, ServerArguments},
    output::CommandOutput,
    terminal::{Terminal, Tone},
    token::connection_token,
};
use crate::settings::Settings;

/// User id of the token that the command makes for itself.
const USER: &str = "gorani-doctor";
/// Lifetime of that token, beside the idle time.
const TOKEN_LIFETIME: Duration = Duration::from_mins(5);

/// Arguments of `gorani doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gorani doctor\n  gorani doctor --url https://push.example.com\n  gorani doctor --production --json\n\nExit codes: 0 nothing is wrong, 1 something is, 2 bad use, 78 bad settings."
)]
pub(super) struct DoctorArguments {
    /// Address that clients connect to; it is tested as a client sees it.
    #[arg(long)]
    url: Option<Url>,
    /// A connection token for that test; without it the command makes one, if the settings hold token.hmac_secret.
    #[arg(long, requires = "url")]
    token: Option<String>,
    /// Time for which a connection is silent but for pings; many balancers cut it after 60 s.
    #[arg(long, default_value = "70s", value_parser = humantime::parse_duration, requires = "url")]
    idle: Duration,
    /// Check also that the settings are fit for users.
    #[arg(long)]
    production: bool,
    /// One object a line: check, state, text, advice.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArguments,
}

impl DoctorArguments {
    /// That of a report: no test through a balancer.
    pub(super) fn for_report(server: ServerArguments) -> Self {
        let (url, token, idle) = (None, None, Duration::ZERO);
        Self { url, token, idle, production: true, json: true, server }
    }

    /// Looks; what is to be printed.
    pub(super) fn run(&self, settings: &Settings) -> Result<CommandOutput, AdminCallFailed> {
        let findings = self.findings(settings)?;
        let text = if self.json {
            findings.iter().map(Finding::line).collect()
        } else {
            for_people(&findings, Terminal::of_stdout())
        };
        let code = u8::from(findings.iter().any(|finding| finding.state == FindingState::Bad));
        Ok(CommandOutput { text, notes: String::new(), code })
    }

    /// Looks.
    pub(super) fn findings(&self, settings: &Settings) -> Result<Vec<Finding>, AdminCallFailed> {
        let admin = AdminClient::new(&self.server, settings)?;
        let mut findings = machine::findings(settings, Path::new("/"));
        findings.extend(broker::findings(settings));
        let nodes = admin.get("nodes", &[]);
        findings.extend(broker::canary(settings, admin.get("broker", &[])));
        if self.production {
            findings.extend(production::findings(settings, nodes.as_ref().ok()));
        }
        if let Some(url) = &self.url {
            let lifetime = self.idle + TOKEN_LIFETIME;
            let own = || connection_token(&settings.token, USER, lifetime);
            let token = self.token.clone().or_else(own);
            let balancer =
                Balancer { url, token: token.as_deref(), idle: self.idle, timeout: self.server.timeout() };
            findings.extend(balancer.findings(|client| address_of(&admin, client)));
        }
        Ok(findings)
    }
}

/// The address of a client as the nodes see it.
fn address_of(admin: &AdminClient<'_>, client: &str) -> Result<String, AdminCallFailed> {
    let answer = admin.get("connection", &[("client", client)])?;
    let address = answer["result"]["address"].as_str().unwrap_or_default();
    Ok(address.to_owned())
}

/// The findings as text: what is wrong comes last, where it is seen.
fn for_people(findings: &[Finding], terminal: Terminal) -> String {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| finding.state);
    let mut text = String::new();
    for Finding { check, state, text: what, advice } in sorted {
        let (tone, word) = match state {
            FindingState::Fine => (Tone::Good, "fine   "),
            FindingState::Unknown => (Tone::Strong, "unknown"),
            FindingState::Warning => (Tone::Warning, "warning"),
            FindingState::Bad => (Tone::Bad, "BAD    "),
        };
        text.push_str(&format!("{}  {check}: {what}\n", terminal.paint(tone, word)));
        if !advice.is_empty() {
            text.push_str(&format!("         mend: {advice}\n"));
        }
    }
    let count = |state: FindingState| findings.iter().filter(|finding| finding.state == state).count();
    let (bad, warnings, unknown) =
        (count(FindingState::Bad), count(FindingState::Warning), count(FindingState::Unknown));
    text.push_str(&format!(
        "{} checks: {bad} bad, {warnings} warnings, {unknown} not known\n",
        findings.len()
    ));
    text
}
