//! Unmasking at memory speed. RFC 6455 §5.3.

/// XORs `bytes` with the repeated `key`, in place; masks and unmasks alike.
///
/// Eight bytes at a time over aligned-size chunks, which the compiler turns into vector instructions.
pub fn unmask(key: [u8; 4], bytes: &mut [u8]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// The key for the bytes that follow the first `done` bytes of a payload.
#[must_use]
pub fn advance(mut key: [u8; 4], done: usize) -> [u8; 4] {
    key.rotate_left(done % 4);
    key
}
