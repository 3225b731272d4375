//! SEND: a message to a channel or a queue, now or with its transaction (`docs/protocols/stomp.md` §6 and §8); its body and
//! headers as a publication (`docs/architecture.md` §4.1).

use std::sync::Arc;

use bytes::Bytes;
use gorani_auth::Operation;
use gorani_broker::{DataKind, Publication, PublishOptions};
use gorani_protocol::{
    client::{JSON_DEPTH, json_compact_check},
    stomp::{Headers, StompCommand, StompFrame},
};

use super::{
    StompSession,
    calls::AskedFor,
    destination::{self, Destination},
    failure::Failure,
    state::Acknowledged,
    transactions::{PendingCommit, ValidSend},
};
use crate::{
    format::message_headers::{CONTENT_TYPE, content_type, is_reserved},
    proxy_call::ProxyRequest,
    session::{
        Actions, Now, Ticket,
        shared::{TAGS_MAX, TAGS_MAX_BYTES, recovery::retention},
    },
};

impl StompSession {
    pub(super) fn send(
        &mut self,
        frame: &StompFrame,
        now: Now,
        actions: &mut Actions,
    ) -> Result<(), Failure> {
        let step = self.checked(frame, now)?;
        let receipt = frame.headers.get("receipt");
        match (frame.headers.get("transaction"), step) {
            (Some(transaction), step) => {
                self.transactions.keep(transaction, step, &self.settings)?;
                self.receipts.expect(0, receipt, false);
            }
            (None, PendingCommit::Rpc(call)) => {
                let ticket = self.receipts.expect(1, receipt, false);
                self.call_rpc(ticket, call, actions);
            }
            (None, step) => {
                let ticket = self.receipts.expect(1, receipt, false);
                self.run_in_order(ticket, step, actions);
            }
        }
        Ok(())
    }

    /// Checks a SEND: its destination, what it may, what it holds.
    fn checked(&self, frame: &StompFrame, now: Now) -> Result<PendingCommit, Failure> {
        let headers = &frame.headers;
        let destination = headers.get("destination").ok_or(Failure::bad("no destination"))?;
        let (name, options, proxy) = match destination::to_send(destination, &self.identity.user)? {
            Destination::Channel(channel) => {
                let proxy = self.policy.publish_proxy(&channel).filter(|_| !self.is_backend());
                let options = match proxy {
                    // The backend decides, and the options are those of the channel by then.
                    Some(_) => self.policy.channel_options(&channel).map(|_| PublishOptions::default())?,
                    None => self.may_send(&channel)?,
                };
                (Arc::from(&*channel), Some(options), proxy)
            }
            Destination::Queue(queue) => {
                self.check_queue(queue, true, now)?;
                (Arc::from(queue), None, None)
            }
            Destination::Method(method) => {
                return Ok(PendingCommit::Rpc(self.rpc_call(frame, destination, method, None)?));
            }
        };
        let mut publication = publication(headers, frame.body.clone(), now.unix_ms)?;
        publication.info = Some(self.identity.info_for(Bytes::new()));
        Ok(PendingCommit::Send(Box::new(ValidSend { name, publication, options, proxy })))
    }

    /// Runs a SEND or a step of a transaction, unless the backend is asked about one before it.
    fn run_in_order(&mut self, ticket: Ticket, step: PendingCommit, actions: &mut Actions) {
        match &mut self.calls {
            Some(calls) if calls.holds_sends() => calls.hold_send(ticket, step),
            _ => self.run_step(ticket, step, actions),
        }
    }

    fn run_step(&mut self, ticket: Ticket, step: PendingCommit, actions: &mut Actions) {
        match step {
            PendingCommit::Send(send) => match (send.proxy, &mut self.calls) {
                (Some(proxy), Some(calls)) => {
                    let request = ProxyRequest::Publish { channel: send.name.clone(), data: send.payload() };
                    let asked = AskedFor::Publish(send);
                    actions.push(calls.ask((ticket, asked), proxy, request));
                }
                _ => actions.push(send.action(ticket)),
            },
            PendingCommit::Rpc(call) => self.call_rpc(ticket, call, actions),
            PendingCommit::Settle(Acknowledged::Queue(serial), is_handled)
                if self.acknowledge_serial(serial, is_handled, ticket, actions) => {}
            // Acknowledged together with a later one of the same transaction: that is done.
            PendingCommit::Settle(..) => {
                self.receipts.done(ticket);
            }
        }
    }

    /// Runs what waited for the backend's answer to a SEND.
    pub(super) fn run_steps(&mut self, actions: &mut Actions) {
        while let Some((ticket, step)) = self.calls.as_mut().and_then(|calls| calls.next_send()) {
            self.run_step(ticket, step, actions);
        }
    }

    /// The options for publishing into a channel, or a failure if the session may not.
    fn may_send(&self, channel: &str) -> Result<PublishOptions, Failure> {
        let options = if self.is_backend() {
            self.policy.options_for_backend(channel)?
        } else {
            let user = &*self.identity.user;
            *self.policy.may(Operation::Publish, channel, user, self.is_subscribed(channel))?
        };
        Ok(PublishOptions { retention: retention(&options), ..PublishOptions::default() })
    }

    /// BEGIN, COMMIT and ABORT.
    pub(super) fn transaction(&mut self, frame: &StompFrame, actions: &mut Actions) -> Result<(), Failure> {
        let name = frame.headers.get("transaction").ok_or(Failure::bad("no transaction"))?;
        let receipt = frame.headers.get("receipt");
        match frame.command {
            StompCommand::Begin => self.transactions.begin(name, &self.settings)?,
            StompCommand::Commit => {
                let kept = self.transactions.take(name)?;
                return self.commit(kept, receipt, actions);
            }
            _ => drop(self.transactions.take(name)?),
        }
        self.receipts.expect(0, receipt, false);
        Ok(())
    }

    /// Carries out what was kept: all of it, or nothing where an acknowledgement has become void.
    fn commit(
        &mut self,
        kept: Vec<PendingCommit>,
        receipt: Option<&str>,
        actions: &mut Actions,
    ) -> Result<(), Failure> {
        let is_void = |kept: &PendingCommit| matches!(kept, PendingCommit::Settle(Acknowledged::Queue(serial), _) if !self.is_unacknowledged(*serial));
        if kept.iter().any(is_void) {
            return Err(Failure::bad("a message of this transaction is acknowledged already"));
        }
        // As if each came by itself: what follows waits for the next step.
        kept.iter().for_each(|kept| self.budget.count(kept.bytes()));
        let waits = |kept: &&PendingCommit| !matches!(kept, PendingCommit::Settle(Acknowledged::Channel, _));
        let Ticket(mut ticket) = self.receipts.expect(kept.iter().filter(waits).count(), receipt, false);
        for kept in kept.into_iter().filter(|kept| waits(&kept)) {
            self.run_in_order(Ticket(ticket), kept, actions);
            ticket = ticket.wrapping_add(1);
        }
        Ok(())
    }
}

/// Headers that are for the server alone, beside those that it writes itself.
const NOT_PASSED_ON: [&str; 4] = ["host", "login", "passcode", "Authorization"];

/// The publication of a SEND: its kind by the content type, and the publisher's own headers as tags.
pub(super) fn publication(headers: &Headers, body: Bytes, time_ms: u64) -> Result<Publication, Failure> {
    let declared = headers.get(CONTENT_TYPE);
    let kind = kind_of(declared, &body);
    let mut tags: Vec<(String, String)> = Vec::new();
    // What the kind says already is not said twice: publishers of other protocols see no such tag either.
    if let Some(declared) = declared.filter(|declared| !is_plain(declared, kind)) {
        tags.push((CONTENT_TYPE.to_owned(), declared.to_owned()));
    }
    let own = headers.iter().filter(|(name, _)| !is_reserved(name) && !NOT_PASSED_ON.contains(name));
    tags.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let bytes: usize = tags.iter().map(|(name, value)| name.len() + value.len()).sum();
    if tags.len() > TAGS_MAX || bytes > TAGS_MAX_BYTES {
        return Err(Failure::limit("too many headers of your own, or too long ones"));
    }
    Ok(Publication { data: body, kind, tags, time_ms, ..Publication::default() })
}

/// The kind of a body for the other protocols. A body that is called JSON and is not is kept as text: its bytes are passed on as
/// they are.
pub(super) fn kind_of(declared: Option<&str>, body: &[u8]) -> DataKind {
    let media =
        declared.unwrap_or("text/plain").split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = media == "application/json" || media.ends_with("+json");
    if is_json && json_compact_check(body, JSON_DEPTH).is_ok() {
        return DataKind::Json;
    }
    let is_text =
        is_json || media.starts_with("text/") || media == "application/xml" || media.ends_with("+xml");
    if is_text && std::str::from_utf8(body).is_ok() { DataKind::Text } else { DataKind::Binary }
}

/// True if a content type says no more than the kind does.
fn is_plain(declared: &str, kind: DataKind) -> bool {
    let plain: String = declared.to_ascii_lowercase().split_whitespace().collect();
    match kind {
        DataKind::Text => plain == "text/plain" || plain == content_type(kind),
        DataKind::Json => plain == "application/json" || plain == "application/json;charset=utf-8",
        DataKind::Binary => plain == content_type(kind),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    #[test]
    fn item_57_the_content_type_decides_what_other_protocols_see() {
        for (declared, body, kind) in [
            (Some("application/json"), "{\"a\":1}", DataKind::Json),
            (Some("application/json;charset=UTF-8"), "[1]", DataKind::Json),
            (Some("application/vnd.a+json"), "1", DataKind::Json),
            (Some("application/json"), "{broken", DataKind::Text),
            (Some("text/html"), "<b>", DataKind::Text),
            (None, "{\"a\":1}", DataKind::Text),
            (Some("application/xml"), "<a/>", DataKind::Text),
            (Some("application/octet-stream"), "abc", DataKind::Binary),
            (Some("image/png"), "abc", DataKind::Binary),
        ] {
            assert_eq!(kind_of(declared, body.as_bytes()), kind, "{declared:?} {body}");
        }
        assert_eq!(kind_of(None, b"\xff"), DataKind::Binary);
        assert_eq!(kind_of(Some("text/plain"), b"\xff"), DataKind::Binary);
    }

    #[test]
    fn a_content_type_that_says_more_than_the_kind_is_kept() {
        assert!(is_plain("application/json", DataKind::Json));
        assert!(is_plain("text/plain; charset=UTF-8", DataKind::Text));
        assert!(!is_plain("application/json", DataKind::Text));
        assert!(!is_plain("text/html", DataKind::Text));
        assert!(!is_plain("image/png", DataKind::Binary));
    }
}
