//! Settings of the engine: what can be instantiated at once, what one component may use, and what
//! compilation may use. Every number that bounds a guest is named here.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy,
    WasmBacktraceDetails,
};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

/// Frames of a guest's backtrace that are kept.
const BACKTRACE_FRAMES: usize = 32;

/// Address space reserved for each pooled memory. 4 GiB and a guard let compiled code leave out
/// bounds checks, because no 32-bit address can reach beyond.
const MEMORY_RESERVATION: u64 = 4 << 30;

/// Settings of the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineSettings {
    /// Whether WASI 0.3 components (asynchronous component model) are served. Default: `true`.
    pub p3_enabled: bool,
    /// Whether backtraces of guests name source files and lines, read from the debug information
    /// that a component carries. Names of functions are there in either case. Off by default: the
    /// debug information is the publisher's, and it would be parsed in the serving process.
    pub source_lines: bool,
    /// How often a running guest is interrupted to look at its budget. One that has run for two of
    /// these takes turns with others. Default: 1 ms.
    pub tick: Duration,
    /// CPU time that the host may use in calls that a guest makes of it, for one call of the guest;
    /// beyond it the guest is ended. At least 1 ms. Default: 10 s.
    pub host_time: Duration,
    /// Stack of a guest, in bytes. Default: 512 KiB.
    pub guest_stack_bytes: usize,
    /// Stack that a guest and the host functions it calls have together, in bytes; at least
    /// 1 MiB more than `guest_stack_bytes`. Default: 2 MiB.
    pub call_stack_bytes: usize,
    /// Bytes that a guest may hand to the host in one call. Default: 4 MiB.
    pub hostcall_bytes: usize,
    /// Component-model handles alive at once in one store. Default: 10,000.
    pub handles: usize,
    /// Entries of the table behind streams, futures and tasks of one store. Default: 900.
    pub concurrent_handles: usize,
    /// What can be instantiated at once, and the most that one instance may use.
    pub pool: PoolSettings,
    /// What compiling one component may use.
    pub compile: CompileLimits,
}

/// What can be instantiated at once on a node, and the most that one instance may use. Address
/// space for all of it is reserved at start; memory is used when guests touch it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolSettings {
    /// Component instances at once. Default: 1,000.
    pub instances: u32,
    /// Linear memories at once. Default: 2,000.
    pub memories: u32,
    /// Tables at once. Default: 4,000.
    pub tables: u32,
    /// Stacks at once: one for each guest call under way. Default: 2,000.
    pub stacks: u32,
    /// The largest linear memory that any component may have, in bytes; at most 4 GiB.
    /// Default: 1 GiB.
    pub memory_bytes: usize,
    /// The most elements that any table may have. Default: 100,000.
    pub table_elements: usize,
    /// Core instances that one component may consist of. Default: 64.
    pub core_instances_per_component: u32,
    /// Linear memories that one component may have. Default: 8.
    pub memories_per_component: u32,
    /// Tables that one component may have. Default: 64.
    pub tables_per_component: u32,
    /// Bytes of a memory that stay resident after its instance is gone, so that the next instance
    /// starts faster. They are cleared, and count for nobody. Default: 1 MiB; a node takes less where
    /// the machine has little memory ([`resident_within`](Self::resident_within)).
    pub resident_memory_bytes: usize,
    /// Bytes of a stack that stay resident after its store is gone. All of a stack is cleared, and
    /// what a deep call has used beyond these is given back. Default: 32 KiB.
    pub resident_stack_bytes: usize,
    /// Components kept loaded though nothing uses them at the moment; each holds one open file.
    /// Default: 1,000.
    pub resident_components: usize,
}

/// What part of the machine's memory, one in so many, may stay resident of the pool's memories.
const RESIDENT_PART: u64 = 10;

/// What resident memory is a multiple of.
const PAGE: u64 = 4096;

impl PoolSettings {
    /// Bytes of each memory that may stay resident on a machine with so many: a tenth of them for all
    /// memories together, once guests have used each.
    pub fn resident_within(&self, machine: u64) -> usize {
        let each = machine / RESIDENT_PART / u64::from(self.memories.max(1));
        usize::try_from(each - each % PAGE).unwrap_or(usize::MAX)
    }
}

/// What compiling one component may use. Compilation runs in a child process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompileLimits {
    /// Address space of the child, in bytes. Default: 2 GiB.
    pub memory_bytes: u64,
    /// CPU time of the child, in seconds. Default: 60.
    pub cpu_seconds: u64,
    /// Time from the child's start to its end, in seconds. Default: 120.
    pub wall_seconds: u64,
    /// Size of the native code of one component, in bytes. Default: 256 MiB.
    pub artifact_bytes: u64,
    /// Children at once. Default: 2.
    pub concurrency: usize,
    /// Compilations that may wait for a child; more are refused. Default: 64.
    pub queue: usize,
}

/// A setting that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("engine setting `{name}` is {value}: {rule}")]
pub struct InvalidSetting {
    /// The setting's name within the engine's table.
    pub name: &'static str,
    /// Its value.
    pub value: u64,
    /// What it must be.
    pub rule: &'static str,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            p3_enabled: true,
            source_lines: false,
            tick: Duration::from_millis(1),
            host_time: Duration::from_secs(10),
            guest_stack_bytes: 512 * KIB,
            call_stack_bytes: 2 * MIB,
            hostcall_bytes: 4 * MIB,
            handles: 10_000,
            concurrent_handles: 900,
            pool: PoolSettings::default(),
            compile: CompileLimits::default(),
        }
    }
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            instances: 1_000,
            memories: 2_000,
            tables: 4_000,
            stacks: 2_000,
            memory_bytes: GIB,
            table_elements: 100_000,
            core_instances_per_component: 64,
            memories_per_component: 8,
            tables_per_component: 64,
            resident_memory_bytes: MIB,
            resident_stack_bytes: 32 * KIB,
            resident_components: 1_000,
        }
    }
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 2 << 30,
            cpu_seconds: 60,
            wall_seconds: 120,
            artifact_bytes: 256 << 20,
            concurrency: 2,
            queue: 64,
        }
    }
}

impl EngineSettings {
    /// Refuses values that cannot work, with the name of the first.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let pool = &self.pool;
        let compile = &self.compile;
        let at_least = |name, value: u64, least: u64, rule| {
            if value < least {
                Err(InvalidSetting { name, value, rule })
            } else {
                Ok(())
            }
        };
        const POSITIVE: &str = "it must be at least 1";
        for (name, value) in [
            ("pool.instances", u64::from(pool.instances)),
            ("pool.memories", u64::from(pool.memories)),
            ("pool.tables", u64::from(pool.tables)),
            ("pool.stacks", u64::from(pool.stacks)),
            ("pool.table_elements", pool.table_elements as u64),
            (
                "pool.core_instances_per_component",
                u64::from(pool.core_instances_per_component),
            ),
            (
                "pool.memories_per_component",
                u64::from(pool.memories_per_component),
            ),
            (
                "pool.tables_per_component",
                u64::from(pool.tables_per_component),
            ),
            ("pool.resident_components", pool.resident_components as u64),
            ("hostcall_bytes", self.hostcall_bytes as u64),
            ("handles", self.handles as u64),
            ("concurrent_handles", self.concurrent_handles as u64),
            ("compile.cpu_seconds", compile.cpu_seconds),
            ("compile.wall_seconds", compile.wall_seconds),
            ("compile.artifact_bytes", compile.artifact_bytes),
            ("compile.concurrency", compile.concurrency as u64),
        ] {
            at_least(name, value, 1, POSITIVE)?;
        }
        at_least(
            "tick",
            milliseconds(self.tick),
            1,
            "it must be at least 1 ms",
        )?;
        at_least(
            "host_time",
            milliseconds(self.host_time),
            1,
            "it must be at least 1 ms",
        )?;
        at_least(
            "pool.memories",
            pool.memories.into(),
            pool.memories_per_component.into(),
            "it must be at least `pool.memories_per_component`",
        )?;
        at_least(
            "pool.tables",
            pool.tables.into(),
            pool.tables_per_component.into(),
            "it must be at least `pool.tables_per_component`",
        )?;
        at_least(
            "pool.memory_bytes",
            pool.memory_bytes as u64,
            64 * KIB as u64,
            "it must be at least 65536, one page",
        )?;
        if pool.memory_bytes as u64 > MEMORY_RESERVATION {
            return Err(InvalidSetting {
                name: "pool.memory_bytes",
                value: pool.memory_bytes as u64,
                rule: "it must be at most 4294967296, all that 32-bit addresses reach",
            });
        }
        at_least(
            "guest_stack_bytes",
            self.guest_stack_bytes as u64,
            64 * KIB as u64,
            "it must be at least 65536",
        )?;
        at_least(
            "call_stack_bytes",
            self.call_stack_bytes as u64,
            (self.guest_stack_bytes + MIB) as u64,
            "it must be at least `guest_stack_bytes` and 1048576 more for host functions",
        )?;
        at_least(
            "compile.memory_bytes",
            compile.memory_bytes,
            256 << 20,
            "it must be at least 268435456, what the compiler itself needs",
        )
    }

    /// The configuration that serves guests.
    pub(crate) fn serving(&self) -> Config {
        let mut config = self.code();
        let pool = &self.pool;
        let mut pooling = PoolingAllocationConfig::new();
        pooling
            .total_component_instances(pool.instances)
            .total_core_instances(
                pool.instances
                    .saturating_mul(pool.core_instances_per_component),
            )
            .total_memories(pool.memories)
            .total_tables(pool.tables)
            .total_stacks(pool.stacks)
            .max_core_instances_per_component(pool.core_instances_per_component)
            .max_memories_per_component(pool.memories_per_component)
            .max_tables_per_component(pool.tables_per_component)
            .max_memories_per_module(pool.memories_per_component)
            .max_tables_per_module(pool.tables_per_component)
            .max_memory_size(pool.memory_bytes)
            .table_elements(pool.table_elements)
            // Metadata of an instance. Not reserved in advance, so these only need to be larger
            // than what interpreters compiled to components have: some tens of thousands of
            // functions.
            .max_core_instance_size(8 * MIB)
            .max_component_instance_size(16 * MIB)
            .linear_memory_keep_resident(pool.resident_memory_bytes)
            .table_keep_resident(64 * KIB)
            .async_stack_keep_resident(pool.resident_stack_bytes)
            .pagemap_scan(Enabled::Auto);
        config
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pooling))
            .max_wasm_stack(self.guest_stack_bytes)
            .async_stack_size(self.call_stack_bytes)
            .async_stack_zeroing(true);
        config
    }

    /// The configuration that compiles, in the child. What it produces, [`Self::serving`] runs.
    pub(crate) fn compiling(&self) -> Config {
        let mut config = self.code();
        config
            .allocation_strategy(InstanceAllocationStrategy::OnDemand)
            .parallel_compilation(false);
        config
    }

    /// What shapes the compiled code; the same where it is compiled and where it runs.
    fn code(&self) -> Config {
        let mut config = Config::new();
        config
            .strategy(Strategy::Cranelift)
            .cranelift_opt_level(OptLevel::Speed)
            .epoch_interruption(true)
            .memory_init_cow(true)
            .memory_reservation(MEMORY_RESERVATION)
            .memory_may_move(false)
            .concurrency_support(self.p3_enabled)
            .wasm_component_model(true)
            .wasm_component_model_async(self.p3_enabled)
            // Imports of one interface under several labels.
            .wasm_component_model_implements(true)
            .wasm_memory64(false)
            .wasm_gc(false)
            .wasm_stack_switching(false)
            .wasm_custom_page_sizes(false)
            .shared_memory(false)
            .gc_support(false)
            .wasm_backtrace_max_frames(NonZeroUsize::new(BACKTRACE_FRAMES))
            .wasm_backtrace_details(if self.source_lines {
                WasmBacktraceDetails::Enable
            } else {
                WasmBacktraceDetails::Disable
            });
        config
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_a_machine_may_stay_resident_of_all_memories_together() {
        let pool = PoolSettings::default();
        for machine in [0_u64, 1 << 30, 4 << 30, 64 << 30] {
            let each = pool.resident_within(machine) as u64;
            let all = each * u64::from(pool.memories);
            assert!(all <= machine / 10, "{all} of {machine}");
            let page_more = (each + PAGE) * u64::from(pool.memories);
            assert!(page_more > machine / 10, "{all} of {machine}");
        }
    }
}
