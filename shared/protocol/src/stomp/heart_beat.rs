//! Heart-beats: what each side offers and wants, and what follows from it. `docs/protocols/stomp.md` §3.

use std::time::Duration;

/// One side's `heart-beat` header, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeartBeat {
    /// How often it can send something; 0: not at all.
    pub sends_ms: u32,
    /// How often it wants to hear something; 0: it does not care.
    pub wants_ms: u32,
}

/// The header is not two non-negative numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("heart-beat is not two numbers")]
pub struct BadHeartBeat;

/// What both sides do from now on, as the server sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgreedHeartBeat {
    /// The client sends something at least so often.
    pub from_client: Option<Duration>,
    /// The server does.
    pub to_client: Option<Duration>,
}

impl HeartBeat {
    /// Reads the header; without it a client neither sends nor wants any.
    ///
    /// # Errors
    /// [`BadHeartBeat`]. A number too large for 32 bits counts as the largest.
    pub fn parse(header: Option<&str>) -> Result<Self, BadHeartBeat> {
        let Some(header) = header else { return Ok(Self::default()) };
        let (sends, wants) = header.split_once(',').ok_or(BadHeartBeat)?;
        Ok(Self { sends_ms: number(sends)?, wants_ms: number(wants)? })
    }

    /// What follows from the client's offer (`self`) and the server's.
    #[must_use]
    pub fn agree(self, server: Self) -> AgreedHeartBeat {
        let every = |sends: u32, wants: u32| {
            (sends != 0 && wants != 0).then(|| Duration::from_millis(sends.max(wants).into()))
        };
        AgreedHeartBeat {
            from_client: every(self.sends_ms, server.wants_ms),
            to_client: every(server.sends_ms, self.wants_ms),
        }
    }
}

fn number(text: &str) -> Result<u32, BadHeartBeat> {
    let digits = text.trim();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadHeartBeat);
    }
    Ok(digits.parse().unwrap_or(u32::MAX))
}
