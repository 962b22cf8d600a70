//! Why a statement did not take place.

use canopy_sdk_core::{Problem, StatusCode, log};

use crate::bindings::storage::sql as wit;

/// Which rule of the schema a statement would have broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constraint {
    /// `UNIQUE` or `PRIMARY KEY`.
    Unique,
    /// `REFERENCES`.
    ForeignKey,
    /// `NOT NULL`.
    NotNull,
    /// `CHECK`.
    Check,
    /// Any other.
    Other,
}

/// Why an operation did not take place. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The manifest declares no database of that name.
    #[error("there is no such database")]
    NoSuchDatabase,
    /// The statement uses what is closed to applications; the text says what.
    #[error("access is denied: {0}")]
    AccessDenied(String),
    /// The statement, or its parameters; the text is the database's.
    #[error("the statement is not valid: {0}")]
    InvalidStatement(String),
    /// The statement would break a rule of the schema.
    #[error("{message}")]
    Constraint {
        /// Which kind of rule.
        kind: Constraint,
        /// Which one, in the database's words.
        message: String,
    },
    /// The write would exceed a quota; the text says which.
    #[error("{0}")]
    QuotaExceeded(String),
    /// Something is over a limit; the text says which.
    #[error("{0}")]
    TooLarge(String),
    /// The statement took too long; the text says how long it may take.
    #[error("{0}")]
    Timeout(String),
    /// Somebody else writes, or too much is under way; the whole transaction may be tried again.
    #[error("the database is busy")]
    Busy,
    /// The transaction is over already; the text says why.
    #[error("{0}")]
    TransactionOver(String),
    /// A row is not of the type that was asked for.
    #[error("a row is not what it should be: {0}")]
    Mismatch(String),
    /// Anything else; the text is for people.
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// Whether a rule of this kind was to be broken.
    #[must_use]
    pub fn is(&self, constraint: Constraint) -> bool {
        matches!(self, Self::Constraint { kind, .. } if *kind == constraint)
    }
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::NoSuchDatabase => Self::NoSuchDatabase,
            wit::Error::AccessDenied(text) => Self::AccessDenied(text),
            wit::Error::InvalidStatement(text) => Self::InvalidStatement(text),
            wit::Error::Constraint(violation) => Self::Constraint {
                kind: match violation.constraint {
                    wit::Constraint::Unique => Constraint::Unique,
                    wit::Constraint::ForeignKey => Constraint::ForeignKey,
                    wit::Constraint::NotNull => Constraint::NotNull,
                    wit::Constraint::Check => Constraint::Check,
                    wit::Constraint::Other => Constraint::Other,
                },
                message: violation.message,
            },
            wit::Error::QuotaExceeded(text) => Self::QuotaExceeded(text),
            wit::Error::TooLarge(text) => Self::TooLarge(text),
            wit::Error::Timeout(text) => Self::Timeout(text),
            wit::Error::Busy => Self::Busy,
            wit::Error::TransactionOver(text) => Self::TransactionOver(text),
            wit::Error::Other(text) => Self::Other(text),
        }
    }
}

/// A full quota is told; anything else is a fault of the application or the platform, whose reason
/// goes to the log alone.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        if let Error::QuotaExceeded(text) = &error {
            return Problem::new(StatusCode::INSUFFICIENT_STORAGE, format!("{text}."));
        }
        log::error!("SQL: {error}");
        let status = match error {
            Error::Busy | Error::Timeout(_) | Error::Other(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Problem::new(status, "The database did not answer as it should.")
    }
}
