//! A simulated client's knowledge of a channel, and the check that it can be true.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::delivery_log::DeliveryLog;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SubscriptionPhase {
    Idle,
    Subscribing,
    Subscribed,
    Unsubscribing,
}

/// The client's knowledge of a channel.
pub(super) struct SimSubscription {
    /// True if it gets the joins and leaves of others.
    pub(super) watches: bool,
    pub(super) phase: SubscriptionPhase,
    /// The command that its phase comes from.
    pub(super) command: u32,
    /// True if its user wants it.
    pub(super) is_wanted: bool,
    /// Its position in a stream: epoch and offset.
    pub(super) position: Option<(String, u64)>,
    /// The last publication that it had, or that stood at its position.
    pub(super) last: Option<u64>,
    /// Publications that were accepted when its subscription was confirmed.
    pub(super) accepted_before: usize,
    /// Joins that were announced by then.
    pub(super) joins_before: usize,
    /// The members that it knows of; true for each that is there.
    pub(super) members: BTreeMap<String, bool>,
}

impl SimSubscription {
    /// The subscribe that this command was is still waited for.
    pub(super) fn is_asked_by(&self, command: u32) -> bool {
        self.phase == SubscriptionPhase::Subscribing && self.command == command
    }

    pub(super) fn new(watches: bool) -> Self {
        Self {
            watches,
            phase: SubscriptionPhase::Idle,
            command: 0,
            is_wanted: false,
            position: None,
            last: None,
            accepted_before: 0,
            joins_before: 0,
            members: BTreeMap::new(),
        }
    }

    /// Its connection has ended.
    pub(super) fn lose_connection(&mut self) {
        self.phase = SubscriptionPhase::Idle;
        self.members.clear();
    }

    /// The reply of a subscribe.
    pub(super) fn begin(&mut self, channel: &str, result: &Value, log: &DeliveryLog) -> Result<(), String> {
        self.phase = SubscriptionPhase::Subscribed;
        self.accepted_before = log.count(channel);
        self.joins_before = log.joins_after(channel, 0).len();
        self.members.clear();
        let epoch = result.get("epoch").and_then(Value::as_str).unwrap_or_default().to_owned();
        let offset = result.get("offset").and_then(Value::as_u64).unwrap_or(0);
        let is_recovered = result.get("recovered").and_then(Value::as_bool).unwrap_or(false);
        log.counts.add(match (is_recovered, &self.position) {
            (true, _) => "subscriptions recovered",
            (false, Some(_)) => "subscriptions told that they are not recovered",
            (false, None) => "subscriptions begun",
        });
        if !is_recovered {
            // It knows that it missed something.
            self.last = None;
            self.position = (!epoch.is_empty()).then_some((epoch, offset));
            return Ok(());
        }
        let Some((known, from)) = self.position.clone() else {
            return Err("recovered from nowhere".to_owned());
        };
        if !log.is_related(&known, &epoch) {
            return Err("recovered in another epoch".to_owned());
        }
        self.position = Some((epoch, from));
        for publication in result.get("publications").and_then(Value::as_array).into_iter().flatten() {
            self.next(channel, publication, log)?;
        }
        // The reply has the offset from which it recovered, or that of the top.
        match &self.position {
            Some((_, reached)) if *reached != offset && from != offset => {
                Err(format!("recovered from {from} up to {reached} and not up to {offset}"))
            }
            _ => Ok(()),
        }
    }

    /// A publication, live or recovered.
    pub(super) fn next(
        &mut self,
        channel: &str,
        publication: &Value,
        log: &DeliveryLog,
    ) -> Result<(), String> {
        let number =
            publication.pointer("/data/n").and_then(Value::as_u64).ok_or("a publication without a number")?;
        let accepted = log.get(channel, number).ok_or("a publication that was never accepted")?;
        let offset = publication.get("offset").and_then(Value::as_u64).unwrap_or(0);
        if offset != accepted.offset {
            return Err(format!("offset {offset} in place of {}", accepted.offset));
        }
        if let Some((epoch, position)) = &mut self.position
            && offset != 0
        {
            if !log.is_related(epoch, &accepted.epoch) {
                return Err(format!("a publication of epoch {} after {epoch}", accepted.epoch));
            }
            if offset != *position + 1 {
                return Err(format!("offset {offset} after {position}"));
            }
            *position = offset;
        }
        if self.last.is_some() && accepted.previous != self.last {
            return Err(format!(
                "{number} follows {:?} and was given after {:?}",
                accepted.previous, self.last
            ));
        }
        self.last = Some(number);
        log.counts.add("publications received by clients");
        Ok(())
    }

    /// The differences from the log at the end, when nothing moves any more. `top`: where the stream ends.
    pub(super) fn check(
        &self,
        name: &str,
        channel: &str,
        log: &DeliveryLog,
        top: Option<(Arc<str>, u64)>,
        is_there: impl Fn(&str, &str) -> bool,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let tip = log.tip(channel);
        // A stream that began anew and has no publication yet is announced with its first.
        if let (Some((epoch, offset)), Some((top_epoch, top))) = (&self.position, top)
            && tip.is_some()
            && (!log.is_related(epoch, &top_epoch) || *offset != top)
        {
            wrong.push(format!(
                "{}: {channel} ends at {epoch}/{offset}, the stream at {top_epoch}/{top}",
                name
            ));
        }
        let is_behind = log.count(channel) > self.accepted_before || self.last.is_some();
        if is_behind && tip.is_some() && self.last != tip {
            wrong.push(format!("{}: {channel} ends with {:?}, the stream with {tip:?}", name, self.last));
        }
        for (client, believed) in &self.members {
            if *believed != is_there(channel, client) {
                wrong.push(format!("{}: {channel} shows {client} as there: {believed}", name));
            }
        }
        for client in log.joins_after(channel, self.joins_before) {
            if self.watches && !self.members.contains_key(client) {
                wrong.push(format!("{}: {channel} was not told of the join of {client}", name));
            }
        }
        wrong
    }
}
