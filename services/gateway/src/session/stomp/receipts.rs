//! Receipts: confirmations that a client asked for, sent in the order of the frames. `docs/protocols/stomp.md` §9.1
//! and §9.2.

use std::collections::VecDeque;

use gorani_protocol::stomp::{ServerCommand, encode};

use crate::{
    format::message_headers::FrameStyle,
    session::{Actions, MessageKind, Ticket},
};

/// Frames whose outcome is awaited at a time; more wait, so that a client cannot flood the broker.
const UNDER_WAY: usize = 64;

/// Frames whose receipts wait at a time, whether they are done or not.
const FRAMES_WAITING: usize = 256;
/// Bytes of the receipts that wait from which on the next frame has to.
const RECEIPT_BYTES: usize = 64 * 1024;

/// Frames that are not done, or whose turn has not come.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    queue: VecDeque<ExpectedReceipt>,
    next_ticket: u32,
    outstanding: usize,
    /// Bytes of the receipts in the queue.
    receipt_bytes: usize,
}

/// A frame.
#[derive(Debug)]
struct ExpectedReceipt {
    /// The first of its tickets, which follow each other.
    first_ticket: u32,
    tickets: u32,
    left: u32,
    settled: CompletedFrame,
}

/// A frame that is done.
#[derive(Debug, Clone, Default)]
pub(super) struct CompletedFrame {
    pub(super) receipt: Option<Box<str>>,
    /// True if no frame follows it.
    pub(super) is_last: bool,
    /// Further headers of the receipt.
    pub(super) headers: Vec<(&'static str, String)>,
}

impl CompletedFrame {
    pub(super) fn write(&self, style: FrameStyle, receipt: &str, actions: &mut Actions) {
        actions.message(MessageKind::Text, |out| {
            let mut frame =
                encode::frame(ServerCommand::Receipt, style.version, out).header("receipt-id", receipt);
            for (name, value) in &self.headers {
                frame = frame.header(name, value);
            }
            frame.end();
            style.end_frame(out);
        });
    }
}

impl Receipts {
    /// A frame that waits for so many outcomes; returns the first of its tickets, which follow each other.
    pub(super) fn expect(&mut self, outcomes: usize, receipt: Option<&str>, is_last: bool) -> Ticket {
        let tickets = u32::try_from(outcomes).unwrap_or(u32::MAX);
        let first = self.next_ticket;
        self.next_ticket = first.wrapping_add(tickets);
        self.outstanding += outcomes;
        self.receipt_bytes += receipt.map_or(0, str::len);
        self.queue.push_back(ExpectedReceipt {
            first_ticket: first,
            tickets,
            left: tickets,
            settled: CompletedFrame { receipt: receipt.map(Into::into), is_last, headers: Vec::new() },
        });
        Ticket(first)
    }

    /// A ticket that no frame waits for.
    pub(super) fn ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.wrapping_add(1);
        ticket
    }

    fn find(&mut self, ticket: Ticket) -> Option<&mut ExpectedReceipt> {
        self.queue.iter_mut().find(|frame| ticket.0.wrapping_sub(frame.first_ticket) < frame.tickets)
    }

    /// Sets the headers of a receipt.
    pub(super) fn complete(&mut self, ticket: Ticket, headers: Vec<(&'static str, String)>) {
        if let Some(frame) = self.find(ticket) {
            frame.settled.headers = headers;
        }
    }

    /// True if the frame of this ticket asked for a receipt.
    pub(super) fn is_asked(&mut self, ticket: Ticket) -> bool {
        self.find(ticket).is_some_and(|frame| frame.settled.receipt.is_some())
    }

    /// An outcome is there; returns the frame that it belongs to.
    pub(super) fn done(&mut self, ticket: Ticket) -> Option<CompletedFrame> {
        let frame = self.find(ticket)?;
        frame.left = frame.left.saturating_sub(1);
        let settled = frame.settled.clone();
        self.outstanding = self.outstanding.saturating_sub(1);
        Some(settled)
    }

    /// The request of the frame with this ticket has failed, and the client gets to know it by another message than its receipt.
    pub(super) fn failed(&mut self, ticket: Ticket) {
        let receipt = self.find(ticket).and_then(|frame| frame.settled.receipt.take());
        self.receipt_bytes -= receipt.map_or(0, |receipt| receipt.len());
    }

    /// True if some frame is not done.
    pub(super) fn is_awaited(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Frames before the last one are waited for no more.
    pub(super) fn give_up(&mut self) {
        self.outstanding = 0;
        self.queue.retain(|frame| frame.settled.is_last);
        self.receipt_bytes =
            self.queue.iter().filter_map(|frame| frame.settled.receipt.as_deref()).map(str::len).sum();
    }

    /// The next frame in line, if it is done.
    pub(super) fn pop(&mut self) -> Option<CompletedFrame> {
        if self.queue.front()?.left > 0 {
            return None;
        }
        let settled = self.queue.pop_front().map(|frame| frame.settled);
        let receipt = settled.as_ref().and_then(|settled| settled.receipt.as_deref());
        self.receipt_bytes -= receipt.map_or(0, str::len);
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        settled
    }

    /// True if the next frame has to wait.
    pub(super) fn is_full(&self) -> bool {
        self.outstanding >= UNDER_WAY
            || self.queue.len() >= FRAMES_WAITING
            || self.receipt_bytes >= RECEIPT_BYTES
    }
}
