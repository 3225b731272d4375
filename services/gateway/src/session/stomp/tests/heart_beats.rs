//! Items 27 to 30.

use super::*;

fn beating(offer: &str) -> (Bench, Told) {
    let mut bench = Bench::new();
    let told = bench.ask(&format!("CONNECT\naccept-version:1.2\nheart-beat:{offer}\n\n\0"));
    (bench, told)
}

#[test]
fn item_27_connected_tells_the_servers_own_numbers() {
    assert_eq!(beating("1,50000").1.get("heart-beat"), Some("10000,10000"));
}

#[test]
fn items_28_and_30_a_line_end_comes_well_before_the_time_is_over() {
    let (mut bench, _) = beating("0,20000");
    for _ in 0..3 {
        let before = bench.now.instant;
        assert_eq!(bench.until_deadline()[0].command, "beat");
        let waited = bench.now.instant - before;
        assert!(waited <= Duration::from_secs(17) && waited >= Duration::from_secs(15), "{waited:?}");
    }
}

#[test]
fn item_27_who_wants_no_beats_gets_none_and_owes_none() {
    let (bench, _) = beating("0,0");
    assert_eq!(bench.session.deadline(), None);
}

#[test]
fn item_29_a_client_that_is_silent_for_twice_its_time_is_closed() {
    let (mut bench, _) = beating("5000,0");
    bench.pass(Duration::from_secs(19));
    assert_eq!(bench.signal(Signal::Timer), []);
    assert_eq!(bench.say("\n"), []);
    bench.pass(Duration::from_secs(19));
    assert_eq!(bench.signal(Signal::Timer), []);
    assert_eq!(bench.until_deadline()[0].command, "ERROR");
    assert_eq!(bench.closed, Some(Disconnect::NO_PONG));
}

#[test]
fn item_29_any_bytes_count_and_so_does_a_part_of_a_frame() {
    let (mut bench, _) = beating("5000,0");
    for part in ["SEND\nde", "stination:/top", "ic/open:a\n", "\n"] {
        bench.pass(Duration::from_secs(15));
        assert_eq!(bench.signal(Signal::Timer), []);
        bench.say(part);
    }
    assert_eq!(bench.closed, None);
}
