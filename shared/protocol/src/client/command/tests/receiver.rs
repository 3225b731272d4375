//! The connect object of a receiver.

use super::*;
use crate::client::ReceiverConnect;

fn connect(json: &str) -> Result<ReceiverConnect<'_>, Malformed> {
    ReceiverConnect::decode(json.as_bytes(), JSON_DEPTH)
}

#[test]
fn the_connect_object_of_a_receiver_is_read_with_all_its_fields() {
    let connect = connect(
        r#" {"token":"t","channels":["a"],"position":"p","name":"js","version":"\ud83d","data":{"x":1},
             "subs":{"a":{"recover":true,"offset":3,"epoch":"e"},"b":null}} "#,
    );
    let connect = connect.unwrap();
    assert_eq!((&*connect.token, &*connect.position), ("t", "p"));
    assert_eq!(connect.channels, ["a"]);
    assert_eq!((connect.subs["a"].offset, connect.subs["b"].recover), (3, false));
    assert!(!format!("{connect:?}").contains("\"t\""), "no token in a log");
}

#[test]
fn nothing_and_null_ask_for_nothing() {
    for json in
        ["", " \n", "{}", r#"{"token":null,"channels":null,"position":null,"subs":null,"connect":null}"#]
    {
        let connect = connect(json).unwrap();
        assert!(connect.token.is_empty() && connect.channels.is_empty() && connect.subs.is_empty(), "{json}");
    }
}

#[test]
fn what_is_no_connect_object_is_malformed() {
    for json in ["[]", "1", "null", "{", "{}{}", r#"{"token":1}"#, r#"{"channels":"a"}"#, r#"{"subs":["a"]}"#]
    {
        assert!(connect(json).is_err(), "{json}");
    }
    let command = r#"{"id":1,"connect":{"token":"t"}}"#;
    assert!(matches!(connect(command), Err(Malformed::Wrapped)));
    assert!(connect(&format!(r#"{{"data":{}}}"#, "[".repeat(200))).is_err());
}
