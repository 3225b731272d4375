//! Each transport's form of frames in its response: what comes first, and what stands around a frame. One frame becomes one
//! piece of bytes, and so one HTTP chunk. `docs/protocols/sockjs.md` §5.

use bytes::{BufMut, Bytes, BytesMut};

use super::{callback::Callback, escape::write_script_string, path::Transport};

/// The beginning of `xhr_streaming`, since some browsers hand out the first 2 KiB late.
const XHR_PRELUDE: [u8; 2049] = {
    let mut bytes = [b'h'; 2049];
    bytes[2048] = b'\n';
    bytes
};

/// Bytes that the head of `htmlfile` is padded to, for the same reason.
const HTML_HEAD_BYTES: usize = 1024 + 1;

/// The form in which a transport wraps frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrapping {
    /// `websocket`: nothing around a frame, the message is the frame.
    Bare,
    /// `xhr`: a newline after the frame.
    Xhr,
    /// `xhr_streaming`: the same, after a prelude.
    XhrStreaming,
    /// `eventsource`: an event with the frame as its data.
    EventSource,
    /// `htmlfile`: a script that hands the frame to the page around it.
    HtmlFile(Callback),
    /// `jsonp`: a script that calls the callback with the frame.
    Jsonp(Callback),
}

impl Wrapping {
    /// The wrapping of a transport that receives; `None` for one that only sends, or where a callback is missing.
    #[must_use]
    pub fn of(transport: Transport, callback: Option<Callback>) -> Option<Self> {
        Some(match transport {
            Transport::WebSocket => Self::Bare,
            Transport::Xhr => Self::Xhr,
            Transport::XhrStreaming => Self::XhrStreaming,
            Transport::EventSource => Self::EventSource,
            Transport::HtmlFile => Self::HtmlFile(callback?),
            Transport::Jsonp => Self::Jsonp(callback?),
            Transport::XhrSend | Transport::JsonpSend => return None,
        })
    }

    /// The beginning of the response, a chunk of its own; empty for nothing.
    #[must_use]
    pub fn prelude(&self) -> Bytes {
        match self {
            Self::XhrStreaming => Bytes::from_static(&XHR_PRELUDE),
            Self::EventSource => Bytes::from_static(b"\r\n"),
            Self::HtmlFile(callback) => html_head(callback),
            Self::Bare | Self::Xhr | Self::Jsonp(_) => Bytes::new(),
        }
    }

    /// Appends a frame as this transport sends it.
    pub fn write(&self, frame: &[u8], out: &mut BytesMut) {
        match self {
            Self::Bare => out.extend_from_slice(frame),
            Self::Xhr | Self::XhrStreaming => {
                out.reserve(frame.len() + 1);
                out.extend_from_slice(frame);
                out.put_u8(b'\n');
            }
            Self::EventSource => {
                out.extend_from_slice(b"data: ");
                write_percent_encoded(out, frame);
                out.extend_from_slice(b"\r\n\r\n");
            }
            Self::HtmlFile(_) => {
                out.extend_from_slice(b"<script>\np(");
                write_script_string(out, frame);
                out.extend_from_slice(b");\n</script>\r\n");
            }
            Self::Jsonp(callback) => {
                // The comment keeps the answer from being taken for a Flash file that begins with the callback's name.
                out.extend_from_slice(b"/**/");
                out.extend_from_slice(callback.as_str().as_bytes());
                out.put_u8(b'(');
                write_script_string(out, frame);
                out.extend_from_slice(b");\r\n");
            }
        }
    }

    /// A frame as this transport sends it.
    #[must_use]
    pub fn wrap(&self, frame: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(frame.len() + 64);
        self.write(frame, &mut out);
        out.freeze()
    }
}

/// sockjs-client reads events with `decodeURI`: a percent sign must be encoded for it, and what would end a line for
/// EventSource.
fn write_percent_encoded(out: &mut BytesMut, frame: &[u8]) {
    out.reserve(frame.len() + 4);
    let mut rest = frame;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'%' | b'\r' | b'\n' | 0)) {
        let Some((plain, [byte, tail @ ..])) = rest.split_at_checked(at) else { break };
        out.extend_from_slice(plain);
        out.extend_from_slice(match byte {
            b'%' => b"%25",
            b'\r' => b"%0D",
            b'\n' => b"%0A",
            _ => b"%00",
        });
        rest = tail;
    }
    out.extend_from_slice(rest);
}

fn html_head(callback: &Callback) -> Bytes {
    let mut head = format!(
        r#"<!doctype html>
<html><head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
</head><body><h2>Don't panic!</h2>
  <script>
    document.domain = document.domain;
    var c = parent.{callback};
    c.start();
    function p(d) {{c.message(d);}};
    window.onload = function() {{c.stop();}};
  </script>"#
    );
    let padding = HTML_HEAD_BYTES.saturating_sub(head.len());
    head.extend(std::iter::repeat_n(' ', padding));
    head.push_str("\r\n\r\n");
    Bytes::from(head)
}

#[cfg(test)]
mod tests;
