//! Warnings about proxies: times that clients do not wait for, and what opens a backend to strangers.

use std::time::Duration;

use crate::settings::{ProxyEvent, Settings};

/// The SDKs give up on a command after 5 s; the answer has a way to go.
const CLIENTS_WAIT: Duration = Duration::from_millis(4500);
/// Time that a connect needs beside the backend's.
const CONNECT_MARGIN: Duration = Duration::from_secs(1);

impl Settings {
    pub(super) fn proxy_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let connect_time = self.client.connect_timeout.saturating_sub(CONNECT_MARGIN);
        for proxy in self.configured_proxies() {
            let name = if proxy.key == "proxies" {
                format!("proxies {:?}", proxy.label)
            } else {
                proxy.label.to_owned()
            };
            let is_connect = proxy.key == ProxyEvent::Connect.key();
            if is_connect && proxy.settings.timeout > connect_time {
                warnings.push(format!(
                    "{name}: timeout leaves less than 1s of client.connect_timeout: clients are disconnected while the backend decides"
                ));
            } else if proxy.settings.timeout > CLIENTS_WAIT {
                warnings.push(format!(
                    "{name}: timeout is above 4.5s, and client libraries give up on a command after 5s"
                ));
            }
            if proxy.settings.http.tls.insecure_skip_verify {
                warnings.push(format!(
                    "{name}: insecure_skip_verify lets whoever is on the way answer in the backend's place"
                ));
            }
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::collections::HashMap;

    use super::*;

    fn warnings(text: &str) -> String {
        Settings::from_text(text, &HashMap::new()).unwrap().proxy_warnings().join("\n")
    }

    #[test]
    fn times_that_clients_do_not_wait_for_are_told() {
        let connect = "[client.proxy.connect]\nenabled = true\nendpoint = 'http://a.test'\n";
        assert_eq!(warnings(connect), "");
        let slow = warnings(&format!("{connect}timeout = '9500ms'"));
        assert!(slow.contains("client.proxy.connect: timeout leaves less than 1s"), "{slow}");
        let slow = warnings("[[proxies]]\nname = 'orders'\nendpoint = 'http://a.test'\ntimeout = '5s'");
        assert!(slow.contains("proxies \"orders\": timeout is above 4.5s"), "{slow}");
    }

    #[test]
    fn a_certificate_that_nobody_checks_is_told() {
        let text =
            "[rpc.proxy]\nendpoint = 'https://a.test'\nhttp = { tls = { insecure_skip_verify = true } }";
        assert!(warnings(text).contains("rpc.proxy: insecure_skip_verify"));
    }

    #[test]
    fn a_connect_proxy_lets_clients_in() {
        let connect = "[client.proxy.connect]\nenabled = true\nendpoint = 'http://a.test'";
        let settings = Settings::from_text(connect, &HashMap::new()).unwrap();
        assert!(!settings.warnings().iter().any(|warning| warning.contains("no client can connect")));
    }
}
