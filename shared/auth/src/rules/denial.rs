//! Denials in words: why the rules refuse, and which option would open it. For the log and for backends; most clients get the code
//! alone. Asked only after a decision of [`ChannelRules`] was no. `docs/protocols/client.md` §9.6 and §9.7.

use super::{ChannelOptions, ChannelRules, SubscribeCheck};
use crate::channel::{CHANNEL_NAME_MAX_BYTES, ChannelName, check_channel_name};

/// A command that the options of a channel open to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Publishes.
    Publish,
    /// Reads the presence.
    Presence,
    /// Reads the history.
    History,
}

impl Operation {
    /// The part of its options' names: `allow_publish_for_client`.
    fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Presence => "presence",
            Self::History => "history",
        }
    }

    /// Its options for subscribers and for all clients.
    fn allowed(self, options: &ChannelOptions) -> (bool, bool) {
        match self {
            Self::Publish => (options.allow_publish_for_subscriber, options.allow_publish_for_client),
            Self::Presence => (options.allow_presence_for_subscriber, options.allow_presence_for_client),
            Self::History => (options.allow_history_for_subscriber, options.allow_history_for_client),
        }
    }
}

impl ChannelRules {
    /// Why this subscription is refused. A fragment of a sentence, in which only the namespace and the name's errors come from the
    /// client, escaped.
    #[must_use]
    pub fn subscribe_denial(&self, request: &SubscribeCheck<'_>) -> String {
        let (name, options) = match self.known(request.channel) {
            Ok(known) => known,
            Err(unknown) => return unknown,
        };
        if let Some(token) = request.token {
            return match token {
                Err(error) => format!("its subscription token: {error}"),
                Ok(claims) if claims.channel != request.channel => {
                    "its subscription token is for another channel".to_owned()
                }
                Ok(claims) if claims.user != request.user => {
                    "its subscription token is for another user: `sub` is not that of the connection token"
                        .to_owned()
                }
                Ok(_) => "its subscription token is for another client".to_owned(),
            };
        }
        if name.is_private {
            return "a channel that begins with $ needs a subscription token".to_owned();
        }
        let option = |option| option_name(name, option);
        if name.is_user_limited() {
            return if name.lists_user(request.user) {
                format!(
                    "set {}, or give the client a subscription token",
                    option("allow_user_limited_channels")
                )
            } else {
                "its name lists other users behind the #".to_owned()
            };
        }
        let is_anonymous = request.user.is_empty() && !options.allow_subscribe_for_anonymous;
        match (options.allow_subscribe_for_client, is_anonymous) {
            (false, false) => {
                format!(
                    "set {}, or give the client a subscription token",
                    option("allow_subscribe_for_client")
                )
            }
            (false, true) => format!(
                "the client is anonymous: set {} and allow_subscribe_for_anonymous",
                option("allow_subscribe_for_client")
            ),
            (true, _) => {
                format!("the client is anonymous: set {}", option("allow_subscribe_for_anonymous"))
            }
        }
    }

    /// Why this command is refused, as [`ChannelRules::subscribe_denial`] for subscriptions.
    #[must_use]
    pub fn denial(&self, operation: Operation, channel: &str, user: &str, is_subscribed: bool) -> String {
        let (name, options) = match self.known(channel) {
            Ok(known) => known,
            Err(unknown) => return unknown,
        };
        match operation {
            Operation::Presence if !options.presence => {
                return format!("set {}", option_name(name, "presence"));
            }
            Operation::History if !options.has_history() => {
                return format!("set {} and history_ttl", option_name(name, "history_size"));
            }
            _ => {}
        }
        let word = operation.name();
        let (for_subscriber, for_client) = operation.allowed(options);
        let option = |role: &str| option_name(name, &format!("allow_{word}_for_{role}"));
        let is_strange = name.is_private || (name.is_user_limited() && !name.lists_user(user));
        if !is_subscribed && for_client && is_strange {
            return "the channel is open to its subscribers alone, and the client is not subscribed"
                .to_owned();
        }
        if !is_subscribed && for_subscriber && !for_client {
            return format!("the client is not subscribed: subscribe first, or set {}", option("client"));
        }
        if !(for_client || is_subscribed && for_subscriber) {
            return format!("set {}, or allow_{word}_for_subscriber for subscribers alone", option("client"));
        }
        format!("the client is anonymous: set {}", option("anonymous"))
    }

    /// The name and the options of a channel; in words, why it has none.
    fn known<'n>(&self, channel: &'n str) -> Result<(ChannelName<'n>, &ChannelOptions), String> {
        check_channel_name(channel, CHANNEL_NAME_MAX_BYTES).map_err(|error| error.to_string())?;
        let name = ChannelName::parse(channel);
        let options = self.of_namespace(name.namespace);
        let namespace = name.namespace.unwrap_or_default();
        options
            .map(|options| (name, options))
            .map_err(|_| format!("no namespace {namespace:?} in channel.namespaces"))
    }
}

/// An option by its name in the settings.
fn option_name(name: ChannelName<'_>, option: &str) -> String {
    match name.namespace {
        None => format!("channel.defaults.{option}"),
        Some(namespace) => format!("{option} of the namespace {namespace:?}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::{Value, json};

    use super::*;
    use crate::{ChannelSettings, InvalidToken, SubscriptionClaims, TokenError};

    fn rules(defaults: &Value, chat: &Value) -> ChannelRules {
        let mut namespace = chat.clone();
        namespace["name"] = "chat".into();
        let settings = json!({"defaults": defaults, "namespaces": [namespace]});
        let settings: ChannelSettings = serde_json::from_value(settings).unwrap();
        ChannelRules::new(&settings).unwrap()
    }

    fn check<'a>(channel: &'a str, user: &'a str) -> SubscribeCheck<'a> {
        SubscribeCheck { channel, user, client: "c-1", token: None }
    }

    #[test]
    fn a_refused_subscription_names_the_option_that_opens_it() {
        let closed = rules(&json!({}), &json!({}));
        for (channel, user, option) in [
            ("news", "42", "channel.defaults.allow_subscribe_for_client"),
            ("chat:1", "42", "allow_subscribe_for_client of the namespace \"chat\""),
            ("chat:1", "", "allow_subscribe_for_anonymous"),
            ("chat:1#42", "42", "allow_user_limited_channels of the namespace \"chat\""),
            ("chat:1#43", "42", "lists other users"),
            ("$chat:1", "42", "needs a subscription token"),
            ("shop:1", "42", "no namespace \"shop\" in channel.namespaces"),
            ("a b\n", "42", "control character"),
        ] {
            assert!(closed.may_subscribe(&check(channel, user)).is_err());
            let denial = closed.subscribe_denial(&check(channel, user));
            assert!(denial.contains(option) && !denial.contains('\n'), "{channel}: {denial}");
        }
        let open = rules(&json!({}), &json!({"allow_subscribe_for_client": true}));
        assert!(open.may_subscribe(&check("chat:1", "")).is_err());
        let denial = open.subscribe_denial(&check("chat:1", ""));
        assert!(denial.ends_with("set allow_subscribe_for_anonymous of the namespace \"chat\""), "{denial}");
    }

    #[test]
    fn setting_the_option_that_a_denial_names_opens_the_channel() {
        let options = json!({"allow_subscribe_for_client": true, "allow_subscribe_for_anonymous": true});
        let open = rules(&options, &json!({"allow_user_limited_channels": true}));
        for (channel, user) in [("news", "42"), ("news", ""), ("chat:1#42", "42")] {
            assert!(open.may_subscribe(&check(channel, user)).is_ok(), "{channel}");
        }
    }

    #[test]
    fn a_subscription_token_that_does_not_fit_says_in_what() {
        let rules = rules(&json!({}), &json!({}));
        let claims = |channel: &str, user: &str, client: Option<&str>| SubscriptionClaims {
            channel: channel.to_owned(),
            user: user.to_owned(),
            client: client.map(str::to_owned),
            ..SubscriptionClaims::default()
        };
        for (claims, why) in [
            (claims("other", "42", None), "another channel"),
            (claims("news", "43", None), "another user"),
            (claims("news", "42", Some("c-2")), "another client"),
        ] {
            let request = SubscribeCheck { token: Some(Ok(&claims)), ..check("news", "42") };
            assert!(rules.may_subscribe(&request).is_err());
            let denial = rules.subscribe_denial(&request);
            assert!(denial.contains(why), "{denial}");
        }
        let error = TokenError::Invalid(InvalidToken::Signature);
        let denial =
            rules.subscribe_denial(&SubscribeCheck { token: Some(Err(&error)), ..check("news", "42") });
        assert!(denial.contains("bad signature"), "{denial}");
    }

    #[test]
    fn a_refused_command_names_the_option_that_opens_it() {
        let closed = rules(&json!({}), &json!({"allow_publish_for_subscriber": true}));
        let history = json!({"history_size": 1, "history_ttl": "60s"});
        let kept = rules(&history, &json!({"allow_publish_for_client": true}));
        for (rules, operation, channel, user, is_subscribed, option) in [
            (
                &closed,
                Operation::Publish,
                "news",
                "42",
                true,
                "set channel.defaults.allow_publish_for_client",
            ),
            (&closed, Operation::Publish, "chat:1", "42", false, "subscribe first"),
            (&closed, Operation::Publish, "chat:1", "", true, "allow_publish_for_anonymous"),
            (&kept, Operation::Publish, "chat:1", "", false, "allow_publish_for_anonymous"),
            (&kept, Operation::Publish, "$chat:1", "42", false, "not subscribed"),
            (&kept, Operation::Publish, "chat:1#43", "42", false, "not subscribed"),
            (&closed, Operation::Presence, "news", "42", true, "set channel.defaults.presence"),
            (&closed, Operation::History, "news", "42", true, "history_size and history_ttl"),
            (&kept, Operation::History, "news", "42", true, "allow_history_for_client"),
            (&closed, Operation::History, "shop:1", "42", true, "no namespace \"shop\""),
        ] {
            let denial = rules.denial(operation, channel, user, is_subscribed);
            assert!(denial.contains(option), "{operation:?} {channel}: {denial}");
        }
    }
}
