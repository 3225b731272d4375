//! The trace of a publication, as it crosses the nodes: W3C Trace Context, level 1 and 2. Only sampled publications have one.

use std::fmt;

/// Bytes of a `traceparent` of version 00.
pub const TRACEPARENT_BYTES: usize = 55;
/// Bytes of a `tracestate` at most; a longer one is left out.
pub const TRACESTATE_MAX_BYTES: usize = 512;

/// The flag of a sampled trace.
const SAMPLED: u8 = 0x01;
/// The flags that have a meaning: sampled, and an id of random bytes.
const KNOWN_FLAGS: u8 = 0x03;

/// A place in a trace: the trace, and the span under which what follows is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// The id of the trace; never all zero.
    pub trace_id: [u8; 16],
    /// The id of the span; never all zero.
    pub span_id: [u8; 8],
    /// The flags that have a meaning.
    pub flags: u8,
    /// `tracestate` of other systems, unchanged; empty where there is none.
    pub state: Box<str>,
    /// The publication is one of many of one request: what follows it links to it and is no child.
    pub is_of_batch: bool,
}

impl TraceContext {
    /// Reads `traceparent`, and `tracestate` beside it. `None` where it is none: a trace that cannot be read is no reason to refuse
    /// anything.
    pub fn parse(traceparent: &[u8], tracestate: &[u8]) -> Option<Self> {
        let (known, rest) = traceparent.split_at_checked(TRACEPARENT_BYTES)?;
        let [version] = hex_bytes(known.get(..2)?)?;
        let has_dashes = [2, 35, 52].iter().all(|at| known.get(*at) == Some(&b'-'));
        // A later version may have more parts behind the four.
        let ends = rest.is_empty() || (version > 0 && rest.first() == Some(&b'-'));
        if version == 0xff || !has_dashes || !ends {
            return None;
        }
        let trace_id: [u8; 16] = hex_bytes(known.get(3..35)?)?;
        let span_id: [u8; 8] = hex_bytes(known.get(36..52)?)?;
        let [flags] = hex_bytes(known.get(53..55)?)?;
        if trace_id == [0; 16] || span_id == [0; 8] {
            return None;
        }
        let state = std::str::from_utf8(tracestate).ok().filter(|state| is_state(state)).unwrap_or_default();
        Some(Self { trace_id, span_id, flags: flags & KNOWN_FLAGS, state: state.into(), is_of_batch: false })
    }

    /// True if the spans of this trace are kept.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Bytes that it holds.
    pub fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.state.len()
    }
}

/// As `traceparent` of version 00.
impl fmt::Display for TraceContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("00-")?;
        self.trace_id.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))?;
        formatter.write_str("-")?;
        self.span_id.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))?;
        write!(formatter, "-{:02x}", self.flags)
    }
}

/// True for a text that may stand in a header, and is not too long.
fn is_state(state: &str) -> bool {
    state.len() <= TRACESTATE_MAX_BYTES && state.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Bytes of lower case hexadecimal digits.
fn hex_bytes<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = (digit(*high)? << 4) | digit(*low)?;
    }
    Some(bytes)
}

fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_written_again_byte_for_byte() {
        let context = TraceContext::parse(GOOD.as_bytes(), b"vendor=1,other=2").unwrap();
        assert!(context.is_sampled());
        assert_eq!((context.to_string().as_str(), &*context.state), (GOOD, "vendor=1,other=2"));
        let unsampled = GOOD.replace("-01", "-00");
        assert!(!TraceContext::parse(unsampled.as_bytes(), b"").unwrap().is_sampled());
    }

    #[test]
    fn what_the_standard_calls_invalid_is_no_context() {
        let bad = [
            String::new(),
            GOOD.to_uppercase(),
            GOOD.replacen("00", "ff", 1),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD.replace('-', "_"),
            format!("{GOOD}-01"),
            format!("{GOOD} "),
            GOOD.get(..54).unwrap().to_owned(),
            GOOD.replace("4bf9", "4bg9"),
            GOOD.replacen("00", "01", 1) + "x",
        ];
        for text in bad {
            assert_eq!(TraceContext::parse(text.as_bytes(), b""), None, "{text}");
        }
    }

    #[test]
    fn a_higher_version_is_read_by_its_first_four_parts_and_unknown_flags_are_left_out() {
        for text in
            [GOOD.replacen("00", "01", 1), GOOD.replacen("00", "cc", 1).replace("-01", "-ff") + "-what-else"]
        {
            let context = TraceContext::parse(text.as_bytes(), b"").unwrap();
            assert!(context.is_sampled() && context.flags <= KNOWN_FLAGS, "{text}");
            assert_eq!(context.to_string().get(..52), GOOD.get(..52));
        }
    }

    #[test]
    fn a_state_that_is_too_long_or_no_header_is_left_out_and_the_trace_goes_on() {
        for state in [&b"a\nb"[..], &[b'a'; TRACESTATE_MAX_BYTES + 1], "é".as_bytes(), &[0xff]] {
            assert_eq!(&*TraceContext::parse(GOOD.as_bytes(), state).unwrap().state, "");
        }
        let longest = [b'a'; TRACESTATE_MAX_BYTES];
        assert_eq!(TraceContext::parse(GOOD.as_bytes(), &longest).unwrap().state.len(), TRACESTATE_MAX_BYTES);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(text in any::<Vec<u8>>(), state in any::<Vec<u8>>()) {
            let _ = TraceContext::parse(&text, &state);
        }

        #[test]
        fn every_context_survives_the_trip(trace_id in any::<[u8; 16]>(), span_id in any::<[u8; 8]>(), flags in 0..4_u8) {
            prop_assume!(trace_id != [0; 16] && span_id != [0; 8]);
            let context = TraceContext { trace_id, span_id, flags, state: "".into(), is_of_batch: false };
            prop_assert_eq!(TraceContext::parse(context.to_string().as_bytes(), b""), Some(context));
        }
    }
}
