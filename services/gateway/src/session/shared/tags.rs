//! Bounds of the tags of a publication, the same for every publisher.

/// Tags of a publication at most.
pub const TAGS_MAX: usize = 32;
/// Bytes of their keys and values together at most.
pub const TAGS_MAX_BYTES: usize = 4 * 1024;
