//! What stores take of the pool, and how much of it the stores of one owner may have together.
//!
//! Core instances need no count of their own: the pool has as many for each component instance as one
//! component may consist of. Stacks have none either: wasmtime takes them without telling whose store
//! it is for.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use wasmtime::component::Component;

use crate::limits::LimitExceeded;
use crate::settings::EngineSettings;

/// Slots of the pool: those that a store takes, or those that the stores of one owner may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slots {
    /// Component instances.
    pub instances: usize,
    /// Linear memories.
    pub memories: usize,
    /// Tables.
    pub tables: usize,
}

impl Slots {
    /// What a store with one instance of `component` takes.
    pub fn of(component: &Component, settings: &EngineSettings) -> Self {
        let pool = &settings.pool;
        let (memories, tables) = match component.resources_required() {
            Some(required) => (required.num_memories, required.num_tables),
            // What it imports decides; it gets no more than this.
            None => (pool.memories_per_component, pool.tables_per_component),
        };
        Self {
            instances: 1,
            memories: memories as usize,
            tables: tables as usize,
        }
    }

    /// The first kind of which there would be more than `limit`.
    fn beyond(&self, limit: &Self) -> Option<LimitExceeded> {
        let kinds = [
            (SlotKind::Instances, self.instances, limit.instances),
            (SlotKind::Memories, self.memories, limit.memories),
            (SlotKind::Tables, self.tables, limit.tables),
        ];
        let (kind, _, limit) = kinds.into_iter().find(|(_, sum, limit)| sum > limit)?;
        Some(LimitExceeded::SharedSlots { kind, limit })
    }
}

/// Of what there are so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotKind {
    /// Component instances.
    Instances,
    /// Linear memories.
    Memories,
    /// Tables.
    Tables,
}

impl fmt::Display for SlotKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Instances => "instances",
            Self::Memories => "linear memories",
            Self::Tables => "tables",
        })
    }
}

/// Slots that the stores of one owner have together. Clones of the `Arc` are the same account.
#[derive(Debug)]
pub struct SlotAccount {
    limit: Slots,
    used: Mutex<Slots>,
}

impl SlotAccount {
    /// An account of as many as `limit`.
    pub fn new(limit: Slots) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: Mutex::default(),
        })
    }

    /// What all stores have now.
    pub fn used(&self) -> Slots {
        *self.used.lock()
    }

    /// Takes what one store needs, once for as long as it lives, or says of what there is not enough.
    pub fn take(self: &Arc<Self>, slots: Slots) -> Result<TakenSlots, LimitExceeded> {
        let mut used = self.used.lock();
        let sum = Slots {
            instances: used.instances.saturating_add(slots.instances),
            memories: used.memories.saturating_add(slots.memories),
            tables: used.tables.saturating_add(slots.tables),
        };
        if let Some(exceeded) = sum.beyond(&self.limit) {
            return Err(exceeded);
        }
        *used = sum;
        Ok(TakenSlots {
            account: self.clone(),
            slots,
        })
    }
}

/// Slots that a store has, given back when this is dropped.
#[derive(Debug)]
pub struct TakenSlots {
    account: Arc<SlotAccount>,
    slots: Slots,
}

impl Drop for TakenSlots {
    fn drop(&mut self) {
        let mut used = self.account.used.lock();
        used.instances -= self.slots.instances;
        used.memories -= self.slots.memories;
        used.tables -= self.slots.tables;
    }
}
