//! Durations in settings: text such as `300s`, `1h 30m`, `0s`. Used by every settings struct of this crate.
//! Issue line: "durations are written `300s`".

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

/// Writes a duration as text that [`deserialize`] reads back to the same value.
pub(crate) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*value))
}

/// Reads a duration from text with units. A number without a unit is refused, since it could be seconds
/// or milliseconds; only a bare `0` means the same in every unit.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    // The text is not shown: errors name settings, never their values.
    humantime::parse_duration(text.trim())
        .map_err(|_| D::Error::custom("bad duration, write it with a unit: `300s`, `10m`, `1h 30m`"))
}
