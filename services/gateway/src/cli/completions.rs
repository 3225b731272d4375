//! `gorani completions`: what a shell reads to complete the command and its options.

use clap::{Args, Command};
use clap_complete::{Shell, generate};

/// The shell that asks.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  gorani completions bash > /etc/bash_completion.d/gorani\n  gorani completions zsh > /usr/share/zsh/vendor-completions/_gorani\n\nExit codes: 0 printed, 1 not, 2 bad use."
)]
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
