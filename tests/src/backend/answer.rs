//! Answers of a scripted backend, good and bad.

use std::time::Duration;

use serde_json::Value;

/// An answer to one request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// 200 with this JSON.
    Json(Value),
    /// A status, further header lines and a body; `content-length` is written.
    Status(u16, Vec<(String, String)>, Vec<u8>),
    /// 200 with a body of this many bytes of JSON, written in pieces.
    Huge(usize),
    /// No answer, for as long as the client waits.
    Hang,
    /// The connection is reset.
    Reset,
    /// The connection is closed in order, without an answer.
    Close,
    /// One byte of the answer each second.
    Trickle(Box<Answer>),
    /// So many bytes of the answer with its head, then the connection is closed.
    Cut(usize, Box<Answer>),
    /// The answer, and then the connection is closed, although it could have been kept.
    ThenClose(Box<Answer>),
    /// The answer, once [`super::Backend::release`] is called.
    Held(Box<Answer>),
    /// The answer after this time.
    After(Duration, Box<Answer>),
    /// These bytes as they are; the connection is closed then.
    Raw(Vec<u8>),
}

impl Answer {
    /// `{"result": …}`.
    pub fn result(result: Value) -> Self {
        Self::Json(serde_json::json!({ "result": result }))
    }

    /// `{"error": {"code": …, "message": …}}`.
    pub fn error(code: u32, message: &str) -> Self {
        Self::Json(serde_json::json!({ "error": { "code": code, "message": message } }))
    }

    /// `{"disconnect": {"code": …, "reason": …}}`.
    pub fn disconnect(code: u32, reason: &str) -> Self {
        Self::Json(serde_json::json!({ "disconnect": { "code": code, "reason": reason } }))
    }

    /// A status without a body.
    pub fn status(status: u16) -> Self {
        Self::Status(status, Vec::new(), Vec::new())
    }

    /// A redirect.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::Status(status, vec![("Location".into(), location.into())], Vec::new())
    }

    /// 200 with a body that is not UTF-8.
    pub fn invalid_utf8() -> Self {
        Self::Status(200, Vec::new(), b"{\"result\":{\"data\":\"\xff\xfe\"}}".to_vec())
    }

    /// 200 with JSON that is nested so deep.
    pub fn deep(depth: usize) -> Self {
        let body = format!("{{\"result\":{{\"data\":{}{}}}}}", "[".repeat(depth), "]".repeat(depth));
        Self::Status(200, Vec::new(), body.into_bytes())
    }

    /// The same after this time.
    #[must_use]
    pub fn after(self, pause: Duration) -> Self {
        Self::After(pause, Box::new(self))
    }

    /// The same once [`super::Backend::release`] is called.
    #[must_use]
    pub fn held(self) -> Self {
        Self::Held(Box::new(self))
    }

    /// Its first bytes, head and body taken together.
    #[must_use]
    pub fn cut(self, bytes: usize) -> Self {
        Self::Cut(bytes, Box::new(self))
    }

    /// Head and body as bytes.
    ///
    /// # Panics
    /// If this is no answer with a head.
    pub fn bytes(&self) -> Vec<u8> {
        let response = |status: u16, headers: &[(String, String)], body: &[u8]| {
            let mut head = format!("HTTP/1.1 {status} Some Reason\r\nContent-Type: application/json\r\n");
            headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
            // A 204 and a 304 have no body, and say nothing of its length.
            if !matches!(status, 204 | 304) {
                head.push_str(&format!("Content-Length: {}\r\n", body.len()));
            }
            [head.as_bytes(), b"\r\n", body].concat()
        };
        match self {
            Self::Json(json) => response(200, &[], json.to_string().as_bytes()),
            Self::Status(status, headers, body) => response(*status, headers, body),
            Self::Raw(bytes) => bytes.clone(),
            other => panic!("{other:?} has no bytes of its own"),
        }
    }
}
