//! Processor time that storage uses for a tenant on threads of its own, where the tenant's calls do not
//! see it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use canopy_ids::TenantId;
use rustix::time::{ClockId, clock_gettime};

/// Is told of processor time of this node that was used for a tenant.
pub type CpuPayer = Arc<dyn Fn(TenantId, Duration) + Send + Sync>;

/// Who is told, once somebody keeps an account.
#[derive(Default)]
pub struct CpuPayers(Mutex<Option<CpuPayer>>);

impl CpuPayers {
    /// Has `payer` told of what begins from now on.
    pub fn set(&self, payer: CpuPayer) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(payer);
    }

    /// What this thread uses, until the returned value is dropped, is used for `tenant`.
    pub fn begin(&self, tenant: TenantId) -> CpuMeter {
        let payer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let payer = payer.clone().map(|payer| (payer, thread_time()));
        CpuMeter { tenant, payer }
    }
}

impl fmt::Debug for CpuPayers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuPayers").finish_non_exhaustive()
    }
}

/// Work for a tenant on the thread that began it, which it may not leave.
pub struct CpuMeter {
    tenant: TenantId,
    /// With what the thread had used when the tenant was last charged.
    payer: Option<(CpuPayer, Duration)>,
}

impl CpuMeter {
    /// Charges the tenant with what the thread has used so far.
    pub fn charge(&mut self) {
        if let Some((payer, since)) = &mut self.payer {
            let now = thread_time();
            payer(self.tenant, now.saturating_sub(*since));
            *since = now;
        }
    }
}

impl Drop for CpuMeter {
    fn drop(&mut self) {
        self.charge();
    }
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
