//! `gorani check TOKEN`: what a token says, whether and why it is refused, and the channels that it opens. `gorani check --channel C --user U`: what
//! this user may do there, and by which rule. By the same rules and keys as the node's. `docs/commands.md`.

use std::io::{self, Read};

use clap::Args;
use gorani_auth::{
    AuthSettingsError, ChannelRules, ChannelSettingsError, Denied, GrantedBy, Operation, SubscribeCheck,
    TOKEN_MAX_BYTES, TokenError, TokenVerifier, personal_channel,
};
use serde_json::{Value, json};

use super::{
    check_token::{Claimed, read_unverified, verifier},
    terminal::{Terminal, Tone, cell, printable},
};
use crate::{clock::unix_ms, proxy::routes::routes, proxy_call::ProxyRoutes, settings::Settings};

/// Exit code where only the backend knows.
const EXIT_UNKNOWN: u8 = 5;

/// Arguments of `gorani check`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gorani check\n  gorani check \"$TOKEN\"\n  gorani check --channel chat:lobby --user 42\n\nExit codes: 0 fine, accepted or allowed, 1 not, 2 bad use, 5 the backend decides, 78 bad settings."
)]
pub(super) struct CheckArguments {
    /// A connection or subscription token to look at; - reads it from standard input, so that it is in no list of processes.
    #[arg(conflicts_with_all = ["channel", "user"])]
    token: Option<String>,
    /// The channel that a user asks for.
    #[arg(long)]
    channel: Option<String>,
    /// The user; without it an anonymous one.
    #[arg(long, requires = "channel")]
    user: Option<String>,
    /// One object a line.
    #[arg(long)]
    json: bool,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum CheckFailed {
    /// The keys of the settings cannot be used.
    #[error("token: {0}")]
    Keys(#[from] AuthSettingsError),
    /// The options of the settings cannot be used.
    #[error("channel: {0}")]
    Rules(#[from] ChannelSettingsError),
    /// No token on standard input.
    #[error("standard input: {0}")]
    Input(#[source] io::Error),
}

/// The result.
#[derive(Debug)]
pub(super) struct Checked {
    /// The text to print.
    pub(super) text: String,
    /// The exit code.
    pub(super) code: u8,
}

/// One answer of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RuleDecision {
    /// `subscribe`, `publish`, …
    what: String,
    /// `None`: the backend decides.
    is_allowed: Option<bool>,
    /// The rule.
    reason: String,
}

impl CheckArguments {
    /// The question about a token or a channel; `None` if only the settings are to be checked.
    pub(super) fn run(&self, settings: &Settings) -> Result<Option<Checked>, CheckFailed> {
        let rules = settings.channel.rules()?;
        let proxies = routes(settings);
        if let Some(channel) = &self.channel {
            let user = self.user.as_deref().unwrap_or_default();
            let decisions = decisions(&rules, &proxies, channel, user);
            let code = match decisions.first().map(|subscribe| subscribe.is_allowed) {
                Some(Some(true)) => 0,
                Some(None) => EXIT_UNKNOWN,
                _ => 1,
            };
            return Ok(Some(Checked { text: self.text(&[], &decisions), code }));
        }
        let Some(token) = &self.token else { return Ok(None) };
        let token = if token == "-" { from_stdin()? } else { token.clone() };
        let (verifier, notes) = verifier(&settings.token)?;
        Ok(Some(self.check_token(settings, &rules, &proxies, &verifier, token.trim(), notes)))
    }

    fn check_token(
        &self,
        settings: &Settings,
        rules: &ChannelRules,
        proxies: &ProxyRoutes,
        verifier: &TokenVerifier,
        token: &str,
        notes: Vec<String>,
    ) -> Checked {
        let claimed = read_unverified(token, unix_ms() / 1000);
        let mut facts = claimed.facts.clone();
        facts.extend(notes.into_iter().map(|note| ("note".to_owned(), note.into())));
        let now = unix_ms() / 1000;
        let (decisions, refused) = if claimed.is_subscription {
            match verifier.subscription(token, now) {
                Ok(claims) => {
                    let check = SubscribeCheck {
                        channel: &claims.channel,
                        user: &claims.user,
                        client: claims.client.as_deref().unwrap_or_default(),
                        token: Some(Ok(&claims)),
                    };
                    (vec![subscribe(rules, proxies, &check)], None)
                }
                Err(error) => (Vec::new(), Some(error)),
            }
        } else {
            match verifier.connection(token, now) {
                Ok(claims) => {
                    let mut decisions: Vec<_> = claims
                        .server_side()
                        .map(|(channel, options)| {
                            let granted = rules.server_side(channel, options);
                            decision(
                                &format!("channel {channel}"),
                                granted.map(|granted| by(rules, channel, granted.by)),
                                || "its namespace is not in the settings, or it is no name".to_owned(),
                            )
                        })
                        .collect();
                    decisions.extend(personal(settings, rules, &claims.user));
                    decisions.extend(namespaces(settings, rules, proxies, &claims.user));
                    (decisions, None)
                }
                Err(error) => (Vec::new(), Some(error)),
            }
        };
        let verdict = match &refused {
            None => json!({"accepted": true}),
            Some(error) => {
                json!({"accepted": false, "code": code(&claimed, *error), "reason": error.to_string()})
            }
        };
        facts.insert(0, ("token".to_owned(), verdict));
        let is_denied = claimed.is_subscription && decisions.iter().any(|one| one.is_allowed == Some(false));
        let code = u8::from(refused.is_some() || is_denied);
        Checked { text: self.text(&facts, &decisions), code }
    }

    fn text(&self, facts: &[(String, Value)], decisions: &[RuleDecision]) -> String {
        if self.json {
            let facts = facts.iter().map(|(name, value)| json!({"fact": name, "value": value}));
            let decisions = decisions.iter().map(|decision| {
                let RuleDecision { what, is_allowed, reason } = decision;
                json!({"what": what, "allowed": is_allowed, "reason": reason})
            });
            return facts.chain(decisions).map(|line| format!("{line}\n")).collect();
        }
        let terminal = Terminal::of_stdout();
        let facts = facts.iter().map(|(name, value)| format!("{name}: {}\n", fact(value, terminal)));
        let width = decisions.iter().map(|decision| decision.what.chars().count()).max().unwrap_or_default();
        let decisions = decisions.iter().map(|RuleDecision { what, is_allowed, reason }| {
            let (tone, word) = match is_allowed {
                Some(true) => (Tone::Good, "yes"),
                Some(false) => (Tone::Bad, "no "),
                None => (Tone::Warning, "?  "),
            };
            format!("{:width$}  {}  {}\n", printable(what), terminal.paint(tone, word), printable(reason))
        });
        facts.chain(decisions).collect()
    }
}

/// A fact for people: the verdict as a sentence, else the value.
fn fact(value: &Value, terminal: Terminal) -> String {
    match (value["accepted"].as_bool(), value["reason"].as_str()) {
        (Some(true), _) => terminal.paint(Tone::Good, "accepted"),
        (Some(false), Some(reason)) => {
            let refused = terminal.paint(Tone::Bad, "refused");
            format!("{refused} with {}: {}", cell(&value["code"]), printable(reason))
        }
        _ => cell(value),
    }
}

fn from_stdin() -> Result<String, CheckFailed> {
    let mut token = String::new();
    // One byte more than a token may have, so that a longer one is refused as such. And an end of line.
    let limit = u64::try_from(TOKEN_MAX_BYTES).unwrap_or(u64::MAX).saturating_add(3);
    io::stdin().lock().take(limit).read_to_string(&mut token).map_err(CheckFailed::Input)?;
    Ok(token)
}

/// The code that a client gets with a refused token.
fn code(claimed: &Claimed, error: TokenError) -> u16 {
    match error {
        TokenError::Expired | TokenError::NotYetValid => 109,
        TokenError::UnknownKey | TokenError::Invalid(_) if claimed.is_subscription => 103,
        TokenError::UnknownKey | TokenError::Invalid(_) => 3500,
    }
}

fn decision(what: &str, granted: Result<String, Denied>, why_not: impl FnOnce() -> String) -> RuleDecision {
    let (is_allowed, reason) = match granted {
        Ok(reason) => (true, reason),
        Err(denied) => (false, format!("{} {denied}: {}", denied.code(), why_not())),
    };
    RuleDecision { what: what.to_owned(), is_allowed: Some(is_allowed), reason }
}

/// The rule that opened it.
fn by(rules: &ChannelRules, channel: &str, granted: GrantedBy) -> String {
    let option = |name: &str| match gorani_auth::ChannelName::parse(channel).namespace {
        Some(namespace) => format!("option {name} of namespace {namespace}"),
        None => format!("option channel.defaults.{name}"),
    };
    let text = match granted {
        GrantedBy::SubscriptionToken => "its subscription token".to_owned(),
        GrantedBy::ConnectionToken => "the connection token names it: subscribed at connect".to_owned(),
        GrantedBy::UserLimited => option("allow_user_limited_channels"),
        GrantedBy::Options => option("allow_subscribe_for_client"),
    };
    match rules.options(channel) {
        Ok(options) if options.has_history() => {
            format!("{text}; history of {} publications", options.history_size)
        }
        _ => text,
    }
}

fn subscribe(rules: &ChannelRules, proxies: &ProxyRoutes, check: &SubscribeCheck<'_>) -> RuleDecision {
    if check.token.is_none() && proxies.channel(check.channel).subscribe.is_some() {
        return backend("subscribe");
    }
    let granted = rules.may_subscribe(check).map(|granted| by(rules, check.channel, granted.by));
    decision("subscribe", granted, || rules.subscribe_denial(check))
}

fn backend(what: &str) -> RuleDecision {
    RuleDecision {
        what: what.to_owned(),
        is_allowed: None,
        reason: "the backend decides: the namespace has a proxy for it".to_owned(),
    }
}

/// A rule: of a channel and a user, and of whether the user is subscribed.
type UserRule = fn(&ChannelRules, &str, &str, bool) -> Result<(), Denied>;

/// The rights of a user in a channel without a token for it: subscribing first.
fn decisions(rules: &ChannelRules, proxies: &ProxyRoutes, channel: &str, user: &str) -> Vec<RuleDecision> {
    let check = SubscribeCheck { channel, user, client: "", token: None };
    let mut decisions = vec![subscribe(rules, proxies, &check)];
    for operation in [Operation::Publish, Operation::Presence, Operation::History] {
        let (name, may): (_, UserRule) = match operation {
            Operation::Publish => {
                ("publish", |rules, channel, user, is_in| rules.may_publish(channel, user, is_in).map(drop))
            }
            Operation::Presence => {
                ("presence", |rules, channel, user, is_in| rules.may_presence(channel, user, is_in).map(drop))
            }
            Operation::History => {
                ("history", |rules, channel, user, is_in| rules.may_history(channel, user, is_in).map(drop))
            }
        };
        if operation == Operation::Publish && proxies.channel(channel).publish.is_some() {
            decisions.push(backend(name));
            continue;
        }
        let option = |who: &str| format!("option allow_{name}_for_{who}");
        let granted = match (may(rules, channel, user, false), may(rules, channel, user, true)) {
            (Ok(()), _) => Ok(option(if user.is_empty() { "anonymous" } else { "client" })),
            (Err(_), Ok(())) => Ok(format!("{}: while subscribed to it", option("subscriber"))),
            (_, Err(denied)) => Err(denied),
        };
        decisions.push(decision(name, granted, || rules.denial(operation, channel, user, true)));
    }
    decisions
}

/// The channels of the user alone, which come with every connection.
fn personal(settings: &Settings, rules: &ChannelRules, user: &str) -> Vec<RuleDecision> {
    if user.is_empty() {
        return Vec::new();
    }
    let names = settings.client.personal_channels.iter();
    names
        .filter_map(|name| personal_channel(name, user).ok())
        .map(|channel| {
            let granted = rules.server_side(&channel, None);
            let granted = granted.map(|_| "client.personal_channels: subscribed at connect".to_owned());
            decision(&format!("channel {channel}"), granted, || {
                "its namespace is not in the settings, or it is no name".to_owned()
            })
        })
        .collect()
}

/// The namespaces in which this user may subscribe to any channel.
fn namespaces(
    settings: &Settings,
    rules: &ChannelRules,
    proxies: &ProxyRoutes,
    user: &str,
) -> Vec<RuleDecision> {
    let named = settings.channel.namespaces.iter().map(|namespace| {
        (format!("channels of namespace {}", namespace.name), format!("{}:x", namespace.name))
    });
    let without = ("channels without a namespace".to_owned(), "x".to_owned());
    named
        .chain([without])
        .map(|(what, channel)| {
            let check = SubscribeCheck { channel: &channel, user, client: "", token: None };
            RuleDecision { what, ..subscribe(rules, proxies, &check) }
        })
        .collect()
}
