//! Causes that come from what installations store.

use axum::http::StatusCode;
use canopy_backend::StorageError;
use canopy_backend::blob::BlobError;
use canopy_backend::sql::SqlError;

use super::{Explained, disk_full, explained, internal};

pub(super) fn storage(error: &StorageError) -> Explained {
    let large = StatusCode::PAYLOAD_TOO_LARGE;
    match error {
        StorageError::TooLarge { limit, .. } | StorageError::TooManyKeys { limit, .. } => {
            explained(large, "over-limit", "It is over a limit of storage").with("limit", *limit)
        }
        StorageError::QuotaExceeded { limit, .. } => explained(
            StatusCode::INSUFFICIENT_STORAGE,
            "quota-exceeded",
            "The storage quota is used up",
        )
        .with("limit", *limit),
        // The text is for the operator; it goes to the log.
        StorageError::Damaged(_) => internal(),
        StorageError::Erased => explained(StatusCode::NOT_FOUND, "not-found", "It does not exist"),
        StorageError::NoSpace => disk_full(),
        StorageError::Busy(_) => {
            explained(StatusCode::SERVICE_UNAVAILABLE, "busy", "The node is busy")
        }
        _ => internal(),
    }
}

pub(super) fn blobs(error: &BlobError) -> Explained {
    const REFUSED: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
    let missing = |noun: &str| {
        explained(StatusCode::NOT_FOUND, "not-found", "It does not exist").with("noun", noun)
    };
    let large = StatusCode::PAYLOAD_TOO_LARGE;
    match error {
        BlobError::NoSuchContainer => missing("container"),
        BlobError::NoSuchObject => missing("object"),
        BlobError::NoSuchUpload => missing("upload"),
        BlobError::ContainerNotEmpty => explained(
            StatusCode::CONFLICT,
            "container-not-empty",
            "The container is not empty",
        ),
        BlobError::Invalid { .. } | BlobError::Part { .. } => {
            explained(REFUSED, "invalid-object", "A name or a fact is invalid")
        }
        BlobError::Condition { etag } => {
            let status = StatusCode::PRECONDITION_FAILED;
            explained(status, "precondition-failed", "It is in another state")
                .with("etag", etag.clone())
        }
        BlobError::Range { .. } => explained(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "invalid-range",
            "The range is beyond the end",
        ),
        BlobError::TooLarge { limit, .. } | BlobError::TooMany { limit, .. } => {
            explained(large, "over-limit", "It is over a limit of storage").with("limit", *limit)
        }
        BlobError::WrongSize { .. } | BlobError::Body(_) => explained(
            StatusCode::BAD_REQUEST,
            "broken-body",
            "The body is incomplete",
        ),
        BlobError::Damaged => damaged(),
        BlobError::Storage(error) => storage(error),
        _ => internal(),
    }
}

pub(super) fn sql(error: &SqlError) -> Explained {
    const REFUSED: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
    match error {
        SqlError::NoSuchDatabase => {
            explained(StatusCode::NOT_FOUND, "not-found", "It does not exist")
                .with("noun", "database")
        }
        SqlError::Denied(_) => explained(REFUSED, "sql-denied", "The statement is not allowed"),
        SqlError::Invalid(_) => explained(REFUSED, "invalid-sql", "The statement is invalid"),
        SqlError::Constraint { .. } => explained(
            StatusCode::CONFLICT,
            "sql-constraint",
            "A rule of the schema would be broken",
        ),
        SqlError::TooLarge(_) => explained(
            StatusCode::PAYLOAD_TOO_LARGE,
            "over-limit",
            "It is over a limit of storage",
        ),
        SqlError::Timeout(_) => explained(REFUSED, "sql-timeout", "The statement takes too long"),
        SqlError::Busy(_) => explained(StatusCode::SERVICE_UNAVAILABLE, "busy", "The node is busy"),
        SqlError::Storage(error) => storage(error),
        _ => internal(),
    }
}

fn damaged() -> Explained {
    explained(
        StatusCode::INTERNAL_SERVER_ERROR,
        "damaged",
        "What is stored is damaged",
    )
}
