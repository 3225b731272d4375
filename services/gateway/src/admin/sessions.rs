//! Sessions that ended before their time: a cookie is signed and not stored, so a logout is kept until the cookie would have ended.

use indexmap::IndexMap;
use parking_lot::Mutex;

use crate::clock::unix_ms;

/// Ended sessions that are kept; the oldest one makes room.
const KEPT: usize = 4096;
/// Bytes of the id of a session at most.
const ID_MAX_BYTES: usize = 64;

/// The ids of sessions that ended by a logout, with the Unix seconds until which each cookie would be good.
#[derive(Default)]
pub struct EndedLogins(Mutex<IndexMap<String, u64>>);

impl EndedLogins {
    /// A session ended.
    pub fn end(&self, id: &str, until: u64) {
        if id.len() > ID_MAX_BYTES {
            return;
        }
        let mut ended = self.0.lock();
        let now = unix_ms() / 1000;
        ended.retain(|_, until| *until > now);
        if ended.len() >= KEPT {
            ended.shift_remove_index(0);
        }
        ended.insert(id.to_owned(), until);
    }

    /// True after the logout of a session.
    pub fn is_ended(&self, id: &str) -> bool {
        self.0.lock().contains_key(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_sessions_are_kept_until_their_cookie_ends_and_are_bounded() {
        let ended = EndedLogins::default();
        let later = unix_ms() / 1000 + 100;
        ended.end("over", 1);
        ended.end("first", later);
        assert!(ended.is_ended("first") && !ended.is_ended("over") && !ended.is_ended("other"));
        (0..KEPT).for_each(|number| ended.end(&number.to_string(), later));
        assert!(!ended.is_ended("first") && ended.is_ended("0"));
        assert_eq!(ended.0.lock().len(), KEPT);
        ended.end(&"x".repeat(ID_MAX_BYTES + 1), later);
        assert_eq!(ended.0.lock().len(), KEPT);
    }
}
