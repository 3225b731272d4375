//! The limit to the byte: what counts against it, and for how long.

use super::*;
use crate::memory::holders::{OUTBOX_BYTES, STALLED_MEASUREMENTS, measure};

#[test]
fn what_fits_to_the_byte_is_taken_and_one_byte_more_is_not() {
    let outbox = Outbox::new(10);
    outbox.push(Bytes::from_static(b"12345")).unwrap();
    outbox.push_pair(Bytes::from_static(b"67"), Bytes::from_static(b"890")).unwrap();
    outbox.expect_reply();
    assert_eq!((outbox.overflow(), outbox.len_bytes()), (None, 10), "what fits is not too much");
    assert_eq!(outbox.push(Bytes::from_static(b"x")), Err(Overflow));
    assert_eq!(outbox.len_bytes(), 10);
}

#[test]
fn a_message_that_is_larger_than_the_limit_leaves_alone() {
    let outbox = Outbox::new(10);
    outbox.push(Bytes::from_static(b"larger than the limit")).unwrap();
    assert_eq!(outbox.push(Bytes::from_static(b"x")), Err(Overflow));
}

#[test]
fn a_reply_that_fits_counts_against_the_limit_as_anything_else_does() {
    for reply in [&b"12345678"[..], b"1234567890"] {
        let outbox = Outbox::new(10);
        outbox.push_reply(Bytes::from_static(reply)).unwrap();
        assert_eq!(outbox.push(Bytes::from_static(b"abc")), Err(Overflow));
    }
}

#[test]
fn a_reply_is_taken_while_what_waits_is_no_more_than_the_limit() {
    let outbox = Outbox::new(10);
    outbox.push(Bytes::from_static(b"1234567890")).unwrap();
    outbox.push_reply(Bytes::from_static(b"a reply")).unwrap();
    assert_eq!(outbox.len_bytes(), 17);
    outbox.push(Bytes::from_static(b"live")).unwrap();
}

#[test]
fn what_is_written_of_a_large_reply_makes_no_room_for_other_bytes() {
    for is_popped in [false, true] {
        let outbox = Outbox::new(10);
        outbox.push_pair(Bytes::from_static(b"1234"), Bytes::from_static(b"567")).unwrap();
        outbox.push_reply(Bytes::from_static(b"a large reply")).unwrap();
        if is_popped {
            assert_eq!(outbox.pop().unwrap().len(), 4);
        } else {
            write_up_to(&outbox, 4);
        }
        outbox.push(Bytes::from_static(b"1234567890")).unwrap();
        assert_eq!(outbox.len_bytes(), 26);
        assert_eq!(outbox.push(Bytes::from_static(b"x")), Err(Overflow));
    }
}

#[test]
fn after_the_last_word_nothing_is_taken() {
    let outbox = Outbox::new(10);
    outbox.push_reply(Bytes::from_static(b"a large reply")).unwrap();
    outbox.replace_with(Bytes::from_static(b"bye"));
    assert_eq!(outbox.len_bytes(), 3);
    assert_eq!(outbox.push(Bytes::from_static(b"x")), Err(Overflow));
    assert_eq!(outbox.push_reply(Bytes::from_static(b"x")), Err(Overflow));
    assert_eq!(write_up_to(&outbox, 10), b"bye");
    assert!(outbox.is_empty());
}

#[test]
fn a_message_in_two_pieces_is_finished_by_a_transport_that_takes_pieces_out() {
    let outbox = Outbox::new(100);
    outbox.push_pair(Bytes::from_static(b"head"), Bytes::from_static(b"rest")).unwrap();
    outbox.push(Bytes::from_static(b"dropped")).unwrap();
    assert_eq!(outbox.pop().unwrap(), "head");
    outbox.replace_with(Bytes::from_static(b"bye"));
    assert_eq!([outbox.pop().unwrap(), outbox.pop().unwrap()], ["rest", "bye"]);
    assert_eq!((outbox.pop(), outbox.len_bytes()), (None, 0));
}

#[test]
fn a_write_shows_a_bounded_number_of_the_oldest_chunks() {
    let outbox = Outbox::new(1000);
    for number in 0..100_u8 {
        outbox.push(Bytes::from(vec![number])).unwrap();
    }
    assert_eq!(write_up_to(&outbox, 100), (0..64).collect::<Vec<u8>>());
    assert_eq!(write_up_to(&outbox, 100), (64..100).collect::<Vec<u8>>());
    assert_eq!(outbox.write_with(|slices| Ok::<_, ()>(slices.len())), Ok(0));
    assert_eq!(outbox.write_with(|_| Err("broken pipe")), Err("broken pipe"));
}

#[test]
fn a_client_that_takes_chunks_out_is_not_taken_for_stalled() {
    let outbox = Outbox::new(1 << 20);
    for _ in 0..4 {
        outbox.push(Bytes::from(vec![0; OUTBOX_BYTES])).unwrap();
    }
    for _ in 0..STALLED_MEASUREMENTS - 1 {
        measure();
    }
    outbox.pop().unwrap();
    assert!(measure().stalled().is_empty());
}

#[test]
fn an_outbox_is_listed_as_large_from_the_threshold_on_and_once() {
    let outbox = Outbox::new(1 << 20);
    outbox.push(Bytes::from(vec![0; OUTBOX_BYTES - 1])).unwrap();
    assert_eq!(measure().held.total(), 0);
    outbox.push(Bytes::from_static(b"1")).unwrap();
    outbox.push_pair(Bytes::from_static(b"2"), Bytes::from_static(b"3")).unwrap();
    outbox.push_reply(Bytes::from_static(b"4")).unwrap();
    assert_eq!(outbox.input_bytes(), 0);
    outbox.set_input(1 << 14);
    assert_eq!(outbox.input_bytes(), 1 << 14);
    assert_eq!(measure().held.total(), OUTBOX_BYTES + 3 + (1 << 14));
    for large in [Outbox::push_pair, Outbox::push_reply_pair] {
        let outbox = Outbox::new(1 << 20);
        let before = measure().held.total();
        large(&outbox, Bytes::from(vec![0; OUTBOX_BYTES]), Bytes::from_static(b"1")).unwrap();
        assert_eq!(measure().held.total(), before + OUTBOX_BYTES + 1);
    }
}

#[test]
fn clones_share_one_outbox() {
    let outbox = Outbox::new(10);
    outbox.clone().push(Bytes::from_static(b"12345678")).unwrap();
    assert_eq!(outbox.push(Bytes::from_static(b"9ab")), Err(Overflow));
}
