//! Chance for ids and for the spreading of timers. The simulation seeds it, so that a run can be repeated. Secrets do not come from
//! here: they ask [`rand::rng`] themselves.

use std::convert::Infallible;

use rand::{Rng as _, TryRng};

/// The generator of this thread.
pub fn rng() -> NodeRng {
    NodeRng
}

/// See [`rng`].
#[derive(Debug, Clone, Copy)]
pub struct NodeRng;

impl TryRng for NodeRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        #[cfg(test)]
        if let Some(simulated) = simulated::with(rand::Rng::next_u32) {
            return Ok(simulated);
        }
        Ok(rand::rng().next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        #[cfg(test)]
        if let Some(simulated) = simulated::with(rand::Rng::next_u64) {
            return Ok(simulated);
        }
        Ok(rand::rng().next_u64())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        #[cfg(test)]
        if simulated::with(|random| random.fill_bytes(out)).is_some() {
            return Ok(());
        }
        rand::rng().fill_bytes(out);
        Ok(())
    }
}

/// The seeded generator of a simulation.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::RefCell;

    use rand::{SeedableRng as _, rngs::StdRng};

    thread_local! {
        static SEEDED: RefCell<Option<StdRng>> = const { RefCell::new(None) };
    }

    /// From now on the chance of this thread follows from the seed; `None`: it is the system's again.
    pub(crate) fn seed(seed: Option<u64>) {
        SEEDED.set(seed.map(StdRng::seed_from_u64));
    }

    pub(super) fn with<T>(draw: impl FnOnce(&mut StdRng) -> T) -> Option<T> {
        SEEDED.with_borrow_mut(|seeded| seeded.as_mut().map(draw))
    }
}
