//! `gorani completions`: what a shell reads to complete the command and its options.

use clap::{Args, Command};
use clap_complete::{Shell, generate};

/// The shell that asks.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArguments {
    /// Shell that reads them.
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionsArguments {
    /// The script for the shell.
    pub fn script(&self, mut command: Command) -> Vec<u8> {
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        generate(self.shell, &mut command, name, &mut script);
        script
    }
}
