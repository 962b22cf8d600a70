//! Whether a component can run here at all, found out when it is published and not when its first
//! request comes.

use wasmtime::Trap;
use wasmtime::component::{Component, Linker};

use crate::cpu::CpuBudget;
use crate::engine::Engine;
use crate::footprint::Footprint;
use crate::limits::{LimitExceeded, StoreLimits};

/// Why a component cannot run under the limits it would have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It imports a core module or a component, which nothing here can give.
    #[error("the component imports a core module; components that run here bring their own")]
    ImportsModule,
    /// Its memories and tables are larger than they may be, before it has done anything.
    #[error(
        "the component starts with {initial} bytes of memory, tables included, and may have {limit} \
         in all; reduce its initial memory or raise its memory limit"
    )]
    InitialMemory {
        /// What all of them start with.
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
        count: u64,
        /// How many it may have.
        limit: u32,
    },
    /// More tables than a component may have.
    #[error("the component has {count} tables and may have {limit} (`pool.tables_per_component`)")]
    Tables {
        /// How many it has.
        count: u64,
        /// How many it may have.
        limit: u32,
    },
    /// A table that is larger than any may be.
    #[error(
        "the component starts with a table of {elements} elements and may have {limit} in one \
         (`pool.table_elements`)"
    )]
    Table {
        /// What it starts with.
        elements: u64,
        /// What it may have.
        limit: u64,
    },
    /// More core instances than a component may consist of.
    #[error(
        "the component consists of {count} core instances and may consist of {limit} \
         (`pool.core_instances_per_component`)"
    )]
    CoreInstances {
        /// How many it has.
        count: u64,
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

/// Why a component did not pass, or was not tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// It cannot run.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// There was no room for it. Nobody's fault; try again later.
    #[error("the component could not be tried, as {0}; try again later")]
    NoRoom(LimitExceeded),
}

impl Engine {
    /// What an instance of a component takes, against what it may have: `memory_bytes` of memory, and
    /// no more of anything than the pool has for one component.
    pub fn check_declared(
        &self,
        footprint: Option<&Footprint>,
        memory_bytes: usize,
    ) -> Result<(), Unfit> {
        let pool = &self.settings().pool;
        let takes = footprint.ok_or(Unfit::ImportsModule)?;
        for (initial, limit) in [
            (takes.largest_memory, pool.memory_bytes.min(memory_bytes)),
            (takes.bytes(), memory_bytes),
        ] {
            let limit = limit as u64;
            if initial > limit {
                return Err(Unfit::InitialMemory { initial, limit });
            }
        }
        let (count, limit) = (takes.memories, pool.memories_per_component);
        if count > limit.into() {
            return Err(Unfit::Memories { count, limit });
        }
        let (count, limit) = (takes.tables, pool.tables_per_component);
        if count > limit.into() {
            return Err(Unfit::Tables { count, limit });
        }
        let (elements, limit) = (takes.largest_table, pool.table_elements as u64);
        if elements > limit {
            return Err(Unfit::Table { elements, limit });
        }
        let (count, limit) = (takes.core_instances, pool.core_instances_per_component);
        if count > limit.into() {
            return Err(Unfit::CoreInstances { count, limit });
        }
        Ok(())
    }

    /// Instantiates `component` once, in quarantine: nothing behind its imports, `memory_bytes` of
    /// memory and `cpu` of CPU time. What its start functions do is undone with its store. A call
    /// of an import ends the attempt and counts as success, since a real import might return.
    pub async fn check(
        &self,
        component: &Component,
        memory_bytes: usize,
        cpu: &CpuBudget,
    ) -> Result<(), CheckError> {
        let unfit = |error: wasmtime::Error| Unfit::Instantiation(format!("{error:#}"));
        let mut linker = Linker::<StoreLimits>::new(self.raw());
        linker
            .define_unknown_imports_as_traps(component)
            .map_err(unfit)?;
        let limits = StoreLimits::new(memory_bytes, self.settings());
        let mut store = self.new_store(limits, |limits| limits, cpu);
        let outcome = cpu
            .meter(linker.instantiate_async(&mut store, component))
            .await;
        let Err(error) = outcome else { return Ok(()) };
        match store.data().cause(&error) {
            Some(full @ (LimitExceeded::Pool(_) | LimitExceeded::SharedCpu { .. })) => {
                Err(CheckError::NoRoom(full))
            }
            Some(limit) => Err(Unfit::Limit(limit).into()),
            None if error.is::<Trap>() => Err(unfit(error).into()),
            None => Ok(()),
        }
    }
}
