//! ConnectionActor: the part that every transport's actor shares. It sends what its session writes, runs the session's actions,
//! and keeps the session's deadline. `docs/architecture.md` §3.9.
//!
//! A [`Turn`] bounds how long the input of one client holds its worker before the others have theirs. Decision record 0027.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context as Task, Poll, Waker},
    time::Duration,
};

use actix::{fut::ActorFuture, prelude::*};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use super::ConnectionState;
use crate::{
    connection::action_runner::{Effect, PendingAction},
    disconnect::{Disconnect, Refused},
    hub::worker::Worker,
    session::{Actions, Now, Outcome, Signal, Ticket},
};

/// Length of a turn from its first input on. With the step that is under way at its end, and what that leads to, a turn stays
/// below 5 ms.
const TURN: Duration = Duration::from_millis(2);

/// An actor of a worker that carries a session.
pub(crate) trait ConnectionActor: Actor<Context = Context<Self>> {
    /// The session and its surroundings.
    fn state(&mut self) -> &mut ConnectionState;

    /// The session, or what befell it, ends it.
    fn end(&mut self, reason: Disconnect);

    /// The session never begins.
    fn refuse(&mut self, refused: Refused);

    /// Sends the transport's own ping.
    fn ping(&mut self);

    /// The time at which the transport itself next wants [`Signal::Timer`]: at the end of a close message, or while the
    /// session lasts for whatever the transport watches.
    fn transport_deadline(&self) -> Option<Instant>;

    /// One turn of the resident future: moves what the outbox holds, and takes what has come. Ready when the connection is over.
    fn poll_turn(&mut self, ctx: &mut Context<Self>, task: &mut Task<'_>) -> Poll<()>;

    /// Bytes of input that the connection and its session keep because it is not finished.
    fn input_bytes(&mut self) -> usize {
        self.state().session.input_bytes()
    }

    /// Counts the connection, opens its session, and makes the resident future.
    fn open_session(&mut self, ctx: &mut Context<Self>) {
        self.state().count_opened();
        let mut actions = Actions::default();
        self.state().session.opened(Now::read(), &mut actions);
        self.run_actions(&mut actions, ctx);
        self.reschedule();
        ctx.spawn(ResidentTask);
    }

    /// Hands a signal to the session, if it may still act.
    fn signal_session(&mut self, signal: Signal, now: Now, ctx: &mut Context<Self>) {
        if self.state().phase.is_open() {
            let mut actions = Actions::default();
            self.state().session.signal(signal, now, &mut actions);
            self.run_actions(&mut actions, ctx);
        }
    }

    /// Ends a session whose outbox has overflowed; true if the session may still act.
    fn may_act(&mut self) -> bool {
        if self.state().phase.is_open()
            && let Some(slow) = self.state().outbox.overflow()
        {
            self.end(slow);
        }
        self.state().phase.is_open()
    }

    /// As [`ConnectionActor::may_act`]; a reply that the outbox would not take is not even made.
    fn may_take(&mut self, outcome: &Outcome) -> bool {
        if outcome.has_large_reply() {
            self.state().outbox.expect_reply();
        }
        self.may_act()
    }

    /// Sends what the session wrote and carries out what it wants, until it wants nothing more. Once the outbox has
    /// overflowed nothing is carried out: its replies could not be sent, and the client would not know what happened.
    fn run_actions(&mut self, actions: &mut Actions, ctx: &mut Context<Self>) {
        let mut outcomes: VecDeque<(Ticket, Outcome)> = VecDeque::new();
        loop {
            if !actions.is_empty() && self.state().phase.is_open() {
                self.state().send_messages(actions);
                if !self.may_act() {
                    actions.take_list();
                    return;
                }
            }
            for action in actions.take_list() {
                match self.state().runner.run(action) {
                    Effect::Done => {}
                    Effect::Ping => self.ping(),
                    Effect::Refuse(refused) => self.refuse(refused),
                    Effect::Close(disconnect) => self.end(disconnect),
                    Effect::Pending(ticket, mut pending) => {
                        // Mostly the outcome is there at once; only what is not becomes a task of the actor.
                        let mut task = Task::from_waker(Waker::noop());
                        match pending.as_mut().poll(&mut task) {
                            Poll::Ready(outcome) => outcomes.push_back((ticket, outcome)),
                            Poll::Pending => self.await_outcome(ticket, pending, ctx),
                        }
                    }
                }
            }
            if !self.state().phase.is_open() {
                return;
            }
            self.state().note_authenticated();
            match outcomes.pop_front() {
                Some((ticket, outcome)) if self.may_take(&outcome) => {
                    self.state().session.outcome(ticket, outcome, Now::read(), actions);
                }
                _ => return,
            }
        }
    }

    /// Runs what the session holds back, step by step. False if the turn is over before it is done.
    fn resume(&mut self, turn: &mut Turn, actions: &mut Actions, ctx: &mut Context<Self>) -> bool {
        while self.state().phase.is_open() && self.state().session.has_more() {
            turn.begin();
            if turn.is_over() {
                return false;
            }
            self.state().session.resume(Now::read(), actions);
            self.run_actions(actions, ctx);
        }
        true
    }

    /// Makes a pending action a task of the actor.
    fn await_outcome(&mut self, ticket: Ticket, pending: PendingAction, ctx: &mut Context<Self>) {
        let done = pending.into_actor(self).map(move |outcome, me, ctx| {
            if !me.may_take(&outcome) {
                return;
            }
            let turn = if outcome.takes_long() { Turn::watched() } else { Turn::default() };
            let mut actions = Actions::default();
            me.state().session.outcome(ticket, outcome, Now::read(), &mut actions);
            me.run_actions(&mut actions, ctx);
            me.reschedule();
            turn.end(&me.state().runner.worker);
            // Reading may have stopped because the session could take no more.
            me.state().outbox.wake();
        });
        ctx.spawn(done);
    }

    /// Keeps the worker's timer at the next deadline, of the transport or of a session that lasts, and the memory budget at what
    /// the input holds.
    fn reschedule(&mut self) {
        let by = self.transport_deadline();
        let input = self.input_bytes();
        let state = self.state();
        state.outbox.set_input(input);
        let of_session = if state.phase.is_open() { state.session.deadline() } else { None };
        let deadline = [by, of_session].into_iter().flatten().min();
        state.timer = state.runner.worker.set_deadline(state.runner.key, state.timer, deadline);
    }
}

/// The resident future of a connection's actor. actix polls it after the mailbox, so all that a turn brought leaves in one write.
/// `docs/architecture.md` §3.3.
struct ResidentTask;

impl<A: ConnectionActor> ActorFuture<A> for ResidentTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, me: &mut A, ctx: &mut Context<A>, task: &mut Task<'_>) -> Poll<()> {
        me.state().outbox.register(task);
        let done = me.poll_turn(ctx, task);
        if done.is_ready() {
            ctx.stop();
        }
        done
    }
}

/// A connection's turn. It begins with its first input, so that a turn that only writes never reads a clock.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    began: Option<Instant>,
    looked: Option<Look>,
}

/// The first time that a turn was looked at. From then on its length is CPU time of the thread: what others on the machine do
/// does not make it longer. Most turns are of one message, are never looked at, and need no call into the kernel.
#[derive(Debug)]
struct Look {
    /// Time from the beginning.
    after: Duration,
    cpu: Duration,
}

impl Turn {
    /// A turn that begins now with work that may take milliseconds: it is looked at from the first.
    pub(crate) fn watched() -> Self {
        let look = Look { after: Duration::ZERO, cpu: cpu_time() };
        Self { began: Some(Instant::now()), looked: Some(look) }
    }

    /// Input is there.
    pub(crate) fn begin(&mut self) {
        self.began.get_or_insert_with(Instant::now);
    }

    /// True if the rest of the input belongs to another turn.
    pub(crate) fn is_over(&mut self) -> bool {
        let Some(began) = self.began else { return false };
        let elapsed = began.elapsed();
        self.looked.get_or_insert_with(|| Look { after: elapsed, cpu: cpu_time() });
        elapsed >= TURN
    }

    /// As [`Turn::is_over`], after a read that filled the buffer or did not. After one that did not, mostly no input is left, and
    /// a system call for the CPU time of a turn that ends anyway would be in vain: the wall clock, which needs none, will do.
    pub(crate) fn is_over_after(&mut self, is_buffer_full: bool) -> bool {
        if is_buffer_full {
            return self.is_over();
        }
        self.began.is_some_and(|began| began.elapsed() >= TURN)
    }

    /// Gives the worker the length of the turn.
    pub(crate) fn end(self, worker: &Worker) {
        let Some(began) = self.began else { return };
        let held = match self.looked {
            Some(look) => look.after + cpu_time().saturating_sub(look.cpu),
            None => began.elapsed(),
        };
        worker.traffic.held(held);
    }
}

/// CPU time that this thread has used.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}
