//! Pauses between attempts to connect, and the life of a server.

use super::*;

#[test]
fn pauses_grow_up_to_the_limit_and_begin_again() {
    let settings = RedisSettings::default();
    let mut backoff = Backoff::new(&settings);
    for attempt in 0..100_u32 {
        let limit = settings.reconnect_min * 2_u32.pow(attempt.min(10));
        assert!(backoff.pause() <= limit.min(settings.reconnect_max));
    }
    backoff.lasted(Duration::from_millis(1));
    assert!(backoff.attempts > 0);
    backoff.lasted(settings.reconnect_max);
    assert!(backoff.pause() <= settings.reconnect_min);
}

#[test]
fn the_life_is_the_beginning_of_the_replication_id() {
    let info = "# Replication\r\nrole:master\r\nmaster_replid:0123456789abcdef0123456789abcdef01234567\r\n\
                master_replid2:0000000000000000000000000000000000000000\r\n";
    assert_eq!(&*life_in(info), "0123456789abcdef");
    assert_eq!(&*life_in("role:master\r\n"), "");
}
