//! The effects of a reload on those who are here already, in sentences with numbers.

use std::{collections::BTreeMap, fmt, time::Duration};

use gorani_auth::ChannelOptions;
use humantime::format_duration;

use crate::{
    clock::unix_ms, disconnect::Unsubscribed, hub::scan::permissions::ENFORCED_OVER,
    session::shared::api_key_uses::ApiKeyUses, settings::Settings,
};

/// Namespaces without a change of their own of which a report tells that subscriptions in them are not permitted.
const OTHER_NAMESPACES: usize = 20;

/// The name of the namespace of channels without one, in sentences.
const NO_NAMESPACE: &str = "channels without a namespace";

/// An option that lets a client do something, by its name.
type AllowingOption = (&'static str, fn(&ChannelOptions) -> bool);

/// Options by which a client may have subscribed: when one is taken away, its subscription stays unless the reload ends it.
const SUBSCRIBING: [AllowingOption; 3] = [
    ("allow_subscribe_for_client", |options| options.allow_subscribe_for_client),
    ("allow_subscribe_for_anonymous", |options| options.allow_subscribe_for_anonymous),
    ("allow_user_limited_channels", |options| options.allow_user_limited_channels),
];

/// The fate of the subscriptions that the settings no longer permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// They stay.
    Stay,
    /// They would end, if it were not a dry run.
    WouldEnd,
    /// They end.
    End,
}

/// The subscriptions of a namespace with their fate; absent where they were not counted.
struct Affected(Option<u64>, Fate);

impl fmt::Display for Affected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, fate) = self;
        match count {
            Some(1) => write!(formatter, "1 subscription of this node ")?,
            Some(count) => write!(formatter, "{count} subscriptions of this node ")?,
            None => write!(formatter, "subscriptions of this node ")?,
        }
        let (code, seconds) = (Unsubscribed::NOT_PERMITTED.code, ENFORCED_OVER.as_secs());
        let is_one = *count == Some(1);
        match (fate, count) {
            (Fate::Stay, Some(1)) => write!(formatter, "stays until its client returns")?,
            (Fate::Stay, _) => write!(formatter, "stay until their clients return")?,
            (Fate::WouldEnd, _) => write!(formatter, "would end with {code} within {seconds} s")?,
            (Fate::End, _) => {
                write!(formatter, "{} with {code} within {seconds} s", if is_one { "ends" } else { "end" })?
            }
        }
        if *fate == Fate::Stay && count.is_some_and(|count| count > 0) {
            let them = if is_one { "it" } else { "them" };
            write!(formatter, "; --enforce ends {them} with {code} over {seconds} s")?;
        }
        Ok(())
    }
}

/// The sentences about the settings that are put in place. `not_permitted`: the subscriptions of this node that these no longer
/// permit, by namespace, where they were counted.
pub(super) fn effects(
    before: &Settings,
    after: &Settings,
    not_permitted: Option<&BTreeMap<String, u64>>,
    fate: Fate,
    uses: &ApiKeyUses,
) -> Vec<String> {
    let affected = |name: &str| {
        let count = not_permitted.map(|counts| counts.get(name).copied().unwrap_or_default());
        Affected(count, fate)
    };
    let (mut effects, mut named) = (Vec::new(), Vec::new());
    for namespace in &before.channel.namespaces {
        let name = namespace.name.as_str();
        let next = after.channel.namespaces.iter().find(|next| next.name == name);
        let change = match next {
            None => Some(format!("namespace {name} is removed: its channels are unknown to new commands")),
            Some(next) => of_subscribing(name, &namespace.options, &next.options),
        };
        if let Some(change) = change {
            named.push(name);
            effects.push(format!("{change}; {}", affected(name)));
        }
        if let Some(next) = next {
            effects.extend(of_history(name, &namespace.options, &next.options));
        }
    }
    let (old, new) = (&before.channel.defaults, &after.channel.defaults);
    if let Some(change) = of_subscribing(NO_NAMESPACE, old, new) {
        named.push("");
        effects.push(format!("{change}; {}", affected("")));
    }
    effects.extend(of_history(NO_NAMESPACE, old, new));
    let others = not_permitted.into_iter().flatten().filter(|(name, _)| !named.contains(&name.as_str()));
    effects.extend(others.take(OTHER_NAMESPACES).map(|(name, count)| {
        let name = if name.is_empty() { NO_NAMESPACE } else { name };
        format!("{name}: not permitted by these settings; {}", Affected(Some(*count), fate))
    }));
    effects.extend(of_keys(before, after, uses));
    effects
}

fn of_subscribing(name: &str, old: &ChannelOptions, new: &ChannelOptions) -> Option<String> {
    let taken = SUBSCRIBING.iter().filter(|(_, allows)| allows(old) && !allows(new));
    let taken: Vec<&str> = taken.map(|(option, _)| *option).collect();
    (!taken.is_empty()).then(|| format!("{name}: {} true → false", taken.join(", ")))
}

fn of_history(name: &str, old: &ChannelOptions, new: &ChannelOptions) -> Option<String> {
    let (before, after) = (old.history_size, new.history_size);
    if after == 0 && before > 0 {
        return Some(format!("{name}: history_size {before} → 0: nothing more is kept, and nobody recovers"));
    }
    (after < before)
        .then(|| format!("{name}: history_size {before} → {after}: trimmed at the next publication"))
}

fn of_keys(before: &Settings, after: &Settings, uses: &ApiKeyUses) -> Option<String> {
    let missing = |one: &Settings, other: &Settings| -> Vec<usize> {
        let keys = one.api.keys.iter().enumerate();
        keys.filter(|(_, key)| !other.api.keys.contains(key)).map(|(at, _)| at).collect()
    };
    let (removed, added) = (missing(before, after), missing(after, before).len());
    if removed.is_empty() {
        return None;
    }
    let used = match removed.iter().filter_map(|key| uses.last(*key)).max() {
        None => "not used since this node knows it".to_owned(),
        Some((at, from)) => {
            let ago = format_duration(Duration::from_secs(unix_ms().saturating_sub(at) / 1000));
            let from = from.map_or_else(String::new, |from| format!(" from {from}"));
            format!("last used {ago} ago{from}")
        }
    };
    let removed = removed.len();
    Some(format!("api.keys: {removed} removed, {used}; {added} added; calls with a removed key are refused"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::collections::HashMap;

    use super::*;

    fn settings(text: &str) -> Settings {
        Settings::from_text(text, &HashMap::new()).unwrap()
    }

    fn counts(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
        of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn each_effect_is_told_by_what_changes() {
        let before = settings(
            "[api]\nkeys = ['a-key-of-the-tests-1', 'a-key-of-the-tests-2']\n[channel.defaults]\nhistory_size = 5\nhistory_ttl = '60s'\n\
             [[channel.namespaces]]\nname = 'chat'\nallow_subscribe_for_client = true\nhistory_size = 100\nhistory_ttl = '60s'\n\
             [[channel.namespaces]]\nname = 'gone'",
        );
        let after = settings(
            "[api]\nkeys = ['a-key-of-the-tests-2', 'a-key-of-the-tests-3']\n\
             [[channel.namespaces]]\nname = 'chat'\nhistory_size = 10\nhistory_ttl = '60s'",
        );
        let uses = ApiKeyUses::new(&before.api.keys, (&[], &ApiKeyUses::default()));
        uses.note(0, unix_ms() - 12_500, || Some([10, 0, 3, 4].into()));
        let told = effects(&before, &after, Some(&counts(&[("chat", 1204)])), Fate::Stay, &uses);
        assert_eq!(
            told,
            [
                "chat: allow_subscribe_for_client true → false; 1204 subscriptions of this node stay until their clients return; \
                 --enforce ends them with 2500 over 20 s",
                "chat: history_size 100 → 10: trimmed at the next publication",
                "namespace gone is removed: its channels are unknown to new commands; 0 subscriptions of this node stay until their clients return",
                "channels without a namespace: history_size 5 → 0: nothing more is kept, and nobody recovers",
                "api.keys: 1 removed, last used 12s ago from 10.0.3.4; 1 added; calls with a removed key are refused",
            ]
        );
        assert!(effects(&before, &before, Some(&BTreeMap::new()), Fate::Stay, &uses).is_empty());
    }

    #[test]
    fn the_fate_of_subscriptions_is_told_with_their_number_and_for_each_namespace_once() {
        let allowed = "allow_subscribe_for_client = true\nallow_subscribe_for_anonymous = true";
        let before = settings(&format!("[[channel.namespaces]]\nname = 'chat'\n{allowed}"));
        let after = settings("[[channel.namespaces]]\nname = 'chat'");
        let both = "chat: allow_subscribe_for_client, allow_subscribe_for_anonymous true → false;";
        let tell = |count: Option<u64>, fate| {
            let counts = count.map(|count| counts(&[("chat", count)]));
            let told = effects(&before, &after, counts.as_ref(), fate, &ApiKeyUses::default());
            told.into_iter()
                .map(|effect| effect.strip_prefix(both).unwrap().trim().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            tell(Some(2), Fate::WouldEnd),
            ["2 subscriptions of this node would end with 2500 within 20 s"]
        );
        assert_eq!(tell(Some(1), Fate::End), ["1 subscription of this node ends with 2500 within 20 s"]);
        assert_eq!(tell(None, Fate::Stay), ["subscriptions of this node stay until their clients return"]);
        assert_eq!(
            tell(Some(1), Fate::Stay),
            [
                "1 subscription of this node stays until its client returns; --enforce ends it with 2500 over 20 s"
            ]
        );
    }

    #[test]
    fn subscriptions_that_an_earlier_reload_left_are_told_too() {
        let same = settings("[[channel.namespaces]]\nname = 'chat'");
        let left = counts(&[("", 3), ("chat", 2)]);
        assert_eq!(
            effects(&same, &same, Some(&left), Fate::End, &ApiKeyUses::default()),
            [
                "channels without a namespace: not permitted by these settings; 3 subscriptions of this node end with 2500 within 20 s",
                "chat: not permitted by these settings; 2 subscriptions of this node end with 2500 within 20 s",
            ]
        );
    }
}
