//! The terminal: draws, reads keys, and gives the terminal back whatever ends it. A thread asks; another one waits for signals.

use std::{
    io::{self, IsTerminal as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel},
    },
    thread,
    time::Duration,
};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyEventKind},
};
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep},
};

use super::{
    poll::{TopQuery, ask},
    screen::draw,
    snapshot::Snapshot,
    state::{KeyEffect, TopState},
};
use crate::cli::{
    admin_client::{AdminCallFailed, AdminClient},
    terminal::printable,
};

/// The longest time until a signal or an answer is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Time after a signal in which the screen ends by itself. Where its terminal is gone it does not: a read of that never ends.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// The state that the screen and the poller share.
struct Shared {
    /// `None` while paused.
    query: Mutex<Option<TopQuery>>,
    is_over: AtomicBool,
    /// The screen is left, and the terminal given back.
    is_left: AtomicBool,
}

type TopAnswer = Result<Snapshot, AdminCallFailed>;

/// Shows until a key, a signal or the number of rounds ends it; the summary is what is left on the terminal.
pub(super) fn run(
    client: &AdminClient<'_>,
    mut state: TopState,
    mut snapshot: Snapshot,
    delay: Duration,
    rounds: Option<u32>,
) -> io::Result<String> {
    let shared = Arc::new(Shared {
        query: Mutex::new(Some(TopQuery::of(&state))),
        is_over: AtomicBool::new(false),
        is_left: AtomicBool::new(false),
    });
    end_at_signals(Arc::clone(&shared));
    let (wake, woken) = sync_channel::<()>(1);
    let (answers, answered) = sync_channel::<TopAnswer>(1);
    let began = Instant::now();
    let mut polls: u32 = 1;
    let mut terminal = take_terminal()?;
    let result = thread::scope(|scope| {
        let asked = &shared;
        scope.spawn(move || poll(client, asked, &woken, &answers, delay));
        let drawn = (|| -> io::Result<()> {
            let mut is_changed = true;
            while !shared.is_over.load(Ordering::Relaxed) && rounds.is_none_or(|rounds| polls < rounds) {
                match answered.try_recv() {
                    Ok(answer) => {
                        polls = polls.saturating_add(1);
                        is_changed = true;
                        match answer {
                            Ok(newer) => snapshot = newer,
                            Err(error) => snapshot.trouble = Some(printable(&error.to_string())),
                        }
                    }
                    Err(TryRecvError::Empty) => {}
                    // The poller is gone; only a panic ends it before the screen.
                    Err(TryRecvError::Disconnected) => break,
                }
                if is_changed {
                    terminal.draw(|frame| draw(frame, &state, &snapshot))?;
                    is_changed = false;
                }
                if !event::poll(LOOK_EVERY)? {
                    continue;
                }
                is_changed = true;
                let Event::Key(key) = event::read()? else { continue };
                if key.kind == KeyEventKind::Release {
                    continue;
                }
                let count = state.visible(&snapshot).len();
                match state.key(key, count) {
                    KeyEffect::Draw => {}
                    KeyEffect::End => break,
                    KeyEffect::Ask => {
                        let query = (!state.is_paused).then(|| TopQuery::of(&state));
                        *shared.query.lock().unwrap_or_else(PoisonError::into_inner) = query;
                        // Full: it is awake already.
                        let _is_awake = wake.try_send(());
                    }
                }
            }
            Ok(())
        })();
        shared.is_over.store(true, Ordering::Relaxed);
        // At once: the poller may wait for an answer still.
        let given_back = ratatui::try_restore();
        shared.is_left.store(true, Ordering::Relaxed);
        // It waits on one of them otherwise.
        drop(wake);
        drop(answered);
        drawn.and(given_back)
    });
    result?;
    let seconds = began.elapsed().as_secs();
    Ok(format!("{polls} polls in {seconds} s\n"))
}

/// The terminal as a screen. A panic gives it back before it is told.
fn take_terminal() -> io::Result<DefaultTerminal> {
    ratatui::try_init()
}

/// Asks again and again, until nobody listens.
fn poll(
    client: &AdminClient<'_>,
    shared: &Shared,
    woken: &Receiver<()>,
    answers: &SyncSender<TopAnswer>,
    delay: Duration,
) {
    loop {
        match woken.recv_timeout(delay) {
            Err(RecvTimeoutError::Disconnected) => return,
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
        }
        let query = shared.query.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(query) = query else { continue };
        if answers.send(ask(client, &query)).is_err() {
            return;
        }
    }
}

/// Ends the screen at SIGTERM, SIGINT and SIGHUP, and where its terminal has gone. In the screen Ctrl-C is a key.
fn end_at_signals(shared: Arc<Shared>) {
    thread::spawn(move || {
        actix_rt::System::new().block_on(async {
            let registered = || -> io::Result<_> {
                Ok((
                    signal(SignalKind::terminate())?,
                    signal(SignalKind::interrupt())?,
                    signal(SignalKind::hangup())?,
                ))
            };
            // Without them a signal ends the process as ever.
            let Ok((mut terminate, mut interrupt, mut hangup)) = registered() else { return };
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {}
                () = hung_up() => {}
            }
            shared.is_over.store(true, Ordering::Relaxed);
            sleep(ENDS_WITHIN).await;
            if !shared.is_left.load(Ordering::Relaxed) {
                // Nobody is there to be told if it fails.
                let _is_given_back = ratatui::try_restore();
                std::process::exit(1);
            }
        });
    });
}

/// Returns when the terminal of the standard input has gone; never where that is none.
async fn hung_up() {
    let input = io::stdin();
    if !input.is_terminal() {
        return std::future::pending().await;
    }
    loop {
        sleep(ENDS_WITHIN).await;
        let mut looked_at = [PollFd::new(&input, PollFlags::empty())];
        let has_answered = rustix::event::poll(&mut looked_at, Some(&Timespec::default()));
        if has_answered.is_ok() && looked_at[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use std::process::Command;

    use super::*;

    /// Says that a test runs in a terminal of its own.
    const IN_TERMINAL: &str = "GORANI_TEST_IN_TERMINAL";

    #[test]
    fn a_panic_gives_the_terminal_back_before_it_is_told() {
        const NAME: &str = "cli::top::run::tests::a_panic_gives_the_terminal_back_before_it_is_told";
        if std::env::var_os(IN_TERMINAL).is_some() {
            let _terminal = take_terminal().unwrap();
            panic!("in the screen");
        }
        let this = std::env::current_exe().unwrap();
        let line = format!("stty cols 80 rows 24; {} --exact {NAME} --nocapture", this.display());
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).env(IN_TERMINAL, "1").env("TERM", "xterm");
        let shown = String::from_utf8_lossy(&script.output().unwrap().stdout).into_owned();
        let position = |part: &str| shown.find(part).unwrap_or_else(|| panic!("{part:?}: {shown:?}"));
        let (taken, given_back) = (position("\u{1b}[?1049h"), position("\u{1b}[?1049l"));
        assert!(taken < given_back && given_back < position("in the screen"), "{shown:?}");
    }
}
