//! Limits of one store, and the typed causes that say which limit ended a call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, ResourceLimiter, Trap};

use crate::cpu_account::CpuRate;
use crate::settings::EngineSettings;
use crate::slots::{SlotKind, TakenSlots};

/// A limit that ended a call. It travels inside `wasmtime::Error`; [`LimitExceeded::of`] finds it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitExceeded {
    /// The guest ran for longer than it may.
    #[error("the guest used its CPU time of {} ms", limit.as_millis())]
    Cpu {
        /// What it may use.
        limit: Duration,
    },
    /// The host worked for one call of the guest for longer than it may.
    #[error("the host worked for {} ms in calls of the guest", limit.as_millis())]
    HostTime {
        /// What it may take.
        limit: Duration,
    },
    /// All guests of the owner together used more CPU time than they may.
    #[error(
        "all instances together may use {} ms of CPU time a second", rate.per_second.as_millis()
    )]
    SharedCpu {
        /// What they may use.
        rate: CpuRate,
        /// After what time one may run again.
        retry_after: Duration,
    },
    /// The guest asked for more memory than it may have.
    #[error("the guest asked for {wanted} bytes of memory and may have {limit}")]
    Memory {
        /// All memories and tables together.
        limit: usize,
        /// What they would have been, had the request been granted.
        wanted: usize,
    },
    /// All instances of the guest's owner together would have had more memory than they may.
    #[error("all instances together may have {limit} bytes of memory")]
    SharedMemory {
        /// All memories and tables of all of them.
        limit: usize,
    },
    /// All instances of all owners together would have had more memory than they may. Not the fault of
    /// the guest that is refused; try again later.
    #[error("all instances of the node together may have {limit} bytes of memory")]
    NodeMemory {
        /// All memories and tables of all of them.
        limit: usize,
    },
    /// All instances of the guest's owner together would have had more slots of the pool than they may.
    #[error("all instances together may have {limit} {kind} at once")]
    SharedSlots {
        /// Of what there would have been too many.
        kind: SlotKind,
        /// How many there may be.
        limit: usize,
    },
    /// The guest asked for a larger table than it may have.
    #[error("the guest asked for a table of {wanted} elements and may have {limit}")]
    Table {
        /// Elements of one table.
        limit: usize,
        /// What it asked for.
        wanted: usize,
    },
    /// The guest's calls went deeper than its stack.
    #[error("the guest's calls went deeper than its stack")]
    Stack,
    /// The guest holds more handles, or more resources of the host, than it may.
    #[error("the guest holds as many handles and resources of the host as it may")]
    Handles,
    /// The guest handed over, or asked for, more data in one call than it may.
    #[error("the guest moved more data in one call than it may")]
    HostcallData,
    /// The guest gathered larger HTTP header fields than it may.
    #[error("the guest's header fields are larger than they may be")]
    Fields,
    /// The call took longer than it may, waiting included.
    #[error("the call took longer than {} ms", limit.as_millis())]
    Wall {
        /// What it may take.
        limit: Duration,
    },
    /// The node runs as many instances as its pool holds. Nobody's fault; try again later.
    #[error("the node has no free slot: {0}")]
    Pool(String),
}

impl LimitExceeded {
    /// The limit that ended a call, where it was a limit.
    pub fn of(error: &wasmtime::Error) -> Option<Self> {
        if let Some(exceeded) = error.downcast_ref::<Self>() {
            return Some(exceeded.clone());
        }
        if let Some(full) = error.downcast_ref::<PoolConcurrencyLimitError>() {
            return Some(Self::Pool(full.to_string()));
        }
        if matches!(error.downcast_ref::<Trap>(), Some(Trap::StackOverflow)) {
            return Some(Self::Stack);
        }
        if matches!(
            error.downcast_ref::<ResourceTableError>(),
            Some(ResourceTableError::Full)
        ) {
            return Some(Self::Handles);
        }
        // wasmtime has no types for these; the attack suite fails when it words them anew.
        let text = error.root_cause().to_string();
        if text.contains("store handle limit exceeded") || text == "resource table has no free keys"
        {
            return Some(Self::Handles);
        }
        if text == "total size of fields exceeds limit" {
            return Some(Self::Fields);
        }
        let data = text.contains("fuel allocated for hostcalls has been exhausted")
            || (text.starts_with("requested len ") && text.contains(" exceeds limit "));
        data.then_some(Self::HostcallData)
    }
}

/// Memory that the instances of one owner have together, or those of all owners of a node. Clones of
/// the `Arc` are the same account.
#[derive(Debug)]
pub struct MemoryAccount {
    limit: AtomicUsize,
    used: AtomicUsize,
    /// The account of all owners, where this is of one.
    node: Option<Arc<MemoryAccount>>,
}

impl MemoryAccount {
    /// An account of `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicUsize::new(limit),
            used: AtomicUsize::new(0),
            node: None,
        })
    }

    /// An account of `limit` bytes of one owner, which all count in `node` as well.
    pub fn part_of(node: Arc<Self>, limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicUsize::new(limit),
            used: AtomicUsize::new(0),
            node: Some(node),
        })
    }

    /// What holds from now on. Who has more keeps it and gets no more.
    pub fn set(&self, limit: usize) {
        self.limit.store(limit, Relaxed);
    }

    /// How much there may be.
    pub fn limit(&self) -> usize {
        self.limit.load(Relaxed)
    }

    /// Bytes of all memories and tables of all instances now.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    fn add(&self, bytes: usize) -> Result<(), LimitExceeded> {
        let limit = self.limit();
        let within = |used: usize| {
            let sum = used.checked_add(bytes)?;
            (sum <= limit).then_some(sum)
        };
        if self.used.fetch_update(Relaxed, Relaxed, within).is_err() {
            return Err(LimitExceeded::SharedMemory { limit });
        }
        let Some(node) = &self.node else {
            return Ok(());
        };
        node.add(bytes).map_err(|_| {
            self.used.fetch_sub(bytes, Relaxed);
            LimitExceeded::NodeMemory {
                limit: node.limit(),
            }
        })
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Relaxed);
        if let Some(node) = &self.node {
            node.give_back(bytes);
        }
    }
}

/// The limiter of one store: one sum over all memories and tables of all its instances.
///
/// A guest that asks for more is told so (`memory.grow` returns −1), as the specification has it.
/// Most guests then trap; [`StoreLimits::cause`] names the limit as the cause of such a trap.
#[derive(Debug)]
pub struct StoreLimits {
    limit: usize,
    used: usize,
    largest_memory: usize,
    largest_table: usize,
    instances: usize,
    memories: usize,
    tables: usize,
    account: Option<Arc<MemoryAccount>>,
    /// Given back with the rest.
    _slots: Option<TakenSlots>,
    refused: Option<LimitExceeded>,
}

impl StoreLimits {
    /// Limits for a store whose memories and tables may be `memory_bytes` together.
    pub fn new(memory_bytes: usize, settings: &EngineSettings) -> Self {
        let pool = &settings.pool;
        Self {
            limit: memory_bytes,
            used: 0,
            largest_memory: pool.memory_bytes,
            largest_table: pool.table_elements,
            instances: pool.core_instances_per_component as usize,
            memories: pool.memories_per_component as usize,
            tables: pool.tables_per_component as usize,
            account: None,
            _slots: None,
            refused: None,
        }
    }

    /// The same limits for a store whose memory also counts in `account`, until it is dropped.
    pub fn within(mut self, account: Arc<MemoryAccount>) -> Self {
        self.account = Some(account);
        self
    }

    /// The same limits for a store that has these slots of the pool, until it is dropped.
    pub fn holding(mut self, slots: TakenSlots) -> Self {
        self._slots = Some(slots);
        self
    }

    /// Bytes of all memories and tables now; they never shrink.
    pub fn used(&self) -> usize {
        self.used
    }

    /// The limit that ended a call: what [`LimitExceeded::of`] finds, or the memory limit where
    /// the guest was refused memory and then gave up by an `unreachable` instruction, as
    /// allocators do, or could not be instantiated.
    pub fn cause(&self, error: &wasmtime::Error) -> Option<LimitExceeded> {
        if let Some(exceeded) = LimitExceeded::of(error) {
            return Some(exceeded);
        }
        match error.downcast_ref::<Trap>() {
            None | Some(Trap::UnreachableCodeReached) => self.refused.clone(),
            Some(_) => None,
        }
    }

    fn grow(&mut self, added: usize) -> bool {
        let wanted = self.used.saturating_add(added);
        if wanted > self.limit {
            self.refused = Some(LimitExceeded::Memory {
                limit: self.limit,
                wanted,
            });
            return false;
        }
        if let Some(account) = &self.account
            && let Err(refused) = account.add(added)
        {
            self.refused = Some(refused);
            return false;
        }
        self.used = wanted;
        true
    }
}

impl Drop for StoreLimits {
    fn drop(&mut self) {
        if let Some(account) = &self.account {
            account.give_back(self.used);
        }
    }
}

// Growth beyond what a memory or table may ever have is refused before it is counted: wasmtime
// reports failures without saying of which request, so nothing counted can be taken back.
impl ResourceLimiter for StoreLimits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if desired > self.largest_memory {
            self.refused = Some(LimitExceeded::Memory {
                limit: self.limit.min(self.largest_memory),
                wanted: self.used.saturating_add(desired - current),
            });
            return Ok(false);
        }
        Ok(self.grow(desired - current))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Before the table's own maximum, which for wasmtime includes what the pool allows.
        if desired > self.largest_table {
            self.refused = Some(LimitExceeded::Table {
                limit: self.largest_table,
                wanted: desired,
            });
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow((desired - current).saturating_mul(size_of::<usize>())))
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.tables
    }

    fn memories(&self) -> usize {
        self.memories
    }
}
