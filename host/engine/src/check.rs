//! Whether a component can run here at all, found out when it is published and not when its first
//! request comes.

use std::time::Duration;

use wasmtime::Trap;
use wasmtime::component::{Component, Linker};

use crate::cpu::CpuBudget;
use crate::engine::Engine;
use crate::limits::{LimitExceeded, StoreLimits};

const PAGE: u64 = 64 << 10;

/// Why a component cannot run under the limits it would have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It imports a core module or a component, which nothing here can give.
    #[error("the component imports a core module; components that run here bring their own")]
    ImportsModule,
    /// Its memory is larger than it may be, before it has done anything.
    #[error(
        "the component starts with a memory of {initial} bytes and may have {limit} in all; \
         reduce its initial memory or raise its memory limit"
    )]
    InitialMemory {
        /// What it starts with.
        initial: u64,
        /// What it may have.
        limit: u64,
    },
    /// More memories than a component may have.
    #[error(
        "the component has {count} linear memories and may have {limit} \
         (`pool.memories_per_component`)"
    )]
    Memories {
        /// How many it has.
        count: u32,
        /// How many it may have.
        limit: u32,
    },
    /// More tables than a component may have.
    #[error("the component has {count} tables and may have {limit} (`pool.tables_per_component`)")]
    Tables {
        /// How many it has.
        count: u32,
        /// How many it may have.
        limit: u32,
    },
    /// A limit ended its instantiation.
    #[error("the component cannot be instantiated: {0}")]
    Limit(LimitExceeded),
    /// Its start functions trap.
    #[error("the component cannot be instantiated: {0}")]
    Instantiation(String),
}

impl Engine {
    /// Instantiates `component` once, in quarantine: nothing behind its imports, `memory_bytes` of
    /// memory and `cpu` of CPU time. What its start functions do is undone with its store. A call
    /// of an import ends the attempt and counts as success, since a real import might return.
    pub async fn check(
        &self,
        component: &Component,
        memory_bytes: usize,
        cpu: Duration,
    ) -> Result<(), Unfit> {
        self.check_declared(component, memory_bytes)?;
        let mut linker = Linker::<StoreLimits>::new(self.raw());
        linker
            .define_unknown_imports_as_traps(component)
            .map_err(|error| Unfit::Instantiation(format!("{error:#}")))?;
        let budget = CpuBudget::new(cpu);
        let limits = StoreLimits::new(memory_bytes, self.settings());
        let mut store = self.new_store(limits, |limits| limits, &budget);
        let outcome = budget
            .meter(linker.instantiate_async(&mut store, component))
            .await;
        match outcome {
            Ok(_) => Ok(()),
            Err(error) => match store.data().cause(&error) {
                Some(LimitExceeded::Pool(_)) => Ok(()),
                Some(limit) => Err(Unfit::Limit(limit)),
                None if error.is::<Trap>() => Err(Unfit::Instantiation(format!("{error:#}"))),
                None => Ok(()),
            },
        }
    }

    /// What the component declares, against the limits.
    fn check_declared(&self, component: &Component, memory_bytes: usize) -> Result<(), Unfit> {
        let pool = &self.settings().pool;
        let required = component.resources_required().ok_or(Unfit::ImportsModule)?;
        let limit = memory_bytes.min(pool.memory_bytes) as u64;
        let initial = required
            .max_initial_memory_size
            .unwrap_or(0)
            .saturating_mul(PAGE);
        if initial > limit {
            return Err(Unfit::InitialMemory { initial, limit });
        }
        if required.num_memories > pool.memories_per_component {
            return Err(Unfit::Memories {
                count: required.num_memories,
                limit: pool.memories_per_component,
            });
        }
        if required.num_tables > pool.tables_per_component {
            return Err(Unfit::Tables {
                count: required.num_tables,
                limit: pool.tables_per_component,
            });
        }
        Ok(())
    }
}
