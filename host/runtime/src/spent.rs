//! What one call has used of the CPU, for whoever writes its record.

use std::sync::Arc;

use canopy_engine::{CpuBudget, CpuSpent};
use parking_lot::Mutex;

/// What one call has used of the CPU, while it goes on and afterwards. What drivers use that it calls
/// is not in it. Clones are of the same call.
#[derive(Debug, Clone, Default)]
pub struct Spent(Arc<Mutex<State>>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Nothing,
    /// The budget of the instance that serves the call, which is the next call's afterwards.
    Running(CpuBudget),
    Over(CpuSpent),
}

impl Spent {
    /// What has been used so far.
    pub fn get(&self) -> CpuSpent {
        match &*self.0.lock() {
            State::Nothing => CpuSpent::default(),
            State::Running(cpu) => cpu.of_call(),
            State::Over(spent) => *spent,
        }
    }

    /// An instance with this budget begins to serve the call.
    pub(crate) fn begin(&self, cpu: CpuBudget) {
        *self.0.lock() = State::Running(cpu);
    }

    /// It does so no longer.
    pub(crate) fn end(&self) {
        let mut state = self.0.lock();
        if let State::Running(cpu) = &*state {
            cpu.call_ends();
            *state = State::Over(cpu.of_call());
        }
    }
}
