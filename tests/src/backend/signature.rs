//! The check of a receiver of Standard Webhooks, written from their specification.

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_STANDARD};

use super::Request;

/// A signing secret of 32 bytes in its usual form.
pub const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// Checks a request: its three headers are there, and one of its signatures is that of the secret over the bytes of the body.
///
/// # Errors
/// The reason for which a receiver refuses it.
pub fn verify(request: &Request, secret: &str) -> Result<(), String> {
    let header = |name: &str| request.header(name).ok_or_else(|| format!("no header {name}"));
    let (id, timestamp, given) =
        (header("webhook-id")?, header("webhook-timestamp")?, header("webhook-signature")?);
    let encoded = secret.strip_prefix("whsec_").ok_or("the secret has no prefix")?;
    let key = BASE64_STANDARD.decode(encoded).map_err(|error| error.to_string())?;
    let seconds: u64 = timestamp.parse().map_err(|_| format!("{timestamp} are no seconds"))?;
    if seconds.abs_diff(now()) > 300 {
        return Err(format!("{timestamp} is more than 5 minutes away"));
    }
    let signed = [format!("{id}.{timestamp}.").as_bytes(), request.body.as_slice()].concat();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed);
    let expected = format!("v1,{}", BASE64_STANDARD.encode(tag));
    if given.split(' ').any(|signature| signature == expected) {
        Ok(())
    } else {
        Err(format!("{given} instead of {expected}"))
    }
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn request(signature: &str, timestamp: u64) -> Request {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Request {
            connection: 0,
            method: "POST".into(),
            path: "/".into(),
            headers: vec![
                header("Webhook-Id", "msg_1"),
                header("webhook-timestamp", &timestamp.to_string()),
                header("webhook-signature", signature),
            ],
            body: b"{}".to_vec(),
            at: Instant::now(),
        }
    }

    fn signature(timestamp: u64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef0123456789abcdef");
        let tag = hmac::sign(&key, format!("msg_1.{timestamp}.{{}}").as_bytes());
        format!("v1,{}", BASE64_STANDARD.encode(tag))
    }

    #[test]
    fn a_signature_counts_among_several_and_for_five_minutes() {
        let good = signature(now());
        assert_eq!(verify(&request(&good, now()), SECRET), Ok(()));
        assert_eq!(verify(&request(&format!("v1,AAAA {good}"), now()), SECRET), Ok(()));
        assert!(verify(&request("v1,AAAA", now()), SECRET).is_err());
        assert!(verify(&request(&signature(now() - 1000), now() - 1000), SECRET).is_err());
        let mut other = request(&good, now());
        other.body = b"{ }".to_vec();
        assert!(verify(&other, SECRET).is_err());
    }
}
