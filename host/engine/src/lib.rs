//! wasmtime, and what a platform must add to it: settings with every limit named, compilation in a
//! child process, authenticated native artifacts, memory and CPU limits with typed causes.
//!
//! This crate knows components, not tenants: no SQL, no HTTP, no capability. It is generic over
//! what a store holds.
//!
//! ```text
//! EngineSettings::default()                                     every knob, documented
//! Engine::new(&EngineSettings) -> Result<Engine, EngineError>   starts the epoch ticker; Clone
//!   .raw() -> &wasmtime::Engine      .settings() -> &EngineSettings
//!   .new_store(data: T, limits: fn(&mut T) -> &mut StoreLimits, cpu: &CpuBudget) -> Store<T>
//!   .pool_use() -> PoolUse                                      what is in use of the pool
//!   .check_declared(Option<&Footprint>, memory_bytes)           before it is compiled
//!   .check(&Component, memory_bytes, &CpuBudget)                async: instantiates once, in quarantine
//! inspect(&[u8]) -> Result<Inspection, InspectError>            what it imports and exports
//! CompilerCommand::this_program(["compile"]) | { program, args }
//! Artifacts::open(&Engine, dir, CompilerCommand) -> Result<Artifacts, ArtifactError>
//!   .load(&Digest, component: &Path) -> Result<Component, ArtifactError>   async, single-flight
//!   .remove(&Digest)   .retain(|digest| bool)
//! compile_child_main(request: &str) -> u8                       body of the hidden `canopy compile REQUEST`
//! StoreLimits::new(memory_bytes, &EngineSettings)               one sum for all memories and tables
//!   .within(Arc<MemoryAccount>)                                 and a sum over several stores, which may be
//!                                                               part of that of a node
//! PoolSlots::new(&PoolSettings, percent)                        the pool, and what of it is for who has little
//! SlotAccount::new(Slots, Arc<PoolSlots>)
//!   .take(Slots::of(&Component, …))                             what several stores may have of the pool;
//!   StoreLimits::holding(TakenSlots)                            given back when the store is dropped
//! CpuBudget::new(Duration): .meter(future) .used() .renew()     time that the guest's own code runs
//!   .of_call() -> CpuSpent                                      and, apart from it, what the host did in its calls
//! CpuBudget::paid_by(Arc<CpuAccount>, Duration)                 and a budget of several guests together,
//!                                                               which take turns with others' by weight
//! LimitExceeded::{Cpu, HostTime, Memory, Stack, Wall, Pool, …}: LimitExceeded::of(&wasmtime::Error) -> Option<Self>
//! ```

mod artifacts;
mod aside;
mod check;
mod compile;
mod compile_child;
mod cpu;
mod cpu_account;
mod engine;
mod footprint;
mod inspect;
mod limits;
mod seal;
mod settings;
mod share;
mod slots;
mod stopwatch;
mod timeslice;

pub use artifacts::{ArtifactError, Artifacts, damaged_artifacts};
pub use aside::aside;
pub use check::{CheckError, Unfit};
pub use compile::{CompileError, CompilerCommand};
pub use compile_child::compile_child_main;
pub use cpu::{CpuBudget, CpuSpent, forget_ticks};
pub use cpu_account::{CpuAccount, CpuRate};
pub use engine::{Engine, EngineError, PoolUse};
pub use footprint::Footprint;
pub use inspect::{HttpWorld, InspectError, Inspection, Item, ItemKind, ItemName, inspect};
pub use limits::{LimitExceeded, MemoryAccount, StoreLimits};
pub use settings::{CompileLimits, EngineSettings, InvalidSetting, PoolSettings};
pub use slots::{PoolSlots, SlotAccount, SlotKind, Slots, TakenSlots};
pub use stopwatch::CallLengths;
