//! Plays one attack: keeps its connections open, sends what the attack says at its pace, and counts.
//!
//! No step depends on what is answered, so that the same traffic can go to a [`super::sink`].

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustls::ClientConfig;

use super::{
    attacks::{Attack, Port},
    wire::{self, Wire},
};

/// Attackers come from 127.0.0.2 to 127.0.0.11; honest clients from 127.0.0.1.
const FIRST_SOURCE: u8 = 2;
const SOURCES: usize = 10;
/// The node that is filled.
pub(crate) const FULL_NODE: usize = 1;
/// Pause between two looks at all connections of an attack.
const TURN: Duration = Duration::from_millis(10);
/// The next of the opening messages is sent after an answer, or after this time without one.
const STEP_PATIENCE: Duration = Duration::from_millis(300);
/// One read takes at most this.
const READ_BYTES: usize = 64 * 1024;

/// Where the ports of a cluster, or of a sink, are.
#[derive(Debug, Clone)]
pub(crate) struct Targets {
    pub(crate) http: Vec<SocketAddr>,
    pub(crate) stomp: Vec<SocketAddr>,
    pub(crate) tls: Vec<SocketAddr>,
    pub(crate) h2: Arc<ClientConfig>,
}

/// What an attack did, summed over its connections.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Done {
    pub(crate) opened: u64,
    pub(crate) refused: u64,
    /// Ended by the node.
    pub(crate) ended: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
}

impl Done {
    pub(crate) fn add(&mut self, more: Self) {
        self.opened += more.opened;
        self.refused += more.refused;
        self.ended += more.ended;
        self.sent_bytes += more.sent_bytes;
        self.received_bytes += more.received_bytes;
    }
}

struct Connection {
    wire: Box<dyn Wire>,
    index: usize,
    steps: std::vec::IntoIter<Vec<u8>>,
    next_step: Instant,
    unsent: Vec<u8>,
    repeats: u64,
    next_repeat: Option<Instant>,
    close_at: Option<Instant>,
}

/// Runs until it is told to stop, then drops all its connections.
pub(crate) fn play(attack: Attack, targets: &Targets, stop: &AtomicBool) -> Done {
    let mut done = Done::default();
    let mut connections: Vec<Connection> = Vec::new();
    let began = Instant::now();
    let mut opens = 0_u64;
    let mut buffer = vec![0; READ_BYTES];
    while !stop.load(Ordering::Relaxed) {
        let due = began.elapsed().as_secs_f64() * f64::from(attack.opens_per_second);
        while connections.len() < attack.connections && (opens as f64) < due {
            match open(&attack, targets, opens as usize) {
                Ok(connection) => {
                    connections.push(connection);
                    done.opened += 1;
                }
                Err(_) => done.refused += 1,
            }
            opens += 1;
        }
        let now = Instant::now();
        connections.retain_mut(|connection| {
            if connection.close_at.is_some_and(|at| at <= now) {
                return false;
            }
            let lives = connection.turn(&attack, now, &mut buffer, &mut done);
            done.ended += u64::from(!lives);
            lives
        });
        thread::sleep(TURN);
    }
    done
}

fn open(attack: &Attack, targets: &Targets, index: usize) -> std::io::Result<Connection> {
    let (addresses, tls) = match attack.port {
        Port::Http => (&targets.http, None),
        Port::Stomp => (&targets.stomp, None),
        Port::Tls => (&targets.tls, None),
        Port::H2 => (&targets.tls, Some(&targets.h2)),
    };
    let source = Ipv4Addr::new(127, 0, 0, FIRST_SOURCE + (index % SOURCES) as u8);
    let node = if attack.fills { FULL_NODE } else { index };
    let wire = wire::connect(source, addresses[node % addresses.len()], tls, !attack.reads)?;
    let now = Instant::now();
    Ok(Connection {
        wire,
        index,
        steps: (attack.opening)(index).into_iter(),
        next_step: now,
        unsent: Vec::new(),
        repeats: 0,
        next_repeat: None,
        close_at: attack.lasts.map(|lasts| now + lasts),
    })
}

impl Connection {
    /// Sends and reads what it can; false when the node has ended it.
    fn turn(&mut self, attack: &Attack, now: Instant, buffer: &mut [u8], done: &mut Done) -> bool {
        let is_opening = self.steps.len() > 0;
        if attack.reads || is_opening {
            match self.wire.read(buffer) {
                Ok(0) => return false,
                Ok(count) => {
                    done.received_bytes += count as u64;
                    self.next_step = now;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
        if self.unsent.is_empty() {
            if is_opening {
                if self.next_step <= now {
                    self.unsent = self.steps.next().unwrap_or_default();
                    self.next_step = now + STEP_PATIENCE;
                }
            } else if let Some(again) = &attack.again {
                // Connections that opened together do not send together.
                let first = now + again.every.mul_f64((self.index % 16) as f64 / 16.0);
                let due = *self.next_repeat.get_or_insert(first);
                if due <= now {
                    self.unsent = (again.bytes)(self.index, self.repeats);
                    self.repeats += 1;
                    self.next_repeat = Some(now + again.every);
                }
            }
        }
        if !self.unsent.is_empty() {
            match self.wire.write(&self.unsent) {
                Ok(count) => {
                    done.sent_bytes += count as u64;
                    self.unsent.drain(..count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
        true
    }
}
