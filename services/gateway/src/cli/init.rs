//! `gorani init`: writes a settings file to begin with, with fresh secrets, the origin of a page and one namespace. What no flag says
//! is asked for on a terminal. An existing file is never touched, and the new one is for its owner's eyes alone.

use std::{
    fs::{self, OpenOptions},
    io::{self, BufRead, IsTerminal as _, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::Args;
use gorani_auth::{ChannelSettings, NamespaceSettings, Origins};
use rand::Rng as _;

use crate::settings::{Settings, SettingsError};

/// Bytes of a new secret, before they are written as hexadecimal digits: as many as SHA-256 takes in.
const SECRET_BYTES: usize = 32;
/// Rights of the file: its owner reads and writes it.
const MODE: u32 = 0o600;

/// The file, where none is named.
const DEFAULT_FILE: &str = "gorani.toml";
const DEFAULT_ORIGIN: &str = "http://localhost:3000";
const DEFAULT_NAMESPACE: &str = "chat";
const DEFAULT_ADDRESS: &str = "127.0.0.1:8000";

/// Arguments of `gorani init`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gorani init\n  gorani init --origin https://app.example.com --namespace chat --address 0.0.0.0:8000\n\nExit codes: 0 written, 1 not, 2 bad use."
)]
pub struct InitArguments {
    /// Origin of the pages that connect, such as `https://app.example.com`; may be given several times.
    #[arg(long)]
    origin: Vec<String>,
    /// Namespace of the channels: chat is for chat:lobby, chat:news and so on.
    #[arg(long)]
    namespace: Option<String>,
    /// Address to listen on: an IP address and a port.
    #[arg(long)]
    address: Option<String>,
}

/// Why no file was written.
#[derive(Debug, thiserror::Error)]
pub enum InitFailed {
    /// The file is there.
    #[error("{0} exists already and is not overwritten; name another file with --config")]
    Exists(PathBuf),
    /// The file cannot be written.
    #[error("{0}: {1}")]
    Write(PathBuf, #[source] io::Error),
    /// Nobody can be asked.
    #[error("--origin is missing, and there is no terminal to ask on: --origin {DEFAULT_ORIGIN}")]
    NobodyToAsk,
    /// The terminal was closed or failed.
    #[error("no answer: {0}")]
    NoAnswer(#[source] io::Error),
    /// The settings that were asked for are no good ones.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// The choices that go into the file.
#[derive(Debug)]
struct Chosen {
    origins: Vec<String>,
    namespace: String,
    address: String,
}

impl InitArguments {
    /// Writes the file; the next steps, to be printed.
    pub(super) fn write(self, file: Option<&Path>) -> Result<String, InitFailed> {
        let file = file.unwrap_or(Path::new(DEFAULT_FILE));
        // Before any question; the writing itself looks again.
        if file.symlink_metadata().is_ok() {
            return Err(InitFailed::Exists(file.to_owned()));
        }
        let is_terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
        let chosen = if is_terminal {
            self.asked(&mut io::stdin().lock(), &mut io::stderr()).map_err(InitFailed::NoAnswer)?
        } else {
            self.chosen_by_flags()?
        };
        let text = chosen.settings(&secret(), &secret());
        let settings = Settings::from_text(&text, &std::collections::HashMap::new())?;
        create(file, &text)?;
        Ok(next_steps(file, settings.http.address, &chosen))
    }

    /// The choices, with questions for what no flag says.
    fn asked(self, input: &mut impl BufRead, output: &mut impl Write) -> io::Result<Chosen> {
        let origins = if self.origin.is_empty() {
            let question = "Origin of the page that connects";
            vec![ask(input, output, question, DEFAULT_ORIGIN, |origin| {
                Origins::new(&[origin]).map(drop).map_err(|error| error.to_string())
            })?]
        } else {
            self.origin
        };
        let namespace = match self.namespace {
            Some(namespace) => namespace,
            None => ask(input, output, "Namespace of the channels", DEFAULT_NAMESPACE, |name| {
                let namespace = NamespaceSettings { name: name.to_owned(), ..NamespaceSettings::default() };
                let settings: ChannelSettings =
                    ChannelSettings { namespaces: vec![namespace], ..ChannelSettings::default() };
                settings.validate().map_err(|error| error.to_string())
            })?,
        };
        let address = match self.address {
            Some(address) => address,
            None => ask(input, output, "Address to listen on", DEFAULT_ADDRESS, |address| {
                let parsed = address.parse::<SocketAddr>();
                parsed
                    .map(drop)
                    .map_err(|_| format!("not an IP address and a port, such as {DEFAULT_ADDRESS}"))
            })?,
        };
        Ok(Chosen { origins, namespace, address })
    }

    /// The choices without questions. The origin has no default here: a wrong one is a page that cannot connect.
    fn chosen_by_flags(self) -> Result<Chosen, InitFailed> {
        if self.origin.is_empty() {
            return Err(InitFailed::NobodyToAsk);
        }
        Ok(Chosen {
            origins: self.origin,
            namespace: self.namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
            address: self.address.unwrap_or_else(|| DEFAULT_ADDRESS.to_owned()),
        })
    }
}

/// The answer to a question, or its default for an empty line. A bad answer is explained, and the question comes again.
fn ask(
    input: &mut impl BufRead,
    output: &mut impl Write,
    question: &str,
    default: &str,
    check: impl Fn(&str) -> Result<(), String>,
) -> io::Result<String> {
    loop {
        write!(output, "{question} [{default}]: ")?;
        output.flush()?;
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let answer = match line.trim() {
            "" => default,
            answer => answer,
        };
        match check(answer) {
            Ok(()) => return Ok(answer.to_owned()),
            Err(problem) => writeln!(output, "  {problem}")?,
        }
    }
}

/// A new secret in hexadecimal digits.
fn secret() -> String {
    let mut bytes = [0; SECRET_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Chosen {
    /// The text of the file.
    fn settings(&self, token_secret: &str, api_key: &str) -> String {
        let Self { origins, namespace, address } = self;
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let origins = origins.iter().map(|origin| quoted(origin)).collect::<Vec<_>>().join(", ");
        let (address, name) = (quoted(address), quoted(namespace));
        format!(
            r#"# Settings of a Gorani node. They hold secrets: keep this file out of version control. What is not here has its default;
# deploy/gorani.toml in the sources shows every setting. `gorani check` says what is wrong after a change.

[http]
address = {address}

# The pages that may connect.
[client]
allowed_origins = [{origins}]

# Your backend signs its users' tokens with this secret (HS256). No browser ever sees it.
[token]
hmac_secret = "{token_secret}"

# Your backend sends this key as X-API-Key.
[api]
keys = ["{api_key}"]

# Channels that begin with this name and a colon. Clients with a token may subscribe to all of them, and recover what they
# missed. What only some users may see belongs in another namespace, without allow_subscribe_for_client and with
# subscription tokens.
[[channel.namespaces]]
name = {name}
history_size = 100                  # publications kept for those who come back
history_ttl = "10m"
presence = true                     # who is subscribed
allow_subscribe_for_client = true
allow_presence_for_subscriber = true
allow_history_for_subscriber = true
# allow_publish_for_subscriber = true    # subscribers publish too; without it your backend alone does
# join_leave = true                      # subscribers that ask are told who comes and goes
"#
        )
    }
}

/// Writes a file that is not there yet, readable by its owner alone from the first byte on.
fn create(file: &Path, text: &str) -> Result<(), InitFailed> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => InitFailed::Exists(file.to_owned()),
        _ => InitFailed::Write(file.to_owned(), error),
    };
    let mut written =
        OpenOptions::new().write(true).create_new(true).mode(MODE).open(file).map_err(failed)?;
    if let Err(error) = written.write_all(text.as_bytes()).and_then(|()| written.sync_all()) {
        // Half a file would be refused as settings and stand in the way of the next attempt.
        return Err(failed(fs::remove_file(file).err().unwrap_or(error)));
    }
    Ok(())
}

/// The next steps with the file, as commands to copy.
fn next_steps(file: &Path, mut address: SocketAddr, chosen: &Chosen) -> String {
    let shown = file.display();
    let config = shell_word(&file.display().to_string());
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let namespace = &chosen.namespace;
    format!(
        r#"{shown} is written, with fresh secrets; only you can read it. Next:

  gorani check --config {config}
  gorani serve --config {config}

In another terminal, a token for user 42, for a client that connects to ws://{address}/connection/websocket and
subscribes to {namespace}:hello; and a message to it, with the key that stands in the file under [api]:

  gorani token --config {config} --user 42 --ttl 1h
  curl http://{address}/api/publish -H "X-API-Key: KEY" -H "Content-Type: application/json" \
    -d '{{"channel":"{namespace}:hello","data":{{"text":"hello"}}}}'"#
    )
}

/// A word as a shell reads it back.
fn shell_word(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%".contains(&byte);
    if word.bytes().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::HashMap;

    use super::*;

    fn nothing_chosen() -> InitArguments {
        InitArguments { origin: Vec::new(), namespace: None, address: None }
    }

    fn asked(arguments: InitArguments, answers: &str) -> (io::Result<Chosen>, String) {
        let mut output = Vec::new();
        let chosen = arguments.asked(&mut answers.as_bytes(), &mut output);
        (chosen, String::from_utf8(output).unwrap())
    }

    #[test]
    fn the_settings_are_good_and_without_a_warning() {
        let chosen = Chosen {
            origins: vec!["https://app.example.com".to_owned(), "http://localhost:*".to_owned()],
            namespace: "room".to_owned(),
            address: "0.0.0.0:8000".to_owned(),
        };
        let (token_secret, api_key) = (secret(), secret());
        let text = chosen.settings(&token_secret, &api_key);
        let settings = Settings::from_text(&text, &HashMap::new()).unwrap();
        assert_eq!(settings.warnings(), Vec::<String>::new());
        assert_eq!(settings.token.hmac_secret, token_secret);
        assert_eq!(settings.api.keys, [api_key]);
        assert_eq!(settings.client.allowed_origins, chosen.origins);
        let namespace = settings.channel.namespaces.first().unwrap();
        assert_eq!(namespace.name, "room");
        assert!(namespace.options.force_recovery, "{namespace:?}");
    }

    #[test]
    fn secrets_are_new_each_time() {
        let (one, other) = (secret(), secret());
        assert_ne!(one, other);
        assert_eq!((one.len(), other.len()), (64, 64));
    }

    #[test]
    fn questions_have_defaults_and_come_again_after_a_bad_answer() {
        let (chosen, output) = asked(nothing_chosen(), "\n\n\n");
        let Chosen { origins, namespace, address } = chosen.unwrap();
        assert_eq!((&*namespace, &*address), (DEFAULT_NAMESPACE, DEFAULT_ADDRESS));
        assert_eq!(origins, [DEFAULT_ORIGIN]);
        assert_eq!(output.matches("]: ").count(), 3, "{output}");
        let answers = "app.example.com\nhttps://app.example.com\na:b\nroom\nlocalhost:80\n0.0.0.0:80\n";
        let (chosen, output) = asked(nothing_chosen(), answers);
        let Chosen { origins, namespace, address } = chosen.unwrap();
        assert_eq!((&*namespace, &*address), ("room", "0.0.0.0:80"));
        assert_eq!(origins, ["https://app.example.com"]);
        for problem in ["bad origin", "letters and digits", "not an IP address"] {
            assert!(output.contains(problem), "{output}");
        }
    }

    #[test]
    fn what_a_flag_says_is_not_asked() {
        let arguments = InitArguments {
            origin: vec!["http://a".to_owned()],
            namespace: Some("n".to_owned()),
            address: Some("[::1]:1".to_owned()),
        };
        let (chosen, output) = asked(arguments, "");
        assert_eq!((chosen.unwrap().origins, output), (vec!["http://a".to_owned()], String::new()));
    }

    #[test]
    fn an_end_of_the_answers_is_no_answer() {
        assert!(asked(nothing_chosen(), "").0.is_err());
        assert!(asked(nothing_chosen(), "nonsense\n").0.is_err());
        assert!(matches!(nothing_chosen().chosen_by_flags(), Err(InitFailed::NobodyToAsk)));
    }

    #[test]
    fn a_path_is_one_word_of_the_shell() {
        assert_eq!(shell_word("deploy/gorani.toml"), "deploy/gorani.toml");
        assert_eq!(shell_word("my file's"), r"'my file'\''s'");
    }
}
