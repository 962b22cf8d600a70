//! What stores take of the pool, how much of it the stores of one owner may have together, and what of
//! it is kept for owners that have little.
//!
//! Core instances need no count of their own: the pool has as many for each component instance as one
//! component may consist of. Stacks have none either: wasmtime takes them without telling whose store
//! it is for.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use wasmtime::component::Component;

use crate::limits::LimitExceeded;
use crate::settings::{EngineSettings, PoolSettings};

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

    /// How many of each kind.
    fn kinds(&self) -> [(SlotKind, usize); 3] {
        [
            (SlotKind::Instances, self.instances),
            (SlotKind::Memories, self.memories),
            (SlotKind::Tables, self.tables),
        ]
    }

    /// Each kind of which there are more than in `limit`, with how many those are.
    fn beyond(&self, limit: &Self) -> impl Iterator<Item = (SlotKind, usize)> {
        let both = self.kinds().into_iter().zip(limit.kinds());
        both.filter(|((_, sum), (_, limit))| sum > limit)
            .map(|(_, limit)| limit)
    }

    fn each(&self, of_each: impl Fn(usize) -> usize) -> Self {
        Self {
            instances: of_each(self.instances),
            memories: of_each(self.memories),
            tables: of_each(self.tables),
        }
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            instances: self.instances.saturating_add(other.instances),
            memories: self.memories.saturating_add(other.memories),
            tables: self.tables.saturating_add(other.tables),
        }
    }

    fn minus(&self, other: &Self) -> Self {
        Self {
            instances: self.instances - other.instances,
            memories: self.memories - other.memories,
            tables: self.tables - other.tables,
        }
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

/// Of so many equal parts of the reserve an owner may have one.
const PARTS_OF_RESERVE: usize = 16;

/// Slots of the pool that the stores of all owners have together. A part of the pool is a reserve for
/// owners that have little, so that a few that have all they may are not all that there is room for.
#[derive(Debug)]
pub struct PoolSlots {
    /// What anybody may take.
    open: Slots,
    /// What an owner may have that takes of the reserve.
    little: Slots,
    used: Mutex<Slots>,
}

impl PoolSlots {
    /// Those of a pool of which so many percent are a reserve. An owner may take of it as long as it has
    /// no more than a sixteenth of the reserve.
    pub fn new(pool: &PoolSettings, reserve_percent: usize) -> Arc<Self> {
        let all = Slots {
            instances: pool.instances as usize,
            memories: pool.memories as usize,
            tables: pool.tables as usize,
        };
        let reserve = all.each(|slots| slots * reserve_percent / 100);
        Arc::new(Self {
            open: all.minus(&reserve),
            little: reserve.each(|slots| slots / PARTS_OF_RESERVE),
            used: Mutex::default(),
        })
    }

    /// Takes `slots` for an owner that has `owners` with them.
    fn take(&self, slots: &Slots, owners: &Slots) -> Result<(), LimitExceeded> {
        let mut used = self.used.lock();
        let sum = used.plus(slots);
        for (kind, open) in sum.beyond(&self.open) {
            if owners
                .beyond(&self.little)
                .any(|(beyond, _)| beyond == kind)
            {
                return Err(LimitExceeded::Pool(format!(
                    "{open} {kind} are in use, and the rest is for those who have few"
                )));
            }
        }
        *used = sum;
        Ok(())
    }

    fn give_back(&self, slots: &Slots) {
        let mut used = self.used.lock();
        *used = used.minus(slots);
    }
}

/// Slots that the stores of one owner have together. Clones of the `Arc` are the same account.
#[derive(Debug)]
pub struct SlotAccount {
    limit: Slots,
    used: Mutex<Slots>,
    pool: Arc<PoolSlots>,
}

impl SlotAccount {
    /// An account of as many as `limit` of those of `pool`.
    pub fn new(limit: Slots, pool: Arc<PoolSlots>) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: Mutex::default(),
            pool,
        })
    }

    /// What all stores have now.
    pub fn used(&self) -> Slots {
        *self.used.lock()
    }

    /// Takes what one store needs, once for as long as it lives, or says of what there is not enough.
    pub fn take(self: &Arc<Self>, slots: Slots) -> Result<TakenSlots, LimitExceeded> {
        let mut used = self.used.lock();
        let sum = used.plus(&slots);
        if let Some((kind, limit)) = sum.beyond(&self.limit).next() {
            return Err(LimitExceeded::SharedSlots { kind, limit });
        }
        self.pool.take(&slots, &sum)?;
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
        *used = used.minus(&self.slots);
        self.account.pool.give_back(&self.slots);
    }
}
