//! The transports of SockJS by name: which way they carry, with which method, what they answer with.
//! `docs/protocols/sockjs.md` §5.

/// The last part of a session's URL.
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

/// Which way a transport carries messages.
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

    /// Which way it carries.
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

    /// Whether scripts of other origins ask with a preflight (`docs/protocols/sockjs.md` §6.3).
    #[must_use]
    pub const fn has_preflight(self) -> bool {
        matches!(self, Self::Xhr | Self::XhrSend | Self::XhrStreaming)
    }

    /// Whether a page of any origin can ask for it without the browser naming the page in `Origin`: by a script tag, a frame
    /// or a form. Where origins are restricted, these need another proof.
    #[must_use]
    pub const fn hides_origin(self) -> bool {
        matches!(self, Self::HtmlFile | Self::Jsonp | Self::JsonpSend)
    }

    /// Whether it calls a function that the query names (`docs/protocols/sockjs.md` §5.10).
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
    use super::*;

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
