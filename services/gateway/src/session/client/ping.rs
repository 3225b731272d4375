//! Pings of a client's session, those that are due and those that an operator asks for, and what else operators ask. `docs/protocols/client.md` §4 and §10.

use std::time::Duration;

use super::{ClientSession, ClientState, OutputFormat};
use crate::session::{Action, Actions, Now, SessionAnswer, SessionDetail, shared::deadlines::AskedPing};

impl ClientSession {
    /// Without pings that answer themselves, a receiver has a transport with a heartbeat, and no way to answer it.
    fn has_pong(&self) -> bool {
        self.traits.native_ping || self.traits.format == OutputFormat::Commands
    }

    /// Sends the ping that is due, if one is.
    pub(super) fn ping_when_due(&mut self, now: Now, actions: &mut Actions) {
        let settings = &self.policy.settings;
        let timeout = self.has_pong().then_some(settings.pong_timeout);
        if matches!(self.state, ClientState::Connected)
            && self.clock.pings.take_due(settings.ping_interval, timeout, now.instant)
        {
            self.send_ping(now, actions);
        }
    }

    /// Sends one now, in the place of the next one. A client that cannot answer gets none, and neither does whoever asks.
    pub(super) fn ping_now(&mut self, answer: SessionAnswer<Duration>, now: Now, actions: &mut Actions) {
        if !matches!(self.state, ClientState::Connected) || !self.has_pong() {
            return;
        }
        let settings = &self.policy.settings;
        if self.clock.pings.take_now(settings.ping_interval, settings.pong_timeout, now.instant) {
            self.send_ping(now, actions);
        }
        // One at a time: the newest question gets the answer, and the one before learns that it gets none.
        self.clock.pinged = Some(Box::new(AskedPing { since: now.instant, answer }));
    }

    fn send_ping(&mut self, now: Now, actions: &mut Actions) {
        if let Some(activity) = &mut self.activity {
            activity.pinged_at = Some(now.instant);
        }
        if self.traits.native_ping || self.traits.format != OutputFormat::Commands {
            actions.push(Action::Ping);
        } else {
            let form = self.traits.form;
            actions.reply(form, |out| out.extend_from_slice(form.ping()));
        }
    }

    /// The description of the session for operators.
    pub(super) fn detail(&self, now: Now) -> SessionDetail {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let asks = self.policy.proxies.refresh.is_some();
        let grace = if asks { Duration::ZERO } else { self.policy.settings.expiry_grace };
        let expires_at = self.clock.expires.map(|end| {
            let left = ms(end.saturating_duration_since(now.instant));
            now.unix_ms.saturating_add(left).saturating_sub(ms(grace))
        });
        let activity = self.activity.as_deref();
        let last_command = activity.map_or(self.command, |activity| activity.last_command);
        SessionDetail {
            last_command: last_command.name().to_owned(),
            expires_at,
            token_id: activity.map(|activity| activity.token_id.to_string()).filter(|id| !id.is_empty()),
            last_command_at: activity.and_then(|activity| activity.last_command_at),
            last_pong_at: activity.and_then(|activity| activity.last_pong_at),
            rtt_ms: activity.and_then(|activity| Some(1000.0 * activity.round_trip?.as_secs_f64())),
            bytes_in: activity.map(|activity| activity.bytes_in),
        }
    }

    /// Takes a pong. False if none was awaited.
    pub(super) fn take_pong(&mut self, now: Now) -> bool {
        let is_awaited = self.clock.pings.take_pong();
        if is_awaited && let Some(activity) = &mut self.activity {
            activity.set_pong(now);
        }
        if is_awaited && let Some(asked) = self.clock.pinged.take() {
            asked.answer.give(now.instant.saturating_duration_since(asked.since));
        }
        is_awaited
    }
}
