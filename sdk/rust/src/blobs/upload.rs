//! Objects that arrive in parts.

use canopy_sdk_core::Body;
use canopy_sdk_core::stream::{block_on, offer};

use super::{Container, Error, Info, Put};
use crate::bindings::storage::blobs as wit;

/// An object that arrives in parts, over as many requests as it takes. Each part is stored when its
/// call returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    id: String,
}

/// A part that has been stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// From 1.
    pub number: u32,
    /// Its bytes.
    pub size: u64,
    /// Names its content when the upload is completed.
    pub etag: String,
}

impl Container {
    /// Begins an upload of the object `name`.
    ///
    /// # Errors
    /// As [`Container::put`].
    pub fn begin_upload(&self, name: &str, options: Put) -> Result<Upload, Error> {
        let begun = wit::begin_upload(self.name.clone(), name.to_owned(), options.options(None));
        Ok(Upload {
            id: block_on(begun)?.id,
        })
    }
}

impl Upload {
    /// The upload that [`Upload::id`] named, perhaps in another request.
    #[must_use]
    pub fn of(id: impl Into<String>) -> Self {
        Self { id: id.into() }
    }

    /// What names it in later requests.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Stores a part, in place of the one of that number, which counts from 1.
    ///
    /// # Errors
    /// As [`Container::put`].
    pub fn put(&self, number: u32, body: impl Into<Body>) -> Result<Part, Error> {
        let body = body.into();
        let expected = body.length();
        let part = offer(body, |bytes| wit::put_part(self.id.clone(), number, bytes))??;
        if expected.is_some_and(|expected| expected != part.size) {
            return Err(Error::WrongSize);
        }
        Ok(part.into())
    }

    /// The parts that are there.
    ///
    /// # Errors
    /// [`Error::NoSuchUpload`]; else the platform's.
    pub fn parts(&self) -> Result<Vec<Part>, Error> {
        let (mut parts, mut cursor) = (Vec::new(), None);
        loop {
            let page = block_on(wit::list_parts(self.id.clone(), cursor, u32::MAX))?;
            parts.extend(page.parts.into_iter().map(Part::from));
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(parts);
            }
        }
    }

    /// Makes the object of `parts`, in rising order of their numbers.
    ///
    /// # Errors
    /// [`Error::InvalidPart`] and [`Error::ConditionFailed`]; else the platform's.
    pub fn complete(self, parts: &[Part]) -> Result<Info, Error> {
        let parts = parts
            .iter()
            .map(|part| (part.number, part.etag.clone()))
            .collect();
        Ok(block_on(wit::complete_upload(self.id, parts))?.into())
    }

    /// Forgets the upload and its parts.
    ///
    /// # Errors
    /// The platform's.
    pub fn abort(self) -> Result<(), Error> {
        Ok(block_on(wit::abort_upload(self.id))?)
    }
}

impl From<wit::PartInfo> for Part {
    fn from(part: wit::PartInfo) -> Self {
        Self {
            number: part.number,
            size: part.size,
            etag: part.etag,
        }
    }
}
