//! Why an operation on objects did not take place.

use canopy_sdk_core::body::ReadError;
use canopy_sdk_core::{Problem, StatusCode, log};

use crate::bindings::storage::blobs as wit;

/// Why an operation did not take place. Where it says nothing else, nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no container of this name.
    #[error("there is no such container")]
    NoSuchContainer,
    /// There is no object of this name.
    #[error("there is no such object")]
    NoSuchObject,
    /// There is no such upload, or it is over.
    #[error("there is no such upload")]
    NoSuchUpload,
    /// The container has something in it.
    #[error("the container is not empty")]
    ContainerNotEmpty,
    /// A name, a content type or a number is not a possible one; the text says which.
    #[error("{0}")]
    Invalid(String),
    /// The condition does not hold; this is the etag of what is there.
    #[error("the object is not as it was expected to be")]
    ConditionFailed(Option<String>),
    /// The range begins beyond the object's end; this is the object's size.
    #[error("the range begins beyond the end of the object, which has {0} bytes")]
    InvalidRange(u64),
    /// A part of an upload is missing or another one; the text says which.
    #[error("{0}")]
    InvalidPart(String),
    /// The body ended before or after its announced length.
    #[error("the body has another length than was announced")]
    WrongSize,
    /// Something is over a limit; the text says which.
    #[error("{0}")]
    TooLarge(String),
    /// The write would exceed a quota; the text says which.
    #[error("{0}")]
    QuotaExceeded(String),
    /// Too much is under way; trying again later helps.
    #[error("storage is busy")]
    Busy,
    /// The component has no storage of its own.
    #[error("the component has no storage")]
    AccessDenied,
    /// What is stored is not what was written.
    #[error("the stored object is damaged")]
    Damaged,
    /// The body that was to be put broke off.
    #[error("the body broke off: {0}")]
    Body(#[from] std::io::Error),
    /// Anything else; the text is for people.
    #[error("{0}")]
    Other(String),
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::NoSuchContainer => Self::NoSuchContainer,
            wit::Error::NoSuchObject => Self::NoSuchObject,
            wit::Error::NoSuchUpload => Self::NoSuchUpload,
            wit::Error::ContainerNotEmpty => Self::ContainerNotEmpty,
            wit::Error::Invalid(text) => Self::Invalid(text),
            wit::Error::ConditionFailed(etag) => Self::ConditionFailed(etag),
            wit::Error::InvalidRange(size) => Self::InvalidRange(size),
            wit::Error::InvalidPart(text) => Self::InvalidPart(text),
            wit::Error::WrongSize => Self::WrongSize,
            wit::Error::TooLarge(text) => Self::TooLarge(text),
            wit::Error::QuotaExceeded(text) => Self::QuotaExceeded(text),
            wit::Error::Busy => Self::Busy,
            wit::Error::AccessDenied => Self::AccessDenied,
            wit::Error::Damaged => Self::Damaged,
            wit::Error::Other(text) => Self::Other(text),
        }
    }
}

/// What the caller can do something about is told; what is the platform's goes to the log alone.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::NoSuchContainer | Error::NoSuchObject | Error::NoSuchUpload => {
                StatusCode::NOT_FOUND
            }
            Error::ContainerNotEmpty => StatusCode::CONFLICT,
            Error::ConditionFailed(_) => StatusCode::PRECONDITION_FAILED,
            Error::InvalidRange(_) => StatusCode::RANGE_NOT_SATISFIABLE,
            Error::Body(error) => return ReadError::from(error).into(),
            Error::Invalid(_) | Error::InvalidPart(_) | Error::WrongSize => StatusCode::BAD_REQUEST,
            Error::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Error::QuotaExceeded(_) => StatusCode::INSUFFICIENT_STORAGE,
            Error::Busy | Error::AccessDenied | Error::Damaged | Error::Other(_) => {
                log::error!("storage of objects: {error}");
                return Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "The storage did not answer as it should. Try again later.",
                );
            }
        };
        Problem::new(status, format!("{error}."))
    }
}
