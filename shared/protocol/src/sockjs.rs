//! SockJS 0.3.3, without IO: what its URLs mean, what its frames look like, and how each transport wraps them.
//! `docs/protocols/sockjs.md`.
//!
//! Between a transport of the gateway, which moves bytes, and a session, which knows only messages:
//!
//! - [`Route`], [`Transport`]: what stands behind a path below an endpoint. Paths are taken as they came: a doubled or a
//!   final slash makes another path.
//! - [`frame`]: `o`, `a[…]`, `h`, `c[…]`, the strings in them, and how a transport puts a frame into its response.
//! - [`batch`]: the messages that a client sends.
//! - [`headers`], [`iframe`]: the rest of the answers.
//!
//! Messages wait for a client as lists ([`frame::push_message`]), which say nothing of a transport: one encoding serves
//! every subscriber, and a session may go on over another transport.

pub mod batch;
pub mod frame;
pub mod headers;
pub mod iframe;

pub use self::{
    batch::{BatchError, BatchLimits},
    frame::{Callback, CallbackError, Wrapping},
};

/// Longest session id. Those of clients have 8 to 36 characters; it is kept with every session.
const SESSION_MAX_BYTES: usize = 128;

/// The meaning of a path below an endpoint. `docs/protocols/sockjs.md` §1 and §2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'p> {
    /// The endpoint itself.
    Greeting,
    /// `/info`.
    Info,
    /// `/iframe….html`.
    Iframe,
    /// `/websocket`: messages without SockJS's frames.
    RawWebSocket,
    /// `/{server}/{session}/{transport}`. The first part is for load balancers, no meaning here. `docs/protocols/sockjs.md` §2.2.
    Session {
        /// The session's id, as the client chose it and not decoded.
        session: &'p str,
        /// The transport that the client asks for.
        transport: Transport,
    },
}

impl<'p> Route<'p> {
    /// Reads the rest of a path, behind that of the endpoint. `None`: nothing is there, 404.
    #[must_use]
    pub fn parse(rest: &'p str) -> Option<Self> {
        match rest {
            "" | "/" => return Some(Self::Greeting),
            "/info" => return Some(Self::Info),
            "/websocket" => return Some(Self::RawWebSocket),
            _ => {}
        }
        let rest = rest.strip_prefix('/')?;
        if iframe::is_name(rest) {
            return Some(Self::Iframe);
        }
        let (server, rest) = rest.split_once('/')?;
        let (session, transport) = rest.split_once('/')?;
        let is_id = |part: &str| !part.is_empty() && !part.contains('.');
        if !is_id(server) || !is_id(session) || session.len() > SESSION_MAX_BYTES {
            return None;
        }
        Some(Self::Session { session, transport: Transport::by_name(transport)? })
    }
}

/// The last part of a session's URL: a transport, with its direction, its method and the type of its answers.
/// `docs/protocols/sockjs.md` §5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// `websocket`: both ways.
    WebSocket,
    /// `xhr`: receives one frame, long polling.
    Xhr,
    /// `xhr_send`: sends.
    XhrSend,
    /// `xhr_streaming`: receives.
    XhrStreaming,
    /// `eventsource`: receives.
    EventSource,
    /// `htmlfile`: receives.
    HtmlFile,
    /// `jsonp`: receives one frame, long polling.
    Jsonp,
    /// `jsonp_send`: sends.
    JsonpSend,
}

/// The direction in which a transport carries messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    Both,
    /// To the client, many frames in one response.
    Stream,
    /// To the client, one frame in one response.
    Poll,
    /// From the client.
    Send,
}

impl Transport {
    /// Every transport.
    pub const ALL: [Self; 8] = [
        Self::WebSocket,
        Self::Xhr,
        Self::XhrSend,
        Self::XhrStreaming,
        Self::EventSource,
        Self::HtmlFile,
        Self::Jsonp,
        Self::JsonpSend,
    ];

    /// Finds a transport by the last part of a URL.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.name() == name)
    }

    /// The last part of its URL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Xhr => "xhr",
            Self::XhrSend => "xhr_send",
            Self::XhrStreaming => "xhr_streaming",
            Self::EventSource => "eventsource",
            Self::HtmlFile => "htmlfile",
            Self::Jsonp => "jsonp",
            Self::JsonpSend => "jsonp_send",
        }
    }

    /// The direction in which it carries messages.
    #[must_use]
    pub const fn direction(self) -> Direction {
        match self {
            Self::WebSocket => Direction::Both,
            Self::XhrStreaming | Self::EventSource | Self::HtmlFile => Direction::Stream,
            Self::Xhr | Self::Jsonp => Direction::Poll,
            Self::XhrSend | Self::JsonpSend => Direction::Send,
        }
    }

    /// The one method it is asked for with, besides `OPTIONS` where [`Self::has_preflight`].
    #[must_use]
    pub const fn method(self) -> &'static str {
        match self {
            Self::WebSocket | Self::EventSource | Self::HtmlFile | Self::Jsonp => "GET",
            Self::Xhr | Self::XhrSend | Self::XhrStreaming | Self::JsonpSend => "POST",
        }
    }

    /// True if scripts of other origins ask with a preflight (`docs/protocols/sockjs.md` §6.3).
    #[must_use]
    pub const fn has_preflight(self) -> bool {
        matches!(self, Self::Xhr | Self::XhrSend | Self::XhrStreaming)
    }

    /// True if a page of any origin can ask for it without the browser naming the page in `Origin`: by a script tag, a frame
    /// or a form. Where origins are restricted, these need another proof.
    #[must_use]
    pub const fn hides_origin(self) -> bool {
        matches!(self, Self::HtmlFile | Self::Jsonp | Self::JsonpSend)
    }

    /// True if it calls a function that the query names (`docs/protocols/sockjs.md` §5.10).
    #[must_use]
    pub const fn has_callback(self) -> bool {
        matches!(self, Self::HtmlFile | Self::Jsonp)
    }

    /// `Content-Type` of its answers when all is well.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Xhr | Self::XhrStreaming | Self::Jsonp => "application/javascript; charset=UTF-8",
            Self::EventSource => "text/event-stream",
            Self::HtmlFile => "text/html; charset=UTF-8",
            Self::XhrSend | Self::JsonpSend | Self::WebSocket => "text/plain; charset=UTF-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn item_1_the_endpoint_itself_greets_with_and_without_a_slash() {
        assert_eq!(Route::parse(""), Some(Route::Greeting));
        assert_eq!(Route::parse("/"), Some(Route::Greeting));
    }

    #[test]
    fn item_2_nothing_stands_behind_other_paths_and_slashes_are_not_put_right() {
        for path in ["/a", "/a.html", "//", "///", "/a/a", "/a/a/", "/a/", "/info/", "//info", "/websocket/"]
        {
            assert_eq!(Route::parse(path), None, "{path}");
        }
    }

    #[test]
    fn item_3_and_4_only_the_named_forms_are_the_iframe_page() {
        for path in [
            "/iframe.html",
            "/iframe-a.html",
            "/iframe-0.1.2-abc_d.html",
            "/iframe-.html",
            "/iframe0.1.2abc-dirty.2144.html",
        ] {
            assert_eq!(Route::parse(path), Some(Route::Iframe), "{path}");
        }
        for path in [
            "/iframe.htm",
            "/iframe",
            "/IFRAME.HTML",
            "/IFRAME",
            "/iframe.HTML",
            "/iframe.xml",
            "/iframe-/.html",
            "/iframe-A.html",
            "/iframehtml",
        ] {
            assert_eq!(Route::parse(path), None, "{path}");
        }
    }

    #[test]
    fn item_9_any_segments_without_dots_name_a_session_and_other_paths_do_not() {
        for (path, session) in [
            ("/a/a/xhr", "a"),
            ("/_/_/xhr", "_"),
            ("/1/%20/xhr", "%20"),
            ("/abcdefgh_i-j%20/abcdefgh_i-j%20/xhr", "abcdefgh_i-j%20"),
        ] {
            assert_eq!(
                Route::parse(path),
                Some(Route::Session { session, transport: Transport::Xhr }),
                "{path}"
            );
        }
        for path in [
            "//",
            "//xhr",
            "/a./a/xhr",
            "/a/a./xhr",
            "/./a/xhr",
            "/././xhr",
            "///xhr",
            "/a//xhr",
            "//a/xhr",
            "/a/a/xhr/",
            "/a/a/a/xhr",
            "/a/a/unknown",
        ] {
            assert_eq!(Route::parse(path), None, "{path}");
        }
        assert_eq!(Route::parse(&format!("/a/{}/xhr", "x".repeat(129))), None);
    }

    #[test]
    fn item_10_the_server_part_means_nothing() {
        assert_eq!(Route::parse("/000/S/jsonp"), Route::parse("/999/S/jsonp"));
    }

    #[test]
    fn item_22_websocket_below_the_endpoint_is_the_raw_one() {
        assert_eq!(Route::parse("/websocket"), Some(Route::RawWebSocket));
        let framed = Route::Session { session: "b", transport: Transport::WebSocket };
        assert_eq!(Route::parse("/a/b/websocket"), Some(framed));
    }

    proptest! {
        #[test]
        fn a_session_is_never_read_out_of_a_path_that_is_not_three_segments(path in "[/a.%]{0,12}(/xhr)?") {
            if let Some(Route::Session { session, .. }) = Route::parse(&path) {
                prop_assert_eq!(path.matches('/').count(), 3);
                prop_assert!(!session.is_empty() && !path.contains('.'));
            }
        }
    }

    #[test]
    fn every_transport_is_found_by_its_name_and_no_other_name_is() {
        for transport in Transport::ALL {
            assert_eq!(Transport::by_name(transport.name()), Some(transport));
        }
        for name in ["", "XHR", "xhr_", "xhr_polling", "rawwebsocket", "info"] {
            assert_eq!(Transport::by_name(name), None, "{name}");
        }
    }
}
