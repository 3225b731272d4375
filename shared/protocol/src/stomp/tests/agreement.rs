//! Items 19 to 21, 26, 27 and 50.

use std::time::Duration;

use Version::{V1_0, V1_1, V1_2};

use crate::stomp::{BadHeartBeat, HeartBeat, VERSIONS, Version};

#[test]
fn item_19_a_client_that_names_no_version_speaks_1_0_only() {
    assert_eq!(Version::negotiate(None), Some(V1_0));
}

#[test]
fn item_20_the_highest_common_version_is_chosen_in_any_order_and_with_spaces() {
    for (accept, chosen) in [
        ("1.0,1.1,2.0", V1_1),
        ("1.2,1.1,1.0", V1_2),
        ("1.0,1.1,1.2", V1_2),
        (" 1.1 , 1.0 ", V1_1),
        ("1.0", V1_0),
        ("1.2,1.2,", V1_2),
    ] {
        assert_eq!(Version::negotiate(Some(accept)), Some(chosen), "{accept:?}");
    }
}

#[test]
fn item_21_there_may_be_no_common_version() {
    for accept in ["", "2.0", "1", "1.20", "1.2 1.1", "v1.2"] {
        assert_eq!(Version::negotiate(Some(accept)), None, "{accept:?}");
    }
}

#[test]
fn item_50_each_version_has_its_subprotocol() {
    assert_eq!(VERSIONS.map(Version::subprotocol), ["v12.stomp", "v11.stomp", "v10.stomp"]);
}

#[test]
fn item_26_heart_beat_is_two_non_negative_numbers_or_none() {
    assert_eq!(HeartBeat::parse(None), Ok(HeartBeat::default()));
    assert_eq!(HeartBeat::parse(Some("10000, 0")), Ok(HeartBeat { sends_ms: 10_000, wants_ms: 0 }));
    let huge = HeartBeat::parse(Some("99999999999999999999,1"));
    assert_eq!(huge, Ok(HeartBeat { sends_ms: u32::MAX, wants_ms: 1 }));
    for bad in ["", "1", ",", "1,", ",1", "-1,0", "+1,0", "a,b", "1,2,3", "1.5,0"] {
        assert_eq!(HeartBeat::parse(Some(bad)), Err(BadHeartBeat), "{bad:?}");
    }
}

#[test]
fn item_27_each_direction_beats_at_the_slower_of_both_wishes_or_not_at_all() {
    let agreed = |client: (u32, u32), server: (u32, u32)| {
        let of = |(sends_ms, wants_ms)| HeartBeat { sends_ms, wants_ms };
        let agreed = of(client).agree(of(server));
        let millis = |time: Option<Duration>| time.map_or(0, |time| time.as_millis());
        (millis(agreed.from_client), millis(agreed.to_client))
    };
    assert_eq!(agreed((10, 20), (30, 40)), (40, 30));
    assert_eq!(agreed((50, 60), (30, 40)), (50, 60));
    assert_eq!(agreed((0, 20), (30, 40)), (0, 30));
    assert_eq!(agreed((10, 0), (30, 40)), (40, 0));
    assert_eq!(agreed((10, 20), (0, 40)), (40, 0));
    assert_eq!(agreed((10, 20), (30, 0)), (0, 30));
    assert_eq!(agreed((0, 0), (30, 40)), (0, 0));
}
