//! Tests of an outbox: its content, the order in which it leaves, and its limits.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;

mod limits;
mod waking;

fn write_up_to(outbox: &Outbox, most: usize) -> Vec<u8> {
    let mut seen = Vec::new();
    outbox
        .write_with(|slices| {
            for slice in slices {
                seen.extend_from_slice(slice);
            }
            seen.truncate(most);
            Ok::<_, ()>(seen.len())
        })
        .unwrap();
    seen
}

#[test]
fn what_is_pushed_leaves_in_order_whatever_the_writes_take() {
    let outbox = Outbox::new(100);
    outbox.push(Bytes::from_static(b"hello ")).unwrap();
    outbox.push(Bytes::from_static(b"wide ")).unwrap();
    outbox.push(Bytes::from_static(b"world")).unwrap();
    let mut all = Vec::new();
    while !outbox.is_empty() {
        all.extend(write_up_to(&outbox, 4));
    }
    assert_eq!(all, b"hello wide world");
    assert_eq!(outbox.len_bytes(), 0);
}

#[test]
fn over_its_limit_it_takes_nothing_more_and_says_slow() {
    let outbox = Outbox::new(10);
    outbox.push(Bytes::from_static(b"12345678")).unwrap();
    assert_eq!(outbox.push(Bytes::from_static(b"9ab")), Err(Overflow));
    assert_eq!(outbox.push(Bytes::from_static(b"c")), Err(Overflow));
    assert_eq!(outbox.overflow(), Some(Disconnect::SLOW));
    assert_eq!(outbox.len_bytes(), 8);
}

#[test]
fn a_large_reply_does_not_make_a_client_slow_but_asking_on_without_reading_does() {
    const LARGE: &[u8] = b"a reply that is larger than the limit";
    let outbox = Outbox::new(10);
    outbox.push(Bytes::from_static(b"12")).unwrap();
    outbox.push_reply(Bytes::from_static(LARGE)).unwrap();
    outbox.push(Bytes::from_static(b"345678")).unwrap();
    assert_eq!(write_up_to(&outbox, 30).len(), 30);
    outbox.push(Bytes::from_static(b"9abc")).unwrap();
    assert_eq!(outbox.push(Bytes::from_static(b"d")), Err(Overflow));

    let outbox = Outbox::new(10);
    outbox.expect_reply();
    outbox.push_reply(Bytes::from_static(LARGE)).unwrap();
    assert_eq!(outbox.push_reply(Bytes::from_static(b"x")), Err(Overflow));

    // The same, known before the second reply is made.
    let outbox = Outbox::new(10);
    outbox.push_reply(Bytes::from_static(LARGE)).unwrap();
    outbox.expect_reply();
    assert_eq!(outbox.overflow(), Some(Disconnect::SLOW));
}

#[test]
fn the_two_pieces_of_a_message_leave_together_or_not_at_all() {
    let (head, rest) = (Bytes::from_static(b"head "), Bytes::from_static(b"rest "));
    for most in 0..=20 {
        let outbox = Outbox::new(100);
        outbox.push_pair(head.clone(), rest.clone()).unwrap();
        outbox.push_pair(head.clone(), rest.clone()).unwrap();
        let mut all = write_up_to(&outbox, most);
        outbox.replace_with(Bytes::from_static(b"bye"));
        while !outbox.is_empty() {
            all.extend(write_up_to(&outbox, 100));
        }
        let messages = most.div_ceil(10);
        assert_eq!(all, ["head rest ".repeat(messages).as_bytes(), b"bye"].concat(), "{most} bytes written");
    }
    let outbox = Outbox::new(12);
    outbox.push(Bytes::from_static(b"123")).unwrap();
    assert_eq!(outbox.push_pair(head, rest), Err(Overflow));
    assert_eq!(outbox.len_bytes(), 3);
}

#[test]
fn a_large_reply_in_two_pieces_is_one_reply() {
    let outbox = Outbox::new(10);
    outbox.push_reply_pair(Bytes::from_static(b"head"), Bytes::from_static(b"and more than fits")).unwrap();
    outbox.push(Bytes::from_static(b"later")).unwrap();
    assert_eq!(write_up_to(&outbox, 2), b"he");
    outbox.replace_with(Bytes::from_static(b"bye"));
    assert_eq!(write_up_to(&outbox, 100), b"adand more than fitsbye");
}

#[test]
fn a_pair_without_a_second_piece_is_one_chunk_and_an_empty_one_is_none() {
    let outbox = Outbox::new(100);
    outbox.push_pair(Bytes::from_static(b"all"), Bytes::new()).unwrap();
    outbox.push_pair(Bytes::new(), Bytes::new()).unwrap();
    assert_eq!(write_up_to(&outbox, 1), b"a");
    outbox.replace_with(Bytes::from_static(b"bye"));
    assert_eq!(write_up_to(&outbox, 100), b"llbye");
    assert!(outbox.is_empty());
}

#[test]
fn a_chunk_that_is_partly_written_is_finished_before_the_last_word() {
    let outbox = Outbox::new(100);
    outbox.push(Bytes::from_static(b"abcdef")).unwrap();
    outbox.push(Bytes::from_static(b"dropped")).unwrap();
    assert_eq!(write_up_to(&outbox, 2), b"ab");
    outbox.replace_with(Bytes::from_static(b"bye"));
    assert_eq!(write_up_to(&outbox, 100), b"cdefbye");
}

#[test]
fn what_was_missed_in_many_channels_waits_together_and_leaves_room_for_what_comes() {
    let outbox = Outbox::new(10);
    outbox.push_reply(Bytes::from_static(b"connect")).unwrap();
    for _ in 0..128 {
        outbox.push_replay(Bytes::from_static(b"missed in a channel")).unwrap();
    }
    outbox.push(Bytes::from_static(b"0123456789")).unwrap();
    outbox.push_replay(Bytes::from_static(b"missed in one more")).unwrap();
    outbox.push(Bytes::from_static(b"0123456789")).unwrap();
    assert_eq!(outbox.push(Bytes::from_static(b"x")), Err(Overflow));
    assert_eq!(outbox.push_replay(Bytes::from_static(b"x")), Err(Overflow));
}
