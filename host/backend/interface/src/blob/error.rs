//! Why an operation on objects did not take place.

use crate::StorageError;

/// Why an operation on objects did not take place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// There is no such container.
    #[error("there is no such container")]
    NoSuchContainer,
    /// There is no such object.
    #[error("there is no such object")]
    NoSuchObject,
    /// There is no such upload, or no more.
    #[error("there is no such upload")]
    NoSuchUpload,
    /// The container is not empty.
    #[error("the container is not empty")]
    ContainerNotEmpty,
    /// A name, a number or something noted about an object is not a possible one.
    #[error("{what} {why}")]
    Invalid {
        /// What is not possible.
        what: &'static str,
        /// Why.
        why: &'static str,
    },
    /// The condition does not hold. Nothing was changed.
    #[error("the condition does not hold")]
    Condition {
        /// The etag of what is there.
        etag: Option<String>,
    },
    /// The range begins beyond the object's end.
    #[error("the range begins beyond the end of {size} bytes")]
    Range {
        /// The object's size.
        size: u64,
    },
    /// A part that is to be in the object is not there as it was named.
    #[error("part {number} {why}")]
    Part {
        /// Its number.
        number: u32,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The body is not as long as was said.
    #[error("the body has {actual} bytes and not {expected}")]
    WrongSize {
        /// What was said.
        expected: u64,
        /// What came, at least.
        actual: u64,
    },
    /// Something is over its limit in bytes.
    #[error("the {what} is over the limit of {limit} bytes")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// There would be more of something than its limit.
    #[error("there are more {what} than the limit of {limit}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// What is stored is not what was written.
    #[error("the object is damaged")]
    Damaged,
    /// Who gave the body failed. Nothing was changed.
    #[error("the body was not given to its end: {0}")]
    Body(String),
    /// What can befall any storage.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl BlobError {
    /// The backend failed; the text is for the operator.
    pub fn failed(text: impl ToString) -> Self {
        Self::Storage(StorageError::Failed(text.to_string()))
    }
}
