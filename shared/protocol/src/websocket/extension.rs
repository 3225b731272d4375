//! The offers in `Sec-WebSocket-Extensions`: which of them are permessage-deflate and can be met.
//! RFC 6455 §9.1, RFC 7692 §5 and §7.1; `docs/protocols/websocket.md` §11.

const NAME: &str = "permessage-deflate";
/// The window sizes that can be negotiated, as the exponent of a power of two.
const WINDOW_BITS: std::ops::RangeInclusive<u8> = 8..=15;

/// One offer of permessage-deflate, found right and possible to meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeflateOffer {
    /// The client wants the server to forget its window after every message.
    pub server_no_context_takeover: bool,
    /// The client hints that it will forget its own.
    pub client_no_context_takeover: bool,
    /// The largest window (8 to 15 bits) that the client wants the server to use.
    pub server_max_window_bits: Option<u8>,
    /// The client knows how to limit its own window; and, if a number is given, will not use a larger one.
    pub client_max_window_bits: Option<Option<u8>>,
}

/// The offers of one header, in order, without those that must be declined: other extensions, unknown, repeated or
/// impossible parameters (RFC 7692 §7). `None` if the header breaks the grammar.
pub(super) fn parse(header: &[u8]) -> Option<Vec<DeflateOffer>> {
    let mut rest = Cursor(header);
    let mut offers = Vec::new();
    loop {
        rest.skip_space();
        if rest.is_empty() {
            return Some(offers);
        }
        if rest.eat(b',') {
            continue;
        }
        let name = rest.token()?;
        let mut offer = Some(DeflateOffer::default());
        let mut seen = SeenParams::default();
        rest.skip_space();
        while rest.eat(b';') {
            rest.skip_space();
            let parameter = rest.token()?;
            rest.skip_space();
            let mut quoted = Vec::new();
            let value = if rest.eat(b'=') {
                rest.skip_space();
                Some(rest.value(&mut quoted)?)
            } else {
                None
            };
            offer = offer.and_then(|offer| offer.with(parameter, value, &mut seen));
            rest.skip_space();
        }
        if !rest.is_empty() && !rest.eat(b',') {
            return None;
        }
        if name.eq_ignore_ascii_case(NAME.as_bytes()) {
            offers.extend(offer);
        }
    }
}

/// The parameters that an offer has had already.
#[derive(Default)]
struct SeenParams([bool; 4]);

impl SeenParams {
    /// False the second time.
    fn first_time(&mut self, parameter: usize) -> bool {
        self.0.get_mut(parameter).is_some_and(|seen| !std::mem::replace(seen, true))
    }
}

impl DeflateOffer {
    fn with(mut self, parameter: &[u8], value: Option<&[u8]>, seen: &mut SeenParams) -> Option<Self> {
        let index = match (parameter, value) {
            (b"server_no_context_takeover", None) => {
                self.server_no_context_takeover = true;
                0
            }
            (b"client_no_context_takeover", None) => {
                self.client_no_context_takeover = true;
                1
            }
            (b"server_max_window_bits", Some(value)) => {
                self.server_max_window_bits = Some(window_bits(value)?);
                2
            }
            (b"client_max_window_bits", None) => {
                self.client_max_window_bits = Some(None);
                3
            }
            (b"client_max_window_bits", Some(value)) => {
                self.client_max_window_bits = Some(Some(window_bits(value)?));
                3
            }
            _ => return None,
        };
        seen.first_time(index).then_some(self)
    }
}

/// A decimal number from 8 to 15 without leading zeros.
fn window_bits(value: &[u8]) -> Option<u8> {
    if value.first() == Some(&b'0') || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(value).ok()?.parse().ok().filter(|bits| WINDOW_BITS.contains(bits))
}

/// The rest of the header.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn skip_space(&mut self) {
        while self.eat(b' ') || self.eat(b'\t') {}
    }

    fn next(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn eat(&mut self, byte: u8) -> bool {
        let eaten = self.0.first() == Some(&byte);
        if eaten {
            self.next();
        }
        eaten
    }

    fn token(&mut self) -> Option<&'a [u8]> {
        let length = self.0.iter().take_while(|byte| is_token_byte(**byte)).count();
        let (token, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        (!token.is_empty()).then_some(token)
    }

    /// A token, or a quoted string that holds one (RFC 6455 §9.1).
    fn value<'v>(&mut self, quoted: &'v mut Vec<u8>) -> Option<&'v [u8]>
    where
        'a: 'v,
    {
        if !self.eat(b'"') {
            return self.token();
        }
        loop {
            match self.next()? {
                b'"' => break,
                b'\\' => quoted.push(self.next()?),
                byte => quoted.push(byte),
            }
        }
        (!quoted.is_empty() && quoted.iter().all(|byte| is_token_byte(*byte))).then_some(quoted.as_slice())
    }
}

/// The bytes of a token (RFC 9110 §5.6.2).
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
