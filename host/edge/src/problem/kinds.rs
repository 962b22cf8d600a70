//! Status, code and title of what objects, admission and applications end with.

use canopy_admission::{Refused, Scope};
use canopy_runtime::blob::BlobError;
use canopy_runtime::{ServeError, StorageError};
use http::StatusCode;

/// Status, code and title.
pub(super) type Kind = (StatusCode, &'static str, &'static str);

pub(super) const NODE_BUSY: Kind = (
    StatusCode::SERVICE_UNAVAILABLE,
    "node-busy",
    "The node is answering as many requests as it can",
);
pub(super) const BAD_RESPONSE: Kind = (
    StatusCode::BAD_GATEWAY,
    "bad-response",
    "The application's response is not valid",
);

pub(super) const INTERNAL: Kind = (
    StatusCode::INTERNAL_SERVER_ERROR,
    "internal",
    "The platform failed",
);

pub(super) fn object(error: &BlobError) -> Kind {
    use StatusCode as S;
    match error {
        BlobError::NoSuchContainer | BlobError::NoSuchObject => {
            (S::NOT_FOUND, "no-such-object", "There is no such object")
        }
        BlobError::Condition { .. } => (
            S::PRECONDITION_FAILED,
            "precondition-failed",
            "The condition does not hold",
        ),
        BlobError::Range { .. } => (
            S::RANGE_NOT_SATISFIABLE,
            "range-not-satisfiable",
            "The range is not in the object",
        ),
        BlobError::TooLarge { .. } => (
            S::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "The body is too large",
        ),
        BlobError::Invalid { .. } => (
            S::BAD_REQUEST,
            "upload-not-possible",
            "The upload is not possible in this way",
        ),
        BlobError::Body(_) | BlobError::WrongSize { .. } => (
            S::BAD_REQUEST,
            "body-broke-off",
            "The body did not come to its end",
        ),
        BlobError::Storage(StorageError::Busy(_)) => (
            S::SERVICE_UNAVAILABLE,
            "storage-busy",
            "Too many objects are read or written at once",
        ),
        BlobError::Storage(StorageError::QuotaExceeded { .. } | StorageError::NoSpace) => (
            S::INSUFFICIENT_STORAGE,
            "quota-exceeded",
            "No more can be stored",
        ),
        _ => INTERNAL,
    }
}

pub(super) fn refusal(refused: &Refused) -> Kind {
    let (code, title) = match refused {
        Refused::Busy { scope, .. } => match scope {
            Scope::Installation => (
                "installation-busy",
                "The application is answering as many requests as it may",
            ),
            Scope::Tenant => (
                "tenant-busy",
                "The tenant's applications are answering as many requests as they may",
            ),
            Scope::Node => return NODE_BUSY,
        },
        Refused::TooFast { scope, .. } => match scope {
            Scope::Installation => (
                "installation-rate",
                "The application gets more requests a second than it may",
            ),
            Scope::Tenant | Scope::Node => (
                "tenant-rate",
                "The tenant's applications get more requests a second than they may",
            ),
        },
    };
    (StatusCode::TOO_MANY_REQUESTS, code, title)
}

pub(super) fn served(error: &ServeError) -> Kind {
    use StatusCode as S;
    match error {
        ServeError::Cpu { .. } => (
            S::SERVICE_UNAVAILABLE,
            "cpu-limit",
            "The application used up its processor time",
        ),
        ServeError::HostTime { .. } => (
            S::SERVICE_UNAVAILABLE,
            "host-time-limit",
            "The application had the platform work for too long",
        ),
        ServeError::TenantCpu { .. } => (
            S::TOO_MANY_REQUESTS,
            "tenant-cpu",
            "The tenant's applications used up their processor time",
        ),
        ServeError::Wall { .. } => (
            S::GATEWAY_TIMEOUT,
            "deadline-exceeded",
            "The application did not answer in time",
        ),
        ServeError::StreamIdle { .. } => (
            S::GATEWAY_TIMEOUT,
            "stream-idle",
            "The application's response paused for too long",
        ),
        ServeError::StreamEnd { .. } => (
            S::GATEWAY_TIMEOUT,
            "stream-limit",
            "The application's response went on for too long",
        ),
        ServeError::Memory { .. } => (
            S::INSUFFICIENT_STORAGE,
            "memory-limit",
            "The application used up its memory",
        ),
        ServeError::TenantMemory { .. } => (
            S::INSUFFICIENT_STORAGE,
            "tenant-memory-limit",
            "The tenant's applications used up their memory",
        ),
        ServeError::NodeMemory { .. } => (
            S::SERVICE_UNAVAILABLE,
            "node-memory",
            "The node's applications have as much memory as they may",
        ),
        ServeError::TenantSlots { .. } => (
            S::TOO_MANY_REQUESTS,
            "tenant-pool",
            "The tenant's applications have as many instances as they may",
        ),
        ServeError::Table { .. } => (
            S::INSUFFICIENT_STORAGE,
            "table-limit",
            "The application used up its tables",
        ),
        ServeError::Handles => (
            S::INSUFFICIENT_STORAGE,
            "handle-limit",
            "The application used up its handles",
        ),
        ServeError::Fields => (
            S::INSUFFICIENT_STORAGE,
            "fields-limit",
            "The application gathered too large header fields",
        ),
        ServeError::Kept { .. } => (
            S::INSUFFICIENT_STORAGE,
            "host-memory-limit",
            "The application has the platform keep too much for it",
        ),
        ServeError::HostcallData => (
            S::INSUFFICIENT_STORAGE,
            "hostcall-limit",
            "The application moved too much data at once",
        ),
        ServeError::Stack { .. } => (
            S::INTERNAL_SERVER_ERROR,
            "stack-overflow",
            "The application used up its stack",
        ),
        ServeError::Trap { .. } => (S::INTERNAL_SERVER_ERROR, "trap", "The application failed"),
        ServeError::NoSockets => (
            S::NOT_IMPLEMENTED,
            "upgrade-not-supported",
            "The protocol cannot be changed",
        ),
        ServeError::NoRequests => (
            S::NOT_IMPLEMENTED,
            "requests-not-supported",
            "The application answers no requests",
        ),
        ServeError::NoResponse => (
            S::BAD_GATEWAY,
            "no-response",
            "The application gave no response",
        ),
        ServeError::GuestError { .. } => BAD_RESPONSE,
        ServeError::DriverUnavailable { .. } => (
            S::SERVICE_UNAVAILABLE,
            "driver-unavailable",
            "A driver of the application fails at present",
        ),
        ServeError::DriverFailed { .. } => (
            S::BAD_GATEWAY,
            "driver-failed",
            "A service that the application needs failed",
        ),
        ServeError::Unavailable => NODE_BUSY,
        ServeError::Unsupported { .. } | ServeError::Prepare(_) => (
            S::SERVICE_UNAVAILABLE,
            "not-servable",
            "The application cannot run on this node",
        ),
        _ => INTERNAL,
    }
}
