//! Waking: the writer when bytes come, and those who wait for room when bytes go.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use super::*;

/// A task that counts how often it is woken.
#[derive(Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Task {
    fn new() -> (Arc<Self>, Waker) {
        let task = Arc::new(Self::default());
        let waker = Waker::from(task.clone());
        (task, waker)
    }

    fn woken(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// An outbox for 10 bytes with a writer.
fn watched() -> (Outbox, Arc<Task>, Waker) {
    let (outbox, (task, waker)) = (Outbox::new(10), Task::new());
    outbox.register(&Context::from_waker(&waker));
    (outbox, task, waker)
}

#[test]
fn a_writer_is_woken_once_until_it_looks_again() {
    let (outbox, writer, waker) = watched();
    outbox.push(Bytes::from_static(b"one")).unwrap();
    outbox.push(Bytes::from_static(b"two")).unwrap();
    outbox.wake();
    assert_eq!(writer.woken(), 1);
    write_up_to(&outbox, 10);
    outbox.push_pair(Bytes::from_static(b"three"), Bytes::from_static(b"four")).unwrap();
    assert_eq!(writer.woken(), 1, "it was woken and has not looked yet");
    write_up_to(&outbox, 10);
    outbox.register(&Context::from_waker(&waker));
    outbox.push_reply(Bytes::from_static(b"five")).unwrap();
    assert_eq!(writer.woken(), 2);
}

#[test]
fn a_writer_that_waits_for_its_socket_is_not_woken_by_more_bytes() {
    let (outbox, writer, waker) = watched();
    outbox.push(Bytes::from_static(b"one")).unwrap();
    outbox.register(&Context::from_waker(&waker));
    outbox.push(Bytes::from_static(b"two")).unwrap();
    assert_eq!(writer.woken(), 1);
}

#[test]
fn nothing_to_write_wakes_nobody_unless_asked() {
    let (outbox, writer, _) = watched();
    outbox.push(Bytes::new()).unwrap();
    outbox.push_reply(Bytes::new()).unwrap();
    assert_eq!(writer.woken(), 0);
    outbox.wake();
    assert_eq!(writer.woken(), 1);
}

#[test]
fn only_the_last_writer_that_registered_is_woken() {
    let (outbox, first, _) = watched();
    let (second, waker) = Task::new();
    outbox.register(&Context::from_waker(&waker));
    outbox.push(Bytes::from_static(b"one")).unwrap();
    assert_eq!((first.woken(), second.woken()), (0, 1));
}

#[test]
fn a_writer_is_woken_to_end_the_connection() {
    let ends: [fn(&Outbox); 4] = [
        |outbox| assert_eq!(outbox.push(Bytes::from_static(b"too much")), Err(Overflow)),
        |outbox| {
            assert!(outbox.close_as_slow());
            assert!(!outbox.close_as_slow(), "it ends already");
        },
        |outbox| outbox.replace_with(Bytes::from_static(b"bye")),
        |outbox| {
            outbox.push_replay(Bytes::from_static(b"missed")).unwrap();
            outbox.push_reply(Bytes::from_static(b"an answer")).unwrap();
            outbox.push_reply(Bytes::from_static(b"another")).unwrap_err();
        },
    ];
    for end in ends {
        let (outbox, writer, waker) = watched();
        outbox.push(Bytes::from_static(b"123")).unwrap();
        outbox.register(&Context::from_waker(&waker));
        end(&outbox);
        assert_eq!(writer.woken(), 2);
        assert_eq!(outbox.overflow(), Some(Disconnect::SLOW));
    }
}

/// Polls a wait for room once a step: returns how often its task was woken and whether it goes on.
fn wait_for_room(outbox: &Outbox, step: impl FnOnce()) -> (bool, usize, bool) {
    let (task, waker) = Task::new();
    let mut task_context = Context::from_waker(&waker);
    let mut room = pin!(outbox.room());
    let was_ready = room.as_mut().poll(&mut task_context).is_ready();
    if was_ready {
        return (true, 0, true);
    }
    step();
    let woken = task.woken();
    (false, woken, room.as_mut().poll(&mut task_context) == Poll::Ready(()))
}

#[test]
fn there_is_room_while_at_most_half_of_the_limit_waits() {
    let outbox = Outbox::new(10);
    outbox.push(Bytes::from_static(b"12345")).unwrap();
    assert_eq!(wait_for_room(&outbox, || {}), (true, 0, true));
    outbox.push(Bytes::from_static(b"6")).unwrap();
    assert_eq!(wait_for_room(&outbox, || {}), (false, 0, false));
}

#[test]
fn who_waits_for_room_goes_on_once_half_of_it_is_written() {
    let outbox = Outbox::new(10);
    outbox.push(Bytes::from_static(b"12345678")).unwrap();
    assert_eq!(wait_for_room(&outbox, || drop(write_up_to(&outbox, 2))), (false, 0, false));
    assert_eq!(wait_for_room(&outbox, || drop(write_up_to(&outbox, 1))), (false, 1, true));
}

#[test]
fn who_waits_for_room_goes_on_once_half_of_it_is_taken_out() {
    let outbox = Outbox::new(10);
    for piece in [&b"12"[..], b"34", b"5678"] {
        outbox.push(Bytes::from_static(piece)).unwrap();
    }
    assert_eq!(wait_for_room(&outbox, || drop(outbox.pop())), (false, 0, false));
    assert_eq!(wait_for_room(&outbox, || drop(outbox.pop())), (false, 1, true));
}

#[test]
fn nobody_waits_for_room_in_an_outbox_that_ends() {
    let ends: [fn(&Outbox); 3] = [
        |outbox| assert!(outbox.close_as_slow()),
        |outbox| outbox.replace_with(Bytes::from_static(b"a last word")),
        |outbox| outbox.replace_with(Bytes::new()),
    ];
    for end in ends {
        let outbox = Outbox::new(10);
        outbox.push(Bytes::from_static(b"12345678")).unwrap();
        assert_eq!(wait_for_room(&outbox, || end(&outbox)), (false, 1, true));
        assert_eq!(wait_for_room(&outbox, || {}), (true, 0, true));
    }
}
