//! The one place where causes become statuses and problem documents.
//!
//! Every code below is part of the API: it stays the same across versions. What is the operator's
//! alone goes to the log, and the client gets the request's identifier to ask with.

mod storage;
mod upkeep;

use axum::Json;
use axum::extract::multipart::MultipartError;
use axum::extract::rejection::BytesRejection;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use canopy_api_types::{PROBLEM_JSON, PROBLEM_TYPE_PREFIX, Problem};
use canopy_app::{AppError, ComponentError, StoreError};
use canopy_engine::{ArtifactError, CompileError};
use canopy_ids::{Label, RequestId};
use canopy_manifest::ConfigFault;
use serde_json::{Map, Value, json};

/// Why a request was not carried out.
#[derive(Debug)]
pub(crate) enum ApiError {
    App(AppError),
    NoSuchRoute,
    NoSuchMethod,
    InvalidAddress(String),
    InvalidQuery(String),
    InvalidCondition(&'static str),
    NotJson,
    BrokenJson(String),
    InvalidBody(String),
    BodyTooLarge { limit: usize },
    BrokenBody(String),
    Form(String),
    SlowUpload { seconds: u64 },
}

impl ApiError {
    /// What became of reading a body of at most `limit` bytes.
    pub(crate) fn body(error: &axum::Error, limit: usize) -> Self {
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = cause {
            if error.is::<http_body_util::LengthLimitError>() {
                return Self::BodyTooLarge { limit };
            }
            cause = error.source();
        }
        Self::BrokenBody(error.to_string())
    }
}

impl From<AppError> for ApiError {
    fn from(error: AppError) -> Self {
        Self::App(error)
    }
}

impl From<ComponentError> for ApiError {
    fn from(error: ComponentError) -> Self {
        Self::App(error.into())
    }
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Self::BodyTooLarge {
                limit: crate::MAX_BODY_BYTES,
            }
        } else {
            Self::BrokenBody(rejection.body_text())
        }
    }
}

impl From<MultipartError> for ApiError {
    fn from(error: MultipartError) -> Self {
        Self::Form(error.body_text())
    }
}

/// A problem on its way out, before it knows its request.
#[derive(Clone)]
struct Unfinished(Problem);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = document(&self);
        let status = StatusCode::from_u16(problem.status).unwrap_or_default();
        let mut response = status.into_response();
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"canopy\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response.extensions_mut().insert(Unfinished(problem));
        response
    }
}

/// What a client is told of an error. What is the operator's alone goes to the log.
pub(crate) fn document(error: &ApiError) -> Problem {
    let explained = explain(error);
    let internal = explained.status.is_server_error() && explained.code == INTERNAL;
    if internal {
        tracing::error!(?error, "a control request failed");
    }
    let detail = if internal {
        "The platform failed; its operator finds the cause in the log by the request's identifier."
            .to_owned()
    } else {
        error.to_string()
    };
    Problem {
        kind: format!("{PROBLEM_TYPE_PREFIX}{}", explained.code),
        title: explained.title.into(),
        status: explained.status.as_u16(),
        detail,
        request_id: None,
        members: explained.members,
    }
}

/// Writes the document of a problem, if `response` is one.
pub(crate) fn finish(mut response: Response, id: RequestId) -> Response {
    let Some(Unfinished(mut problem)) = response.extensions_mut().remove::<Unfinished>() else {
        return response;
    };
    problem.request_id = Some(id.to_string());
    let (mut parts, _) = response.into_parts();
    let (document, body) = Json(problem).into_response().into_parts();
    parts.headers.extend(document.headers);
    parts
        .headers
        .insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    Response::from_parts(parts, body)
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::App(error) => error.fmt(f),
            Self::NoSuchRoute => {
                f.write_str("there is nothing at this path; see `/api/v1/openapi.json`")
            }
            Self::NoSuchMethod => {
                f.write_str("this path does not take that method; see `/api/v1/openapi.json`")
            }
            Self::InvalidAddress(message) => write!(f, "the path has a fault: {message}"),
            Self::InvalidQuery(message) => write!(f, "the query has a fault: {message}"),
            Self::InvalidCondition(message) => f.write_str(message),
            Self::NotJson => f.write_str("send the body as `Content-Type: application/json`"),
            Self::BrokenJson(message) => write!(f, "the body is not JSON: {message}"),
            Self::InvalidBody(message) => write!(f, "the body has a fault: {message}"),
            Self::BodyTooLarge { limit } => {
                write!(
                    f,
                    "the body is longer than {limit} bytes, the most that is read"
                )
            }
            Self::BrokenBody(message) => write!(f, "the body could not be read: {message}"),
            Self::Form(message) => write!(
                f,
                "the form has a fault: {message}; send the parts `digest` (may be left out), \
                 `manifest` and `component` in this order"
            ),
            Self::SlowUpload { seconds } => {
                write!(
                    f,
                    "nothing of the upload arrived for {seconds} seconds; send it again"
                )
            }
        }
    }
}

const INTERNAL: &str = "internal";

struct Explained {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    members: Map<String, Value>,
}

fn explained(status: StatusCode, code: &'static str, title: &'static str) -> Explained {
    Explained {
        status,
        code,
        title,
        members: Map::new(),
    }
}

impl Explained {
    fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.members.insert(member.to_owned(), value.into());
        self
    }
}

fn explain(error: &ApiError) -> Explained {
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    let large = StatusCode::PAYLOAD_TOO_LARGE;
    match error {
        ApiError::App(error) => explain_app(error),
        ApiError::NoSuchRoute => explained(StatusCode::NOT_FOUND, "no-such-route", "No such path"),
        ApiError::NoSuchMethod => explained(
            StatusCode::METHOD_NOT_ALLOWED,
            "no-such-method",
            "Method not allowed",
        ),
        ApiError::InvalidAddress(_) => {
            explained(BAD, "invalid-name", "A name in the path is invalid")
        }
        ApiError::InvalidQuery(_) => explained(BAD, "invalid-query", "The query is invalid"),
        ApiError::InvalidCondition(_) => {
            explained(BAD, "invalid-condition", "The condition is invalid")
        }
        ApiError::NotJson => explained(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not-json",
            "The body must be JSON",
        ),
        ApiError::BrokenJson(_) => explained(BAD, "broken-json", "The body is not JSON"),
        ApiError::InvalidBody(_) => explained(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid-body",
            "The body is invalid",
        ),
        ApiError::BodyTooLarge { limit } => {
            explained(large, "body-too-large", "The body is too long").with("limit", *limit)
        }
        ApiError::BrokenBody(_) => explained(BAD, "broken-body", "The body is incomplete"),
        ApiError::Form(_) => explained(BAD, "invalid-form", "The form is invalid"),
        ApiError::SlowUpload { .. } => explained(
            StatusCode::REQUEST_TIMEOUT,
            "upload-timeout",
            "The upload stopped",
        ),
    }
}

fn explain_app(error: &AppError) -> Explained {
    const REFUSED: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
    const CONFLICT: StatusCode = StatusCode::CONFLICT;
    match error {
        AppError::Unauthenticated => explained(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "A valid token is needed",
        ),
        AppError::Forbidden { needed, .. } => explained(
            StatusCode::FORBIDDEN,
            "forbidden",
            "The token does not allow it",
        )
        .with("needed", needed.map(|needed| needed.as_str())),
        AppError::PlanStays(_) => explained(CONFLICT, "plan-stays", "The plan stays"),
        AppError::Storage(error) => storage::storage(error),
        AppError::Blobs(error) => storage::blobs(error),
        AppError::Sql(error) => storage::sql(error),
        AppError::Store(error) => explain_store(error),
        AppError::Component(error) => explain_component(error),
        AppError::InvalidField { field, .. } => {
            explained(REFUSED, "invalid-field", "A field is invalid").with("field", field.clone())
        }
        AppError::Manifest(error) => {
            let faults = error.faults();
            let faults: Vec<_> = faults
                .iter()
                .map(|fault| json!({ "key": fault.key, "message": fault.message }))
                .collect();
            explained(REFUSED, "invalid-manifest", "The manifest is invalid").with("faults", faults)
        }
        AppError::OtherAddress { .. } => explained(
            REFUSED,
            "other-address",
            "The manifest is another version's",
        ),
        AppError::OtherDigest { declared, found } => explained(
            StatusCode::BAD_REQUEST,
            "digest-mismatch",
            "The digests differ",
        )
        .with("declared", declared.to_string())
        .with("found", found.to_string()),
        AppError::NotAComponent(_) => {
            explained(REFUSED, "not-a-component", "The file is not a component")
        }
        AppError::Differences(differences) => {
            let texts: Vec<_> = differences.iter().map(ToString::to_string).collect();
            explained(
                REFUSED,
                "manifest-mismatch",
                "Manifest and component disagree",
            )
            .with("differences", texts)
        }
        AppError::BareImports(names) => {
            explained(REFUSED, "bare-imports", "Imports outside of interfaces")
                .with("imports", names.clone())
        }
        AppError::Unserved(unserved) => {
            let interfaces: Vec<_> = unserved
                .iter()
                .map(|unserved| {
                    json!({
                        "interface": unserved.import.interface,
                        "label": unserved.import.label,
                        "driver": unserved.driver,
                        "nearest": unserved.nearest,
                    })
                })
                .collect();
            explained(REFUSED, "unserved-interface", "An import is not served")
                .with("interfaces", interfaces)
        }
        AppError::P3Disabled => explained(REFUSED, "p3-disabled", "WASI 0.3 is switched off"),
        AppError::LimitAsked { limit, most, .. } => {
            explained(REFUSED, "limit-too-high", "A limit asked for is too high")
                .with("limit", *limit)
                .with("most", *most)
        }
        AppError::Artifact(error) => explain_artifact(error),
        AppError::Unfit(_) => explained(REFUSED, "unfit", "The component cannot run here"),
        AppError::NoRoom(_) => busy(),
        AppError::OtherKind { .. } => {
            explained(REFUSED, "wrong-kind", "The package is of the other kind")
        }
        AppError::InvalidConfig { faults, .. } => {
            let fault = |fault: &ConfigFault| json!({ "key": fault.key, "message": fault.message });
            explained(REFUSED, "invalid-config", "The configuration is invalid")
                .with("faults", faults.iter().map(fault).collect::<Vec<_>>())
        }
        AppError::OtherPackage { .. } => {
            explained(CONFLICT, "other-package", "The name is another package's")
        }
        AppError::ReservedPackage { .. } => {
            explained(REFUSED, "reserved-package", "The package cannot be bound")
        }
        AppError::NotImported { imported, .. } => {
            let imported: Vec<_> = imported.iter().map(ToString::to_string).collect();
            explained(
                REFUSED,
                "not-imported",
                "The application does not import it",
            )
            .with("imported", imported)
        }
        AppError::Unbound { imports, .. } => {
            let imports: Vec<_> = imports.iter().map(ToString::to_string).collect();
            explained(REFUSED, "unbound-storage", "The driver needs a binding")
                .with("imports", imports)
        }
        AppError::InChain { path, error } => explain_app(error).with("path", names(path)),
        AppError::CheckFailed { driver, message } => explained(
            REFUSED,
            "check-failed",
            "The driver does not work as it is set up",
        )
        .with("driver", driver.to_string())
        .with("message", message.clone()),
        AppError::ChainCircle { path } => {
            explained(REFUSED, "driver-circle", "Drivers are bound in a circle")
                .with("path", names(path))
        }
        AppError::ChainTooDeep { path, limit } => explained(
            REFUSED,
            "chain-too-deep",
            "The chain of drivers is too deep",
        )
        .with("path", names(path))
        .with("limit", *limit),
        AppError::CannotLink(_) => explained(
            REFUSED,
            "cannot-link",
            "The component and what it imports do not fit",
        ),
        AppError::Migration { .. } => explained(
            CONFLICT,
            "migration-failed",
            "The version's migrations cannot be applied",
        ),
        AppError::NoPreviousVersion { .. } => explained(
            CONFLICT,
            "no-previous-version",
            "There is nothing to return to",
        ),
        AppError::Upkeep(error) => upkeep::explain(error),
        AppError::Log(_) | AppError::Internal(_) => internal(),
    }
}

fn names(labels: &[Label]) -> Vec<String> {
    labels.iter().map(ToString::to_string).collect()
}

fn explain_store(error: &StoreError) -> Explained {
    const CONFLICT: StatusCode = StatusCode::CONFLICT;
    match error {
        StoreError::NotFound { noun, name } => {
            explained(StatusCode::NOT_FOUND, "not-found", "It does not exist")
                .with("noun", *noun)
                .with("name", name.clone())
        }
        StoreError::PreconditionFailed { current } => {
            let status = StatusCode::PRECONDITION_FAILED;
            explained(status, "precondition-failed", "It is in another state")
                .with("revision", *current)
        }
        StoreError::VersionExists { digest, .. } => explained(
            CONFLICT,
            "version-exists",
            "The version exists with other content",
        )
        .with("digest", digest.to_string()),
        StoreError::KindDiffers { .. } => {
            explained(CONFLICT, "kind-differs", "The package is of the other kind")
        }
        StoreError::DriverInUse {
            installations,
            drivers,
            ..
        } => explained(CONFLICT, "driver-in-use", "The driver serves others")
            .with("installations", names(installations))
            .with("drivers", names(drivers)),
        StoreError::PlanInUse { tenants, .. } => {
            let names: Vec<_> = tenants.iter().map(ToString::to_string).collect();
            explained(CONFLICT, "plan-in-use", "Tenants are on the plan").with("tenants", names)
        }
        StoreError::UnknownPlan { nearest, .. } => {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            explained(status, "unknown-plan", "There is no such plan")
                .with("nearest", nearest.clone())
        }
        StoreError::DomainTaken { .. } => {
            explained(CONFLICT, "domain-taken", "The domain is in use")
        }
        StoreError::ScheduleUnderWay { .. } => explained(
            CONFLICT,
            "schedule-under-way",
            "A call of the schedule is not done yet",
        ),
        StoreError::KeyReused => {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            explained(
                status,
                "idempotency-key-reused",
                "The key was used for something else",
            )
        }
        StoreError::InvalidCursor => explained(
            StatusCode::BAD_REQUEST,
            "invalid-cursor",
            "The cursor is invalid",
        ),
        StoreError::Full => disk_full(),
        StoreError::Closed => stopping(),
        _ => internal(),
    }
}

fn explain_component(error: &ComponentError) -> Explained {
    match error {
        ComponentError::TooLarge { limit } => {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            explained(status, "component-too-large", "The component is too large")
                .with("limit", *limit)
        }
        ComponentError::Full => disk_full(),
        ComponentError::Damaged { .. } => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            explained(
                status,
                "component-damaged",
                "The stored component is damaged",
            )
        }
        ComponentError::Io { .. } => internal(),
    }
}

fn explain_artifact(error: &ArtifactError) -> Explained {
    const REFUSED: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
    match error {
        ArtifactError::Compile(CompileError::Invalid { .. }) => {
            explained(REFUSED, "invalid-component", "The component is invalid")
        }
        ArtifactError::Compile(
            CompileError::Memory { .. }
            | CompileError::Cpu { .. }
            | CompileError::Wall { .. }
            | CompileError::Size { .. },
        ) => explained(
            REFUSED,
            "compile-limit",
            "Compiling the component takes too much",
        ),
        ArtifactError::Compile(CompileError::Busy { .. }) => busy(),
        ArtifactError::Compile(CompileError::Killed) => explained(
            StatusCode::SERVICE_UNAVAILABLE,
            "compiler-killed",
            "The compiler was killed",
        ),
        ArtifactError::Unfit { .. } => explained(REFUSED, "unfit", "The component cannot run here"),
        _ => internal(),
    }
}

fn busy() -> Explained {
    explained(StatusCode::SERVICE_UNAVAILABLE, "busy", "The node is busy")
}

fn disk_full() -> Explained {
    explained(
        StatusCode::INSUFFICIENT_STORAGE,
        "disk-full",
        "The disk is full",
    )
}

fn stopping() -> Explained {
    explained(
        StatusCode::SERVICE_UNAVAILABLE,
        "stopping",
        "The node is stopping",
    )
}

fn internal() -> Explained {
    explained(
        StatusCode::INTERNAL_SERVER_ERROR,
        INTERNAL,
        "The platform failed",
    )
}
