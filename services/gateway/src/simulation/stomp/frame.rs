//! Frames of the server, taken apart without the codec's help.

use std::fmt;

/// One frame.
#[derive(Debug)]
pub(super) struct SimFrame {
    pub(super) command: String,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl SimFrame {
    /// Takes the first frame out of what was received, if it is whole.
    pub(super) fn take(received: &mut Vec<u8>) -> Option<Self> {
        let beats = received.iter().take_while(|byte| **byte == b'\n').count();
        received.drain(..beats);
        let head = received.windows(2).position(|pair| pair == b"\n\n")?;
        let text = String::from_utf8_lossy(received.get(..head)?).into_owned();
        let mut lines = text.split('\n');
        let command = lines.next()?.to_owned();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), unescaped(value)))
            .collect();
        let told = headers.iter().find(|(name, _)| name == "content-length");
        let length = match told {
            Some((_, value)) => value.parse().ok()?,
            None => received.iter().skip(head + 2).position(|byte| *byte == 0)?,
        };
        let end = head + 2 + length;
        let body = received.get(head + 2..end)?.to_vec();
        // Its NUL, and the EOL behind it.
        received.get(end + 1)?;
        received.drain(..end + 2);
        Some(Self { command, headers, body })
    }

    pub(super) fn get(&self, name: &str) -> Result<&str, String> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).ok_or_else(|| format!("a frame without {name}"))
    }

    /// A header that is a number, where it is there.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, String> {
        match self.get(name) {
            Ok(value) => value.parse().map(Some).map_err(|_| format!("{name} is no number")),
            Err(_) => Ok(None),
        }
    }
}

impl fmt::Display for SimFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.command)?;
        for (name, value) in &self.headers {
            write!(f, " {name}:{value}")?;
        }
        write!(f, " {}", String::from_utf8_lossy(&self.body))
    }
}

/// A value of a header as STOMP 1.2 writes it.
pub(super) fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace(':', "\\c").replace('\n', "\\n")
}

fn unescaped(text: &str) -> String {
    text.replace("\\c", ":").replace("\\n", "\n").replace("\\\\", "\\")
}
