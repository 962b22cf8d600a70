//! Why an operation of the store did not take place.

use canopy_backend_sqlite::OpenError;
use canopy_ids::{Digest, Label, PackageName};
use semver::Version;

/// Why an operation of the store did not take place. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// What the operation is about does not exist.
    #[error("there is no {noun} `{name}`")]
    NotFound {
        /// Its noun, as in `tenant`.
        noun: &'static str,
        /// Its name.
        name: String,
    },
    /// The row is not in the state that the caller made a condition.
    #[error("{}", precondition(*.current))]
    PreconditionFailed {
        /// The revision that it has; `None` if it does not exist.
        current: Option<u64>,
    },
    /// The version was published before with other content.
    #[error(
        "{package} {version} is already published with digest {digest}; versions never change, \
         publish under a new one"
    )]
    VersionExists {
        /// The package.
        package: PackageName,
        /// The version.
        version: Version,
        /// The digest of what was published first.
        digest: Digest,
    },
    /// The package exists as the other kind.
    #[error("{package} is published as {kind}; a package stays what it is")]
    KindDiffers {
        /// The package.
        package: PackageName,
        /// What it is.
        kind: canopy_manifest::Kind,
    },
    /// The driver instance serves installations or other driver instances.
    #[error("driver `{driver}` still serves {}", users(.installations, .drivers))]
    DriverInUse {
        /// The driver instance.
        driver: Label,
        /// Some of the installations that are bound to it.
        installations: Vec<Label>,
        /// Some of the driver instances that are bound to it.
        drivers: Vec<Label>,
    },
    /// Tenants are on the plan.
    #[error("plan `{plan}` is that of {}; put them on another first", names(.tenants))]
    PlanInUse {
        /// The plan.
        plan: Label,
        /// Some of the tenants that are on it.
        tenants: Vec<Label>,
    },
    /// There is no such plan to put a tenant on.
    #[error("there is no plan `{plan}`{}", meant(.nearest.as_deref()))]
    UnknownPlan {
        /// What was asked for.
        plan: String,
        /// The plan that resembles it most.
        nearest: Option<String>,
    },
    /// The domain belongs to another installation.
    #[error("the domain `{domain}` is already in use")]
    DomainTaken {
        /// The domain.
        domain: String,
    },
    /// A call of the schedule is not done, and its calls do not overlap.
    #[error(
        "a call of schedule `{name}` is not done yet, and its calls do not overlap; wait for it"
    )]
    ScheduleUnderWay {
        /// The schedule.
        name: Label,
    },
    /// The key of idempotency was used before with another request.
    #[error("this `Idempotency-Key` was used before with another request")]
    KeyReused,
    /// The cursor is not one that a list gave out.
    #[error("the cursor is not one that this list gave out")]
    InvalidCursor,
    /// The disk is full.
    #[error("the disk is full; nothing was changed")]
    Full,
    /// What is in the database cannot be understood.
    #[error("the control database is damaged: {0}")]
    Corrupt(String),
    /// The database was made by a newer version of the platform.
    #[error(
        "the control database has format {found}, made by a newer version; this one knows formats \
         up to {known}"
    )]
    TooNew {
        /// Its format.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// The file is a database of something else.
    #[error("{0} is not a control database of this platform")]
    Foreign(String),
    /// The database failed. The text is for the operator.
    #[error("the control database failed: {0}")]
    Failed(String),
    /// The store is shutting down.
    #[error("the control database is closed")]
    Closed,
}

impl StoreError {
    /// Why the file `path` could not be opened.
    pub(crate) fn opening(path: &std::path::Path, error: OpenError) -> Self {
        match error {
            OpenError::Full => Self::Full,
            OpenError::WrongKey(_) | OpenError::Damaged(_) => {
                Self::Corrupt(format!("{}: {error}", path.display()))
            }
            OpenError::NotEncrypted | OpenError::Foreign { .. } => {
                Self::Foreign(path.display().to_string())
            }
            OpenError::Newer { found, known } => Self::TooNew {
                found: found.into(),
                known: known.into(),
            },
            error => Self::Failed(format!("{}: {error}", path.display())),
        }
    }
}

fn precondition(current: Option<u64>) -> String {
    match current {
        Some(revision) => format!("it exists with revision {revision}, which the request excludes"),
        None => "it does not exist, and the request was only for one that does".into(),
    }
}

fn meant(nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None => "; `GET /api/v1/plans` lists those there are".into(),
    }
}

fn users(installations: &[Label], drivers: &[Label]) -> String {
    match (installations.is_empty(), drivers.is_empty()) {
        (_, true) => names(installations),
        (true, false) => format!("the drivers {}", names(drivers)),
        (false, false) => format!(
            "{} and the drivers {}",
            names(installations),
            names(drivers)
        ),
    }
}

fn names(labels: &[Label]) -> String {
    labels
        .iter()
        .map(|label| format!("`{label}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt(error.to_string())
            }
            _ => match error {
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::IntegralValueOutOfRange(..) => Self::Corrupt(error.to_string()),
                error => Self::Failed(error.to_string()),
            },
        }
    }
}
