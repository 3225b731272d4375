//! `gorani man`: the pages for man(1), made of what `--help` says.

use std::{fs, io, path::PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;

/// The place for the pages.
#[derive(Debug, Clone, Args)]
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
