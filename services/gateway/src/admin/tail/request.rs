//! The request for a tail: its parameters, each with its bounds.

use std::{sync::Arc, time::Duration};

use super::output::TailFraming;
use crate::admin::{answer::Parameters, error::AdminError};

/// Events a second where the request says nothing.
pub(super) const RATE_DEFAULT: u64 = 100;
/// Events a second at most.
pub(super) const RATE_MAX: u64 = 1000;
/// Time after which a tail ends where the request says nothing.
const LENGTH_DEFAULT: Duration = Duration::from_secs(600);
/// Time after which a tail ends at the latest.
const LENGTH_MAX: Duration = Duration::from_secs(3600);

/// A tail as it was asked for.
#[derive(Debug)]
pub(super) struct TailRequest {
    /// The channel; a user is named where none is.
    pub(super) channel: Option<Arc<str>>,
    /// The user.
    pub(super) user: Option<String>,
    /// The beginning of the history that is told before live events.
    pub(super) since: Option<TailStart>,
    /// Events a second at most, of the whole cluster.
    pub(super) rate: u64,
    /// The tail ends after so long.
    pub(super) length: Duration,
    /// Joins and leaves as well.
    pub(super) with_joins: bool,
    /// With the data of publications.
    pub(super) with_contents: bool,
    /// The form of the lines.
    pub(super) framing: TailFraming,
}

/// The beginning of what is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TailStart {
    /// Publications after this offset.
    After(u64),
    /// All of so long.
    Ago(Duration),
}

fn refused(problem: impl Into<String>) -> AdminError {
    AdminError::BadRequest(problem.into())
}

impl TailRequest {
    /// # Errors
    /// The request makes no sense.
    pub(super) fn parse(parameters: &Parameters, accept: &str) -> Result<Self, AdminError> {
        let channel: Option<Arc<str>> = parameters.get("channel").map(Into::into);
        let user = parameters.get("user").map(str::to_owned);
        if channel.is_none() && user.is_none() {
            return Err(refused("name a channel or a user"));
        }
        let since = parameters.get("since").map(start).transpose()?;
        if channel.is_none() && matches!(since, Some(TailStart::After(_))) {
            return Err(refused("since: only a channel has offsets; take a time, such as -10m"));
        }
        let rate = parameters.number("rate")?.unwrap_or(RATE_DEFAULT);
        if !(1..=RATE_MAX).contains(&rate) {
            return Err(refused(format!("rate: must be between 1 and {RATE_MAX}")));
        }
        let length = match parameters.get("for") {
            Some(text) => humantime::parse_duration(text)
                .map_err(|_| refused("for: must be a time, such as 90s or 10m"))?,
            None => LENGTH_DEFAULT,
        };
        if length.is_zero() || length > LENGTH_MAX {
            return Err(refused("for: must be more than 0 and at most 1h"));
        }
        Ok(Self {
            channel,
            user,
            since,
            rate,
            length,
            with_joins: switch(parameters, "joins")?,
            with_contents: switch(parameters, "contents")?,
            framing: TailFraming::accepted(accept),
        })
    }
}

/// An offset, or a time ago with a minus before it.
fn start(text: &str) -> Result<TailStart, AdminError> {
    let started = match text.strip_prefix('-') {
        Some(ago) => humantime::parse_duration(ago).ok().map(TailStart::Ago),
        None => text.parse().ok().map(TailStart::After),
    };
    started.ok_or_else(|| refused("since: must be an offset, or a time ago, such as -10m"))
}

fn switch(parameters: &Parameters, name: &str) -> Result<bool, AdminError> {
    match parameters.get(name) {
        None | Some("0" | "false") => Ok(false),
        Some("1" | "true") => Ok(true),
        Some(_) => Err(refused(format!("{name}: must be 1 or 0"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn parsed(query: &str) -> Result<TailRequest, AdminError> {
        TailRequest::parse(&Parameters::parse(query).unwrap(), "*/*")
    }

    #[test]
    fn a_request_says_what_it_does_not_name_by_its_defaults() {
        let asked = parsed("channel=a").unwrap();
        assert_eq!((asked.rate, asked.length, asked.since), (100, Duration::from_secs(600), None));
        assert!(!asked.with_joins && !asked.with_contents && asked.user.is_none());
        let asked = parsed("channel=a&user=u&rate=7&for=1h&since=12&joins=1&contents=true").unwrap();
        assert_eq!((asked.rate, asked.length), (7, Duration::from_secs(3600)));
        assert_eq!(asked.since, Some(TailStart::After(12)));
        assert!(asked.with_joins && asked.with_contents);
        let ago = Some(TailStart::Ago(Duration::from_secs(90)));
        assert_eq!(parsed("user=u&since=-90s").unwrap().since, ago);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for query in [
            "",
            "rate=5",
            "channel=a&rate=0",
            "channel=a&rate=1001",
            "channel=a&rate=x",
            "channel=a&for=61m",
            "channel=a&for=0s",
            "channel=a&for=-1s",
            "channel=a&since=-",
            "channel=a&since=10m",
            "channel=a&since=-5",
            "user=u&since=5",
            "channel=a&joins=yes",
        ] {
            assert!(matches!(parsed(query), Err(AdminError::BadRequest(_))), "{query}");
        }
    }
}
