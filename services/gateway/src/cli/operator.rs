//! The commands of operators, which ask the admin API of a node. They find it and show who they are in one way (`ServerArguments`).
//! `docs/commands.md`.

use clap::Subcommand;

#[cfg(feature = "top")]
use super::top::TopArguments;
use super::{
    admin_client::AdminCallFailed, config_file::ConfigFile, disconnects::DisconnectsArguments,
    doctor::DoctorArguments, explain::ExplainArguments, output::CommandOutput, publish::PublishArguments,
    reload::ReloadArguments, report::ReportArguments, slow::SlowArguments, tail::TailArguments,
};
use crate::settings::SettingsError;

/// Why a command has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum OperatorFailed {
    /// The settings are refused.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The admin API did not do what was asked.
    #[error(transparent)]
    Call(#[from] AdminCallFailed),
}

/// A command that asks the admin API.
#[derive(Debug, Subcommand)]
pub(super) enum OperatorCommand {
    /// Have the node read its settings again; shows first what would change.
    Reload {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: ReloadArguments,
    },
    /// List clients that read too slowly: now, and those that were ended for it.
    Slow {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: SlowArguments,
    },
    /// Count disconnects by code, and list the last ones of each.
    Disconnects {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: DisconnectsArguments,
    },
    /// Publish one message; with --trace what became of it, by node.
    Publish {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: PublishArguments,
    },
    /// Tell why a user got a publication of a channel, or did not; exit code 0 had it, 1 not, 5 unknown.
    Explain {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: ExplainArguments,
    },
    /// Look for what is set wrong around a node, and say how to mend it: this machine, the broker, and with --url the way through the
    /// balancer.
    Doctor {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: DoctorArguments,
    },
    /// Write an archive for a report of a fault: versions, settings without secrets, numbers, findings. It lists what is in it.
    Report {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: ReportArguments,
    },
    /// Show the cluster in the terminal, asked for once a second: nodes, channels, connections, slow consumers, users, transports.
    #[cfg(feature = "top")]
    Top {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: TopArguments,
    },
    /// Follow what comes through a channel, and what happens to a user's sessions, until its time is over or Ctrl-C.
    Tail {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: TailArguments,
    },
}

impl OperatorCommand {
    /// Runs it.
    pub(super) fn run(self) -> Result<CommandOutput, OperatorFailed> {
        Ok(match self {
            Self::Reload { file, arguments } => arguments.run(&file.load()?)?,
            Self::Slow { file, arguments } => arguments.run(&file.load()?)?,
            Self::Disconnects { file, arguments } => arguments.run(&file.load()?)?,
            Self::Publish { file, arguments } => arguments.run(&file.load()?)?,
            Self::Explain { file, arguments } => arguments.run(&file.load()?)?,
            Self::Doctor { file, arguments } => arguments.run(&file.load()?)?,
            Self::Report { file, arguments } => arguments.run(&file.load()?)?,
            #[cfg(feature = "top")]
            Self::Top { file, arguments } => arguments.run(&file.load()?)?,
            Self::Tail { file, arguments } => {
                // It prints as it goes.
                let code = arguments.run(&file.load()?)?;
                CommandOutput { text: String::new(), notes: String::new(), code }
            }
        })
    }
}
