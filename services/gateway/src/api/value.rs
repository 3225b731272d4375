//! The decoder of requests, and its pieces: strings, lists, tags, raw JSON. Borrowed from the body where they can be.
//!
//! Pure, as the requests are: no node, no server, so that they are fuzzed alone. Unknown fields are refused with their name.
//!
//! Backends in languages with nothing but null and empty strings for "absent" are understood: for a string, null and
//! empty mean absent; for a list or a map, null means empty.

use std::{borrow::Cow, fmt, marker::PhantomData, ops::Deref};

use gorani_protocol::client::{JSON_DEPTH, json_depth_check};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    api::error::ApiError,
    session::shared::{TAGS_MAX, TAGS_MAX_BYTES},
};

/// Channels or users of a broadcast, and client ids of a whitelist, at most.
pub const LIST_MAX: usize = 10_000;

/// A string; empty where absent.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct TextField<'a>(Cow<'a, str>);

impl TextField<'_> {
    /// The string, unless it is absent.
    pub fn given(&self) -> Option<&str> {
        Some(&*self.0).filter(|text| !text.is_empty())
    }
}

impl Deref for TextField<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for TextField<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsText;
        impl<'de> Visitor<'de> for AsText {
            type Value = TextField<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(TextField(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(TextField(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(TextField::default())
            }
        }
        deserializer.deserialize_any(AsText)
    }
}

/// A list of at most `MAX` values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListField<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> ListField<T, MAX> {
    /// A list whose length was checked.
    pub(super) fn of(list: Vec<T>) -> Self {
        Self(list)
    }
}

impl<T, const MAX: usize> Default for ListField<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> Deref for ListField<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for ListField<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsList<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for AsList<T, MAX> {
            type Value = ListField<T, MAX>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "a list of at most {MAX}")
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(ListField::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    if list.len() == MAX {
                        return Err(A::Error::custom(format_args!("more than {MAX} in the list")));
                    }
                    list.push(item);
                }
                Ok(ListField(list))
            }
        }
        deserializer.deserialize_any(AsList(PhantomData))
    }
}

/// Labels of a publication, in the publisher's order; each key once.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct TagsField(Vec<(String, String)>);

impl TagsField {
    /// Keys and values.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// Keys and values.
    pub fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }
}

impl<'de> Deserialize<'de> for TagsField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsTags;
        impl<'de> Visitor<'de> for AsTags {
            type Value = TagsField;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of strings")
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(TagsField::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs: Vec<(String, String)> = Vec::new();
                let mut bytes = 0;
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    bytes += key.len() + value.len();
                    if pairs.len() == TAGS_MAX || bytes > TAGS_MAX_BYTES {
                        return Err(A::Error::custom(format_args!(
                            "at most {TAGS_MAX} tags of {TAGS_MAX_BYTES} bytes together"
                        )));
                    }
                    if pairs.iter().any(|(earlier, _)| *earlier == key) {
                        return Err(A::Error::custom("the same tag twice"));
                    }
                    pairs.push((key, value));
                }
                Ok(TagsField(pairs))
            }
        }
        deserializer.deserialize_any(AsTags)
    }
}

/// Any JSON value, byte for byte; null is a value.
#[derive(Default, Clone, Copy)]
pub struct Json<'a>(Option<&'a RawValue>);

impl<'a> Json<'a> {
    /// The value's text, unless it is absent.
    pub fn given(self) -> Option<&'a str> {
        self.0.map(RawValue::get)
    }

    /// The value's text, unless it is absent or null.
    pub fn not_null(self) -> Option<&'a str> {
        self.given().filter(|text| *text != "null")
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|value| Self(Some(value)))
    }
}

/// Refuses JSON of a [`Json`] that nests too deep for those who will read it.
pub fn check_depth(field: &str, json: &str) -> Result<(), ApiError> {
    json_depth_check(json, JSON_DEPTH).map_err(|error| ApiError::bad_request(format!("{field}: {error}")))
}

/// Decodes one JSON object.
pub(super) fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    let body = body.trim_ascii_start();
    let body = if body.is_empty() { b"{}" } else { body };
    // The derived decoders would take the fields of a list by their position.
    if body.first() != Some(&b'{') {
        return Err(ApiError::bad_request("the body must be a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| explain::<T>(body, &error))
}

/// A sentence that names the field. The body is read again for it, so that good requests pay nothing.
fn explain<'a, T: Deserialize<'a>>(body: &'a [u8], error: &serde_json::Error) -> ApiError {
    let deserializer = &mut serde_json::Deserializer::from_slice(body);
    let path =
        serde_path_to_error::deserialize::<_, T>(deserializer).err().map(|error| error.path().to_string());
    ApiError::bad_request(match path.filter(|path| path != "." && !path.contains('?')) {
        Some(path) => format!("{path}: {error}"),
        None => error.to_string(),
    })
}
