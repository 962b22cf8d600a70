//! The engine that runs guests, and the thread whose ticks interrupt them.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use wasmtime::Store;

use crate::cpu::CpuBudget;
use crate::cpu_account::{CpuAccount, CpuRate};
use crate::limits::StoreLimits;
use crate::settings::{EngineSettings, InvalidSetting};
use crate::share::Shares;

/// How long a guest whose turn has come runs before it is the next one's.
pub(crate) const SLICE: Duration = Duration::from_millis(10);

/// How often there is a tick while no guest runs.
const IDLE_TICK: Duration = Duration::from_millis(10);

/// After so many ticks in which no guest ran they come less often.
const QUIET_TICKS: u32 = 100;

/// The engine of a node. Clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    raw: wasmtime::Engine,
    settings: Arc<EngineSettings>,
    compatibility: Arc<str>,
    shares: Shares,
}

/// What of the pool is in use, of each kind that [`PoolSettings`](crate::PoolSettings) limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolUse {
    /// Component instances.
    pub instances: usize,
    /// Linear memories.
    pub memories: usize,
    /// Tables.
    pub tables: usize,
    /// Stacks.
    pub stacks: usize,
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// The machine cannot give what the settings ask for.
    #[error(
        "the engine cannot start: {0}; if address space is short, lower `pool.memories` or \
         raise the limit of the process (ulimit -v)"
    )]
    Start(String),
    /// The thread that interrupts guests did not start.
    #[error("the thread that interrupts guests cannot start: {0}")]
    Ticker(#[source] std::io::Error),
}

impl Engine {
    /// An engine with these settings. Starts the thread that interrupts guests; it ends with the
    /// last clone.
    pub fn new(settings: &EngineSettings) -> Result<Self, EngineError> {
        settings.validate()?;
        let raw = wasmtime::Engine::new(&settings.serving())
            .map_err(|error| EngineError::Start(format!("{error:#}")))?;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let shares = Shares::new(cores, settings.tick);
        start_ticker(&raw, shares.clone()).map_err(EngineError::Ticker)?;
        let compatibility = compatibility(&raw);
        Ok(Self {
            raw,
            settings: Arc::new(settings.clone()),
            compatibility,
            shares,
        })
    }

    /// wasmtime's engine.
    pub fn raw(&self) -> &wasmtime::Engine {
        &self.raw
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &EngineSettings {
        &self.settings
    }

    /// Names the native code that this engine can run: a digest of wasmtime's version, the
    /// settings that shape code, and this machine's CPU features.
    pub fn compatibility(&self) -> &str {
        &self.compatibility
    }

    /// An account for the CPU time of the guests of one owner.
    pub fn cpu_account(&self, weight: u32, rate: CpuRate) -> Arc<CpuAccount> {
        CpuAccount::new(&self.shares, weight, rate)
    }

    /// Guests that have run for long and wait for their next turn.
    pub fn waiting_for_cpu(&self) -> usize {
        self.shares.waiting()
    }

    /// What of the pool is in use now.
    pub fn pool_use(&self) -> PoolUse {
        let metrics = self.raw.pooling_allocator_metrics();
        metrics.map_or_else(PoolUse::default, |metrics| PoolUse {
            instances: usize::try_from(metrics.component_instances()).unwrap_or(usize::MAX),
            memories: metrics.memories(),
            tables: metrics.tables(),
            stacks: metrics.stacks(),
        })
    }

    /// A store for one instance, with every limit in force: the limiter that `limits` finds in the
    /// data, the CPU budget, how long the host may work for it, what one call may hand to the host, and how many handles may live.
    pub fn new_store<T: Send + 'static>(
        &self,
        data: T,
        limits: impl (FnMut(&mut T) -> &mut StoreLimits) + Send + Sync + 'static,
        cpu: &CpuBudget,
    ) -> Store<T> {
        let mut limits = limits;
        let mut store = Store::new(&self.raw, data);
        store.limiter(move |data| limits(data));
        store.set_hostcall_fuel(self.settings.hostcall_bytes);
        store.set_max_component_handles(self.settings.handles);
        if let Some(table) = store.concurrent_resource_table() {
            table.set_max_capacity(self.settings.concurrent_handles);
        }
        cpu.install(&mut store, self.settings.host_time);
        store
    }
}

/// An operating system thread and not a task: where a guest keeps the runtime's threads busy, a
/// task that should interrupt it would never run.
fn start_ticker(engine: &wasmtime::Engine, shares: Shares) -> std::io::Result<()> {
    let engine = engine.weak();
    thread::Builder::new()
        .name("canopy-epoch".into())
        .spawn(move || {
            let tick = shares.tick();
            let mut quiet = 0;
            loop {
                quiet = match shares.have_run() {
                    true => 0,
                    false => QUIET_TICKS.min(quiet + 1),
                };
                thread::sleep(match quiet {
                    QUIET_TICKS => IDLE_TICK.max(tick),
                    _ => tick,
                });
                match engine.upgrade() {
                    Some(engine) => {
                        shares.ticks().fetch_add(1, Relaxed);
                        engine.increment_epoch();
                    }
                    None => break,
                }
            }
        })?;
    Ok(())
}

fn compatibility(engine: &wasmtime::Engine) -> Arc<str> {
    struct Blake3(blake3::Hasher);
    impl Hasher for Blake3 {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            let mut first = [0; 8];
            first.copy_from_slice(&self.0.finalize().as_bytes()[..8]);
            u64::from_le_bytes(first)
        }
    }
    let mut hasher = Blake3(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().to_hex()[..32].into()
}
