//! What the frames of messages hold. Items 12, 32.

use gorani_tests::sockjs::session;
use serde_json::json;

use super::{node, open, poll, sent};

#[test]
fn item_32_what_browsers_would_change_on_the_way_leaves_escaped_in_lower_case() {
    let node = node();
    let session = session("echo");
    open(&node, &session);
    let listed = [0x200c..=0x200f_u32, 0x2028..=0x202f, 0x2060..=0x206f, 0xfff0..=0xffff];
    let characters: String = listed.iter().cloned().flatten().filter_map(char::from_u32).collect();
    let escaped: String =
        characters.chars().map(|character| format!("\\u{:04x}", u32::from(character))).collect();
    sent(&node, &session, &json!([characters]).to_string());
    assert_eq!(poll(&node, &session).body, format!("a[\"{escaped}\"]\n"));
}

#[test]
fn item_32_every_escape_of_a_client_is_understood_and_half_a_pair_is_replaced() {
    let node = node();
    let session = session("echo");
    open(&node, &session);
    // Every seventh code unit, each escaped: what a client that trusts no proxy sends.
    let codes: Vec<u16> = (0..=u16::MAX).step_by(7).collect();
    let escaped: String = codes.iter().map(|code| format!("\\u{code:04X}")).collect();
    sent(&node, &session, &format!("[\"{escaped}\",\"after\"]"));
    let mut received: Vec<String> = Vec::new();
    while received.len() < 2 {
        received.extend(serde_json::from_str::<Vec<String>>(&poll(&node, &session).body[1..]).unwrap());
    }
    // Not with assert_eq!, which would print it all.
    assert!(received[0] == String::from_utf16_lossy(&codes), "another text of {} bytes", received[0].len());
    assert_eq!(received[1], "after");
}
