//! The `gorani` command. See [`gorani::cli`].

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    gorani::cli::Cli::parse().run()
}
