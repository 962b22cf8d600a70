//! Limits of one store, and the typed causes that say which limit ended a call.

use std::time::Duration;

use wasmtime::{PoolConcurrencyLimitError, ResourceLimiter, Trap};

use crate::settings::EngineSettings;

/// A limit that ended a call. It travels inside `wasmtime::Error`; [`LimitExceeded::of`] finds it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitExceeded {
    /// The guest ran for longer than it may.
    #[error("the guest used its CPU time of {} ms", limit.as_millis())]
    Cpu {
        /// What it may use.
        limit: Duration,
    },
    /// The guest asked for more memory than it may have.
    #[error("the guest asked for {wanted} bytes of memory and may have {limit}")]
    Memory {
        /// All memories and tables together.
        limit: usize,
        /// What they would have been, had the request been granted.
        wanted: usize,
    },
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
        error
            .downcast_ref::<PoolConcurrencyLimitError>()
            .map(|full| Self::Pool(full.to_string()))
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
    refused: Option<usize>,
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
            refused: None,
        }
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
        let wanted = self.refused?;
        match error.downcast_ref::<Trap>() {
            None | Some(Trap::UnreachableCodeReached) => Some(LimitExceeded::Memory {
                limit: self.limit,
                wanted,
            }),
            Some(_) => None,
        }
    }

    fn grow(&mut self, added: usize) -> bool {
        let wanted = self.used.saturating_add(added);
        if wanted > self.limit {
            self.refused = Some(wanted);
            return false;
        }
        self.used = wanted;
        true
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
            self.refused = Some(self.used.saturating_add(desired - current));
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
        if maximum.is_some_and(|maximum| desired > maximum) || desired > self.largest_table {
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
