//! The one place where causes become status codes: problem documents of RFC 9457.
//!
//! | status | code | cause |
//! |---|---|---|
//! | 308 | `https-required` | the node answers by TLS only, at the address in `Location` |
//! | 400 | `bad-request` | the request is not one that HTTP/1.1 or HTTP/2 allows, or names no host, or two |
//! | 400 | `upload-not-possible` | an upload to an address that is a part, or under a condition that can't be kept |
//! | 400 | `body-broke-off` | an upload to an address that did not come to its end |
//! | 401 | `token-required` | the path needs a token and none was shown |
//! | 401 | `token-invalid` | the token is not one of this tenant |
//! | 403 | `address-not-valid` | a pre-signed address that the application has not given out |
//! | 403 | `address-expired` | a pre-signed address whose time is over |
//! | 403 | `address-method` | a pre-signed address that is for another method |
//! | 404 | `unknown-address` | a reserved path at which there is nothing |
//! | 404 | `no-such-object` | the object of a pre-signed address |
//! | 404 | `unknown-host` | no installation has this host name |
//! | 408 | `transfer-timeout` | an upload to an address that took too long |
//! | 412 | `precondition-failed` | the condition of a request for an object |
//! | 413 | `body-too-large` | the body is longer than the installation takes |
//! | 414 | `uri-too-long` | path and query are longer than the node takes |
//! | 415 | `content-type` | an upload to an address for another type |
//! | 416 | `range-not-satisfiable` | a range beyond an object's end |
//! | 429 | `installation-busy` | the installation's limit of concurrent requests |
//! | 429 | `installation-rate` | the installation's limit of requests a second |
//! | 429 | `tenant-busy` | the tenant's limit of concurrent requests |
//! | 429 | `tenant-connections` | the tenant's limit of connections |
//! | 429 | `tenant-cpu` | the tenant's limit of processor time in the course of time |
//! | 429 | `tenant-pool` | the tenant's limit of instances, their memories and tables on a node |
//! | 429 | `tenant-rate` | the tenant's limit of requests a second |
//! | 426 | `websocket-version` | a handshake of WebSocket of another version than 13 |
//! | 429 | `tenant-websockets` | the tenant's limit of WebSocket connections |
//! | 431 | `headers-too-large` | more header fields, or longer ones, than the node takes |
//! | 500 | `trap` | the application trapped |
//! | 500 | `stack-overflow` | the application's calls went deeper than its stack |
//! | 500 | `internal` | the platform failed |
//! | 501 | `method-not-supported` | `CONNECT`, `TRACE` |
//! | 501 | `upgrade-not-supported` | a change of protocol; to WebSocket, where the application takes no connections |
//! | 501 | `requests-not-supported` | the application takes messages alone |
//! | any | `websocket-refused` | the application does not take a WebSocket connection, with the status of its choice |
//! | 502 | `no-response` | the application ended without a response |
//! | 502 | `bad-response` | the application's response is not one that HTTP allows |
//! | 502 | `driver-failed` | a driver failed and the application could not be told |
//! | 503 | `driver-unavailable` | a driver has failed so often that it is left alone for a while, and the application could not be told |
//! | 503 | `cpu-limit` | the application used up its processor time |
//! | 503 | `host-time-limit` | the platform worked for too long in calls that the application made of it |
//! | 503 | `node-busy` | the node's limit of concurrent requests or of instances |
//! | 503 | `node-memory` | the instances of the node need more memory than they may use together |
//! | 503 | `not-servable` | the application cannot run on this node as it is set up |
//! | 503 | `storage-busy` | too many objects are read or written at once |
//! | 504 | `deadline-exceeded` | the application did not answer in time |
//! | 504 | `stream-idle`, `stream-limit` | a response that streams paused or went on for too long; in logs, for its head has been sent |
//! | 507 | `memory-limit` | the application needs more memory than it may use |
//! | 507 | `quota-exceeded` | an upload that is more than may be stored |
//! | 507 | `tenant-memory-limit` | the tenant's instances need more memory than they may use together |
//! | 507 | `table-limit` | the application needs larger tables than it may have |
//! | 507 | `handle-limit` | the application holds more handles or host resources than it may |
//! | 507 | `fields-limit` | the application gathered larger header fields than it may |
//! | 507 | `host-memory-limit` | the application has the platform keep more for it than it may |
//! | 507 | `hostcall-limit` | the application moved more data in one call than it may |
//! | 508 | `loop-detected` | the request came through too many applications of this platform |
//!
//! What a client is told names no internals; those go to the log, under the same request id.

mod kinds;
mod response;

use std::fmt;
use std::time::Duration;

use canopy_admission::{Rate, Refused, Scope};
use canopy_runtime::blob::BlobError;
use canopy_runtime::{AddressError, ServeError, SocketRefusal, StorageError};
use canopy_tenant::{AuthenticationError, InvalidHost};
use http::StatusCode;

use kinds::{BAD_RESPONSE, INTERNAL, object, refusal, served};

/// Why a request is not answered by an application.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error("the host name is not valid: {0}")]
    InvalidHost(#[from] InvalidHost),
    #[error("the request names no host")]
    NoHost,
    #[error("the request names two different hosts")]
    TwoHosts,
    #[error("the request declares its length twice")]
    TwoLengths,
    #[error("`OPTIONS *` asks the server itself, and applications answer here")]
    Asterisk,
    #[error("the method {0} is not supported")]
    Method(String),
    #[error("changing the protocol to `{0}` is not supported")]
    Upgrade(String),
    #[error("{0}")]
    Handshake(&'static str),
    #[error("version 13 of the WebSocket protocol is spoken here")]
    SocketVersion,
    #[error("{limit} WebSocket connections of this tenant are open, which is its limit")]
    TenantSockets { limit: usize },
    #[error("the application does not take the connection: {}", .0.detail)]
    SocketRefused(SocketRefusal),
    #[error("the application chose a subprotocol that the client does not speak")]
    SocketSubprotocol,
    #[error("path and query of {actual} bytes are over the limit of {limit}")]
    UriTooLong { actual: usize, limit: usize },
    #[error("{what} of the header are over the limit of {limit}")]
    HeadersTooLarge { what: &'static str, limit: usize },
    #[error("no application is installed under the host name `{0}`")]
    UnknownHost(String),
    #[error("this node answers by TLS only; the same address is at {location}")]
    NotSecure { location: String },
    #[error("the request came through more than {limit} applications of this platform")]
    Loop { limit: u32 },
    #[error("{limit} connections carry requests of this tenant, which is its limit")]
    TenantConnections { limit: usize },
    #[error(transparent)]
    Authentication(#[from] AuthenticationError),
    #[error("the body is over the limit of {limit} bytes")]
    BodyTooLarge { limit: u64 },
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("there is nothing at this address")]
    NothingHere,
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("the address is not for {0}")]
    AddressMethod(String),
    #[error(transparent)]
    Object(#[from] BlobError),
    #[error("the object can only be uploaded whole, without `Content-Range`")]
    PartialUpload,
    #[error("only `If-None-Match: *` and `If-Match` with one etag are conditions of an upload")]
    UploadCondition,
    #[error("the content type is {}", UploadType(expected))]
    UploadType { expected: Option<String> },
    #[error("the upload took too long")]
    TransferTooSlow,
    #[error("the application answered with the status {0}, which is not a final one")]
    Informational(StatusCode),
}

/// What a client is told.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    title: &'static str,
    detail: String,
    retry_after: Option<Duration>,
    rate: Option<(Scope, Rate)>,
    location: Option<String>,
    close: bool,
    /// Of the object in which a range is not.
    size: Option<u64>,
}

struct UploadType<'a>(&'a Option<String>);

impl fmt::Display for UploadType<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(expected) => write!(f, "not `{expected}`, for which the address is"),
            None => write!(f, "not a text of visible characters"),
        }
    }
}

const SOON: Duration = Duration::from_secs(1);

impl From<&Cause> for Problem {
    fn from(cause: &Cause) -> Self {
        use StatusCode as S;
        let (status, code, title) = match cause {
            Cause::InvalidHost(_)
            | Cause::NoHost
            | Cause::TwoHosts
            | Cause::TwoLengths
            | Cause::Asterisk
            | Cause::Handshake(_) => (S::BAD_REQUEST, "bad-request", "The request is not valid"),
            Cause::Method(_) => (
                S::NOT_IMPLEMENTED,
                "method-not-supported",
                "This method is not supported",
            ),
            Cause::Upgrade(_) => (
                S::NOT_IMPLEMENTED,
                "upgrade-not-supported",
                "The protocol cannot be changed",
            ),
            Cause::SocketVersion => (
                S::UPGRADE_REQUIRED,
                "websocket-version",
                "This version of the protocol is not spoken here",
            ),
            Cause::TenantSockets { .. } => (
                S::TOO_MANY_REQUESTS,
                "tenant-websockets",
                "Too many WebSocket connections of the tenant",
            ),
            Cause::SocketSubprotocol => BAD_RESPONSE,
            Cause::SocketRefused(refusal) => (
                StatusCode::from_u16(refusal.status)
                    .ok()
                    .filter(|status| status.is_client_error() || status.is_server_error())
                    .unwrap_or(S::INTERNAL_SERVER_ERROR),
                "websocket-refused",
                "The application does not take the connection",
            ),
            Cause::UriTooLong { .. } => (
                S::URI_TOO_LONG,
                "uri-too-long",
                "Path and query are too long",
            ),
            Cause::HeadersTooLarge { .. } => (
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers-too-large",
                "The header is too large",
            ),
            Cause::UnknownHost(_) => (S::NOT_FOUND, "unknown-host", "Nothing is installed here"),
            Cause::Authentication(AuthenticationError::Required) => {
                (S::UNAUTHORIZED, "token-required", "A token is needed")
            }
            Cause::Authentication(AuthenticationError::Invalid) => {
                (S::UNAUTHORIZED, "token-invalid", "The token is not valid")
            }
            Cause::BodyTooLarge { .. } => (
                S::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "The body is too large",
            ),
            Cause::NotSecure { .. } => (
                S::PERMANENT_REDIRECT,
                "https-required",
                "This address is answered by TLS only",
            ),
            Cause::Loop { .. } => (
                S::LOOP_DETECTED,
                "loop-detected",
                "Applications call one another in a circle",
            ),
            Cause::TenantConnections { .. } => (
                S::TOO_MANY_REQUESTS,
                "tenant-connections",
                "The tenant has as many connections as it may",
            ),
            Cause::Refused(refused) => refusal(refused),
            Cause::Informational(_) => BAD_RESPONSE,
            Cause::NothingHere | Cause::Address(AddressError::Unknown) => {
                (S::NOT_FOUND, "unknown-address", "There is nothing here")
            }
            Cause::Address(AddressError::Forged) => (
                S::FORBIDDEN,
                "address-not-valid",
                "The address is not valid",
            ),
            Cause::Address(AddressError::Expired) => {
                (S::FORBIDDEN, "address-expired", "The address has expired")
            }
            Cause::Address(AddressError::Storage(_)) => INTERNAL,
            Cause::AddressMethod(_) => (
                S::FORBIDDEN,
                "address-method",
                "The address is for another method",
            ),
            Cause::PartialUpload | Cause::UploadCondition => (
                S::BAD_REQUEST,
                "upload-not-possible",
                "The upload is not possible in this way",
            ),
            Cause::UploadType { .. } => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "content-type",
                "The address is for another type of content",
            ),
            Cause::TransferTooSlow => (
                S::REQUEST_TIMEOUT,
                "transfer-timeout",
                "The upload took too long",
            ),
            Cause::Object(error) => object(error),
            Cause::Serve(error) => served(error),
        };
        let retry_after = match cause {
            Cause::Refused(
                Refused::Busy { retry_after, .. } | Refused::TooFast { retry_after, .. },
            )
            | Cause::Serve(
                ServeError::TenantCpu { retry_after, .. }
                | ServeError::DriverUnavailable { retry_after, .. },
            ) => Some(*retry_after),
            Cause::Serve(
                ServeError::Unavailable
                | ServeError::NodeMemory { .. }
                | ServeError::TenantMemory { .. }
                | ServeError::TenantSlots { .. },
            )
            | Cause::TenantConnections { .. }
            | Cause::Object(BlobError::Storage(StorageError::Busy(_))) => Some(SOON),
            _ => None,
        };
        let rate = match cause {
            Cause::Refused(Refused::TooFast { scope, rate, .. }) => Some((*scope, *rate)),
            _ => None,
        };
        let location = match cause {
            Cause::NotSecure { location } => Some(location.clone()),
            _ => None,
        };
        let close = matches!(
            cause,
            Cause::TwoLengths
                | Cause::BodyTooLarge { .. }
                | Cause::TenantConnections { .. }
                | Cause::Object(
                    BlobError::TooLarge { .. } | BlobError::Body(_) | BlobError::Storage(_)
                )
                | Cause::UploadType { .. }
                | Cause::TransferTooSlow
        );
        let size = match cause {
            Cause::Object(BlobError::Range { size }) => Some(*size),
            _ => None,
        };
        Self {
            status,
            code,
            title,
            detail: detail(cause),
            retry_after,
            rate,
            location,
            close,
            size,
        }
    }
}

/// The code of a failure of an application, and what somebody outside is told about it.
pub(crate) fn told(error: ServeError) -> (&'static str, String) {
    let Problem { code, detail, .. } = Problem::from(&Cause::Serve(error));
    (code, detail)
}

/// The code of a refusal by admission.
pub(crate) fn refused(refused: &Refused) -> &'static str {
    refusal(refused).1
}

/// What to say beyond the title. A guest's trap, a driver's message and the platform's own failures
/// are for the log.
fn detail(cause: &Cause) -> String {
    const LOGGED: &str = "The cause is in the log under this request id.";
    match cause {
        Cause::Serve(error) => match error {
            ServeError::Cpu { .. }
            | ServeError::HostTime { .. }
            | ServeError::TenantCpu { .. }
            | ServeError::Wall { .. }
            | ServeError::StreamIdle { .. }
            | ServeError::StreamEnd { .. }
            | ServeError::Memory { .. }
            | ServeError::TenantMemory { .. }
            | ServeError::NodeMemory { .. }
            | ServeError::TenantSlots { .. }
            | ServeError::Table { .. }
            | ServeError::Handles
            | ServeError::Fields
            | ServeError::Kept { .. }
            | ServeError::HostcallData
            | ServeError::Stack { .. }
            | ServeError::NoResponse
            | ServeError::NoSockets
            | ServeError::NoRequests
            | ServeError::Unavailable => sentence(&error.to_string()),
            ServeError::DriverFailed { interface, .. } => {
                format!("The driver that serves {interface} failed. {LOGGED}")
            }
            ServeError::DriverUnavailable { interface, .. } => {
                format!("The driver that serves {interface} fails at present. {LOGGED}")
            }
            _ => LOGGED.to_owned(),
        },
        Cause::Authentication(AuthenticationError::Required) => {
            "Send a service token of this tenant as `Authorization: Bearer …`.".to_owned()
        }
        Cause::SocketRefused(refusal) => sentence(&refusal.detail),
        Cause::Object(error) if object(error) == INTERNAL => LOGGED.to_owned(),
        Cause::Address(AddressError::Storage(_)) => LOGGED.to_owned(),
        other => sentence(&other.to_string()),
    }
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        let end = if text.ends_with('.') { "" } else { "." };
        format!("{}{}{end}", first.to_uppercase(), letters.as_str())
    })
}

#[cfg(test)]
mod tests {
    use canopy_ids::RequestId;
    use canopy_runtime::SlotKind;
    use http::header::RETRY_AFTER;

    use super::*;

    #[test]
    fn causes_that_differ_have_codes_that_differ() {
        let causes = [
            ServeError::Cpu { limit: SOON },
            ServeError::HostTime { limit: SOON },
            ServeError::TenantCpu {
                per_second: SOON,
                retry_after: SOON,
            },
            ServeError::Wall { limit: SOON },
            ServeError::StreamIdle { limit: SOON },
            ServeError::StreamEnd { limit: SOON },
            ServeError::Memory { limit: 1 },
            ServeError::TenantMemory { limit: 1 },
            ServeError::NodeMemory { limit: 1 },
            ServeError::TenantSlots {
                kind: SlotKind::Tables,
                limit: 1,
            },
            ServeError::Table { limit: 1 },
            ServeError::Handles,
            ServeError::Fields,
            ServeError::Kept { limit: 1 },
            ServeError::HostcallData,
            ServeError::Stack {
                backtrace: String::new(),
            },
            ServeError::Trap {
                message: String::new(),
                backtrace: String::new(),
            },
            ServeError::NoResponse,
            ServeError::NoRequests,
            ServeError::GuestError {
                code: String::new(),
            },
            ServeError::Unavailable,
            ServeError::Unsupported {
                reason: String::new(),
            },
            ServeError::Internal(String::new()),
        ];
        let count = causes.len();
        let mut codes: Vec<_> = causes
            .into_iter()
            .map(|error| Problem::from(&Cause::Serve(error)).code)
            .collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }

    #[test]
    fn a_client_is_told_no_internals() {
        let trap = Cause::Serve(ServeError::Trap {
            message: "unreachable at secret_function".into(),
            backtrace: "secret_function".into(),
        });
        let internal = Cause::Serve(ServeError::Internal("disk /dev/secret_function".into()));
        for cause in [trap, internal] {
            let response = Problem::from(&cause).response(RequestId::new());
            assert!(!String::from_utf8_lossy(response.body()).contains("secret_function"));
        }
    }

    #[test]
    fn whoever_is_refused_for_load_is_told_when_to_come_back() {
        let refused = Refused::Busy {
            scope: Scope::Tenant,
            limit: 3,
            retry_after: Duration::from_millis(100),
        };
        let response = Problem::from(&Cause::Refused(refused)).response(RequestId::new());
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
    }

    #[test]
    fn whoever_has_no_cpu_time_left_is_told_when_there_is_some() {
        let spent = ServeError::TenantCpu {
            per_second: Duration::from_millis(500),
            retry_after: Duration::from_millis(2001),
        };
        let problem = Problem::from(&Cause::Serve(spent));
        assert_eq!(problem.code, "tenant-cpu");
        let response = problem.response(RequestId::new());
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[RETRY_AFTER], "3");
        assert!(String::from_utf8_lossy(response.body()).contains("500 ms a second"));
    }

    #[test]
    fn whoever_is_too_fast_is_told_the_rate() {
        let refused = Refused::TooFast {
            scope: Scope::Installation,
            rate: Rate {
                per_second: 20,
                burst: 40,
            },
            retry_after: Duration::from_millis(2001),
        };
        let response = Problem::from(&Cause::Refused(refused)).response(RequestId::new());
        let headers = response.headers();
        assert_eq!(headers[RETRY_AFTER], "3");
        assert_eq!(headers["ratelimit-policy"], "\"installation\";q=20;w=1");
        assert_eq!(headers["ratelimit"], "\"installation\";r=0;t=3");
    }
}
