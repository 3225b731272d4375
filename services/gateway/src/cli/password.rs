//! `gorani password`: makes the line for `admin.password_hash` of a password that is typed twice, and is never an argument.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;
use gorani_auth::{PasswordHash, PasswordRefused};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Arguments of `gorani password`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gorani password\n  printf '%s\\n' \"$PASSWORD\" | gorani password\n\nExit codes: 0 success, 1 failure."
)]
pub struct PasswordArguments {}

/// Why there is no line.
#[derive(Debug, thiserror::Error)]
pub enum PasswordFailed {
    /// Nothing can be read.
    #[error("cannot read a password: {0}")]
    Read(#[from] io::Error),
    /// The two inputs differ.
    #[error("the two are not the same")]
    Different,
    /// Not a password for the admin page.
    #[error(transparent)]
    Refused(#[from] PasswordRefused),
}

impl PasswordArguments {
    /// Reads a password from the terminal twice, or a line of another input once; the line for the settings.
    pub(super) fn make(&self) -> Result<String, PasswordFailed> {
        let password = if io::stdin().is_terminal() {
            let (first, again) = (ask("Password: ")?, ask("Again: ")?);
            if first != again {
                return Err(PasswordFailed::Different);
            }
            first
        } else {
            line()?
        };
        Ok(PasswordHash::of(&password)?.to_string())
    }
}

fn line() -> io::Result<String> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Reads a line while the terminal does not show what is typed.
fn ask(prompt: &str) -> io::Result<String> {
    let mut terminal = io::stderr().lock();
    terminal.write_all(prompt.as_bytes())?;
    terminal.flush()?;
    let _quiet = QuietTerminal::new()?;
    let line = line();
    terminal.write_all(b"\n")?;
    line
}

/// A terminal that shows nothing until this is dropped.
struct QuietTerminal(Termios);

impl QuietTerminal {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for QuietTerminal {
    fn drop(&mut self) {
        // The terminal may be gone; nobody reads it then.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
