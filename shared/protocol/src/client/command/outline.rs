//! The keys of a command, and the outline of a line that cannot be read as one: its id, where it is well-formed JSON in the shape of a
//! command. The error of that command then has a reply, and the connection lives on. Below [`super::wire`]; `docs/protocols/client.md` §1.14.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};

/// A key of a command.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
pub(super) enum CommandKey {
    Id,
    Connect,
    Subscribe,
    Unsubscribe,
    Publish,
    Presence,
    PresenceStats,
    History,
    Rpc,
    Send,
    Refresh,
    SubRefresh,
    #[serde(other)]
    Unknown,
}

/// The id of a line that is JSON with an id and exactly one request; the request is not looked into.
///
/// Takes what the readers of fields refuse: any depth, half a surrogate pair in a text, a number that no type holds. Nothing
/// recurses, since ignored values cost no stack.
pub(super) fn answerable_id(text: &str) -> Option<u32> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let outline = deserializer.deserialize_map(OutlineVisitor).ok()?;
    deserializer.end().ok()?;
    (outline.id > 0 && outline.requests == 1).then_some(outline.id)
}

/// The outermost object of a line.
#[derive(Default)]
struct CommandOutline {
    id: u32,
    requests: usize,
}

struct OutlineVisitor;

impl<'de> Visitor<'de> for OutlineVisitor {
    type Value = CommandOutline;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a command object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut outline = CommandOutline::default();
        let mut has_id = false;
        while let Some(key) = map.next_key::<CommandKey>()? {
            match key {
                CommandKey::Id => {
                    if std::mem::replace(&mut has_id, true) {
                        return Err(A::Error::duplicate_field("id"));
                    }
                    outline.id = map.next_value::<Option<u32>>()?.unwrap_or_default();
                }
                CommandKey::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                }
                _ => outline.requests += usize::from(map.next_value::<Option<IgnoredAny>>()?.is_some()),
            }
        }
        Ok(outline)
    }
}
