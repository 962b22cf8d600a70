//! Backups, exports, imports, erasures and keys: their causes as statuses.

use axum::http::StatusCode;
use canopy_app::UpkeepError;
use serde_json::json;

use super::storage::storage;
use super::{Explained, disk_full, explained, internal};

pub(super) fn explain(error: &UpkeepError) -> Explained {
    const REFUSED: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
    const CONFLICT: StatusCode = StatusCode::CONFLICT;
    let code = error.code();
    match code {
        "internal" => return internal(),
        "disk-full" => return disk_full(),
        _ => {}
    }
    match error {
        UpkeepError::Storage { error, .. } => storage(error),
        UpkeepError::Archive(_) => match code {
            "no-such-snapshot" => {
                explained(StatusCode::NOT_FOUND, code, "There is no such snapshot")
            }
            "repository-in-use" => explained(CONFLICT, code, "The repository is in use"),
            "foreign-repository" => explained(REFUSED, code, "It is no backup repository"),
            "newer-format" => explained(REFUSED, code, "It was made by a newer version"),
            "cancelled" => explained(CONFLICT, code, "It was taken back"),
            _ => explained(REFUSED, code, "It is damaged"),
        },
        UpkeepError::Key(_) => explained(REFUSED, code, "A key was refused"),
        UpkeepError::NoRepository => explained(REFUSED, code, "There is no place for backups"),
        UpkeepError::RepositoryOutside { .. } => {
            explained(REFUSED, code, "The place for backups is not allowed")
        }
        UpkeepError::NothingToRestore { .. } => {
            explained(StatusCode::NOT_FOUND, code, "No snapshot has it")
        }
        UpkeepError::KeepsNothing => explained(REFUSED, code, "Nothing would be kept"),
        UpkeepError::NotConfirmed { name, .. } => {
            explained(REFUSED, code, "The name must be repeated").with("name", name.to_string())
        }
        UpkeepError::ArchiveTooLarge { limit, .. } => explained(
            StatusCode::PAYLOAD_TOO_LARGE,
            code,
            "The archive is too large",
        )
        .with("limit", *limit),
        UpkeepError::WrongOffset { received } => {
            explained(CONFLICT, code, "The bytes do not follow").with("received", *received)
        }
        UpkeepError::TooMuch { size } => {
            explained(CONFLICT, code, "More was sent than announced").with("size", *size)
        }
        UpkeepError::Incomplete { received, size } => {
            explained(CONFLICT, code, "The archive is incomplete")
                .with("received", *received)
                .with("size", *size)
        }
        UpkeepError::NameTaken { name } => {
            explained(CONFLICT, code, "The name is taken").with("name", name.to_string())
        }
        UpkeepError::PackagesMissing(packages) => {
            let packages: Vec<_> = packages
                .iter()
                .map(|used| json!({ "package": used.package, "version": used.version }))
                .collect();
            explained(CONFLICT, code, "Packages are missing").with("packages", packages)
        }
        UpkeepError::Cancelled => explained(CONFLICT, code, "It was taken back"),
    }
}
