//! Judges the answer to a request with events, and says when the next one may follow.

use std::time::Duration;

use rand::RngExt as _;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::backend::{BackendAnswer, PostError};

/// Pause after the first attempt that failed, at most; it doubles with each.
pub(super) const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// The longest pause of the node's own.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// The longest pause that an endpoint may ask for by `Retry-After`.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);
/// Characters of an answer's body that a reason shows.
const SHOWN_CHARS: usize = 200;

/// The endpoint's answer to a request, as it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AttemptResult {
    /// It has the events.
    Taken,
    /// It cannot make anything of one of the events: 400, 413, 422.
    Refused(String),
    /// It wants no events: 410.
    Gone,
    /// It may take them another time.
    Failed {
        /// The answer or the error.
        reason: String,
        /// The pause that it asks for.
        retry_after: Option<Duration>,
    },
}

/// An answer of 200 that may say that it is none.
#[derive(Deserialize)]
struct AnswerBody<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

impl AttemptResult {
    /// Judges an answer.
    pub(super) fn of(answer: Result<BackendAnswer, PostError>) -> Self {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Self::Failed { reason: error.to_string(), retry_after: None },
        };
        let shown = |body: &[u8]| -> String {
            let text = String::from_utf8_lossy(body);
            text.chars().filter(|character| !character.is_control()).take(SHOWN_CHARS).collect()
        };
        let status = answer.status.as_u16();
        let reason = || format!("{status} {}", shown(&answer.body)).trim_end().to_owned();
        match status {
            200 => match serde_json::from_slice::<AnswerBody<'_>>(&answer.body) {
                // Handlers of Centrifugo's state events report their errors so.
                Ok(AnswerBody { error: Some(error) }) => {
                    let reason = format!("200 with error {}", shown(error.get().as_bytes()));
                    Self::Failed { reason, retry_after: None }
                }
                _ => Self::Taken,
            },
            201..=299 => Self::Taken,
            400 | 413 | 422 => Self::Refused(reason()),
            410 => Self::Gone,
            _ => Self::Failed { reason: reason(), retry_after: answer.retry_after },
        }
    }

    /// As it is counted.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Refused(_) => "refused",
            Self::Gone => "gone",
            Self::Failed { .. } => "failed",
        }
    }
}

/// The pause after so many attempts that failed: somewhere between nothing and a bound that doubles, so that partitions and nodes
/// do not come back all at once.
fn backoff(first: Duration, tries: u32) -> Duration {
    let bound = backoff_bound(first, tries);
    crate::random::rng().random_range(Duration::ZERO..=bound)
}

fn backoff_bound(first: Duration, tries: u32) -> Duration {
    let doubled = 1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(doubled).min(BACKOFF_MAX)
}

/// The pause after an attempt that failed; `first` is the bound of the first one.
pub(super) fn pause(first: Duration, tries: u32, retry_after: Option<Duration>) -> Duration {
    backoff(first, tries).max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;
    use bytes::Bytes;

    use super::*;

    fn judged(status: u16, body: &'static str) -> AttemptResult {
        let status = StatusCode::from_u16(status).unwrap_or_default();
        let body = Bytes::from_static(body.as_bytes());
        AttemptResult::of(Ok(BackendAnswer { status, retry_after: None, body, took: Duration::ZERO }))
    }

    #[test]
    fn every_2xx_is_a_success_but_a_200_with_an_error() {
        for (status, body) in [
            (200, ""),
            (200, "ok"),
            (200, "{\"result\":{}}"),
            (200, "{\"error\":null}"),
            (200, "[]"),
            (202, ""),
            (204, ""),
            (299, "{\"error\":{}}"),
        ] {
            assert_eq!(judged(status, body), AttemptResult::Taken, "{status} {body}");
        }
        assert!(matches!(judged(200, "{\"error\":{\"code\":1}}"), AttemptResult::Failed { .. }));
        assert!(matches!(judged(200, "{\"error\":\"no\"}"), AttemptResult::Failed { .. }));
    }

    #[test]
    fn everything_else_is_tried_again_and_some_statuses_are_about_the_events() {
        for status in [301, 302, 307, 401, 403, 404, 408, 409, 425, 429, 500, 502, 503, 504] {
            assert_eq!(judged(status, "").name(), "failed", "{status}");
        }
        for status in [400, 413, 422] {
            assert_eq!(judged(status, "a\nb"), AttemptResult::Refused(format!("{status} ab")));
        }
        assert_eq!(judged(410, ""), AttemptResult::Gone);
        assert_eq!(AttemptResult::of(Err(PostError::Timeout)).name(), "failed");
    }

    #[test]
    fn pauses_double_from_half_a_second_to_a_minute_and_are_random() {
        let bounds: Vec<_> = (1..=9).map(|tries| backoff_bound(BACKOFF_FIRST, tries).as_millis()).collect();
        assert_eq!(bounds, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(backoff_bound(BACKOFF_FIRST, u32::MAX), BACKOFF_MAX);
        let pauses: Vec<_> = (0..100).map(|_| backoff(BACKOFF_FIRST, 8)).collect();
        assert!(pauses.iter().all(|pause| *pause <= BACKOFF_MAX));
        assert!(pauses.iter().any(|pause| *pause < BACKOFF_MAX / 2));
        assert!(pauses.iter().any(|pause| *pause > BACKOFF_MAX / 2));
    }

    #[test]
    fn a_pause_that_the_endpoint_asks_for_is_kept_up_to_ten_minutes() {
        let asked = |seconds| pause(BACKOFF_FIRST, 1, Some(Duration::from_secs(seconds))).as_secs();
        assert_eq!(asked(30), 30);
        assert_eq!(asked(86_400), 600);
    }
}
