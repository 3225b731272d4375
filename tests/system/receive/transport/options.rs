//! A request to receive, as each way writes it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::percent;

/// The channels to receive, and the positions to go on from.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct ReceiverOptions {
    pub(in super::super) token: String,
    pub(in super::super) channels: Vec<String>,
    /// A position as the way before said it: an event's id, a poll's position.
    pub(in super::super) position: String,
    /// Offset and epoch by channel, for ways whose client counts itself.
    pub(in super::super) offsets: BTreeMap<String, (u64, String)>,
}

impl ReceiverOptions {
    pub(in super::super) fn channel(channel: &str) -> Self {
        Self { channels: vec![channel.to_owned()], ..Self::default() }
    }

    pub(in super::super) fn channels(channels: &[String]) -> Self {
        Self { channels: channels.to_vec(), ..Self::default() }
    }

    pub(super) fn query(&self) -> String {
        // A comma in a name separates in a list, so each of these names has a parameter of its own.
        let mut query = if self.channels.iter().any(|channel| channel.contains(',')) {
            let each = self.channels.iter().map(|channel| format!("channel={}", percent(channel)));
            each.collect::<Vec<_>>().join("&")
        } else {
            let names: Vec<_> = self.channels.iter().map(|channel| percent(channel)).collect();
            format!("channels={}", names.join(","))
        };
        for (name, value) in [("token", &self.token), ("position", &self.position)] {
            if !value.is_empty() {
                query.push_str(&format!("&{name}={value}"));
            }
        }
        query
    }

    /// The position as a client writes it that counts itself: channel, offset and epoch, all between dots.
    pub(super) fn counted(&self) -> Self {
        let escaped = |text: &str| -> String {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            text.bytes()
                .map(|byte| if plain(byte) { char::from(byte).into() } else { format!("~{byte:02x}") })
                .collect()
        };
        let parts: Vec<String> = self
            .offsets
            .iter()
            .map(|(channel, (offset, epoch))| format!("{}.{offset}.{}", escaped(channel), escaped(epoch)))
            .collect();
        Self { position: parts.join("."), ..self.clone() }
    }

    pub(super) fn subs(&self) -> Value {
        let sub = |(channel, (offset, epoch)): (&String, &(u64, String))| {
            (channel.clone(), json!({"recover": true, "offset": offset, "epoch": epoch}))
        };
        self.offsets.iter().map(sub).collect()
    }
}
