//! Tests of the channel settings, and of the look-up of a channel's options.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::rules::{ChannelRules, UnknownNamespace};

fn read(json: Value) -> Result<ChannelSettings, String> {
    serde_json::from_value(json).map_err(|error| error.to_string())
}

/// The message of the one thing that is wrong.
fn problem(json: Value) -> String {
    read(json).unwrap().validate().unwrap_err().to_string()
}

/// All options by name, each with a value that is not its default.
fn everything() -> Value {
    json!({
        "history_size": 10, "history_ttl": "5m", "presence": true, "join_leave": true,
        "force_push_join_leave": true, "force_positioning": false, "force_recovery": false,
        "allow_positioning": false, "allow_recovery": false,
        "allow_subscribe_for_client": true, "allow_subscribe_for_anonymous": true,
        "allow_publish_for_subscriber": true, "allow_publish_for_client": true, "allow_publish_for_anonymous": true,
        "allow_presence_for_subscriber": true, "allow_presence_for_client": true, "allow_presence_for_anonymous": true,
        "allow_history_for_subscriber": true, "allow_history_for_client": true, "allow_history_for_anonymous": true,
        "allow_user_limited_channels": true, "trace_context": "tags", "trace_sampled": true,
    })
}

#[test]
fn the_options_have_the_names_of_the_spec_and_no_others() {
    let options: ChannelOptions = serde_json::from_value(everything()).unwrap();
    let written = serde_json::to_value(options).unwrap();
    assert_eq!(written, everything());
}

#[test]
fn everything_is_off_by_default() {
    assert_eq!(serde_json::from_value::<ChannelOptions>(json!({})).unwrap(), ChannelOptions::default());
    let written = serde_json::to_value(ChannelOptions::default()).unwrap();
    for (name, value) in written.as_object().unwrap() {
        let expected = match name.as_str() {
            "history_size" => json!(0),
            "history_ttl" => json!("0s"),
            "trace_context" => json!("none"),
            _ => json!(false),
        };
        assert_eq!(*value, expected, "{name}");
    }
    assert_eq!(read(json!({})).unwrap(), ChannelSettings::default());
    assert_eq!(ChannelSettings::<()>::default().validate(), Ok(()));
}

/// `[force_positioning, force_recovery, allow_positioning, allow_recovery]`, with history unless the options say otherwise.
fn recovery(options: Value) -> [bool; 4] {
    let mut namespace = json!({"name": "chat", "history_size": 10, "history_ttl": "5m"});
    let written = options.as_object().unwrap().clone();
    namespace.as_object_mut().unwrap().extend(written);
    let settings = read(json!({"namespaces": [namespace]})).unwrap();
    let read = settings.namespaces[0].options;
    [read.force_positioning, read.force_recovery, read.allow_positioning, read.allow_recovery]
}

#[test]
fn kept_history_recovers_and_positions_everybody_unless_the_settings_say_otherwise() {
    for (options, expected) in [
        (json!({}), [true; 4]),
        (json!({"history_size": 0, "history_ttl": "0s"}), [false; 4]),
        // For reading only.
        (json!({"allow_recovery": false}), [false; 4]),
        (json!({"allow_recovery": false, "allow_positioning": true}), [false, false, true, false]),
        (json!({"allow_recovery": false, "force_positioning": true}), [true, false, true, false]),
        // For those who ask.
        (json!({"force_recovery": false}), [false, false, true, true]),
        (json!({"force_recovery": false, "force_positioning": true}), [true, false, true, true]),
        // What settings of earlier versions have.
        (json!({"force_recovery": true}), [true; 4]),
        (json!({"allow_recovery": true}), [true; 4]),
        (json!({"force_recovery": true, "allow_recovery": false}), [true, true, true, false]),
        (json!({"allow_positioning": false}), [false, true, false, true]),
        (json!({"force_positioning": false}), [false, true, true, true]),
    ] {
        assert_eq!(recovery(options.clone()), expected, "{options}");
    }
}

#[test]
fn written_options_are_read_again_as_they_were_in_every_combination() {
    for bits in 0..32_u32 {
        let is = |bit: u32| bits & (1 << bit) != 0;
        let options = ChannelOptions {
            force_positioning: is(0),
            force_recovery: is(1),
            allow_positioning: is(2),
            allow_recovery: is(3),
            history_size: if is(4) { 10 } else { 0 },
            history_ttl: if is(4) { Duration::from_mins(5) } else { Duration::ZERO },
            ..ChannelOptions::default()
        };
        let namespace =
            NamespaceSettings { name: "chat".to_owned(), options, ..NamespaceSettings::default() };
        let settings: ChannelSettings =
            ChannelSettings { defaults: options, namespaces: vec![namespace], ..ChannelSettings::default() };
        assert_eq!(read(serde_json::to_value(&settings).unwrap()).unwrap(), settings);
    }
}

#[test]
fn a_namespace_has_its_name_beside_its_options() {
    let mut namespace = everything();
    namespace["name"] = json!("chat");
    for what in ["subscribe", "publish", "sub_refresh"] {
        namespace[format!("{what}_proxy_enabled")] = json!(true);
        namespace[format!("{what}_proxy_name")] = json!("shop");
    }
    let settings = read(json!({"namespaces": [namespace, {"name": "news"}]})).unwrap();
    assert_eq!(settings.namespaces[0].name, "chat");
    assert_eq!(serde_json::to_value(settings.namespaces[0].options).unwrap(), everything());
    assert_eq!(settings.namespaces[1].options, ChannelOptions::default());
    let written = serde_json::to_value(&settings).unwrap();
    assert_eq!(written["namespaces"][0], namespace);
    assert_eq!(read(written).unwrap(), settings);
}

#[test]
fn an_unknown_key_is_refused_by_name_wherever_it_stands() {
    for json in [
        json!({"defualts": {}}),
        json!({"defaults": {"defualts": true}}),
        json!({"namespaces": [{"name": "chat", "defualts": 1}]}),
    ] {
        let error = read(json).unwrap_err();
        assert!(error.contains("unknown field `defualts`"), "{error}");
    }
    let error = read(json!({"defaults": {"name": "chat"}})).unwrap_err();
    assert!(error.contains("unknown field `name`"), "{error}");
}

#[test]
fn bad_values_are_refused() {
    for options in [
        json!({"history_size": -1}),
        json!({"history_size": "many"}),
        json!({"history_ttl": 300}),
        json!({"history_ttl": "300"}),
        json!({"presence": 1}),
    ] {
        assert!(read(json!({"defaults": options})).is_err(), "{options}");
    }
}

#[test]
fn names_of_namespaces_are_checked() {
    for (name, expected) in [
        ("", "channel.namespaces: number 2 has no name"),
        (
            "a:b",
            "namespace \"a:b\": a name has letters and digits of any script, `-`, `_` and `.`, without spaces",
        ),
        (
            "$chat",
            "namespace \"$chat\": a name has letters and digits of any script, `-`, `_` and `.`, without spaces",
        ),
        (
            "a#b",
            "namespace \"a#b\": a name has letters and digits of any script, `-`, `_` and `.`, without spaces",
        ),
        (
            "two words",
            "namespace \"two words\": a name has letters and digits of any script, `-`, `_` and `.`, without spaces",
        ),
        (
            "사\u{a0}슴",
            "namespace \"사\\u{a0}슴\": a name has letters and digits of any script, `-`, `_` and `.`, without spaces",
        ),
        ("first", "namespace \"first\" is defined twice"),
    ] {
        assert_eq!(problem(json!({"namespaces": [{"name": "first"}, {"name": name}]})), expected);
    }
    let longest = "n".repeat(NAMESPACE_NAME_MAX_BYTES);
    assert_eq!(read(json!({"namespaces": [{"name": longest}]})).unwrap().validate(), Ok(()));
    let error = problem(json!({"namespaces": [{"name": format!("{longest}n")}]}));
    assert!(error.ends_with("the name is longer than 64 bytes"), "{error}");
    assert_eq!(read(json!({"namespaces": [{"name": "Chat-1_a.b"}]})).unwrap().validate(), Ok(()));
}

#[test]
fn options_that_do_not_go_together_are_refused_with_their_place() {
    for (options, expected) in [
        (json!({"history_size": 10}), "history_size needs history_ttl"),
        (json!({"history_size": 10, "history_ttl": "0s"}), "history_size needs history_ttl"),
        (json!({"history_ttl": "5m"}), "history_ttl needs history_size"),
        (json!({"history_size": 1_000_001, "history_ttl": "5m"}), "history_size is more than 1000000"),
        (json!({"force_recovery": true}), "force_recovery needs history_size and history_ttl"),
        (json!({"allow_recovery": true}), "allow_recovery needs history_size and history_ttl"),
        (json!({"force_positioning": true}), "force_positioning needs history_size and history_ttl"),
        (json!({"allow_positioning": true}), "allow_positioning needs history_size and history_ttl"),
        (json!({"force_push_join_leave": true}), "force_push_join_leave needs join_leave"),
    ] {
        assert_eq!(problem(json!({"defaults": options})), format!("channel.defaults: {expected}"));
        let mut namespace = options;
        namespace["name"] = json!("chat");
        let settings = json!({"namespaces": [{"name": "fine"}, namespace]});
        assert_eq!(problem(settings), format!("namespace \"chat\": {expected}"));
    }
    assert_eq!(read(json!({"defaults": everything()})).unwrap().validate(), Ok(()));
}

#[test]
fn rules_are_made_of_valid_settings_only() {
    let settings = read(json!({"defaults": {"history_size": 1}})).unwrap();
    assert_eq!(ChannelRules::new(&settings).err(), settings.validate().err());
    assert!(settings.validate().is_err());
}

#[test]
fn a_channel_has_the_options_of_its_namespace_and_a_namespace_inherits_nothing() {
    let settings = read(json!({
        "defaults": {"presence": true},
        "namespaces": [{"name": "chat", "join_leave": true}, {"name": "stock", "history_size": 5, "history_ttl": "1m"}],
    }));
    let rules = ChannelRules::new(&settings.unwrap()).unwrap();
    for (channel, expected) in [
        ("news", Some((true, false, false))),
        ("$news", Some((true, false, false))),
        ("news#oauth:42", Some((true, false, false))),
        ("", Some((true, false, false))),
        ("chat:1", Some((false, true, false))),
        ("chat:", Some((false, true, false))),
        ("$chat:1", Some((false, true, false))),
        ("chat:a:b#1", Some((false, true, false))),
        ("stock:x", Some((false, false, true))),
        ("chat", Some((true, false, false))),
        ("nowhere:1", None),
        ("$nowhere:1", None),
        ("Chat:1", None),
        (":1", None),
        ("$:chat:1", None),
        ("$$chat:1", None),
    ] {
        let found = rules
            .options(channel)
            .map(|options| (options.presence, options.join_leave, options.has_history()))
            .map_err(|UnknownNamespace| ());
        assert_eq!(found, expected.ok_or(()), "{channel}");
    }
    assert_eq!(rules.options("stock:x").unwrap().history_ttl, Duration::from_mins(1));
}
