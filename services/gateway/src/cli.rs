//! The command line: `gorani [serve|check|health|token|version]`. Exit code 78 means bad settings (`EX_CONFIG` of sysexits).

pub mod health;
mod pinned;
pub mod serve;
pub mod token;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{
    RunError,
    node::NodeError,
    server::{self, ServerError},
    settings::{Settings, SettingsError},
    version::VERSION,
};

/// Exit code for bad settings.
const EXIT_SETTINGS: u8 = 78;

/// A realtime push server: one POST from a backend, and every subscribed client has it.
#[derive(Debug, Parser)]
#[command(name = "gorani", version, about, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<CliCommand>,
    #[command(flatten)]
    serve: ConfigFile,
}

/// Where the settings are.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigFile {
    /// Settings file (TOML); environment variables GORANI__… go over it.
    #[arg(long, short, env = "GORANI_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    fn load(&self) -> Result<Settings, SettingsError> {
        Settings::load(self.config.as_deref())
    }
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Run a node (the default).
    Serve(ConfigFile),
    /// Read and check the settings, and say what is wrong with them.
    Check(ConfigFile),
    /// Ask the node that runs here with these settings whether it is alive or ready; exit code 1 if not.
    Health(health::HealthArguments),
    /// Make a token for a client, signed with token.hmac_secret.
    Token(token::TokenArguments),
    /// Print the version.
    Version,
}

/// Why a command fails.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The settings are refused.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The node does not run.
    #[error(transparent)]
    Run(RunError),
    /// The logging directives are not understood.
    #[error("settings: log.level: {0}")]
    Log(#[from] tracing_subscriber::filter::ParseError),
    /// The node is not healthy.
    #[error("health: {0}")]
    Health(#[from] health::Unhealthy),
    /// The token cannot be made.
    #[error("token: {0}")]
    Token(#[from] token::TokenFailed),
}

impl From<RunError> for CliError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Node(NodeError::Settings(error)) => Self::Settings(error),
            error => Self::Run(error),
        }
    }
}

impl CliError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) | Self::Log(_) => EXIT_SETTINGS,
            // Files that the settings name: starting again does not help before somebody changes them.
            Self::Run(RunError::Server(ServerError::Tls(_))) => EXIT_SETTINGS,
            Self::Run(_) | Self::Health(_) | Self::Token(_) => 1,
        }
    }
}

impl Cli {
    /// Runs the command. What it prints is its result; what goes wrong is one line on standard error.
    #[allow(clippy::print_stdout, clippy::print_stderr, reason = "a command's result goes to its terminal")]
    pub fn run(self) -> ExitCode {
        let result = match self.command {
            None => serve::serve(&self.serve),
            Some(CliCommand::Serve(file)) => serve::serve(&file),
            Some(CliCommand::Check(file)) => file.load().map_err(CliError::from).and_then(|settings| {
                // A restart after a good check must not leave nothing running.
                server::check_tls_files(&settings).map_err(|error| CliError::Run(error.into()))?;
                settings.warnings().iter().for_each(|warning| eprintln!("gorani: warning: {warning}"));
                println!("settings are fine");
                Ok(())
            }),
            Some(CliCommand::Health(arguments)) => arguments.ask().map(|answer| println!("{answer}")),
            Some(CliCommand::Token(arguments)) => arguments.make().map(|token| println!("{token}")),
            Some(CliCommand::Version) => {
                println!("gorani {VERSION}");
                Ok(())
            }
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("gorani: {error}");
                ExitCode::from(error.exit_code())
            }
        }
    }
}
