//! What can go wrong when an interface is linked to a driver, and when it is called.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use canopy_backend::KeptFull;
use canopy_ids::DriverInstanceId;

/// A call to a driver that brought no answer. It reaches the application as an error value where
/// its result type has a fitting case, else as the cause of a trap.
#[derive(Debug, Clone, thiserror::Error)]
#[error("driver `{driver}` did not answer `{function}` of `{interface}`: {cause}")]
pub struct DriverFailed {
    /// The driver instance's name within the tenant.
    pub driver: Arc<str>,
    /// The driver instance.
    pub instance: DriverInstanceId,
    /// The interface that was called, as the driver exports it.
    pub interface: Arc<str>,
    /// The function that was called.
    pub function: Arc<str>,
    /// Why there is no answer.
    pub cause: FailureCause,
}

/// Why a driver did not answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FailureCause {
    /// The driver trapped or exceeded a limit. Its store has been replaced.
    #[error("it failed: {0}")]
    Trap(Cause),
    /// The call's deadline has passed. If the call had begun, the driver's store has been replaced.
    #[error("the call's deadline has passed")]
    Deadline,
    /// The caller went away and the call did not end soon after
    /// ([`DriverSettings::abandoned_grace`](crate::DriverSettings::abandoned_grace)). The driver's
    /// store has been replaced.
    #[error("the caller is gone and the call did not end")]
    Abandoned,
    /// The driver could not be started.
    #[error("it could not be started: {0}")]
    Start(Cause),
    /// The node, or the driver's owner on it, has no room for one more store. That says nothing of the
    /// driver, and the next call tries again.
    #[error("there is no room for it: {0}")]
    NoRoom(Cause),
    /// The driver has failed repeatedly, or could not be started, and is not started again yet.
    #[error("it failed and is started again in {} ms: {last}", retry_after.as_millis())]
    Restarting {
        /// When it is tried again.
        retry_after: Duration,
        /// Why it failed.
        last: Cause,
    },
    /// The driver has failed so often in a row that nothing is asked of it for a while
    /// ([`DriverSettings::breaker`](crate::DriverSettings::breaker)).
    #[error(
        "it failed {failures} times in a row and is asked again in {} ms: {last}",
        retry_after.as_millis()
    )]
    Unavailable {
        /// How often, since it answered last.
        failures: u32,
        /// When a call is let through.
        retry_after: Duration,
        /// Why it failed last.
        last: Cause,
    },
    /// Too many calls wait for this driver instance.
    #[error("{limit} calls wait for it, which is the limit")]
    QueueFull {
        /// [`DriverSettings::queue`](crate::DriverSettings::queue).
        limit: usize,
    },
    /// The host keeps as much for the caller as it may, of which values of its calls are a part: those
    /// that a driver is handed, until it has them, and those that it answers, until the caller has them.
    #[error(transparent)]
    KeptFull(#[from] KeptFull),
    /// The call would have more streams and futures open with this driver instance than may be.
    #[error("{limit} streams and futures are open with it, which is the limit")]
    StreamsFull {
        /// [`DriverSettings::streams`](crate::DriverSettings::streams).
        limit: usize,
    },
    /// The caller holds as many of the driver's resources as it may.
    #[error("the application holds {limit} of its resources, which is the limit")]
    HeldFull {
        /// [`DriverSettings::held`](crate::DriverSettings::held).
        limit: usize,
    },
    /// The call went through too many drivers.
    #[error("the call is {limit} drivers deep, which is the limit")]
    DepthLimit {
        /// [`DriverSettings::depth`](crate::DriverSettings::depth).
        limit: usize,
    },
    /// The call came through this driver instance already.
    #[error("the call came through this driver, which cannot call itself")]
    Recursion,
    /// The resources of one call are in different stores of the driver.
    #[error("the resources that it is given are in different stores of it")]
    Apart,
    /// The store that owned a resource has been replaced.
    #[error("the driver was restarted and the resource is gone")]
    ResourceLost,
    /// The driver's store has no room for the resources that it is given.
    #[error("it cannot take what it is given: {0}")]
    NotTaken(Cause),
    /// A driver was called outside of any call: while a component starts.
    #[error("a driver can be called only while a call is under way")]
    NoCall,
    /// The driver instance's actor is gone.
    #[error("it has been stopped")]
    Stopped,
}

/// A [`wasmtime::Error`] that can be shared. Prints the innermost cause only; the rest, with the
/// guest's backtrace, is in [`Cause::error`].
#[derive(Debug, Clone)]
pub struct Cause(Arc<wasmtime::Error>);

impl Cause {
    pub(crate) fn new(error: wasmtime::Error) -> Self {
        Self(Arc::new(error))
    }

    /// The whole error, for downcasting to a limit and for the log.
    pub fn error(&self) -> &wasmtime::Error {
        &self.0
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0.root_cause(), f)
    }
}

/// An application holds as many resources of drivers as it may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the component holds {limit} resources of drivers, which is the limit")]
pub struct ProxiesFull {
    /// The limit given to [`Proxies::new`](crate::Proxies::new).
    pub limit: usize,
}

/// A resource of the host was to be given to another component, or its loan was to end, while
/// something made from it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{resource}` of `{interface}` cannot leave the component while something made from it is held, \
     as a pollable: drop that first"
)]
pub struct HostResourceHeld {
    /// The interface.
    pub interface: &'static str,
    /// The resource's name.
    pub resource: &'static str,
}

/// Why an import cannot be linked to a driver.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The component imports no such interface.
    #[error("the component does not import an interface `{import}`")]
    NoSuchImport {
        /// The import asked for.
        import: String,
    },
    /// The driver exports no such interface in a compatible version.
    #[error(
        "driver `{driver}` does not export `{import}`; it exports {}",
        list(exports)
    )]
    NoSuchExport {
        /// The driver.
        driver: Arc<str>,
        /// The interface that is imported.
        import: String,
        /// What the driver exports.
        exports: Vec<String>,
    },
    /// The driver's interface lacks a function or resource that the component imports.
    #[error("driver `{driver}` has no {kind} `{item}` in `{interface}`")]
    Missing {
        /// The driver.
        driver: Arc<str>,
        /// The interface.
        interface: String,
        /// `function` or `resource`.
        kind: &'static str,
        /// Its name.
        item: String,
    },
    /// A function has another shape in the driver.
    #[error("`{item}` of `{interface}` differs in driver `{driver}`: {difference}")]
    Shape {
        /// The driver.
        driver: Arc<str>,
        /// The interface.
        interface: String,
        /// The function or resource.
        item: String,
        /// Where and how.
        difference: String,
    },
    /// Something in the interface cannot cross from store to store.
    #[error("`{item}` of `{interface}` cannot be served by a driver: {reason}")]
    Unsupported {
        /// The interface.
        interface: String,
        /// The function or other item.
        item: String,
        /// Why not.
        reason: String,
    },
    /// wasmtime refused a definition.
    #[error("`{interface}` could not be defined: {error}")]
    Define {
        /// The interface.
        interface: String,
        /// What wasmtime says.
        error: wasmtime::Error,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "no interface".to_owned();
    }
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
