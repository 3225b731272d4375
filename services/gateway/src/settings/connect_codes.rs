//! Errors of connect on transports that know no reply: which close code or HTTP status stands for each. The names are Centrifugo's.
//! `docs/protocols/proxy.md`.

use std::time::Duration;

use actix_http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{SettingsError, proxy::DisconnectSettings};

/// Time after which a client that found the backend unable to decide may come back.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Errors of the backend's own begin here; the codes below are the node's.
const OWN_ERRORS: std::ops::RangeInclusive<u32> = 100..=399;

/// `client.connect_code_to_unidirectional_disconnect`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectCloseSettings {
    /// False: the transforms are not looked at.
    pub enabled: bool,
    /// The first one that fits counts.
    pub transforms: Vec<CloseTransformSettings>,
}

/// The close code of one error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CloseTransformSettings {
    /// Code of the error.
    pub code: u32,
    /// The end of the connection.
    pub to: DisconnectSettings,
}

/// `client.connect_code_to_http_response`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectStatusSettings {
    /// False: the transforms are not looked at.
    pub enabled: bool,
    /// The first one that fits counts.
    pub transforms: Vec<StatusOfCodeSettings>,
}

/// The HTTP response of one error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatusOfCodeSettings {
    /// Code of the error.
    pub code: u32,
    /// The response.
    pub to: StatusResponseSettings,
}

/// An HTTP response.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatusResponseSettings {
    /// Its status.
    pub status_code: u16,
    /// Its body.
    pub body: String,
}

/// The HTTP response to a connect that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectFailureResponse {
    /// Its status.
    pub status: StatusCode,
    /// Its body; empty: the usual one of the error.
    pub body: String,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl ConnectCloseSettings {
    /// The end of a connection whose connect failed with this error, if the settings name one.
    pub fn close(&self, code: u32) -> Option<&DisconnectSettings> {
        let mut transforms = self.transforms.iter().filter(|_| self.enabled);
        transforms.find(|transform| transform.code == code).map(|transform| &transform.to)
    }

    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        match self.transforms.iter().find(|transform| !(3000..=4999).contains(&transform.to.code)) {
            Some(transform) => Err(SettingsError::value(
                "client.connect_code_to_unidirectional_disconnect",
                format!("{}: to.code must be between 3000 and 4999", transform.code),
            )),
            None => Ok(()),
        }
    }
}

impl ConnectStatusSettings {
    /// The response to a connect that failed with this error. Without a transform an error that may pass is 503, and one that the
    /// backend gave for good is 403; `None`: an error of the node's own, which has a status already.
    pub fn response(&self, code: u32, is_temporary: bool) -> Option<ConnectFailureResponse> {
        let mut transforms = self.transforms.iter().filter(|_| self.enabled);
        if let Some(transform) = transforms.find(|transform| transform.code == code)
            && let Ok(status) = StatusCode::from_u16(transform.to.status_code)
        {
            return Some(ConnectFailureResponse {
                status,
                body: transform.to.body.clone(),
                retry_after: None,
            });
        }
        let (status, retry_after) = match code {
            _ if is_temporary || code == 100 => (StatusCode::SERVICE_UNAVAILABLE, Some(RETRY_AFTER)),
            _ if OWN_ERRORS.contains(&code) => return None,
            _ => (StatusCode::FORBIDDEN, None),
        };
        Some(ConnectFailureResponse { status, body: String::new(), retry_after })
    }

    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        match self.transforms.iter().find(|transform| !(400..=599).contains(&transform.to.status_code)) {
            Some(transform) => Err(SettingsError::value(
                "client.connect_code_to_http_response",
                format!("{}: to.status_code must be between 400 and 599", transform.code),
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_error_of_connect_has_the_close_code_of_the_first_transform_that_fits() {
        let to = |code: u16| DisconnectSettings { code, reason: "blocked".to_owned() };
        let transforms = [(1001, 4500), (1001, 4501), (1002, 4000)];
        let transforms = transforms.map(|(code, end)| CloseTransformSettings { code, to: to(end) });
        let mut settings = ConnectCloseSettings { enabled: true, transforms: transforms.to_vec() };
        assert_eq!(settings.close(1001).unwrap().code, 4500);
        assert_eq!(settings.close(1003), None);
        settings.enabled = false;
        assert_eq!(settings.close(1001), None);
    }

    #[test]
    fn an_error_of_connect_has_a_status_whether_a_transform_names_it_or_not() {
        let to = StatusResponseSettings { status_code: 451, body: "not here".to_owned() };
        let settings = ConnectStatusSettings {
            enabled: true,
            transforms: vec![StatusOfCodeSettings { code: 1001, to }],
        };
        let response = settings.response(1001, true).unwrap();
        assert_eq!((response.status.as_u16(), response.body.as_str()), (451, "not here"));
        let response = settings.response(403, false).unwrap();
        assert_eq!((response.status.as_u16(), response.retry_after), (403, None));
        for (code, is_temporary) in [(100, false), (111, true), (1000, true)] {
            let response = settings.response(code, is_temporary).unwrap();
            assert_eq!((response.status.as_u16(), response.retry_after), (503, Some(RETRY_AFTER)), "{code}");
        }
        assert_eq!(settings.response(109, false), None);
    }

    #[test]
    fn a_transform_to_what_is_no_refusal_is_refused() {
        let to = StatusResponseSettings { status_code: 200, body: String::new() };
        let settings =
            ConnectStatusSettings { enabled: false, transforms: vec![StatusOfCodeSettings { code: 7, to }] };
        let problem = settings.validate().unwrap_err().to_string();
        assert!(problem.contains("client.connect_code_to_http_response: 7:"), "{problem}");
    }
}
