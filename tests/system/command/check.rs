//! `gorani check` of a token and of a user in a channel. `services/gateway/docs/commands.md`.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use gorani_tests::binary;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{gorani, objects, text};

const SECRET: &str = "the-secret-of-these-tests-0123456789";

const SETTINGS: &str = r#"
token.hmac_secret = "the-secret-of-these-tests-0123456789"
client.personal_channels = ["orders"]
channel.defaults.allow_subscribe_for_client = false
channel.namespaces = [
  { name = "orders" },
  { name = "chat", allow_subscribe_for_client = true, allow_publish_for_subscriber = true, history_size = 10, history_ttl = "60s", allow_history_for_client = true },
  { name = "asked", subscribe_proxy_enabled = true },
]
[channel.proxy.subscribe]
endpoint = "http://127.0.0.1:9/subscribe"
"#;

fn token(arguments: &[&str]) -> String {
    let output = gorani(&[&["token"], arguments].concat(), SETTINGS);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

fn check(arguments: &[&str]) -> Output {
    gorani(&[&["check", "--json"], arguments].concat(), SETTINGS)
}

fn decision<'a>(lines: &'a [Value], what: &str) -> &'a Value {
    lines.iter().find(|line| line["what"] == what).unwrap_or_else(|| panic!("{what}: {lines:?}"))
}

#[test]
fn of_a_connection_token_it_tells_the_user_the_end_and_the_channels() {
    let token = token(&["--user", "42", "--ttl", "1h", "--channel", "chat:a", "--channel", "nowhere:a"]);
    let output = check(&[&token]);
    assert!(output.status.success(), "{}", text(&output.stdout));
    let lines = objects(&output);
    assert_eq!(lines[0], json!({"fact": "token", "value": {"accepted": true}}));
    let fact = |name: &str| lines.iter().find(|line| line["fact"] == name).unwrap()["value"].clone();
    assert_eq!((fact("sub"), fact("kind")), (json!("42"), json!("connection token")));
    assert!(
        fact("exp").as_str().unwrap().contains("(in 59m") || fact("exp").as_str().unwrap().contains("(in 1h")
    );
    assert_eq!(decision(&lines, "channel chat:a")["allowed"], true);
    let unknown = decision(&lines, "channel nowhere:a");
    assert!(
        unknown["allowed"] == false && unknown["reason"].as_str().unwrap().starts_with("102"),
        "{unknown}"
    );
    assert_eq!(decision(&lines, "channel orders#42")["allowed"], true);
    assert_eq!(decision(&lines, "channels of namespace chat")["allowed"], true);
    assert_eq!(decision(&lines, "channels of namespace orders")["allowed"], false);
    assert_eq!(decision(&lines, "channels of namespace asked")["allowed"], Value::Null);
    let people = gorani(&["check", &token], SETTINGS);
    let said = text(&people.stdout);
    assert!(said.starts_with("token: accepted\n") && !said.contains(&token), "{said}");
}

#[test]
fn a_refused_token_says_why_and_with_which_code() {
    let good = token(&["--user", "42"]);
    let [header, claims, _] = good.split('.').collect::<Vec<_>>()[..] else { panic!("{good}") };
    let forged = format!("{header}.{claims}.{}", BASE64_URL_SAFE_NO_PAD.encode([7; 32]));
    let expired = {
        let claims = json!({"sub": "42", "exp": 1_000_000});
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap()
    };
    let of_channel = token(&["--user", "42", "--subscribe", "chat:a"]);
    let [_, of_channel, _] = of_channel.split('.').collect::<Vec<_>>()[..] else { panic!("{of_channel}") };
    let forged_of_channel = format!("{header}.{of_channel}.{}", BASE64_URL_SAFE_NO_PAD.encode([7; 32]));
    let long = format!("{header}.{}.x", "a".repeat(20_000));
    let cases = [
        (forged.as_str(), 3500, "signature"),
        (expired.as_str(), 109, "expired"),
        (forged_of_channel.as_str(), 103, "signature"),
        (long.as_str(), 3500, "longer"),
        ("nonsense", 3500, "no JWT"),
    ];
    for (token, code, reason) in cases {
        let output = check(&[token]);
        assert_eq!(output.status.code(), Some(1), "{token:.60}");
        let verdict = objects(&output).swap_remove(0)["value"].take();
        assert_eq!((&verdict["accepted"], &verdict["code"]), (&json!(false), &json!(code)), "{token:.60}");
        assert!(verdict["reason"].as_str().unwrap().contains(reason), "{verdict}");
    }
}

#[test]
fn a_subscription_token_opens_its_channel_and_comes_from_standard_input_too() {
    let token = token(&["--user", "42", "--subscribe", "$orders:7"]);
    let files = TempDir::new().unwrap();
    let file = files.path().join("gorani.toml");
    std::fs::write(&file, SETTINGS).unwrap();
    let mut command = Command::new(binary::node());
    command.args(["check", "-", "--json", "--config"]).arg(&file);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{token}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stdout));
    let lines = objects(&output);
    assert_eq!(decision(&lines, "subscribe")["reason"], "its subscription token");
}

#[test]
fn what_a_user_may_do_in_a_channel_is_told_with_the_rule() {
    let output = check(&["--channel", "chat:a", "--user", "42"]);
    assert!(output.status.success(), "{}", text(&output.stdout));
    let lines = objects(&output);
    let reason = |what: &str| decision(&lines, what)["reason"].as_str().unwrap().to_owned();
    assert!(reason("subscribe").starts_with("option allow_subscribe_for_client of namespace chat"));
    assert_eq!(reason("publish"), "option allow_publish_for_subscriber: while subscribed to it");
    assert_eq!(reason("history"), "option allow_history_for_client");
    assert!(decision(&lines, "presence")["allowed"] == false && reason("presence").starts_with("108"));
    let codes = ["chat:a", "orders:a", "asked:a", "nowhere:a", "$chat:a", "chat:a#7", ""];
    let codes = codes.map(|channel| check(&["--channel", channel, "--user", "42"]).status.code().unwrap());
    assert_eq!(codes, [0, 1, 5, 1, 1, 1, 1]);
    // Anonymous clients need an option more.
    assert_eq!(check(&["--channel", "chat:a"]).status.code(), Some(1));
    assert_eq!(check(&["x", "--channel", "chat:a"]).status.code(), Some(2));
    assert_eq!(check(&["--user", "42"]).status.code(), Some(2));
}
