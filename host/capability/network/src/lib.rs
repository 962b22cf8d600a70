//! Outgoing connections of a guest, under the grants of its installation.
//!
//! One policy ([`EgressPolicy`]) decides for every way out: outgoing `wasi:http` of either version,
//! and TCP, UDP and name look-ups of `wasi:sockets`. Nothing is reachable by default.

mod account;
mod address;
mod bindings;
mod body;
mod connect;
mod ctx;
mod exchange;
mod fields;
mod gateway;
mod handed_over;
mod host;
mod http_client;
mod lookup;
mod lookups;
mod metered;
mod new_sockets;
mod node;
mod p3_sockets;
mod policy;
mod pool;
mod proxy;
mod rule;
mod settings;
mod sockets;
mod tcp;
mod tcp_streams;
mod tls;
mod wasi_tls;

pub use account::{EgressUsage, OverQuota, TenantEgress};
pub use address::is_public;
pub use bindings::{add_p2_to_linker, add_p3_to_linker};
pub use ctx::{Ending, NetworkCtx, NetworkView};
pub use gateway::Gateway;
pub use host::{Host, InvalidHost};
pub use node::{Network, NetworkError, Resolver, SystemResolver};
pub use policy::{Allowance, Denial, EgressPolicy, OperatorEgress, Refusal, Wanted};
pub use proxy::{InvalidProxy, ProxyAddress};
pub use rule::{EgressRule, InvalidEgressRule, Way};
pub use settings::{LEAST_CHUNK, NetworkSettings};
pub use tls::{InvalidTls, TlsIdentity};
