//! Counts publications in a stream of any framing by what their data begins with: no parsing, no copy.
//!
//! The data is a JSON string of `x`. Wherever it stands, in an object, an event or escaped in a SockJS frame, its first
//! quote is followed by two of them, and nothing else that is sent has that.

/// One connection's place in its stream.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Marks {
    /// How much of the mark has come.
    matched: u8,
}

impl Marks {
    /// Takes in what was read; how many publications began in it.
    pub(crate) fn count(&mut self, bytes: &[u8]) -> u64 {
        let mut count = 0;
        for byte in bytes {
            self.matched = match (self.matched, byte) {
                (_, b'"') => 1,
                (1, b'x') => 2,
                (2, b'x') => {
                    count += 1;
                    0
                }
                _ => 0,
            };
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publications_are_counted_in_every_framing_and_wherever_reads_cut_it() {
        let data = format!("\"{}\"", "x".repeat(126));
        let object = format!(r#"{{"push":{{"channel":"bench:1","pub":{{"data":{data}}}}}}}"#);
        let escaped = object.replace('"', "\\\"");
        let stream = format!(
            "{object}\ndata: {object}\n\nfa\r\na[\"{escaped}\",\"{escaped}\"]\n\r\n0\r\n\r\nhhh\r\no\r\n{{}}"
        );
        for step in [1, 2, 3, 7, 100, stream.len()] {
            let mut marks = Marks::default();
            let count: u64 = stream.as_bytes().chunks(step).map(|part| marks.count(part)).sum();
            assert_eq!(count, 4, "read by {step}");
        }
    }
}
