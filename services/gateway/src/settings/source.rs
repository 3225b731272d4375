//! Reading settings: TOML text and the environment over it, and errors that name a setting and never its value.
//!
//! A value may be a secret that stands under the wrong key or in the wrong form, and an error goes to the log of a container
//! that starts again and again. `docs/architecture.md` §9.9.

use std::collections::HashMap;

use config::{Config, ConfigError, Environment, File, FileFormat};
use serde::de::DeserializeOwned;

use super::error::SettingsError;

/// What the environment's variables of a node begin with; the parts of a key are joined by the last two signs of it.
const PREFIX: &str = "GORANI__";
/// Between the parts of a key.
const SEPARATOR: &str = "__";
/// Settings that are lists of texts: commas separate them in a variable.
const LISTS: [&str; 4] =
    ["api.keys", "client.allowed_origins", "client.personal_channels", "http.trusted_proxies"];

/// The variables of this process that are settings.
pub(super) fn environment() -> Result<HashMap<String, String>, SettingsError> {
    let mut variables = HashMap::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.to_ascii_uppercase().starts_with(PREFIX)) else {
            continue;
        };
        match value.into_string() {
            Ok(value) => variables.insert(name.to_owned(), value),
            Err(_) => return Err(SettingsError::Variable(name.to_owned())),
        };
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
        let name = name.to_ascii_lowercase();
        let key = name.strip_prefix(&PREFIX.to_ascii_lowercase()).map(|rest| rest.replace(SEPARATOR, "."));
        if let Some(key) = key.filter(|key| LISTS.contains(&key.as_str())) {
            builder = builder.set_override(key, value.split(',').collect::<Vec<_>>())?;
        }
    }
    builder.build()?.try_deserialize()
}
