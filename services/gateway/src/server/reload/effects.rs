//! The effects of a reload on those who are here already, in sentences with numbers.

use gorani_auth::ChannelOptions;

use crate::{node::Node, settings::Settings};

/// Namespaces whose subscriptions are counted for one report: each count looks through the channels of every worker.
const COUNTED_NAMESPACES: usize = 20;

/// The name of the namespace of channels without one, in sentences.
const NO_NAMESPACE: &str = "channels without a namespace";

/// An option that lets a client do something, by its name.
type AllowingOption = (&'static str, fn(&ChannelOptions) -> bool);

/// Options by which a client may have subscribed: when one is taken away, its subscription stays.
const SUBSCRIBING: [AllowingOption; 3] = [
    ("allow_subscribe_for_client", |options| options.allow_subscribe_for_client),
    ("allow_subscribe_for_anonymous", |options| options.allow_subscribe_for_anonymous),
    ("allow_user_limited_channels", |options| options.allow_user_limited_channels),
];

/// The sentences about the settings that are put in place.
pub(super) async fn effects(node: &Node, before: &Settings, after: &Settings) -> Vec<String> {
    let mut effects = Vec::new();
    let mut counted = 0;
    for namespace in &before.channel.namespaces {
        let name = namespace.name.as_str();
        let next = after.channel.namespaces.iter().find(|next| next.name == name);
        let changes = match next {
            None => vec![format!("namespace {name} is removed: its channels are unknown to new commands")],
            Some(next) => of_subscribing(name, &namespace.options, &next.options),
        };
        if !changes.is_empty() {
            counted += 1;
            let subscriptions =
                if counted > COUNTED_NAMESPACES { None } else { subscriptions(node, name).await };
            let subscriptions = subscriptions.unwrap_or_else(|| "subscriptions".to_owned());
            effects.extend(changes.into_iter().map(|change| {
                format!("{change}; {subscriptions} of this node stay until their clients return")
            }));
        }
        if let Some(next) = next {
            effects.extend(of_history(name, &namespace.options, &next.options));
        }
    }
    let (old, new) = (&before.channel.defaults, &after.channel.defaults);
    effects.extend(
        of_subscribing(NO_NAMESPACE, old, new)
            .into_iter()
            .map(|change| format!("{change}; subscriptions stay until their clients return")),
    );
    effects.extend(of_history(NO_NAMESPACE, old, new));
    effects.extend(of_keys(before, after));
    effects
}

async fn subscriptions(node: &Node, namespace: &str) -> Option<String> {
    let count = node.cluster.local_subscriptions(namespace).await.ok()?;
    let least = if count.is_whole { "" } else { "at least " };
    Some(format!("{least}{} subscriptions", count.subscriptions))
}

fn of_subscribing(name: &str, old: &ChannelOptions, new: &ChannelOptions) -> Vec<String> {
    let taken = SUBSCRIBING.iter().filter(|(_, allows)| allows(old) && !allows(new));
    taken.map(|(option, _)| format!("{name}: {option} true → false")).collect()
}

fn of_history(name: &str, old: &ChannelOptions, new: &ChannelOptions) -> Option<String> {
    let (before, after) = (old.history_size, new.history_size);
    if after == 0 && before > 0 {
        return Some(format!("{name}: history_size {before} → 0: nothing more is kept, and nobody recovers"));
    }
    (after < before)
        .then(|| format!("{name}: history_size {before} → {after}: trimmed at the next publication"))
}

fn of_keys(before: &Settings, after: &Settings) -> Option<String> {
    let count = |one: &Settings, other: &Settings| {
        one.api.keys.iter().filter(|key| !other.api.keys.contains(key)).count()
    };
    let (removed, added) = (count(before, after), count(after, before));
    (removed > 0)
        .then(|| format!("api.keys: {removed} removed, {added} added; calls with a removed key are refused"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::collections::HashMap;

    use super::*;

    #[actix_rt::test]
    async fn each_effect_is_told_by_what_changes() {
        let settings = |text: &str| Settings::from_text(text, &HashMap::new()).unwrap();
        let before = settings(
            "[api]\nkeys = ['a-key-of-the-tests-1', 'a-key-of-the-tests-2']\n[channel.defaults]\nhistory_size = 5\nhistory_ttl = '60s'\n\
             [[channel.namespaces]]\nname = 'chat'\nallow_subscribe_for_client = true\nhistory_size = 100\nhistory_ttl = '60s'\n\
             [[channel.namespaces]]\nname = 'gone'",
        );
        let after = settings(
            "[api]\nkeys = ['a-key-of-the-tests-2', 'a-key-of-the-tests-3']\n\
             [[channel.namespaces]]\nname = 'chat'\nhistory_size = 10\nhistory_ttl = '60s'",
        );
        let node = Node::start(before.clone()).await.unwrap();
        let told = effects(&node, &before, &after).await;
        assert_eq!(
            told,
            [
                "chat: allow_subscribe_for_client true → false; 0 subscriptions of this node stay until their clients return",
                "chat: history_size 100 → 10: trimmed at the next publication",
                "namespace gone is removed: its channels are unknown to new commands; 0 subscriptions of this node stay until their clients return",
                "channels without a namespace: history_size 5 → 0: nothing more is kept, and nobody recovers",
                "api.keys: 1 removed, 1 added; calls with a removed key are refused",
            ]
        );
        assert!(effects(&node, &before, &before).await.is_empty());
        node.stop();
    }
}
