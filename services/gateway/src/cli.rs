//! The command line: `gorani [serve|check|health|token|version]`. Exit code 78 means bad settings (`EX_CONFIG` of sysexits).

pub mod error;
pub mod health;
mod pinned;
pub mod serve;
pub mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use self::{error::CliError, serve::ConfigFile};
use crate::{server, version::VERSION};

/// A realtime push server: one POST from a backend, and every subscribed client has it.
#[derive(Debug, Parser)]
#[command(name = "gorani", version, about, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<CliCommand>,
    #[command(flatten)]
    serve: ConfigFile,
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
