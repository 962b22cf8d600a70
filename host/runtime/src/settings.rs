//! Limits of guests that are the same for every installation of a node.

use std::time::Duration;

use canopy_capability_blobs::BlobsSettings;
use canopy_capability_messages::MessageSettings;
use canopy_capability_network::NetworkSettings;
use canopy_driver::DriverSettings;
use canopy_engine::Slots;

/// What a guest may use beside its installation's [`Limits`](crate::spec::Limits), and how
/// instances are reused.
#[derive(Debug, Clone, PartialEq)]
pub struct RuntimeSettings {
    /// Host resources (streams, headers, sockets, buckets …) that one instance may hold. Default
    /// 240; beyond it the call that would make one more traps. A component that has sixty
    /// outgoing requests with bodies prepared at once holds most of that.
    pub resources: usize,
    /// Bytes of one set of HTTP headers, as held in memory. Default 32 KiB; beyond it the guest
    /// gets `header-error.size-exceeded` or, in WASI 0.2, a trap. Copies of headers that
    /// came from outside are as large as the edge and the network let those be. All sets together
    /// count for `kept_bytes`.
    pub header_bytes: usize,
    /// Bytes of all memories and tables of all instances of the node together. Beyond it a guest is
    /// refused memory, as at its own limit. No tenant may have more than half of it. Default: as much as
    /// can be addressed; whoever knows the machine says less.
    pub node_memory_bytes: usize,
    /// Component instances, linear memories and tables of all instances of one tenant together, drivers
    /// and instances that wait included. Defaults 250, 500 and 1,000, a quarter of what the node's pool
    /// has of each; beyond it instances of the tenant that wait are ended, and where none does the call
    /// is refused.
    pub tenant_slots: Slots,
    /// What part of the node's pool, in percent, is for tenants alone that have no more than a sixteenth of
    /// that part. Default 20; others are told that the node is busy when the rest is taken.
    pub pool_reserve_percent: usize,
    /// Bytes that the host keeps for one instance beside the instance's own memory: header fields and the
    /// texts of requests, values of calls that are under way, with 1 KiB more for each call, results that
    /// the instance has not taken, values that it looks at or writes piece by piece. Default 4 MiB. Beyond
    /// it a call of storage ends with `busy`, one that reads waits for others to end; one of a driver has
    /// the error of its interface; a header field is refused, and where that has no error the guest traps.
    /// One call that is alone may have more.
    pub kept_bytes: usize,
    /// As `resources`, of one store of a driver, which serves the calls of many. Default 1,000.
    pub driver_store_resources: usize,
    /// As `kept_bytes`, of one store of a driver. Default 32 MiB.
    pub driver_kept_bytes: usize,
    /// Random bytes that a guest may ask for at once. Default 64 KiB; beyond it the call traps.
    pub random_bytes: u64,
    /// What the times that guests are told are multiples of. Default 100 µs; 0 leaves a nanosecond.
    pub clock_grain: Duration,
    /// Requests that one WASI 0.3 instance serves, one after the other, before it is replaced; also
    /// one of WASI 0.2 whose package asks for it. Default 128; 1 gives every request an instance of its own, as WASI 0.2 components have.
    pub reuse_requests: usize,
    /// How long a WASI 0.3 instance waits for its next request. Default 5 s.
    pub reuse_idle: Duration,
    /// WASI 0.3 instances of one installation that wait at once. Default 64: as many as an
    /// installation may serve at once by default.
    pub reuse_instances: usize,
    /// Installations that are kept ready to answer. Default 4,096. Beyond it those that were not
    /// asked for longest are forgotten, and made ready anew, from their native code on disk, by the
    /// next request.
    pub prepared_installations: usize,
    /// Resources of drivers that one instance may hold. Default 1,024; beyond it the call that
    /// would give one more traps.
    pub driver_resources: usize,
    /// What a component that calls drivers, or is one, may hand over in one call, as held in
    /// memory, where a list of numbers takes its bytes and any other value 32 beside its text. Default
    /// 24 MiB; beyond it the call traps.
    pub driver_hostcall_bytes: usize,
    /// Objects.
    pub blobs: BlobsSettings,
    /// Messages between applications.
    pub messages: MessageSettings,
    /// Outgoing connections.
    pub network: NetworkSettings,
    /// Driver instances.
    pub drivers: DriverSettings,
}

impl Default for RuntimeSettings {
    fn default() -> Self {
        Self {
            resources: 240,
            header_bytes: 32 << 10,
            node_memory_bytes: usize::MAX,
            tenant_slots: Slots {
                instances: 250,
                memories: 500,
                tables: 1_000,
            },
            pool_reserve_percent: 20,
            kept_bytes: 4 << 20,
            driver_store_resources: 1_000,
            driver_kept_bytes: 32 << 20,
            random_bytes: 64 << 10,
            clock_grain: Duration::from_micros(100),
            reuse_requests: 128,
            reuse_idle: Duration::from_secs(5),
            reuse_instances: 64,
            prepared_installations: 4_096,
            driver_resources: 1_024,
            driver_hostcall_bytes: 24 << 20,
            blobs: BlobsSettings::default(),
            messages: MessageSettings::default(),
            network: NetworkSettings::default(),
            drivers: DriverSettings::default(),
        }
    }
}
