//! `gorani man`: the pages for man(1), made of what `--help` says.

use std::{fs, io, path::PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;

/// The place for the pages.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  gorani man | man -l -\n  gorani man --directory /usr/share/man/man1\n\nExit codes: 0 written, 1 not, 2 bad use."
)]
pub struct ManArguments {
    /// Directory for the pages of all commands, gorani.1, gorani-serve.1, …; it is made where it is missing. Without it the first page is
    /// printed.
    #[arg(long)]
    directory: Option<PathBuf>,
}

impl ManArguments {
    /// Writes the pages of all commands into the directory, or returns the first page where none is named.
    pub fn pages(&self, command: Command) -> io::Result<Vec<u8>> {
        // `gorani help serve` says what gorani-serve(1) says.
        let command = command.disable_help_subcommand(true);
        let mut page = Vec::new();
        match &self.directory {
            Some(directory) => {
                fs::create_dir_all(directory)?;
                clap_mangen::generate_to(command, directory)?;
            }
            None => Man::new(command).render(&mut page)?,
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use crate::cli::Cli;

    #[test]
    fn the_help_of_every_command_has_two_examples_and_names_the_exit_codes() {
        let cli = Cli::command();
        assert!(cli.get_subcommands().count() > 5);
        for command in cli.get_subcommands() {
            let name = command.get_name();
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.lines().filter(|line| line.starts_with("  ") && line.contains("gorani"));
            assert!(examples.count() >= 2, "{name}: {help}");
            assert!(help.contains("Exit codes: 0"), "{name}: {help}");
        }
    }
}
