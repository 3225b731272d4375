//! The command line: `gorani [serve|check|init|health|hooks|token|password|completions|man|version]`, and with the feature `admin` the
//! commands of `operator`. Exit code 78 means bad settings (`EX_CONFIG` of sysexits).

#[cfg(feature = "admin")]
pub mod admin;
#[cfg(feature = "admin")]
mod admin_client;
mod check;
mod check_token;
pub mod completions;
mod config_file;
#[cfg(feature = "admin")]
mod disconnects;
#[cfg(feature = "admin")]
mod doctor;
#[cfg(feature = "admin")]
mod explain;
pub mod health;
pub mod hooks;
#[cfg_attr(
    not(feature = "admin"),
    expect(dead_code, reason = "the commands that ask the admin API use the rest")
)]
mod http_client;
pub mod init;
pub mod man;
#[cfg(feature = "admin")]
mod operator;
#[cfg(feature = "admin")]
mod output;
pub mod password;
#[cfg(feature = "admin")]
mod publish;
#[cfg(feature = "admin")]
mod reload;
#[cfg(feature = "admin")]
mod report;
#[cfg(feature = "admin")]
mod slow;
#[cfg(feature = "admin")]
mod streamed;
mod systemd;
#[cfg(feature = "admin")]
mod tail;
#[cfg_attr(
    not(feature = "admin"),
    expect(dead_code, reason = "the commands that ask the admin API use the rest")
)]
mod terminal;
pub mod token;
#[cfg(feature = "top")]
mod top;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::{self, error::TrySendError},
};

#[cfg(feature = "admin")]
use self::{
    admin::AdminArguments,
    admin_client::AdminCallFailed,
    operator::{OperatorCommand, OperatorFailed},
};
use self::{
    check::{CheckArguments, CheckFailed},
    completions::CompletionsArguments,
    config_file::ConfigFile,
    health::{HealthArguments, Unhealthy},
    hooks::{HooksArguments, HooksFailed},
    init::{InitArguments, InitFailed},
    man::ManArguments,
    password::{PasswordArguments, PasswordFailed},
    systemd::ServiceManager,
    token::{TokenArguments, TokenFailed},
};
use crate::{
    Gorani, RunError,
    hooks::deliver,
    node::NodeError,
    proxy::check_files,
    server::{self, ServerError},
    settings::SettingsError,
    startup_warnings, telemetry,
};

/// A realtime push server: one POST from a backend, and every subscribed client has it.
#[derive(Debug, Parser)]
#[command(name = "gorani", version, about, args_conflicts_with_subcommands = true)]
#[command(after_help = "Exit codes: 0 success, 1 failure, 78 bad settings.")]
pub struct Cli {
    #[command(subcommand)]
    command: Option<CliCommand>,
    #[command(flatten)]
    serve: ConfigFile,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Run a node (the default).
    #[command(after_help = config_file::SERVE_HELP)]
    Serve(ConfigFile),
    /// Read and check the settings, and say what is wrong with them; or tell what a token says and opens, or what a user may do in a
    /// channel.
    Check {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: CheckArguments,
    },
    /// Write a settings file with fresh secrets, an origin and one namespace; it asks for what no flag says. Without --config it is
    /// gorani.toml. An existing file is never overwritten.
    Init {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: InitArguments,
    },
    /// Ask the node that runs here with these settings whether it is alive or ready.
    Health {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: HealthArguments,
    },
    /// Look at events that endpoints of hooks did not take, send them again or delete them. It asks the node that runs here with these
    /// settings, with the first key of api.keys.
    Hooks {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: HooksArguments,
    },
    #[cfg(feature = "admin")]
    #[command(flatten)]
    Operator(OperatorCommand),
    /// Make a token for a client, signed with token.hmac_secret.
    Token {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: TokenArguments,
    },
    /// Ask the admin API of the node that runs here with these settings, or of another one. Without --data it only reads.
    #[cfg(feature = "admin")]
    Admin {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        arguments: AdminArguments,
    },
    /// Make the line for admin.password_hash of a password, which is read from the terminal twice.
    Password(PasswordArguments),
    /// Print completions for a shell: `gorani completions bash > /etc/bash_completion.d/gorani`.
    Completions(CompletionsArguments),
    /// Print the page for man(1), or write those of all commands into a directory.
    Man(ManArguments),
    /// Print the version.
    #[command(after_help = config_file::VERSION_HELP)]
    Version,
}

impl Cli {
    /// Runs the command. What it prints is its result; what goes wrong is one line on standard error.
    #[allow(clippy::print_stderr, reason = "a command's error goes to its terminal")]
    pub fn run(self) -> ExitCode {
        match self.execute() {
            Ok(code) => code,
            Err(error) => {
                eprintln!("gorani: {error}");
                ExitCode::from(error.exit_code())
            }
        }
    }

    #[allow(clippy::print_stderr, reason = "notes and warnings go to the standard error of a command")]
    fn execute(self) -> Result<ExitCode, CliError> {
        match self.command {
            None => serve(&self.serve)?,
            Some(CliCommand::Serve(file)) => serve(&file)?,
            Some(CliCommand::Check { file, arguments }) => {
                let settings = file.load()?;
                if let Some(checked) = arguments.run(&settings)? {
                    print(checked.text.as_bytes())?;
                    return Ok(ExitCode::from(checked.code));
                }
                // A restart after a good check must not leave nothing running.
                server::check_tls_files(&settings).map_err(|error| CliError::Run(error.into()))?;
                deliver::endpoints(&settings.hooks)?;
                check_files(&settings).map_err(|error| CliError::Run(NodeError::from(error).into()))?;
                startup_warnings(&settings)
                    .iter()
                    .for_each(|warning| eprintln!("gorani: warning: {warning}"));
                print(b"settings are fine\n")?;
            }
            Some(CliCommand::Init { file, arguments }) => {
                print_line(&arguments.write(file.config.as_deref())?)?;
            }
            Some(CliCommand::Health { file, arguments }) => {
                print_line(&arguments.ask(file.load()?.operator_listener())?)?;
            }
            Some(CliCommand::Hooks { file, arguments }) => print(arguments.run(&file.load()?)?.as_bytes())?,
            #[cfg(feature = "admin")]
            Some(CliCommand::Operator(command)) => {
                let output = command.run().map_err(|error| match error {
                    OperatorFailed::Settings(error) => CliError::Settings(error),
                    OperatorFailed::Call(error) => CliError::Admin(error),
                })?;
                print(output.text.as_bytes())?;
                eprint!("{}", output.notes);
                return Ok(ExitCode::from(output.code));
            }
            Some(CliCommand::Token { file, arguments }) => {
                print_line(&arguments.make(file.load()?.token)?)?;
            }
            #[cfg(feature = "admin")]
            Some(CliCommand::Admin { file, arguments }) => print(arguments.run(&file.load()?)?.as_bytes())?,
            Some(CliCommand::Password(arguments)) => print_line(&arguments.make()?)?,
            Some(CliCommand::Completions(arguments)) => print(&arguments.script(Self::command()))?,
            Some(CliCommand::Man(arguments)) => {
                print(&arguments.pages(Self::command()).map_err(CliError::Write)?)?
            }
            Some(CliCommand::Version) => print_line(concat!("gorani ", env!("CARGO_PKG_VERSION")))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes a command's result. A reader that has enough, such as `head`, is no failure of the command.
fn print(result: &[u8]) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(result).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Write(error)),
        _ => Ok(()),
    }
}

/// A result of one line.
fn print_line(result: &str) -> Result<(), CliError> {
    print(format!("{result}\n").as_bytes())
}

/// Runs a node until SIGTERM or SIGINT; a second one ends it at once. SIGHUP reads the settings again.
fn serve(file: &ConfigFile) -> Result<(), CliError> {
    let system = actix_rt::System::new();
    system.block_on(async {
        // Before all else: process 1 of a container ignores a signal that it does not handle yet.
        let stop = StopSignals::register();
        let hangups = signal(SignalKind::hangup());
        let settings = file.load()?;
        telemetry::start(&settings.log)?;
        let file = file.clone();
        let manager = ServiceManager::of_environment();
        let shutdown = async {
            StopSignals::received(stop).await;
            if let Some(manager) = manager {
                manager.stopping();
            }
        };
        let started = |address, node| {
            if let Some(manager) = manager {
                manager.started(address, node);
            }
        };
        let gorani = Gorani::new(settings).reload(move || file.load(), reload_requests(hangups));
        gorani.run(shutdown, started).await.map_err(CliError::from)
    })
}

/// A request for each SIGHUP. Those that come while one waits are one with it: it has not read the settings yet.
fn reload_requests(hangups: std::io::Result<Signal>) -> mpsc::Receiver<()> {
    let (sender, requests) = mpsc::channel(1);
    actix_rt::spawn(async move {
        let mut hangups = match hangups {
            Ok(hangups) => hangups,
            Err(error) => {
                return tracing::error!(%error, "SIGHUP not available; the settings are not reloaded");
            }
        };
        while hangups.recv().await.is_some() {
            if matches!(sender.try_send(()), Err(TrySendError::Closed(()))) {
                return;
            }
        }
    });
    requests
}

/// The signals that stop a node. A signal that comes after they are registered is kept until it is read.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn register() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Ready at the first one; from then on the next one ends the process at once.
    async fn received(registered: std::io::Result<Self>) {
        let mut signals = match registered {
            Ok(signals) => signals,
            Err(error) => {
                tracing::error!(%error, "signals not available; the node runs until it is killed");
                return std::future::pending().await;
            }
        };
        signals.next().await;
        actix_rt::spawn(async move {
            signals.next().await;
            tracing::warn!("second stop signal received; ending at once");
            std::process::exit(1);
        });
    }
}

/// Exit code for bad settings.
const EXIT_SETTINGS: u8 = 78;

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
    /// No settings file is written.
    #[error("init: {0}")]
    Init(#[from] InitFailed),
    /// The node is not healthy.
    #[error("health: {0}")]
    Health(#[from] Unhealthy),
    /// The node did not do what was asked of its dead letters.
    #[error("hooks: {0}")]
    Hooks(#[from] HooksFailed),
    /// The token or the channel cannot be looked at.
    #[error("check: {0}")]
    Check(#[from] CheckFailed),
    /// The result cannot be written.
    #[error("output: {0}")]
    Write(#[source] io::Error),
    /// The token cannot be made.
    #[error("token: {0}")]
    Token(#[from] TokenFailed),
    /// The admin API did not do what was asked.
    #[cfg(feature = "admin")]
    #[error("admin: {0}")]
    Admin(#[from] AdminCallFailed),
    /// The password cannot be hashed.
    #[error("password: {0}")]
    Password(#[from] PasswordFailed),
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
            #[cfg(feature = "admin")]
            Self::Admin(error) => error.exit_code(),
            // Files that the settings name: starting again does not help before they are changed.
            Self::Run(RunError::Server(ServerError::Tls(_))) => EXIT_SETTINGS,
            Self::Run(_)
            | Self::Health(_)
            | Self::Token(_)
            | Self::Password(_)
            | Self::Init(_)
            | Self::Hooks(_)
            | Self::Check(_)
            | Self::Write(_) => 1,
        }
    }
}
