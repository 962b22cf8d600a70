//! What the server and the driver refuse, as the interface says it.

use canopy_sdk::{config, log};

use crate::bindings::exports::spin::postgres::postgres::{DbError, Error, QueryError};
use crate::connection::{Failure, failure};
use crate::session::{Fault, Refusal};
use crate::settings::Settings;

/// Why there is no connection. It goes to the driver's log as well.
pub fn no_connection(failure: Failure) -> Error {
    log::error!("{failure}");
    Error::ConnectionFailed(failure.to_string())
}

/// What an application learns of a fault of its statement.
pub fn of_fault(settings: &Settings, fault: Fault) -> Error {
    match fault {
        Fault::Refused(refusal) if !refusal.fatal => refused(refusal),
        fault => no_connection(failure(settings, fault)),
    }
}

/// What the driver refuses of a statement by itself.
pub fn text(text: impl Into<String>) -> Error {
    Error::QueryFailed(QueryError::Text(text.into()))
}

fn refused(refusal: Refusal) -> Error {
    let as_text = refusal.to_string();
    let fields = refusal.more.fields.into_iter();
    Error::QueryFailed(QueryError::DbError(DbError {
        as_text,
        severity: refusal.more.severity,
        code: refusal.code,
        message: refusal.message,
        detail: refusal.more.detail,
        extras: fields.map(|(name, text)| (name.to_owned(), text)).collect(),
    }))
}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        log::error!("{error}");
        Self::ConnectionFailed(error.to_string())
    }
}
