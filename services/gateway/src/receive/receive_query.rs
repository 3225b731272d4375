//! What a receiver asks for, read from its request: the query, a JSON body, and two headers. `docs/protocols/http.md` §7.

use std::{borrow::Cow, collections::BTreeMap};

use actix_http::header::HeaderMap;
use gorani_auth::ChannelRules;
use gorani_broker::Position;
use serde::Deserialize;

use super::query::Query;
use crate::http::refusal::HttpRefusal;
use crate::{format::position::Positions, session::receiver::ReceiveQuery};

/// What a browser sends when it comes back to a stream of events.
const LAST_EVENT_ID: &str = "last-event-id";

/// A JSON body, for who would rather not put a token into a query.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReceiveBody {
    token: String,
    channels: Vec<String>,
    position: String,
    subs: BTreeMap<String, ReceiveBodySub>,
}

/// A channel with its position, as the client protocol's connect has it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReceiveBodySub {
    recover: bool,
    offset: u64,
    epoch: String,
}

/// What a request asks for. The header `Last-Event-ID` goes over the parameter that polyfills send in its place, that over
/// `position`, and `Authorization` over `token`.
///
/// The id of the last event is what a client remembers by itself. One that is no position refuses nothing, since an
/// `EventSource` would never come back: the receiver begins, and is told that nothing was recovered.
///
/// # Errors
/// Something in it cannot be read.
pub fn receive_query(
    headers: &HeaderMap,
    query: &Query<'_>,
    body: &[u8],
    rules: &ChannelRules,
) -> Result<ReceiveQuery, HttpRefusal> {
    let body: ReceiveBody = if body.trim_ascii().is_empty() {
        ReceiveBody::default()
    } else {
        serde_json::from_slice(body).map_err(|_| {
            HttpRefusal::bad_request("the body must be an object: token, channels, position, subs")
        })?
    };
    let mut channels = body.channels;
    channels.extend(query.channels(rules));
    let bearer = headers.get("authorization").and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let (mut positions, is_unreadable) = match last_event_id(headers, query) {
        Some(id) => Positions::parse(&id).map_or((Positions::default(), true), |known| (known, false)),
        None => (parse_position(query.get("position").unwrap_or(&body.position))?, false),
    };
    for (channel, sub) in body.subs {
        if sub.recover {
            positions.set(&channel, Position { offset: sub.offset, epoch: sub.epoch.into() });
        }
        if !channels.contains(&channel) {
            channels.push(channel);
        }
    }
    let token = bearer.or_else(|| query.get("token")).unwrap_or(&body.token).to_owned();
    Ok(ReceiveQuery { token, channels, positions, is_unreadable })
}

/// The id of the last event that a client has: not empty, and perhaps no text of ours.
fn last_event_id<'r>(headers: &'r HeaderMap, query: &'r Query<'_>) -> Option<Cow<'r, str>> {
    let header = headers.get(LAST_EVENT_ID).map(|id| String::from_utf8_lossy(id.as_bytes()));
    header.filter(|id| !id.is_empty()).or_else(|| query.last_event_id().map(Cow::from))
}

/// Reads a position.
///
/// # Errors
/// If it is none of ours.
pub fn parse_position(text: &str) -> Result<Positions, HttpRefusal> {
    Positions::parse(text).map_err(|_| {
        HttpRefusal::bad_request("this is no position: send back what an answer or an event id said")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use actix_http::header::{HeaderName, HeaderValue};
    use gorani_auth::ChannelSettings;

    fn read(
        headers: &[(&'static str, &'static str)],
        query: &str,
        body: &str,
    ) -> Result<ReceiveQuery, HttpRefusal> {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
            })
            .collect();
        let rules = ChannelRules::new(&ChannelSettings::default()).unwrap();
        receive_query(&headers, &Query::parse(query), body.as_bytes(), &rules)
    }

    #[test]
    fn channels_token_and_position_are_in_the_query() {
        let receive_query = read(&[], "channels=a,chat%3Alobby&token=t&position=a.7.x", "").unwrap();
        assert_eq!(
            (receive_query.token.as_str(), receive_query.channels),
            ("t", vec!["a".to_owned(), "chat:lobby".to_owned()])
        );
        assert_eq!(receive_query.positions.get("a").unwrap().offset, 7);
    }

    #[test]
    fn headers_go_over_the_query() {
        let headers = [("authorization", "Bearer h"), ("last-event-id", "a.9.x")];
        let receive_query = read(&headers, "channels=a&token=t&position=a.7.x", "").unwrap();
        assert_eq!(receive_query.token, "h");
        assert_eq!(receive_query.positions.get("a").unwrap().offset, 9);
    }

    #[test]
    fn the_last_event_id_goes_over_the_position_that_the_address_began_with() {
        let query = "channels=a&position=a.7.x&lastEventId=a.8.x";
        assert_eq!(read(&[], query, "").unwrap().positions.get("a").unwrap().offset, 8);
        let receive_query = read(&[("last-event-id", "a.9.x")], query, "").unwrap();
        assert_eq!(receive_query.positions.get("a").unwrap().offset, 9);
        // None yet: an empty id is none.
        let receive_query =
            read(&[("last-event-id", "")], "channels=a&position=a.7.x&lastEventId=", "").unwrap();
        assert_eq!(
            (receive_query.positions.get("a").unwrap().offset, receive_query.is_unreadable),
            (7, false)
        );
    }

    #[test]
    fn a_last_event_id_that_is_no_position_is_told_and_not_refused() {
        for id in ["nonsense", "42", "a.7", "고라니", "a.x.e", "a 1", "%00"] {
            let receive_query = read(&[("last-event-id", id)], "channels=a&position=a.7.x", "").unwrap();
            assert_eq!(
                (receive_query.is_unreadable, receive_query.positions),
                (true, Positions::default()),
                "{id}"
            );
            let receive_query = read(&[], &format!("channels=a&lastEventId={id}"), "").unwrap();
            assert!(receive_query.is_unreadable, "{id}");
        }
        let receive_query = read(&[], "channels=a&lastEventId=%ff", "").unwrap();
        assert!(receive_query.is_unreadable);
    }

    #[test]
    fn a_body_says_the_same_and_knows_the_subs_of_a_connect() {
        let receive_query =
            read(&[], "", r#"{"token":"b","subs":{"a":{"recover":true,"offset":3,"epoch":"x"},"c":{}}}"#);
        let receive_query = receive_query.unwrap();
        assert_eq!(
            (receive_query.token.as_str(), receive_query.channels),
            ("b", vec!["a".to_owned(), "c".to_owned()])
        );
        assert_eq!(receive_query.positions.get("a").unwrap().offset, 3);
        assert!(receive_query.positions.get("c").is_none());
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        assert!(read(&[], "channels=a&position=nonsense", "").is_err());
        assert!(read(&[], "", "[1]").is_err());
    }
}
