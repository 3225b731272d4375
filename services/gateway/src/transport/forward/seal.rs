//! The seal of a forwarded request: which node forwards it, to which one, for whom, and the proof that it is one of ours.
//!
//! One header. The proof is HMAC-SHA256 over all that is said and over the request's method, target and body, with the
//! secret of the cluster. A number that grows with every request of a node takes the place of the time: clocks need not
//! agree, and no request is taken twice ([`super::window`]). Decision record 21.

use std::net::SocketAddr;

use aws_lc_rs::hmac::{sign, verify};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::node::secret::Secret;

/// The header that carries it.
pub const SEAL: &str = "x-gorani-forward";
/// First word of the header and of what is signed; another format gets another one.
const VERSION: &str = "1";
/// For a client whose address is not known.
const NOBODY: &str = "-";

/// What is signed of a request besides the seal itself.
#[derive(Debug, Clone, Copy)]
pub struct Sealed<'a> {
    /// `POST`, …
    pub method: &'a str,
    /// Path and query, as they stand in the request's line.
    pub target: &'a str,
    /// The whole body.
    pub body: &'a [u8],
}

/// What the header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The node that forwards.
    pub from: String,
    /// The node that it forwards to.
    pub to: String,
    /// The how manieth request that `from` forwards.
    pub number: u64,
    /// The client's address, as `from` sees it.
    pub client: Option<SocketAddr>,
}

/// Why a header is no seal, or not one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It does not look like one.
    #[error("not a seal")]
    Malformed,
    /// Made with another secret, or for another request.
    #[error("wrong proof")]
    Forged,
}

impl Seal {
    /// The header's value.
    pub fn write(&self, secret: &Secret, sealed: &Sealed<'_>) -> String {
        let said = self.said();
        let proof = sign(secret.key(), &message(&said, sealed));
        format!("{said} {}", URL_SAFE_NO_PAD.encode(proof.as_ref()))
    }

    /// Reads a header's value, and believes it if its proof was made with one of the secrets.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn open(value: &str, secrets: &[Secret], sealed: &Sealed<'_>) -> Result<Self, SealError> {
        let (said, proof) = value.rsplit_once(' ').ok_or(SealError::Malformed)?;
        let proof = URL_SAFE_NO_PAD.decode(proof).map_err(|_| SealError::Malformed)?;
        let mut words = said.split(' ');
        let (Some(VERSION), Some(from), Some(to), Some(number), Some(client), None) =
            (words.next(), words.next(), words.next(), words.next(), words.next(), words.next())
        else {
            return Err(SealError::Malformed);
        };
        let client = match client {
            NOBODY => None,
            address => Some(address.parse().map_err(|_| SealError::Malformed)?),
        };
        let number = number.parse().map_err(|_| SealError::Malformed)?;
        let message = message(said, sealed);
        // Compares in constant time.
        if !secrets.iter().any(|secret| verify(secret.key(), &message, &proof).is_ok()) {
            return Err(SealError::Forged);
        }
        Ok(Self { from: from.to_owned(), to: to.to_owned(), number, client })
    }

    fn said(&self) -> String {
        let client = self.client.map_or_else(|| NOBODY.to_owned(), |client| client.to_string());
        format!("{VERSION} {} {} {} {client}", self.from, self.to, self.number)
    }
}

/// What is signed: nothing of it can be taken for another part, since neither words nor methods nor targets have line ends.
fn message(said: &str, sealed: &Sealed<'_>) -> Vec<u8> {
    let Sealed { method, target, body } = sealed;
    let mut message = format!("gorani forward {said}\n{method} {target}\n").into_bytes();
    message.extend_from_slice(body);
    message
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const SEALED: Sealed<'_> = Sealed { method: "POST", target: "/emulation?a=b", body: b"{}" };

    fn seal() -> Seal {
        let client = Some("[2001:db8::1]:4711".parse().unwrap());
        Seal { from: "0000000a".to_owned(), to: "0000000b".to_owned(), number: 7, client }
    }

    fn secrets() -> [Secret; 2] {
        [Secret::new("the secret"), Secret::new("the one before")]
    }

    #[test]
    fn what_is_sealed_is_read_again() {
        for secret in secrets() {
            for seal in [seal(), Seal { client: None, number: u64::MAX, ..seal() }] {
                assert_eq!(Seal::open(&seal.write(&secret, &SEALED), &secrets(), &SEALED), Ok(seal));
            }
        }
    }

    #[test]
    fn whatever_is_changed_breaks_it() {
        let written = seal().write(&secrets()[0], &SEALED);
        for other in [
            Sealed { method: "GET", ..SEALED },
            Sealed { target: "/emulation?a=c", ..SEALED },
            Sealed { body: b"{} ", ..SEALED },
            Sealed { body: b"", ..SEALED },
        ] {
            assert_eq!(Seal::open(&written, &secrets(), &other), Err(SealError::Forged), "{other:?}");
        }
        let proof = written.rsplit_once(' ').unwrap().1;
        for said in [
            "1 0000000a 0000000b 8 [2001:db8::1]:4711",
            "1 0000000a 0000000a 7 [2001:db8::1]:4711",
            "1 0000000c 0000000b 7 [2001:db8::1]:4711",
            "1 0000000a 0000000b 7 -",
        ] {
            let changed = format!("{said} {proof}");
            assert_eq!(Seal::open(&changed, &secrets(), &SEALED), Err(SealError::Forged), "{said}");
        }
        assert_eq!(Seal::open(&written, &[Secret::new("wrong")], &SEALED), Err(SealError::Forged));
        assert_eq!(Seal::open(&written, &[], &SEALED), Err(SealError::Forged));
    }

    #[test]
    fn anything_else_is_no_seal() {
        let written = seal().write(&secrets()[0], &SEALED);
        let longer = written.replacen("1 ", "1 x ", 1);
        let other_version = written.replacen('1', "2", 1);
        for text in [
            "",
            "1",
            "1 a b",
            "1 a b c d e",
            "1 a b 1 nowhere AAAA",
            "1 a b -1 - AAAA",
            "1 a b 1 - =",
            &longer,
            &other_version,
            &written[1..],
        ] {
            assert_eq!(Seal::open(text, &secrets(), &SEALED), Err(SealError::Malformed), "{text:?}");
        }
    }
}
