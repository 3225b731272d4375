//! The steps of a simulation: how they are written, drawn and shortened.

use std::{fmt, str::FromStr, sync::Arc};

/// One movement of the simulated world. A step that makes no sense where it stands does nothing, so that any part of a schedule
/// is a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ScheduleStep {
    /// A process starts.
    Start(usize),
    /// A process ends at once; of each line of requests the server carries out so many.
    Kill(usize, usize),
    /// A worker's thread stands still.
    Freeze(usize, usize),
    /// It goes on.
    Thaw(usize, usize),
    /// The server carries the first request of a line out.
    Execute(usize, Arc<str>),
    /// The first answer of a line arrives.
    Answer(usize, Arc<str>),
    /// The first of what was pushed for a channel arrives.
    Receive(usize, Arc<str>),
    /// The pushes for a channel are lost, and the link notices.
    Lose(usize, Arc<str>),
    /// A process loses its link; of each line of requests the server carries out so many.
    Cut(usize, usize),
    /// It has it back.
    Heal(usize),
    /// All lose their links, and the server forgets so many publications of each stream.
    Failover(usize),
    /// The history of a channel expires.
    Expire(Arc<str>),
    /// The whole stream of a channel expires.
    Forget(Arc<str>),
    /// So many milliseconds pass.
    Wait(usize),
    /// A client connects to a worker of a process.
    Connect(usize, usize, usize),
    /// A client's connection breaks.
    Disconnect(usize),
    /// A client reads what its socket holds.
    Read(usize),
    Subscribe(usize, Arc<str>),
    Unsubscribe(usize, Arc<str>),
    /// A client publishes.
    Publish(usize, Arc<str>),
    /// A client of STOMP begins to consume a queue, in the first, second or third mode of acknowledging.
    Consume(usize, usize, Arc<str>),
    /// It ends that.
    Leave(usize, Arc<str>),
    /// It sends to a queue.
    Send(usize, Arc<str>),
    /// It acknowledges one of the messages that it holds.
    Ack(usize, usize),
    /// It refuses one.
    Nack(usize, usize),
    /// It sends DISCONNECT.
    Goodbye(usize),
    /// A client that receives over HTTP asks a worker of a process, and waits for so many seconds at most.
    Poll(usize, usize, usize, usize),
    /// A client of SockJS sends what it has to say to a worker of its session's process.
    Post(usize, usize),
    /// It begins a transaction: what it sends and acknowledges from now on is part of it.
    Begin(usize),
    /// It ends the transaction, and all of it happens.
    Commit(usize),
    /// It ends the transaction, and nothing of it happens.
    Abort(usize),
    /// A client asks for presence.
    Presence(usize, Arc<str>),
    /// A client asks for history.
    History(usize, Arc<str>),
    /// A client calls a method.
    Call(usize),
    /// The backend answers a call in one of its ways.
    Reply(usize, usize),
    /// A backend publishes through a process.
    ApiPublish(usize, Arc<str>),
    /// A backend ends a client's subscription through a process.
    ApiUnsubscribe(usize, usize, Arc<str>),
}

impl ScheduleStep {
    /// The word that it is written with.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Start(..) => "start",
            Self::Kill(..) => "kill",
            Self::Freeze(..) => "freeze",
            Self::Thaw(..) => "thaw",
            Self::Execute(..) => "execute",
            Self::Answer(..) => "answer",
            Self::Receive(..) => "receive",
            Self::Lose(..) => "lose",
            Self::Cut(..) => "cut",
            Self::Heal(..) => "heal",
            Self::Failover(..) => "failover",
            Self::Expire(..) => "expire",
            Self::Forget(..) => "forget",
            Self::Wait(..) => "wait",
            Self::Connect(..) => "connect",
            Self::Disconnect(..) => "disconnect",
            Self::Read(..) => "read",
            Self::Subscribe(..) => "subscribe",
            Self::Unsubscribe(..) => "unsubscribe",
            Self::Publish(..) => "publish",
            Self::Consume(..) => "consume",
            Self::Leave(..) => "leave",
            Self::Send(..) => "send",
            Self::Ack(..) => "ack",
            Self::Nack(..) => "nack",
            Self::Goodbye(..) => "goodbye",
            Self::Poll(..) => "poll",
            Self::Post(..) => "post",
            Self::Begin(..) => "begin",
            Self::Commit(..) => "commit",
            Self::Abort(..) => "abort",
            Self::Presence(..) => "presence",
            Self::History(..) => "history",
            Self::Call(..) => "call",
            Self::Reply(..) => "reply",
            Self::ApiPublish(..) => "api-publish",
            Self::ApiUnsubscribe(..) => "api-unsubscribe",
        }
    }
}

impl fmt::Display for ScheduleStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())?;
        match self {
            Self::Start(number)
            | Self::Heal(number)
            | Self::Failover(number)
            | Self::Wait(number)
            | Self::Disconnect(number)
            | Self::Read(number)
            | Self::Goodbye(number)
            | Self::Begin(number)
            | Self::Commit(number)
            | Self::Abort(number)
            | Self::Call(number) => write!(f, " {number}"),
            Self::Kill(number, other)
            | Self::Freeze(number, other)
            | Self::Thaw(number, other)
            | Self::Cut(number, other)
            | Self::Ack(number, other)
            | Self::Nack(number, other)
            | Self::Post(number, other)
            | Self::Reply(number, other) => write!(f, " {number} {other}"),
            Self::Expire(name) | Self::Forget(name) => write!(f, " {name}"),
            Self::Execute(number, name)
            | Self::Answer(number, name)
            | Self::Receive(number, name)
            | Self::Lose(number, name)
            | Self::Subscribe(number, name)
            | Self::Unsubscribe(number, name)
            | Self::Publish(number, name)
            | Self::Leave(number, name)
            | Self::Send(number, name)
            | Self::Presence(number, name)
            | Self::History(number, name)
            | Self::ApiPublish(number, name) => write!(f, " {number} {name}"),
            Self::Connect(client, process, worker) => write!(f, " {client} {process} {worker}"),
            Self::Poll(client, process, worker, seconds) => {
                write!(f, " {client} {process} {worker} {seconds}")
            }
            Self::Consume(number, other, name) | Self::ApiUnsubscribe(number, other, name) => {
                write!(f, " {number} {other} {name}")
            }
        }
    }
}

/// A line that is no step.
#[derive(Debug)]
pub(super) struct NoStep;

impl FromStr for ScheduleStep {
    type Err = NoStep;

    fn from_str(line: &str) -> Result<Self, NoStep> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |index: usize| words.get(index).and_then(|word| word.parse().ok()).ok_or(NoStep);
        // Names stand last, and some have spaces in them.
        let name = |index: usize| {
            let words = words.get(index..).filter(|words| !words.is_empty()).ok_or(NoStep)?;
            Ok(Arc::from(words.join(" ")))
        };
        Ok(match *words.first().ok_or(NoStep)? {
            "start" => Self::Start(number(1)?),
            "kill" => Self::Kill(number(1)?, number(2)?),
            "freeze" => Self::Freeze(number(1)?, number(2)?),
            "thaw" => Self::Thaw(number(1)?, number(2)?),
            "execute" => Self::Execute(number(1)?, name(2)?),
            "answer" => Self::Answer(number(1)?, name(2)?),
            "receive" => Self::Receive(number(1)?, name(2)?),
            "lose" => Self::Lose(number(1)?, name(2)?),
            "cut" => Self::Cut(number(1)?, number(2)?),
            "heal" => Self::Heal(number(1)?),
            "failover" => Self::Failover(number(1)?),
            "expire" => Self::Expire(name(1)?),
            "forget" => Self::Forget(name(1)?),
            "wait" => Self::Wait(number(1)?),
            "connect" => Self::Connect(number(1)?, number(2)?, number(3)?),
            "disconnect" => Self::Disconnect(number(1)?),
            "read" => Self::Read(number(1)?),
            "subscribe" => Self::Subscribe(number(1)?, name(2)?),
            "unsubscribe" => Self::Unsubscribe(number(1)?, name(2)?),
            "publish" => Self::Publish(number(1)?, name(2)?),
            "consume" => Self::Consume(number(1)?, number(2)?, name(3)?),
            "leave" => Self::Leave(number(1)?, name(2)?),
            "send" => Self::Send(number(1)?, name(2)?),
            "ack" => Self::Ack(number(1)?, number(2)?),
            "nack" => Self::Nack(number(1)?, number(2)?),
            "goodbye" => Self::Goodbye(number(1)?),
            "poll" => Self::Poll(number(1)?, number(2)?, number(3)?, number(4)?),
            "post" => Self::Post(number(1)?, number(2)?),
            "begin" => Self::Begin(number(1)?),
            "commit" => Self::Commit(number(1)?),
            "abort" => Self::Abort(number(1)?),
            "presence" => Self::Presence(number(1)?, name(2)?),
            "history" => Self::History(number(1)?, name(2)?),
            "call" => Self::Call(number(1)?),
            "reply" => Self::Reply(number(1)?, number(2)?),
            "api-publish" => Self::ApiPublish(number(1)?, name(2)?),
            "api-unsubscribe" => Self::ApiUnsubscribe(number(1)?, number(2)?, name(3)?),
            _ => return Err(NoStep),
        })
    }
}

/// Takes steps out of a failing schedule for as long as it fails: halves first, then ever smaller pieces. `fails` is asked at
/// most `runs` times.
pub(super) fn shorten(
    mut steps: Vec<ScheduleStep>,
    mut runs: usize,
    fails: impl Fn(&[ScheduleStep]) -> bool,
) -> Vec<ScheduleStep> {
    let mut piece = steps.len() / 2;
    while piece > 0 && runs > 0 {
        let mut start = 0;
        while start < steps.len() && runs > 0 {
            let end = (start + piece).min(steps.len());
            let shorter: Vec<ScheduleStep> =
                steps.iter().take(start).chain(steps.iter().skip(end)).cloned().collect();
            runs -= 1;
            if fails(&shorter) {
                steps = shorter;
            } else {
                start = end;
            }
        }
        piece = if piece == 1 { 0 } else { piece.div_ceil(2) };
        if piece == 1 && start == 0 {
            break;
        }
    }
    steps
}
