//! The other side's view: the address that the nodes see of a client, and the certificate that a client sees.

use std::net::IpAddr;

use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Finding;
use crate::cli::{admin_client::AdminCallFailed, terminal::printable};

/// Days before the end of a certificate at which it should have been renewed.
const CERTIFICATE_DAYS: i64 = 14;

/// Compares the address of a client as the nodes see it with that of this machine.
pub(super) fn seen_address(seen: Result<String, AdminCallFailed>, local: Option<IpAddr>) -> Finding {
    const CHECK: &str = "forwarded_address";
    match seen {
        Ok(address) => compare(&address, local),
        Err(error) => {
            let advice = "set admin.enabled, or name a node with --server and --key";
            Finding::unknown(CHECK, format!("no node tells it: {error}"), advice)
        }
    }
}

fn compare(seen: &str, local: Option<IpAddr>) -> Finding {
    const CHECK: &str = "forwarded_address";
    let advice = "name the balancer in http.trusted_proxies, and let it set X-Forwarded-For (nginx: proxy_set_header X-Forwarded-For $remote_addr): else limits by address hit all clients together";
    let (Ok(address), Some(local)) = (seen.parse::<IpAddr>(), local) else {
        return Finding::unknown(CHECK, format!("the nodes see {}", printable(seen)), "");
    };
    let is_inside = match address {
        IpAddr::V4(address) => address.is_private() || address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => address.is_unique_local() || address.is_loopback(),
    };
    if address == local {
        Finding::fine(CHECK, format!("the nodes see this machine as {address}"))
    } else if is_inside {
        Finding::bad(CHECK, format!("the nodes see {address}, and this machine is {local}"), advice)
    } else {
        let text = format!("the nodes see {address}, and this machine is {local}: right if it is behind NAT");
        Finding::unknown(CHECK, text, advice)
    }
}

pub(super) fn days_left(certificate: &[u8]) -> Finding {
    const CHECK: &str = "certificate";
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Finding::unknown(CHECK, "the certificate cannot be read", "");
    };
    let end = certificate.validity().not_after.timestamp();
    let now = i64::try_from(crate::clock::unix_ms() / 1000).unwrap_or(i64::MAX);
    let days = end.saturating_sub(now) / 86_400;
    if days < CERTIFICATE_DAYS {
        let text = format!("it ends in {days} days");
        Finding::warning(CHECK, text, "renew it, and look why it was not renewed by itself")
    } else {
        Finding::fine(CHECK, format!("good for {days} days"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::cli::doctor::FindingState;

    #[test]
    fn the_address_of_a_balancer_is_told_from_that_of_a_machine_behind_nat() {
        let state = |seen: &str| compare(seen, "192.168.1.2".parse().ok()).state;
        assert_eq!((state("192.168.1.2"), state("10.0.0.7")), (FindingState::Fine, FindingState::Bad));
        assert_eq!((state("203.0.113.9"), state("nonsense")), (FindingState::Unknown, FindingState::Unknown));
        assert_eq!((state("fd00::1"), state("")), (FindingState::Bad, FindingState::Unknown));
    }

    #[test]
    fn a_certificate_that_is_none_is_not_known() {
        assert_eq!(days_left(b"nonsense").state, FindingState::Unknown);
        let made = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        assert_eq!(days_left(made.cert.der()).state, FindingState::Fine);
    }
}
