//! An installation becomes a running instance that answers requests.
//!
//! ```text
//! Runtime::new(RuntimeParts)            once per node
//!   .serve(&spec, call, request)        a response, or the one cause why there is none
//!   .open_socket(&spec, call, …)        a connection of the WebSocket protocol
//!   .deliver(&spec, call, message)      what became of a message
//!   .prepare(&spec)                     the same up to the first request, to be ready for it
//!   .retain(installations, drivers)     forgets what the snapshot no longer has
//! platform::serves(&InterfaceName)      what a component may import without a driver
//! ```
//!
//! WASI 0.2 `wasi:http/incoming-handler` components get a fresh instance for every request. WASI
//! 0.3 `wasi:http/handler` components are reused, one request at a time, within one generation of
//! one installation. [`guest`] lists every capability that a component has.

pub mod guest;
pub mod platform;
pub mod spec;

mod body;
mod call;
mod check;
mod clocks;
mod crossing;
mod driver;
mod error;
mod handler;
mod installed;
mod instance;
mod io_error;
mod linker;
mod messages;
mod p2;
mod p3;
mod pace;
mod prepare;
mod quiet;
mod room;
mod run;
mod runtime;
mod serve;
mod settings;
mod socket;
mod spent;
mod stores;

pub use body::{RequestBody, RequestBodyError, ResponseBody};
pub use call::{Call, Permit};
pub use canopy_backend::blob;
pub use canopy_backend::queue;
pub use canopy_backend::{Clock, Scope, StorageError, SystemClock};
pub use canopy_capability_blobs::{
    Address, AddressError, AddressMethod, Addresses, BlobsSettings, PREFIX as RESERVED_PATHS,
};
pub use canopy_capability_identity::{Caller, CallerKind};
pub use canopy_capability_keyvalue::StoreNames;
pub use canopy_capability_messages::{Destination, MessageSettings, Subscription, Subscriptions};
pub use canopy_capability_network::{
    Allowance, Denial, EgressPolicy, EgressRule, EgressUsage, InvalidEgressRule, LEAST_CHUNK,
    OperatorEgress, TenantEgress, TlsIdentity, is_public,
};
pub use canopy_driver::{DriverHealth, DriverState};
pub use canopy_engine::{SlotKind, Slots};
pub use check::{BINDINGS, BindingChange, Bound, Verdict};
pub use error::{PrepareError, ServeError, SharedResource};
pub use handler::MessageDelivery;
pub use messages::Messages;
pub use runtime::{ComponentPath, CpuUsage, Runtime, RuntimeError, RuntimeParts};
pub use settings::RuntimeSettings;
pub use socket::{
    Socket, SocketClose, SocketIncoming, SocketMessage, SocketOpening, SocketRefusal,
};
pub use spec::{
    Bindings, ComponentSpec, DriverSpec, InstallationSpec, Limits, Provider, TenantLimits,
    TenantSpec,
};
pub use spent::Spent;
