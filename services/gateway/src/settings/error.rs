//! The error of settings that are refused: one line that names the key and shows no value.
//!
//! Reading settings: TOML text and the environment over it, and errors that name a setting and never its value.
//!
//! A value may be a secret that stands under the wrong key or in the wrong form, and an error goes to the log of a container
//! that starts again and again. `docs/architecture.md` §9.9.

use std::{collections::HashMap, path::PathBuf};

use config::{Config, ConfigError, Environment, File, FileFormat};
use serde::de::DeserializeOwned;

/// Why the settings are refused. Each is one line that names the key.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file is not there or cannot be read.
    #[error("settings file {0}: {1}")]
    File(PathBuf, #[source] std::io::Error),
    /// Not TOML, an unknown key, a value of the wrong kind.
    #[error("settings: {}", describe(.0))]
    Parse(#[from] config::ConfigError),
    /// A variable of the environment is no UTF-8.
    #[error("settings: {0}: the variable is not UTF-8")]
    Variable(String),
    /// A variable that is to hold a secret is there and holds nothing: whatever should have filled it did not.
    #[error("settings: {0}: the variable is empty; give it a value, or do not set it")]
    EmptySecret(String),
    /// A value out of its range.
    #[error("settings: {key}: {problem}")]
    Value {
        /// The key.
        key: &'static str,
        /// The problem with its value.
        problem: String,
    },
}

impl SettingsError {
    pub(super) fn value(key: &'static str, problem: impl ToString) -> Self {
        Self::Value { key, problem: problem.to_string() }
    }
}

/// The problem in one line that names the setting and no value.
fn describe(error: &ConfigError) -> String {
    match error {
        ConfigError::Type { expected, key, .. } => with_key(key.as_deref(), &format!("must be {expected}")),
        ConfigError::At { error, key, .. } => with_key(key.as_deref(), &describe(error)),
        ConfigError::NotFound(key) => format!("{key}: is missing"),
        ConfigError::Message(text) => without_value(text),
        ConfigError::FileParse { cause, .. } => without_source(&cause.to_string()),
        _ => "cannot be read".to_owned(),
    }
}

fn with_key(key: Option<&str>, problem: &str) -> String {
    key.map_or_else(|| problem.to_owned(), |key| format!("{key}: {problem}"))
}

/// A message of serde without the value that it shows.
fn without_value(message: &str) -> String {
    let shows_value = ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant "]
        .iter()
        .any(|text| message.starts_with(text));
    // `config` words an unknown name of an enumeration in a way of its own.
    if message.contains(" does not have variant constructor ") {
        return "is none of the names that gorani.toml lists for it".to_owned();
    }
    match message.rsplit_once(", expected ") {
        Some((_, expected)) if shows_value => format!("must be {expected}"),
        _ if shows_value => "is not understood".to_owned(),
        _ => message.to_owned(),
    }
}

/// An error of the TOML parser without its picture of the place, which shows the line and with it the value.
fn without_source(error: &str) -> String {
    let lines = error.lines().filter(|line| !line.trim().is_empty() && !line.contains('|'));
    lines.collect::<Vec<_>>().join(": ")
}

/// Prefix of a node's environment variables; the parts of a key are joined by its last two characters.
const PREFIX: &str = "GORANI__";
/// Prefix of the standard variables of OpenTelemetry.
const STANDARD_PREFIX: &str = "OTEL_";
/// Between the parts of a key.
const SEPARATOR: &str = "__";
/// Settings that are lists of texts: commas separate them in a variable.
const LISTS: [&str; 5] = [
    "admin.oidc.scopes",
    "api.keys",
    "client.allowed_origins",
    "client.personal_channels",
    "http.trusted_proxies",
];

/// Settings that are secrets, and do without where they are not set. (An empty API key is refused as any other.)
const SECRETS: [&str; 5] = [
    "token.hmac_secret",
    "broker.redis.password",
    "cluster.secret",
    "admin.oidc.client_secret",
    "admin.password_hash",
];

/// The variable of a secret that is set and empty, if there is one.
pub(super) fn empty_secret(variables: &HashMap<String, String>) -> Option<&str> {
    let empty = variables.iter().filter(|(_, value)| value.trim().is_empty());
    let mut names = empty.map(|(name, _)| name.as_str());
    names.find(|name| setting_of(name).is_some_and(|key| SECRETS.contains(&key.as_str())))
}

/// The key of the setting that a variable sets.
pub(super) fn setting_of(variable: &str) -> Option<String> {
    let name = variable.to_ascii_lowercase();
    name.strip_prefix(&PREFIX.to_ascii_lowercase()).map(|rest| rest.replace(SEPARATOR, "."))
}

/// The variables of this process that are settings, and the standard ones of traces.
pub(super) fn environment() -> Result<HashMap<String, String>, SettingsError> {
    let mut variables = HashMap::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let is_setting = name.to_ascii_uppercase().starts_with(PREFIX);
        if !is_setting && !name.starts_with(STANDARD_PREFIX) {
            continue;
        }
        match value.into_string() {
            Ok(value) => {
                variables.insert(name.to_owned(), value);
            }
            // What a platform gives to every process keeps no node from starting.
            Err(_) if !is_setting => {}
            Err(_) => return Err(SettingsError::Variable(name.to_owned())),
        }
    }
    Ok(variables)
}

/// The settings of TOML text, with variables over them.
pub(super) fn read<T: DeserializeOwned>(
    text: &str,
    variables: &HashMap<String, String>,
) -> Result<T, ConfigError> {
    // No parsing: a secret of digits alone stays the text that it is. What is to be a number becomes one when it is read.
    let environment = Environment::with_prefix(PREFIX.trim_end_matches('_'))
        .prefix_separator(SEPARATOR)
        .separator(SEPARATOR)
        .source(Some(variables.clone()));
    let mut builder =
        Config::builder().add_source(File::from_str(text, FileFormat::Toml)).add_source(environment);
    for (name, value) in variables {
        if let Some(key) = setting_of(name).filter(|key| LISTS.contains(&key.as_str())) {
            builder = builder.set_override(key, value.split(',').collect::<Vec<_>>())?;
        }
    }
    builder.build()?.try_deserialize()
}
