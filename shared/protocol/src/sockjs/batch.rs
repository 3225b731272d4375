//! The messages of a client: a JSON array of strings, or a single string. `docs/protocols/sockjs.md` §3.3, §3.4, §3.6 and §5.9.
//!
//! Read by hand, because JavaScript can send lone surrogates (`"\ud800"`), which the JSON libraries of Rust refuse: here
//! they become U+FFFD and the rest of the batch lives. Nothing nests, so there is no depth to limit: an array or an
//! object inside a batch is an error at its first byte.

use std::borrow::Cow;

/// The type of a body that is a form.
const FORM: &str = "application/x-www-form-urlencoded";

/// Bounds of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Messages.
    pub max_messages: usize,
    /// Bytes of one message, decoded.
    pub message_max_bytes: usize,
}

/// Why a batch is not taken; nothing of it is. The text of the first two is what SockJS answers with 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// There is nothing.
    #[error("Payload expected.")]
    Empty,
    /// It is not a JSON string, and not a JSON array of strings.
    #[error("Broken JSON encoding.")]
    Broken,
    /// More messages than a batch may have.
    #[error("Too many messages.")]
    TooMany,
    /// A message is larger than it may be.
    #[error("Message too large.")]
    TooLarge,
}

/// Reads a batch whole, so that nothing of a broken one is taken.
///
/// # Errors
/// [`BatchError`].
pub fn decode(bytes: &[u8], limits: BatchLimits) -> Result<Vec<Cow<'_, str>>, BatchError> {
    if bytes.is_empty() {
        return Err(BatchError::Empty);
    }
    let text = simdutf8::basic::from_utf8(bytes).map_err(|_| BatchError::Broken)?;
    let mut reader = Reader { rest: text, limits };
    let messages = match reader.next_token() {
        Some('"') => vec![reader.string()?],
        Some('[') => reader.strings()?,
        _ => return Err(BatchError::Broken),
    };
    match reader.next_token() {
        None => Ok(messages),
        Some(_) => Err(BatchError::Broken),
    }
}

/// The batch in the body of `jsonp_send`: the first field `d` of a form, all of it of any other type. Empty if there is none.
#[must_use]
pub fn payload<'b>(content_type: Option<&str>, body: &'b [u8]) -> Cow<'b, [u8]> {
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case(FORM) {
        return Cow::Borrowed(body);
    }
    let field = form_urlencoded::parse(body).find(|(name, _)| name == "d");
    match field {
        Some((_, Cow::Borrowed(value))) => Cow::Borrowed(value.as_bytes()),
        Some((_, Cow::Owned(value))) => Cow::Owned(value.into_bytes()),
        None => Cow::Borrowed(&[]),
    }
}

/// Reads on in the text of a batch.
struct Reader<'t> {
    rest: &'t str,
    limits: BatchLimits,
}

impl<'t> Reader<'t> {
    /// The next character that is not JSON's whitespace; all between is gone.
    fn next_token(&mut self) -> Option<char> {
        let rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        let mut characters = rest.chars();
        let token = characters.next();
        self.rest = characters.as_str();
        token
    }

    /// The strings of an array whose bracket was just read.
    fn strings(&mut self) -> Result<Vec<Cow<'t, str>>, BatchError> {
        let mut messages = Vec::new();
        match self.next_token() {
            Some(']') => return Ok(messages),
            Some('"') => {}
            _ => return Err(BatchError::Broken),
        }
        loop {
            let message = self.string()?;
            if messages.len() == self.limits.max_messages {
                return Err(BatchError::TooMany);
            }
            messages.push(message);
            match self.next_token() {
                Some(']') => return Ok(messages),
                Some(',') if self.next_token() == Some('"') => {}
                _ => return Err(BatchError::Broken),
            }
        }
    }

    /// A string whose opening quote was just read. Without escapes it is not copied.
    fn string(&mut self) -> Result<Cow<'t, str>, BatchError> {
        let plain = self.plain()?;
        if self.take('"') {
            return self.measured(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        while self.take('\\') {
            text.push(self.escape()?);
            text.push_str(self.plain()?);
            if text.len() > self.limits.message_max_bytes {
                return Err(BatchError::TooLarge);
            }
        }
        if !self.take('"') {
            return Err(BatchError::Broken);
        }
        self.measured(Cow::Owned(text))
    }

    fn measured(&self, message: Cow<'t, str>) -> Result<Cow<'t, str>, BatchError> {
        if message.len() > self.limits.message_max_bytes {
            return Err(BatchError::TooLarge);
        }
        Ok(message)
    }

    /// The text before the next quote or backslash.
    fn plain(&mut self) -> Result<&'t str, BatchError> {
        let end = self.rest.bytes().position(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\'));
        let (plain, rest) = end.and_then(|end| self.rest.split_at_checked(end)).ok_or(BatchError::Broken)?;
        self.rest = rest;
        Ok(plain)
    }

    fn take(&mut self, character: char) -> bool {
        match self.rest.strip_prefix(character) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// An escape whose backslash was just read.
    fn escape(&mut self) -> Result<char, BatchError> {
        let mut characters = self.rest.chars();
        let name = characters.next().ok_or(BatchError::Broken)?;
        self.rest = characters.as_str();
        Ok(match name {
            '"' | '\\' | '/' => name,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let first = self.code_unit()?;
                self.character(first)
            }
            _ => return Err(BatchError::Broken),
        })
    }

    /// The character of a UTF-16 code unit, together with the next one if the two are a pair. Half a pair is U+FFFD.
    fn character(&mut self, first: u16) -> char {
        let is_high = (0xd800..0xdc00).contains(&first);
        if is_high && let Some(escaped) = self.rest.strip_prefix("\\u") {
            let mut ahead = Reader { rest: escaped, limits: self.limits };
            if let Ok(second @ 0xdc00..0xe000) = ahead.code_unit() {
                self.rest = ahead.rest;
                let code = 0x1_0000 + (u32::from(first - 0xd800) << 10) + u32::from(second - 0xdc00);
                return char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
            }
        }
        char::from_u32(u32::from(first)).unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    /// Four hexadecimal digits.
    fn code_unit(&mut self) -> Result<u16, BatchError> {
        let (digits, rest) = self.rest.split_at_checked(4).ok_or(BatchError::Broken)?;
        // The parser of numbers would take a sign too.
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(BatchError::Broken);
        }
        self.rest = rest;
        u16::from_str_radix(digits, 16).map_err(|_| BatchError::Broken)
    }
}

#[cfg(test)]
mod tests;
