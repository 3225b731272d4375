//! What a receiver asks for, read from its request: the query, a JSON body, and two headers. `specs/http-transports.md`.

use std::collections::BTreeMap;

use actix_http::header::HeaderMap;
use gorani_broker::Position;
use serde::Deserialize;

use super::refusal::Refusal;
use crate::session::{position::Positions, uni::Wish};

/// What a browser sends when it comes back to a stream of events.
const LAST_EVENT_ID: &str = "last-event-id";

/// Parameters of a query, in their order.
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(query: &str) -> Result<Self, Refusal> {
        let pairs = actix_web::web::Query::<Vec<(String, String)>>::from_query(query);
        Ok(Self(pairs.map_err(|_| Refusal::bad_request("the query cannot be read"))?.into_inner()))
    }

    /// The first parameter of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that is a number.
    ///
    /// # Errors
    /// If it is there and is none.
    pub fn number(&self, name: &'static str) -> Result<Option<u64>, Refusal> {
        let read =
            |text: &str| text.parse().map_err(|_| Refusal::bad_request(format!("{name} must be a number")));
        self.get(name).map(read).transpose()
    }
}

/// A JSON body, for who would rather not put a token into a query.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    token: String,
    channels: Vec<String>,
    position: String,
    subs: BTreeMap<String, Sub>,
}

/// A channel with its position, as the client protocol's connect has it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sub {
    recover: bool,
    offset: u64,
    epoch: String,
}

/// What a request asks for. The header `Last-Event-ID` goes over the parameter `position`, and `Authorization` over
/// `token`.
///
/// # Errors
/// Something in it cannot be read.
pub fn wish(headers: &HeaderMap, query: &Query, body: &[u8]) -> Result<Wish, Refusal> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let body: Body = if body.trim_ascii().is_empty() {
        Body::default()
    } else {
        serde_json::from_slice(body).map_err(|_| {
            Refusal::bad_request("the body must be an object: token, channels, position, subs")
        })?
    };
    let mut channels = body.channels;
    let named = query.0.iter().filter(|(name, _)| name == "channels" || name == "channel");
    channels.extend(
        named.flat_map(|(_, names)| names.split(',')).filter(|name| !name.is_empty()).map(str::to_owned),
    );
    let bearer = header("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let position = header(LAST_EVENT_ID)
        .filter(|id| !id.is_empty())
        .or_else(|| query.get("position"))
        .unwrap_or(&body.position);
    let mut positions = parse_position(position)?;
    for (channel, sub) in body.subs {
        if sub.recover {
            positions.set(&channel, Position { offset: sub.offset, epoch: sub.epoch.into() });
        }
        if !channels.contains(&channel) {
            channels.push(channel);
        }
    }
    let token = bearer.or_else(|| query.get("token")).unwrap_or(&body.token).to_owned();
    Ok(Wish { token, channels, positions })
}

/// Reads a position.
///
/// # Errors
/// If it is none of ours.
pub fn parse_position(text: &str) -> Result<Positions, Refusal> {
    Positions::parse(text).map_err(|_| {
        Refusal::bad_request("this is no position: send back what an answer or an event id said")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use actix_http::header::{HeaderName, HeaderValue};

    fn read(headers: &[(&'static str, &'static str)], query: &str, body: &str) -> Result<Wish, Refusal> {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        wish(&headers, &Query::parse(query).unwrap(), body.as_bytes())
    }

    #[test]
    fn channels_token_and_position_are_in_the_query() {
        let wish = read(&[], "channels=a,chat%3Alobby&token=t&position=a.7.x", "").unwrap();
        assert_eq!(
            (wish.token.as_str(), wish.channels),
            ("t", vec!["a".to_owned(), "chat:lobby".to_owned()])
        );
        assert_eq!(wish.positions.get("a").unwrap().offset, 7);
    }

    #[test]
    fn headers_go_over_the_query() {
        let headers = [("authorization", "Bearer h"), ("last-event-id", "a.9.x")];
        let wish = read(&headers, "channels=a&token=t&position=a.7.x", "").unwrap();
        assert_eq!(wish.token, "h");
        assert_eq!(wish.positions.get("a").unwrap().offset, 9);
    }

    #[test]
    fn a_body_says_the_same_and_knows_the_subs_of_a_connect() {
        let wish =
            read(&[], "", r#"{"token":"b","subs":{"a":{"recover":true,"offset":3,"epoch":"x"},"c":{}}}"#);
        let wish = wish.unwrap();
        assert_eq!((wish.token.as_str(), wish.channels), ("b", vec!["a".to_owned(), "c".to_owned()]));
        assert_eq!(wish.positions.get("a").unwrap().offset, 3);
        assert!(wish.positions.get("c").is_none());
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        assert!(read(&[], "channels=a&position=nonsense", "").is_err());
        assert!(read(&[], "", "[1]").is_err());
    }
}
