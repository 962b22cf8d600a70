//! Why an invocation brought no response, or not a whole one.

use std::sync::Arc;
use std::time::Duration;

use canopy_backend::KeptFull;
use canopy_driver::{DriverFailed, FailureCause};
use canopy_engine::{LimitExceeded, SlotKind};

/// Why an invocation failed. Each variant is a cause of its own for whoever asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The guest used up its CPU time.
    #[error("the application used its CPU time of {} ms for one request", limit.as_millis())]
    Cpu {
        /// [`Limits::cpu`](crate::spec::Limits::cpu).
        limit: Duration,
    },
    /// The host worked in calls of the guest for longer than it may.
    #[error("the platform worked for {} ms in calls that the application made of it", limit.as_millis())]
    HostTime {
        /// [`EngineSettings::host_time`](canopy_engine::EngineSettings::host_time).
        limit: Duration,
    },
    /// The tenant's guests together have used their CPU time.
    #[error(
        "the tenant's applications used their CPU time, which is {} ms a second",
        per_second.as_millis()
    )]
    TenantCpu {
        /// [`TenantLimits::cpu_per_second`](crate::spec::TenantLimits::cpu_per_second).
        per_second: Duration,
        /// After what time it is worth trying again.
        retry_after: Duration,
    },
    /// The call's deadline has passed.
    #[error("the application did not finish in time ({} ms)", limit.as_millis())]
    Wall {
        /// [`Limits::wall`](crate::spec::Limits::wall).
        limit: Duration,
    },
    /// A response that streams paused for too long.
    #[error("nothing more of the response was taken for {} ms", limit.as_millis())]
    StreamIdle {
        /// [`Limits::stream_idle`](crate::spec::Limits::stream_idle).
        limit: Duration,
    },
    /// A response that streams went on for as long as it may.
    #[error("the response went on for {} ms, which is as long as it may", limit.as_millis())]
    StreamEnd {
        /// [`Limits::stream`](crate::spec::Limits::stream).
        limit: Duration,
    },
    /// The guest ended because it was refused more memory.
    #[error("the application needs more memory than the {limit} bytes that it may use")]
    Memory {
        /// [`Limits::memory_bytes`](crate::spec::Limits::memory_bytes).
        limit: usize,
    },
    /// The guest ended because its tenant's instances together were refused more memory.
    #[error("the tenant's applications need more memory than the {limit} bytes that they may use")]
    TenantMemory {
        /// [`TenantLimits::memory_bytes`](crate::TenantLimits::memory_bytes).
        limit: usize,
    },
    /// The guest ended because all instances of the node together were refused more memory. Nobody's
    /// fault; try again.
    #[error(
        "all applications of the node have the {limit} bytes of memory that they may use together"
    )]
    NodeMemory {
        /// [`RuntimeSettings::node_memory_bytes`](crate::RuntimeSettings::node_memory_bytes).
        limit: usize,
    },
    /// The tenant's instances together have as much of the node's pool as they may.
    #[error("the tenant's applications have {limit} {kind} at once, which is as many as they may")]
    TenantSlots {
        /// Of what they have so many.
        kind: SlotKind,
        /// [`RuntimeSettings::tenant_slots`](crate::RuntimeSettings::tenant_slots).
        limit: usize,
    },
    /// The guest ended because it was refused a larger table.
    #[error("the application needs larger tables than the {limit} elements that one may have")]
    Table {
        /// Elements of one table.
        limit: usize,
    },
    /// The guest's calls went deeper than its stack.
    #[error("the application's calls went deeper than its stack")]
    Stack {
        /// Where in the guest, one frame a line; for the installation's log.
        backtrace: String,
    },
    /// The guest holds more handles, or more resources of the host, than it may.
    #[error("the application holds as many handles and resources of the host as it may")]
    Handles,
    /// The guest handed over, or asked for, more data in one call than it may.
    #[error("the application moved more data in one call than it may")]
    HostcallData,
    /// The guest gathered larger HTTP header fields than it may.
    #[error("the application's header fields are larger than they may be")]
    Fields,
    /// The guest has the host keep more than it may.
    #[error("the application has the platform keep more for it than the {limit} bytes that it may")]
    Kept {
        /// [`RuntimeSettings::kept_bytes`](crate::RuntimeSettings::kept_bytes).
        limit: usize,
    },
    /// The guest trapped.
    #[error("the application failed: {message}")]
    Trap {
        /// The cause, on one line.
        message: String,
        /// Where in the guest, one frame a line; for the installation's log.
        backtrace: String,
    },
    /// The guest returned without setting a response.
    #[error("the application ended without a response")]
    NoResponse,
    /// The component takes no connections of the WebSocket protocol.
    #[error("the application takes no WebSocket connections")]
    NoSockets,
    /// The component answers no requests.
    #[error("the application answers no requests: it takes messages alone")]
    NoRequests,
    /// The component takes no messages by itself.
    #[error("the application exports no `wasmcloud:messaging/handler`")]
    NoMessages,
    /// The guest answered with an error code of `wasi:http` in place of a response.
    #[error("the application answered with the error code {code}")]
    GuestError {
        /// The code, as `wasi:http` names it.
        code: String,
    },
    /// A driver failed and the interface has no error for it to be told by.
    #[error("driver `{driver}` did not answer {interface}: {message}")]
    DriverFailed {
        /// The driver instance's name within the tenant.
        driver: String,
        /// The interface that was called.
        interface: String,
        /// What went wrong.
        message: String,
    },
    /// A driver has failed so often in a row that it is left alone for a while.
    #[error("driver `{driver}`, which serves {interface}, is not asked at present: {message}")]
    DriverUnavailable {
        /// The driver instance's name within the tenant.
        driver: String,
        /// The interface that was called.
        interface: String,
        /// What failed last.
        message: String,
        /// When it is asked again.
        retry_after: Duration,
    },
    /// The node runs as many instances as it can. Nobody's fault; try again.
    #[error("the node is running as many instances as it can")]
    Unavailable,
    /// The component cannot run here as this node is set up.
    #[error("the application cannot be served by this node: {reason}")]
    Unsupported {
        /// What it needs.
        reason: String,
    },
    /// The installation could not be made ready to run.
    #[error(transparent)]
    Prepare(#[from] Arc<PrepareError>),
    /// The host failed. The text is for the operator.
    #[error("the platform failed: {0}")]
    Internal(String),
}

/// Why an installation could not be made ready to run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The native artifact of the component could not be had.
    #[error("{package} {version} could not be loaded: {error}")]
    Artifact {
        /// The package.
        package: String,
        /// Its version.
        version: String,
        /// Why.
        error: canopy_engine::ArtifactError,
    },
    /// The component exports nothing by which it could be called.
    #[error(
        "the component of {package} answers neither requests nor messages: it exports none of \
         `wasi:http/incoming-handler` of 0.2, `wasi:http/handler` of 0.3, and \
         `wasmcloud:messaging/handler` of 0.2.0"
    )]
    NoHandler {
        /// The package.
        package: String,
    },
    /// The component is of WASI 0.3 and the operator has switched that off.
    #[error("{package} is a WASI 0.3 component, and WASI 0.3 is switched off on this node")]
    P3Disabled {
        /// The package.
        package: String,
    },
    /// Imports that nobody serves.
    #[error("nobody serves {} that {package} imports", list(imports))]
    Unserved {
        /// The package.
        package: String,
        /// The imports.
        imports: Vec<String>,
    },
    /// A driver does not fit the component's imports.
    #[error(transparent)]
    Driver(#[from] canopy_driver::LinkError),
    /// A driver's own component could not be made ready.
    #[error("driver `{driver}` could not be made ready: {error}")]
    InDriver {
        /// The driver instance's name within the tenant.
        driver: String,
        /// Why.
        error: Box<PrepareError>,
    },
    /// Two interfaces share a resource and are served by different sides.
    #[error(transparent)]
    SharedResource(Box<SharedResource>),
    /// wasmtime refused to link the component.
    #[error("the component of {package} could not be linked: {message}")]
    Link {
        /// The package.
        package: String,
        /// What wasmtime says.
        message: String,
    },
}

/// Two interfaces that share a resource and are served by different sides.
#[derive(Debug, thiserror::Error)]
#[error(
    "{package}: `{one}` is served by {by_one} and `{other}` by {by_other}, but they share the \
     resource `{resource}`, which cannot be of both; bind the two to the same"
)]
pub struct SharedResource {
    /// The package.
    pub package: String,
    /// An import.
    pub one: String,
    /// Who serves it.
    pub by_one: String,
    /// The other import.
    pub other: String,
    /// Who serves that.
    pub by_other: String,
    /// The resource's name.
    pub resource: String,
}

fn list(names: &[String]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

impl ServeError {
    /// What ended a guest. `limits` is what its store's limiter says the cause is.
    pub(crate) fn of(error: &wasmtime::Error, limit: Option<LimitExceeded>) -> Self {
        if let Some(full) = error.downcast_ref::<KeptFull>() {
            return Self::Kept { limit: full.limit };
        }
        if let Some(limit) = limit.or_else(|| LimitExceeded::of(error)) {
            return match limit {
                LimitExceeded::Stack => Self::Stack {
                    backtrace: backtrace(error),
                },
                limit => limit.into(),
            };
        }
        if let Some(failed) = error.downcast_ref::<DriverFailed>() {
            return failed.into();
        }
        if let Some(own) = error.downcast_ref::<ServeError>() {
            return own.clone();
        }
        Self::Trap {
            message: one_line(&error.root_cause().to_string()),
            backtrace: backtrace(error),
        }
    }
}

/// Lines of a backtrace that a log takes.
pub(crate) const BACKTRACE_LINES: usize = 64;

/// Where in the guest an error came about, one frame a line.
pub(crate) fn backtrace(error: &wasmtime::Error) -> String {
    error
        .downcast_ref::<wasmtime::WasmBacktrace>()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn one_line(text: &str) -> String {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

impl From<LimitExceeded> for ServeError {
    fn from(exceeded: LimitExceeded) -> Self {
        match exceeded {
            LimitExceeded::Cpu { limit } => Self::Cpu { limit },
            LimitExceeded::HostTime { limit } => Self::HostTime { limit },
            LimitExceeded::SharedCpu { rate, retry_after } => Self::TenantCpu {
                per_second: rate.per_second,
                retry_after,
            },
            LimitExceeded::Memory { limit, .. } => Self::Memory { limit },
            LimitExceeded::SharedMemory { limit } => Self::TenantMemory { limit },
            LimitExceeded::NodeMemory { limit } => Self::NodeMemory { limit },
            LimitExceeded::SharedSlots { kind, limit } => Self::TenantSlots { kind, limit },
            LimitExceeded::Table { limit, .. } => Self::Table { limit },
            LimitExceeded::Stack => Self::Stack {
                backtrace: String::new(),
            },
            LimitExceeded::Handles => Self::Handles,
            LimitExceeded::HostcallData => Self::HostcallData,
            LimitExceeded::Fields => Self::Fields,
            LimitExceeded::Wall { limit } => Self::Wall { limit },
            LimitExceeded::Pool(_) => Self::Unavailable,
        }
    }
}

impl From<&DriverFailed> for ServeError {
    fn from(failed: &DriverFailed) -> Self {
        if let FailureCause::NoRoom(cause) = &failed.cause
            && let Some(limit) = LimitExceeded::of(cause.error())
        {
            return limit.into();
        }
        let driver = failed.driver.to_string();
        let interface = failed.interface.to_string();
        let message = one_line(&failed.cause.to_string());
        match failed.cause {
            FailureCause::Unavailable { retry_after, .. }
            | FailureCause::Restarting { retry_after, .. } => Self::DriverUnavailable {
                driver,
                interface,
                message,
                retry_after,
            },
            _ => Self::DriverFailed {
                driver,
                interface,
                message,
            },
        }
    }
}
