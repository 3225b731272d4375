//! The turn of a request among those of its slot, while the slot may change its server. Record 11.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use super::slots::Slot;

/// The number of a request among those of its slot.
#[derive(Debug)]
pub(in crate::redis) struct RedirectTicket {
    pub(super) slot: Slot,
    pub(super) number: u64,
    pub(super) at_server: Option<StandingRequest>,
}

/// One request that a server has.
#[derive(Debug)]
pub(super) struct StandingRequest {
    pub(super) slot: Slot,
    pub(super) counts: Arc<[AtomicU32]>,
}

impl Drop for StandingRequest {
    fn drop(&mut self) {
        if let Some(count) = self.counts.get(usize::from(self.slot)) {
            count.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
