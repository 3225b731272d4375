//! From bytes to frames that run: in order, step by step, and those that have to wait after those before them. Their receipts
//! leave in the same order. `docs/protocols/stomp.md` §12 and §9.

use std::collections::VecDeque;

use bytes::Buf;
use gorani_protocol::stomp::{StompCommand, StompDecodeError, StompFrame};

use super::{
    StompSession, StompState, StompSubscription,
    destination::{self, Destination},
    failure::Failure,
    state::SubscriptionSource,
    transactions::Transactions,
};
use crate::{
    disconnect::Disconnect,
    event_log::{commands::kept_name, event::CommandEvent},
    refusal_log::LogCause,
    session::{Actions, Now, Session, shared::policy::Policy},
};

/// Bytes of a body that take as much time as a header.
const HEADER_BYTES: usize = 128;

/// Bytes of a frame, as they count in a step.
fn size_of_frame(frame: &StompFrame) -> usize {
    frame.body.len() + frame.headers.len() * HEADER_BYTES
}

/// Bytes that a waiting frame holds, near enough.
fn held_bytes(frame: &StompFrame) -> usize {
    size_of::<StompFrame>() + frame.headers.held_bytes() + frame.body.len()
}

impl StompSession {
    /// Begins a turn of input, with the policy that counts now.
    pub(super) fn begin_turn(&mut self) {
        Policy::renew(&mut self.policy);
        self.budget.begin();
    }

    /// Runs a frame, or keeps it if it has to wait.
    fn take(&mut self, frame: StompFrame, now: Now, actions: &mut Actions) {
        if !self.waiting.is_empty() || self.budget.is_over() || self.has_to_wait(&frame) {
            self.budget.count(size_of_frame(&frame));
            self.waiting_bytes += held_bytes(&frame);
            self.waiting.push_back(frame);
        } else {
            self.run(frame, now, actions);
        }
    }

    fn run(&mut self, frame: StompFrame, now: Now, actions: &mut Actions) {
        self.budget.count(size_of_frame(&frame));
        if frame.command.opens() || frame.headers.get("token").is_some() {
            self.budget.count_token();
        }
        let state = self.state;
        let result = match (state, frame.command) {
            // Frames wait while the session enters.
            (StompState::Entering(_) | StompState::Leaving | StompState::Ended, _) => return,
            (StompState::New, _) => self.connect(&frame, now, actions),
            (StompState::Open, StompCommand::Connect | StompCommand::Stomp) => {
                Err(Failure::bad("the session is open already"))
            }
            (StompState::Open, StompCommand::Subscribe) => self.subscribe(&frame, now, actions),
            (StompState::Open, StompCommand::Unsubscribe) => self.unsubscribe(&frame, actions),
            (StompState::Open, StompCommand::Send) => self.send(&frame, now, actions),
            (StompState::Open, StompCommand::Ack | StompCommand::Nack) => self.acknowledge(&frame, actions),
            (StompState::Open, StompCommand::Begin | StompCommand::Commit | StompCommand::Abort) => {
                self.transaction(&frame, actions)
            }
            (StompState::Open, StompCommand::Disconnect) => {
                self.disconnect(&frame, now);
                Ok(())
            }
        };
        if self.policy.command_log.is_on() && state == StompState::Open {
            self.note_frame(&frame, result.as_ref().err().and_then(|failure| failure.code));
        }
        match result {
            Ok(()) => {
                self.errors = self.errors.saturating_sub(1);
                self.send_receipts(now, actions);
            }
            Err(failure) => self.refuse(&frame, failure, actions),
        }
    }

    /// Notes a frame that ran, where an operator follows its user. One that fails later is not noted again: it ends the session.
    fn note_frame(&self, frame: &StompFrame, code: Option<u32>) {
        self.policy.command_log.note(&self.identity.user, || CommandEvent {
            client: self.identity.client.clone(),
            user: self.identity.user.clone(),
            command: frame.command.name().into(),
            channel: frame.headers.get("destination").map(kept_name),
            code,
            ..CommandEvent::default()
        });
    }

    /// Tells which frame failed and ends, with one exception: a destination that is not served does not end the session of a
    /// backend. Many threads of an application share it (Spring's relay has one for all that it sends), and one of them must not
    /// break it for the others. Decision record 42.
    fn refuse(&mut self, frame: &StompFrame, failure: Failure, actions: &mut Actions) {
        let headers = &frame.headers;
        let failure = failure.of(frame.command, headers.get("receipt").filter(|_| !frame.command.opens()));
        let names_destination = matches!(frame.command, StompCommand::Send | StompCommand::Subscribe);
        let Some(destination) = headers.get("destination").filter(|_| names_destination) else {
            return self.fail(failure, actions);
        };
        let failure = failure.about(destination);
        if !failure.is_bad_destination() {
            return self.fail(failure, actions);
        }
        self.policy.log.write(LogCause::StompDestination, destination, |_| {
            format!("STOMP destination not served: user {:?}, {}", self.identity.user, failure.description())
        });
        let limit = self.policy.settings.max_errors;
        self.errors = self.errors.saturating_add(1);
        // A transaction takes effect whole: it must not be committed without this frame.
        if !self.is_backend() || headers.get("transaction").is_some() {
            self.fail(failure, actions);
        } else if limit > 0 && self.errors > limit {
            self.fail(
                Failure::of_disconnect(Disconnect::TOO_MANY_ERRORS).because(failure.description()),
                actions,
            );
        } else {
            failure.write(self.style(), actions);
        }
    }

    /// Runs what waited, as far as it can in this step.
    fn run_waiting(&mut self, now: Now, actions: &mut Actions) {
        while !self.budget.is_over() && !self.next_has_to_wait() {
            let Some(frame) = self.waiting.pop_front() else { break };
            self.waiting_bytes -= held_bytes(&frame);
            self.run(frame, now, actions);
        }
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
            if let Some(failure) = self.unreadable.take() {
                self.fail(failure, actions);
            }
        }
    }

    /// True if the first frame that waits must not run yet.
    pub(super) fn next_has_to_wait(&self) -> bool {
        self.waiting.front().is_some_and(|frame| self.has_to_wait(frame))
    }

    /// True if a frame must not run yet.
    fn has_to_wait(&self, frame: &StompFrame) -> bool {
        matches!(self.state, StompState::Entering(_))
            || self.receipts.is_full()
            || self.calls.as_ref().is_some_and(|calls| calls.is_full() || calls.ending.is_some())
            || self.subscriptions.iter().any(|known| known.is_under_way() && self.holds_back(known, frame))
    }

    /// True if a subscription that is not live yet holds a frame back. One that the backend decides on may take seconds: it holds
    /// back only what is about its channel.
    fn holds_back(&self, known: &StompSubscription, frame: &StompFrame) -> bool {
        let SubscriptionSource::Channel(channel) = &known.source else { return false };
        let (user, headers) = (&*self.identity.user, &frame.headers);
        let destination = headers.get("destination").unwrap_or_default();
        let is_of = |target| matches!(target, Ok(Destination::Channel(named)) if *named == **channel);
        match frame.command {
            _ if !known.is_asked => true,
            StompCommand::Subscribe => is_of(destination::to_subscribe(destination, user)),
            StompCommand::Send => is_of(destination::to_send(destination, user)),
            StompCommand::Unsubscribe => known.name() == headers.get("id").unwrap_or(destination),
            // It may send to the channel.
            StompCommand::Commit => true,
            _ => false,
        }
    }

    /// Takes frames out of the bytes, as far as it can in this step. If the session is at its end, all bytes are taken.
    pub(super) fn decode(&mut self, bytes: &mut &[u8], now: Now, actions: &mut Actions) {
        while matches!(self.state, StompState::New | StompState::Entering(_) | StompState::Open)
            && self.unreadable.is_none()
        {
            if self.budget.is_over() || self.is_blocked() {
                return;
            }
            match self.decoder.next(bytes) {
                Ok(Some(frame)) => self.take(frame, now, actions),
                Ok(None) => return,
                Err(error) => self.unreadable(error, actions),
            }
        }
        *bytes = &[];
    }

    /// Runs what waited and then what is not decoded, as far as it can in this step.
    pub(super) fn go_on(&mut self, now: Now, actions: &mut Actions) {
        self.run_waiting(now, actions);
        if self.undecoded.is_empty() {
            return;
        }
        let undecoded = std::mem::take(&mut self.undecoded);
        let mut bytes = &undecoded[..];
        self.decode(&mut bytes, now, actions);
        let fetched = undecoded.len() - bytes.len();
        let mut rest = undecoded;
        rest.advance(fetched);
        if !rest.is_empty() {
            self.undecoded = rest;
        }
    }

    fn unreadable(&mut self, error: StompDecodeError, actions: &mut Actions) {
        let failure = Failure::of_decoder(error, self.decoder.receipt());
        if self.waiting.is_empty() {
            self.fail(failure, actions);
        } else {
            // What came before it is still done, and may fail first.
            self.unreadable = Some(failure);
        }
    }

    /// The client sent DISCONNECT: open transactions are void, earlier requests are still answered.
    fn disconnect(&mut self, frame: &StompFrame, now: Now) {
        self.transactions = Transactions::default();
        self.state = StompState::Leaving;
        if let Some(calls) = self.calls.as_mut().filter(|calls| calls.is_awaited()) {
            calls.give_up_by = Some(now.instant + self.policy.call_grace);
        }
        self.receipts.expect(0, frame.headers.get("receipt"), true);
    }

    /// Sends the receipts whose turn has come.
    pub(super) fn send_receipts(&mut self, now: Now, actions: &mut Actions) {
        let style = self.style();
        while let Some(settled) = self.receipts.pop() {
            if let Some(receipt) = &settled.receipt {
                settled.write(style, receipt, actions);
            }
            if settled.is_last {
                match settled.receipt {
                    // The client reads the receipt and closes; only if it does not, the server does.
                    Some(_) => {
                        self.clock.leave_by = Some(now.instant + self.settings.linger);
                        self.leave_channels(actions);
                    }
                    None => self.end(Disconnect::NORMAL, actions),
                }
            }
        }
    }
}
