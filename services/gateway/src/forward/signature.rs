//! The signature of a forwarded request: which node forwards it, to which one, for whom, and the proof that it is one of ours.
//!
//! One header. The proof is HMAC-SHA256 over all that is said and over the request's method, target and body, with the
//! secret of the cluster. A number that grows with every request of a node stands in for the time: clocks need not
//! agree, and no request is taken twice ([`ReplayWindows`]). Decision record 21.

use std::{collections::HashMap, net::SocketAddr};

use aws_lc_rs::hmac::{sign, verify};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;

use crate::node::cluster::secret::ClusterSecret;

/// The header that carries it.
pub const SIGNATURE_HEADER: &str = "x-gorani-forward";
/// First word of the header and of the signed bytes; another format gets another one.
const VERSION: &str = "1";
/// Stands for a client whose address is not known.
const NOBODY: &str = "-";
/// Numbers of a node that are remembered one by one: so many requests may overtake one.
const NUMBERS: u64 = 1 << 14;
const WORD_BITS: u64 = 64;
/// Nodes that are remembered, those that are gone included; 2 KiB each.
const NODES: usize = 1024;

/// The signed fields of a request, besides the signature itself.
#[derive(Debug, Clone, Copy)]
pub struct SignedFields<'a> {
    /// `POST`, …
    pub method: &'a str,
    /// Path and query, as they stand in the request's line.
    pub target: &'a str,
    /// The whole body.
    pub body: &'a [u8],
}

/// The signature that a request's header carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardSignature {
    /// The node that forwards.
    pub from: String,
    /// The node that it forwards to.
    pub to: String,
    /// The how manieth request that `from` forwards.
    pub number: u64,
    /// The client's address, as `from` sees it.
    pub client: Option<SocketAddr>,
}

/// Why a header is no signature, or not one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// It does not look like one.
    #[error("not a signature")]
    Malformed,
    /// Made with another secret, or for another request.
    #[error("wrong proof")]
    Forged,
}

impl ForwardSignature {
    /// The header's value.
    pub fn write(&self, secret: &ClusterSecret, signed: &SignedFields<'_>) -> String {
        let said = self.said();
        let proof = sign(secret.key(), &message(&said, signed));
        format!("{said} {}", URL_SAFE_NO_PAD.encode(proof.as_ref()))
    }

    /// Reads a header's value, and believes it if its proof was made with one of the secrets.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn open(
        value: &str,
        secrets: &[ClusterSecret],
        signed: &SignedFields<'_>,
    ) -> Result<Self, SignatureError> {
        let (said, proof) = value.rsplit_once(' ').ok_or(SignatureError::Malformed)?;
        let proof = URL_SAFE_NO_PAD.decode(proof).map_err(|_| SignatureError::Malformed)?;
        let mut words = said.split(' ');
        let (Some(VERSION), Some(from), Some(to), Some(number), Some(client), None) =
            (words.next(), words.next(), words.next(), words.next(), words.next(), words.next())
        else {
            return Err(SignatureError::Malformed);
        };
        let client = match client {
            NOBODY => None,
            address => Some(address.parse().map_err(|_| SignatureError::Malformed)?),
        };
        let number = number.parse().map_err(|_| SignatureError::Malformed)?;
        let message = message(said, signed);
        // Compares in constant time.
        if !secrets.iter().any(|secret| verify(secret.key(), &message, &proof).is_ok()) {
            return Err(SignatureError::Forged);
        }
        Ok(Self { from: from.to_owned(), to: to.to_owned(), number, client })
    }

    fn said(&self) -> String {
        let client = self.client.map_or_else(|| NOBODY.to_owned(), |client| client.to_string());
        format!("{VERSION} {} {} {} {client}", self.from, self.to, self.number)
    }
}

/// The signed bytes: nothing of them can be taken for another part, since neither words nor methods nor targets have line ends.
fn message(said: &str, signed: &SignedFields<'_>) -> Vec<u8> {
    let SignedFields { method, target, body } = signed;
    let mut message = format!("gorani forward {said}\n{method} {target}\n").into_bytes();
    message.extend_from_slice(body);
    message
}

/// The numbers that one node has used.
struct ReplayWindow {
    newest: u64,
    /// A ring of bits, by the number's remainder.
    seen: Box<[u64]>,
    /// The number of its last use, counted in requests.
    used: u64,
}

impl ReplayWindow {
    fn new() -> Self {
        let words = usize::try_from(NUMBERS / WORD_BITS).unwrap_or_default();
        Self { newest: 0, seen: vec![0; words].into(), used: 0 }
    }

    fn word(&mut self, number: u64) -> Option<&mut u64> {
        self.seen.get_mut(usize::try_from(number % NUMBERS / WORD_BITS).unwrap_or_default())
    }

    fn is_seen(&mut self, number: u64) -> bool {
        self.word(number).is_some_and(|word| *word & (1 << (number % WORD_BITS)) != 0)
    }

    fn take(&mut self, number: u64) -> bool {
        if number > self.newest {
            if number - self.newest >= NUMBERS {
                self.seen.fill(0);
            } else {
                for passed in self.newest + 1..number {
                    if let Some(word) = self.word(passed) {
                        *word &= !(1 << (passed % WORD_BITS));
                    }
                }
            }
            self.newest = number;
        } else if self.newest - number >= NUMBERS || self.is_seen(number) {
            return false;
        }
        if let Some(word) = self.word(number) {
            *word |= 1 << (number % WORD_BITS);
        }
        true
    }
}

/// The numbers that every node has used towards this one: each is taken once. Requests of a node may overtake one another, so the
/// newest numbers are remembered one by one; what is older than those is taken for seen.
#[derive(Default)]
pub(super) struct ReplayWindows(Mutex<SeenNumbers>);

#[derive(Default)]
struct SeenNumbers {
    nodes: HashMap<String, ReplayWindow>,
    requests: u64,
}

impl ReplayWindows {
    /// True if this number of a node is new; it is not from now on. To be asked only of proven signatures: only nodes of the
    /// cluster enter.
    pub(super) fn take(&self, node: &str, number: u64) -> bool {
        let mut seen = self.0.lock();
        seen.requests += 1;
        let requests = seen.requests;
        if !seen.nodes.contains_key(node) {
            if seen.nodes.len() >= NODES {
                // Nodes come and go under new names: the one that was silent for the longest is gone.
                let silent = seen.nodes.iter().min_by_key(|(_, window)| window.used);
                if let Some(name) = silent.map(|(name, _)| name.clone()) {
                    seen.nodes.remove(&name);
                }
            }
            seen.nodes.insert(node.to_owned(), ReplayWindow::new());
        }
        let Some(window) = seen.nodes.get_mut(node) else { return false };
        window.used = requests;
        window.take(number)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const SEALED: SignedFields<'_> = SignedFields { method: "POST", target: "/emulation?a=b", body: b"{}" };

    fn signature() -> ForwardSignature {
        let client = Some("[2001:db8::1]:4711".parse().unwrap());
        ForwardSignature { from: "0000000a".to_owned(), to: "0000000b".to_owned(), number: 7, client }
    }

    fn secrets() -> [ClusterSecret; 2] {
        [ClusterSecret::new("the secret"), ClusterSecret::new("the one before")]
    }

    #[test]
    fn what_is_signed_is_read_again() {
        for secret in secrets() {
            for signature in [signature(), ForwardSignature { client: None, number: u64::MAX, ..signature() }]
            {
                assert_eq!(
                    ForwardSignature::open(&signature.write(&secret, &SEALED), &secrets(), &SEALED),
                    Ok(signature)
                );
            }
        }
    }

    /// A request as a node of a released version has sealed it; the file is never changed.
    #[test]
    fn a_golden_seal_of_a_released_version_is_opened() {
        let request = include_str!("../../../../tests/system/golden/0.1.0-f2901af/forwarded.http");
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let seal = head.lines().find_map(|line| line.strip_prefix("x-gorani-forward: ")).unwrap();
        let mut line = head.split(' ');
        let (method, target) = (line.next().unwrap(), line.next().unwrap());
        let signed = SignedFields { method, target, body: body.as_bytes() };
        let secrets = [ClusterSecret::new("the secret of the golden files")];
        let opened = ForwardSignature::open(seal, &secrets, &signed).unwrap();
        assert_eq!((opened.number, opened.client.is_some()), (1, true));
        assert!(body.contains(&opened.to), "the session lives where it goes: {}", opened.to);
        assert_eq!(opened.write(&secrets[0], &signed), seal);
    }

    #[test]
    fn whatever_is_changed_breaks_it() {
        let written = signature().write(&secrets()[0], &SEALED);
        for other in [
            SignedFields { method: "GET", ..SEALED },
            SignedFields { target: "/emulation?a=c", ..SEALED },
            SignedFields { body: b"{} ", ..SEALED },
            SignedFields { body: b"", ..SEALED },
        ] {
            assert_eq!(
                ForwardSignature::open(&written, &secrets(), &other),
                Err(SignatureError::Forged),
                "{other:?}"
            );
        }
        let proof = written.rsplit_once(' ').unwrap().1;
        for said in [
            "1 0000000a 0000000b 8 [2001:db8::1]:4711",
            "1 0000000a 0000000a 7 [2001:db8::1]:4711",
            "1 0000000c 0000000b 7 [2001:db8::1]:4711",
            "1 0000000a 0000000b 7 -",
        ] {
            let changed = format!("{said} {proof}");
            assert_eq!(
                ForwardSignature::open(&changed, &secrets(), &SEALED),
                Err(SignatureError::Forged),
                "{said}"
            );
        }
        assert_eq!(
            ForwardSignature::open(&written, &[ClusterSecret::new("wrong")], &SEALED),
            Err(SignatureError::Forged)
        );
        assert_eq!(ForwardSignature::open(&written, &[], &SEALED), Err(SignatureError::Forged));
    }

    #[test]
    fn anything_else_is_no_signature() {
        let written = signature().write(&secrets()[0], &SEALED);
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
            assert_eq!(
                ForwardSignature::open(text, &secrets(), &SEALED),
                Err(SignatureError::Malformed),
                "{text:?}"
            );
        }
    }

    #[test]
    fn each_number_of_each_node_is_taken_once_in_whatever_order() {
        let windows = ReplayWindows::default();
        for number in [3, 1, 2, 70, 64, 65, 63, NUMBERS, 4, NUMBERS + 2] {
            assert!(windows.take("a", number), "{number}");
            assert!(!windows.take("a", number), "{number} again");
            assert!(windows.take("b", number), "{number} of another node");
        }
    }

    #[test]
    fn what_is_older_than_the_window_is_refused() {
        let windows = ReplayWindows::default();
        assert!(windows.take("a", 10 * NUMBERS));
        assert!(!windows.take("a", 9 * NUMBERS));
        assert!(windows.take("a", 9 * NUMBERS + 1));
        assert!(!windows.take("a", 9 * NUMBERS + 1));
        assert!(windows.take("a", 100 * NUMBERS + 1), "the ring begins anew");
        assert!(windows.take("a", 100 * NUMBERS));
    }

    #[test]
    fn a_ring_that_moves_on_forgets_what_it_passed() {
        let windows = ReplayWindows::default();
        for number in 1..3 * NUMBERS {
            assert!(windows.take("a", number), "{number}");
        }
        for number in 2 * NUMBERS + 5..3 * NUMBERS {
            assert!(!windows.take("a", number), "{number}");
        }
    }

    #[test]
    fn nodes_are_bounded() {
        let windows = ReplayWindows::default();
        for node in 0..3 * NODES {
            assert!(windows.take(&node.to_string(), 1));
            assert!(windows.take("a", node as u64 + 1), "one that is busy is not forgotten");
        }
        assert_eq!(windows.0.lock().nodes.len(), NODES);
    }
}
