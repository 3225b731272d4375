//! Any lines as the headers of a handshake: no panic, and what is accepted is answered with a head that is one head,
//! with the headers it must have. Each line is `name:value`; the first may be a method.
#![no_main]

use gorani_protocol::websocket::{Offer, SubprotocolPolicy};
use libfuzzer_sys::fuzz_target;

const KNOWN: [&str; 3] = ["v12.stomp", "v11.stomp", "my-team-custom"];
/// A request that is good but for what the fuzzer adds.
const GOOD: [(&str, &[u8]); 5] = [
    ("Host", b"server.gorany.org"),
    ("Upgrade", b"websocket"),
    ("Connection", b"keep-alive, Upgrade"),
    ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", b"13"),
];

fuzz_target!(|data: &[u8]| {
    let lines = data.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((str::from_utf8(&line[..colon]).ok()?, &line[colon + 1..]))
    });
    let lines: Vec<_> = lines.collect();
    judge(Offer::parse("GET", true, lines.iter().copied()));
    judge(Offer::parse("GET", true, GOOD.into_iter().chain(lines)));
    let extensions = GOOD.into_iter().chain([("Sec-WebSocket-Extensions", data)]);
    judge(Offer::parse("GET", true, extensions));
    let subprotocols = GOOD.into_iter().chain([("Sec-WebSocket-Protocol", data)]);
    judge(Offer::parse("GET", true, subprotocols));
});

fn judge(offer: Result<Offer, gorani_protocol::websocket::HandshakeRefusal>) {
    let chosen = offer.and_then(|offer| {
        let chosen = offer.choose_subprotocol(&KNOWN, SubprotocolPolicy::Strict)?;
        Ok((offer, chosen))
    });
    match chosen {
        Ok((offer, chosen)) => {
            let lenient = offer.choose_subprotocol(&KNOWN, SubprotocolPolicy::Lenient);
            assert_eq!(lenient, Ok(chosen));
            let deflate = offer.negotiate_deflate();
            let head = String::from_utf8(offer.response(chosen, deflate.as_ref())).expect("a head of ASCII");
            let lines = 4 + usize::from(chosen.is_some()) + usize::from(deflate.is_some());
            assert_eq!(head.matches("\r\n").count(), lines + 1);
            assert!(head.ends_with("\r\n\r\n"));
            if let Some(deflate) = deflate {
                assert!((8..=15).contains(&deflate.server_max_window_bits));
            }
        }
        Err(refusal) => {
            assert!([400, 405, 426].contains(&refusal.status()));
            assert!(refusal.to_string().len() < 256);
        }
    }
}
