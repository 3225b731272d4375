//! Steps: the amount of input that a session runs before the transport checks the clock.
//!
//! A message may hold thousands of commands, and the worker has other connections. A session counts what it runs in units
//! of about a microsecond or a few; when a step is used up it keeps the rest, says so with
//! [`has_more`](crate::session::Session::has_more), and goes on when the transport calls
//! [`resume`](crate::session::Session::resume), at once or in its next turn. Counted and not timed, so that a session stays
//! a pure state machine. Decision record 0027.

/// Units of a step. Together with the actions that they lead to, well below a millisecond.
const STEP_UNITS: usize = 64;
/// A command costs a unit, and one more for so many of its bytes.
const UNIT_BYTES: usize = 1024;
/// Units of a token: a signature of an asymmetric key takes about 0.1 ms to verify.
const TOKEN_UNITS: usize = 24;

/// The rest of a step's budget.
#[derive(Debug)]
pub(in crate::session) struct InputBudget {
    left: usize,
}

impl Default for InputBudget {
    fn default() -> Self {
        Self { left: STEP_UNITS }
    }
}

impl InputBudget {
    /// Begins the next step.
    pub(in crate::session) fn begin(&mut self) {
        *self = Self::default();
    }

    /// Counts one command of so many bytes. A step may be overdrawn by its last command.
    pub(in crate::session) fn count(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(1 + bytes / UNIT_BYTES);
    }

    /// Counts the verification of a token.
    pub(in crate::session) fn count_token(&mut self) {
        self.left = self.left.saturating_sub(TOKEN_UNITS);
    }

    /// True if the next command belongs to another step.
    pub(in crate::session) fn is_over(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_ends_after_many_small_commands_or_a_few_large_or_signed_ones() {
        let steps = |mut step: InputBudget, count: &dyn Fn(&mut InputBudget)| {
            let mut commands = 0;
            while !step.is_over() {
                count(&mut step);
                commands += 1;
            }
            commands
        };
        assert_eq!(steps(InputBudget::default(), &|step| step.count(20)), 64);
        assert_eq!(steps(InputBudget::default(), &|step| step.count(64 * 1024)), 1);
        assert_eq!(steps(InputBudget::default(), &|step| step.count_token()), 3);
    }
}
