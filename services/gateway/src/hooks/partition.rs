//! The partition of a user, a client or a channel: the same on every node and in every version, since the store keeps it.

use gorani_broker::hook_store::Partition;

/// FNV-1a of 64 bits, with a last step that spreads the high bits: names often differ in their last letter alone.
pub(super) fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in parts.into_iter().flatten() {
        hash ^= u64::from(*byte);
        hash = hash.wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 32)
}

/// The partition of a name.
pub fn partition_of(name: &str, partitions: Partition) -> Partition {
    let number = hash([name.as_bytes()]) % u64::from(partitions.max(1));
    Partition::try_from(number).unwrap_or_default()
}

/// The partition of a session: that of its user, or of its client where it is anonymous.
pub fn partition_of_session(user: &str, client: &str, partitions: Partition) -> Partition {
    partition_of(if user.is_empty() { client } else { user }, partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_its_partition_in_every_version() {
        let found: Vec<_> = ["", "42", "news", "chat:1"].map(|name| partition_of(name, 16)).to_vec();
        assert_eq!(found, [15, 13, 15, 1]);
        assert_eq!(partition_of_session("", "42", 16), partition_of_session("42", "x", 16));
    }

    #[test]
    fn names_spread_over_all_partitions() {
        let mut names = [0_u32; 16];
        for number in 0..16_000 {
            names[usize::from(partition_of(&format!("user-{number}"), 16))] += 1;
        }
        assert!(names.iter().all(|count| (800..1200).contains(count)), "{names:?}");
        assert_eq!(partition_of("a", 0), 0);
    }
}
