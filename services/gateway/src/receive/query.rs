//! The query of a receiver, read from its request: the query string, a connect object in it or in the body, and two headers.
//! `docs/protocols/http.md` §7.

use std::borrow::Cow;

use actix_http::header::HeaderMap;
use gorani_auth::ChannelRules;
use gorani_protocol::client::{JSON_DEPTH, ReceiverConnect};

use crate::{
    format::position::Positions, http::refusal::HttpRefusal, session::client::receiver::ReceiveQuery,
};

/// Names that EventSource polyfills give the parameter that stands for the header `Last-Event-ID`, in lower case and without
/// `-` and `_`: browsers let scripts set no such header for `XMLHttpRequest`s of other origins without a preflight.
///
/// - `lastEventId`: event-source-polyfill (`lastEventIdQueryParameterName`), event-source, Mercure's `lastEventID`.
/// - `Last-Event-ID`, `last_event_id`: Mercure, and servers that repeat the header's name.
/// - `evs_last_event_id`: amvtek's EventSource.
const LAST_EVENT_ID_PARAMETERS: [&str; 2] = ["lasteventid", "evslasteventid"];

/// One parameter.
struct Parameter<'q> {
    name: Cow<'q, str>,
    value: Cow<'q, str>,
    /// The value as it was sent.
    raw: &'q str,
}

/// Parameters of a query, in their order.
pub struct Query<'q>(Vec<Parameter<'q>>);

impl<'q> Query<'q> {
    /// Reads a query. Every text is one: bytes that are no UTF-8 become U+FFFD.
    pub fn parse(query: &'q str) -> Self {
        let parameter = |raw: &'q str| {
            let (name, value) = form_urlencoded::parse(raw.as_bytes()).next()?;
            let raw = raw.split_once('=').map_or("", |(_, raw)| raw);
            Some(Parameter { name, value, raw })
        };
        Self(query.split('&').filter_map(parameter).collect())
    }

    /// The first parameter of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|parameter| parameter.name == name).map(|parameter| &*parameter.value)
    }

    /// A parameter that is a number.
    ///
    /// # Errors
    /// If it is there and is none.
    pub fn number(&self, name: &'static str) -> Result<Option<u64>, HttpRefusal> {
        let read = |text: &str| {
            text.parse().map_err(|_| HttpRefusal::bad_request(format!("{name} must be a number")))
        };
        self.get(name).map(read).transpose()
    }

    /// The id of the last event that the client has, which a polyfill could not send as a header. Never empty: a polyfill
    /// that has seen no event sends an empty one, or none.
    pub fn last_event_id(&self) -> Option<&str> {
        let is_id = |parameter: &&Parameter<'_>| {
            let letters = parameter.name.chars().filter(|letter| !matches!(letter, '-' | '_'));
            let name: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
            LAST_EVENT_ID_PARAMETERS.contains(&&*name) && !parameter.value.is_empty()
        };
        self.0.iter().find(is_id).map(|parameter| &*parameter.value)
    }

    /// Channels, in their order.
    ///
    /// - `channel=` names one, whatever is in the name. It may be repeated.
    /// - `channels=` is a list between commas. `URLSearchParams` and its like send every comma as `%2C`, so that one separates
    ///   too, with one exception: behind the `#` of a user-limited channel it goes on with the users, where the piece behind
    ///   it can be no channel of this node, because it has no namespace and channels without one are closed to clients.
    pub fn channels(&self, rules: &ChannelRules) -> Vec<String> {
        let mut channels = Vec::new();
        for Parameter { name, value, raw } in &self.0 {
            match &**name {
                "channel" if !value.is_empty() => channels.push(value.to_string()),
                "channels" => raw.split(',').for_each(|piece| split(&decode(piece), rules, &mut channels)),
                _ => {}
            }
        }
        channels
    }
}

/// A piece of a value.
fn decode(raw: &str) -> String {
    // A `=` before it: else a `=` in the piece would separate a name from it.
    let piece = format!("={raw}");
    let decoded = form_urlencoded::parse(piece.as_bytes()).next();
    decoded.map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// Takes a list apart whose commas were sent as `%2C`.
fn split(list: &str, rules: &ChannelRules, channels: &mut Vec<String>) {
    let first = channels.len();
    for piece in list.split(',').filter(|piece| !piece.is_empty()) {
        let is_user = !piece.contains(['$', ':', '#']) && !rules.is_open_to_clients(piece);
        match channels.get_mut(first..).and_then(<[String]>::last_mut) {
            Some(channel) if is_user && channel.contains('#') => {
                channel.push(',');
                channel.push_str(piece);
            }
            _ => channels.push(piece.to_owned()),
        }
    }
}

/// Header that a browser sends when it comes back to a stream of events.
const LAST_EVENT_ID: &str = "last-event-id";

/// The parameter that holds a connect object, for those who cannot send a body.
const CONNECT_PARAMETER: &str = "cf_connect";

/// The query of a request. The header `Last-Event-ID` goes over the parameter that polyfills send instead, that over
/// `position`, and `Authorization` over `token`.
///
/// The id of the last event is what a client remembers by itself. One that is no position refuses nothing, since an
/// `EventSource` would never come back: the receiver begins, and learns that nothing was recovered.
///
/// # Errors
/// Something in it cannot be read.
pub fn receive_query(
    headers: &HeaderMap,
    query: &Query<'_>,
    body: &[u8],
    rules: &ChannelRules,
) -> Result<ReceiveQuery, HttpRefusal> {
    let connect = connect_object(query, body)?;
    let bearer = headers.get("authorization").and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let (positions, is_unreadable) = match last_event_id(headers, query) {
        Some(id) => Positions::parse(&id).map_or((Positions::default(), true), |known| (known, false)),
        None => (parse_position(query.get("position").unwrap_or(&connect.position))?, false),
    };
    let token = bearer.or_else(|| query.get("token")).unwrap_or_default().to_owned();
    let channels = query.channels(rules);
    let mut receive_query =
        ReceiveQuery { token, channels, positions, is_unreadable, ..ReceiveQuery::default() };
    receive_query.add(connect);
    Ok(receive_query)
}

/// The connect object of a request: its body, or a parameter of its query.
///
/// # Errors
/// It is none, or there are two.
fn connect_object<'r>(query: &'r Query<'_>, body: &'r [u8]) -> Result<ReceiverConnect<'r>, HttpRefusal> {
    let parameter = query.get(CONNECT_PARAMETER).unwrap_or_default().as_bytes();
    if !parameter.is_empty() && !body.trim_ascii().is_empty() {
        return Err(HttpRefusal::bad_request("the connect object is the body or cf_connect, not both"));
    }
    let json = if parameter.is_empty() { body } else { parameter };
    ReceiverConnect::decode(json, JSON_DEPTH).map_err(|_| {
        HttpRefusal::bad_request(
            "the body or cf_connect must be an object: token, channels, position, subs; not a command around it",
        )
    })
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
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use actix_http::header::{HeaderName, HeaderValue};
    use gorani_auth::ChannelSettings;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn rules(settings: Value) -> ChannelRules {
        ChannelRules::new(&serde_json::from_value::<ChannelSettings>(settings).unwrap()).unwrap()
    }

    /// Channels without a namespace are closed to clients.
    fn closed() -> ChannelRules {
        rules(json!({"namespaces": [{"name": "n", "allow_user_limited_channels": true}, {"name": "m"}]}))
    }

    /// And here they are not.
    fn open() -> ChannelRules {
        rules(json!({"defaults": {"allow_subscribe_for_client": true}, "namespaces": [{"name": "n"}]}))
    }

    #[test]
    fn a_list_is_between_commas_however_they_are_sent() {
        for query in
            ["channels=n:a,n:b,m:c", "channels=n%3Aa%2Cn:b%2cm:c", "channels=,n:a,,n:b&channels=m:c,"]
        {
            for rules in [closed(), open()] {
                assert_eq!(Query::parse(query).channels(&rules), ["n:a", "n:b", "m:c"], "{query}");
            }
        }
    }

    #[test]
    fn a_parameter_for_one_channel_is_never_split() {
        let query = "channel=n:x%2342%2C43&channel=n:a,b&channels=m:c&channel=&channel=x=y";
        assert_eq!(Query::parse(query).channels(&open()), ["n:x#42,43", "n:a,b", "m:c", "x=y"]);
    }

    #[test]
    fn an_encoded_comma_goes_on_with_the_users_of_a_channel_where_nothing_else_can_be_meant() {
        let read = |query: &str, rules: &ChannelRules| Query::parse(query).channels(rules);
        assert_eq!(read("channels=n:x%2342%2C43%2C44", &closed()), ["n:x#42,43,44"]);
        assert_eq!(read("channels=n:x%2342%2C43,n:y", &closed()), ["n:x#42,43", "n:y"]);
        // A list as it always was: channels with a namespace, other user-limited channels, private ones.
        assert_eq!(read("channels=n:x%2342%2Cm:y", &closed()), ["n:x#42", "m:y"]);
        assert_eq!(read("channels=n:x%2342%2Cunknown:y", &closed()), ["n:x#42", "unknown:y"]);
        assert_eq!(read("channels=n:x%2342%2Cy%2342%2C$z", &closed()), ["n:x#42", "y#42", "$z"]);
        // Channels without a namespace, where clients may have them.
        assert_eq!(read("channels=n:x%2342%2Cnews", &open()), ["n:x#42", "news"]);
        // A comma as it is always separates, and so do two parameters.
        assert_eq!(read("channels=n:x%2342,43", &closed()), ["n:x#42", "43"]);
        assert_eq!(read("channels=n:x%2342&channels=43", &closed()), ["n:x#42", "43"]);
        assert_eq!(read("channels=n:x%2C43", &closed()), ["n:x", "43"]);
    }

    #[test]
    fn the_last_event_of_a_polyfill_is_found_under_its_names() {
        for name in ["lastEventId", "lastEventID", "Last-Event-ID", "last_event_id", "evs_last_event_id"] {
            let query = format!("channels=a&{name}=&{name}=a.7.x%20y");
            assert_eq!(Query::parse(&query).last_event_id(), Some("a.7.x y"), "{name}");
        }
        assert_eq!(Query::parse("lastEventId=&eventId=1").last_event_id(), None);
    }

    #[test]
    fn what_is_no_utf_8_is_read_all_the_same() {
        let query = Query::parse("&&=&channels&token=%ff+a&limit=x&wait=5");
        assert_eq!(query.get("token"), Some("\u{fffd} a"));
        assert_eq!(query.channels(&open()), [""; 0]);
        assert!(query.number("limit").is_err());
        assert_eq!(query.number("wait"), Ok(Some(5)));
        assert_eq!(query.number("position"), Ok(None));
    }

    proptest! {
        #[test]
        fn names_come_back_however_a_list_is_written(
            names in proptest::collection::vec("[a-z:#$~&=%+ -]{1,12}", 1..8),
            is_encoded in any::<bool>(),
        ) {
            let encode = |name: &String| form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>();
            let encoded: Vec<_> = names.iter().map(encode).collect();
            let list = format!("channels={}", encoded.join(if is_encoded { "%2C" } else { "," }));
            prop_assert_eq!(Query::parse(&list).channels(&open()), &names[..]);
            let each: String = encoded.iter().map(|name| format!("&channel={name}")).collect();
            prop_assert_eq!(Query::parse(&each).channels(&closed()), &names[..]);
        }

        #[test]
        fn any_text_is_a_query(text in "\\PC{0,60}") {
            let query = Query::parse(&text);
            let _ = (query.channels(&closed()), query.last_event_id().map(str::len), query.number("wait"));
        }
    }

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
    fn a_connect_object_is_the_same_as_a_parameter_and_as_a_body_but_not_both() {
        let object =
            r#"{"token":"b","channels":["d"],"position":"a.7.x","subs":{"a":{"recover":true,"offset":3}}}"#;
        let parameter: String = form_urlencoded::Serializer::new("channels=q".to_owned())
            .append_pair("cf_connect", object)
            .finish();
        let by_body = read(&[], "channels=q", object).unwrap();
        assert_eq!(read(&[], &parameter, "").unwrap(), by_body);
        assert_eq!((by_body.token.as_str(), by_body.positions.get("a").unwrap().offset), ("b", 3));
        assert_eq!(by_body.channels, ["q", "d", "a"]);
        assert!(read(&[], &parameter, object).is_err());
        assert_eq!(read(&[], "channels=q&cf_connect=", object).unwrap(), by_body);
        // The parameters of the query go over it.
        assert_eq!(read(&[], &format!("{parameter}&token=t"), "").unwrap().token, "t");
    }

    #[test]
    fn a_connect_object_that_is_none_is_refused_wherever_it_stands() {
        for object in ["[]", "token", r#"{"id":1,"connect":{"token":"t"}}"#, r#"{"token":1}"#] {
            assert!(read(&[], "", object).is_err(), "{object}");
            let parameter =
                form_urlencoded::Serializer::new(String::new()).append_pair("cf_connect", object).finish();
            assert!(read(&[], &parameter, "").is_err(), "{object}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        assert!(read(&[], "channels=a&position=nonsense", "").is_err());
        assert!(read(&[], "", "[1]").is_err());
    }
}
