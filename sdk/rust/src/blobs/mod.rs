//! Objects of any size, the installation's own; with the feature `storage`.
//!
//! Bodies are streamed both ways: a request's body goes to storage, and an object to a response,
//! without ever being held as a whole, and without coming into the application's memory where the
//! application does not look at it.
//!
//! ```no_run
//! use canopy_sdk::blobs::{self, Container, Put};
//! use canopy_sdk::{Body, Path, Problem, Response, StatusCode};
//!
//! fn upload(Path(name): Path<String>, body: Body) -> Result<StatusCode, Problem> {
//!     let photos = Container::create("photos")?;
//!     photos.put_with(&name, body, Put::new().content_type("image/jpeg"))?;
//!     Ok(StatusCode::CREATED)
//! }
//!
//! fn download(Path(name): Path<String>) -> Result<Option<Response>, Problem> {
//!     match Container::named("photos").get(&name) {
//!         Ok(photo) => Ok(Some(photo.into_response())),
//!         Err(blobs::Error::NoSuchObject) => Ok(None),
//!         Err(error) => Err(error.into()),
//!     }
//! }
//! ```

mod error;
mod upload;

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use canopy_sdk_core::body::failed;
use canopy_sdk_core::stream::{ByteStream, block_on, offer};
use canopy_sdk_core::{Body, IntoResponse, Response, StatusCode, header};

use crate::bindings::storage::blobs as wit;

pub use error::Error;
pub use upload::{Part, Upload};

/// A container of objects.
#[derive(Debug, Clone)]
pub struct Container {
    name: String,
}

/// What is known about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its name in the container.
    pub name: String,
    /// Bytes of its content.
    pub size: u64,
    /// Changes whenever the content changes.
    pub etag: String,
    /// What it was put with.
    pub content_type: Option<String>,
    /// What the application noted about it.
    pub metadata: Vec<(String, String)>,
    /// When an object of this name was first put.
    pub created: SystemTime,
    /// When it was last put.
    pub modified: SystemTime,
}

/// An object, or a range of one, to be read.
#[derive(Debug)]
pub struct Object {
    /// What is known about it.
    pub info: Info,
    /// Where in the object the body begins.
    pub offset: u64,
    /// Bytes of the body.
    pub length: u64,
    /// The bytes. Reading them fails at the end if they are not what was stored.
    pub body: Body,
}

/// How an object is put.
#[derive(Debug, Clone, Default)]
pub struct Put {
    content_type: Option<String>,
    metadata: Vec<(String, String)>,
    condition: Option<Condition>,
}

/// What must hold of an object at the moment of the operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It exists and has this etag.
    Match(String),
    /// It does not exist.
    Absent,
}

impl Put {
    /// Without a content type or a condition.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The content type that it is served with.
    #[must_use]
    pub fn content_type(mut self, kind: impl Into<String>) -> Self {
        self.content_type = Some(kind.into());
        self
    }

    /// Notes `value` under `name`.
    #[must_use]
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((name.into(), value.into()));
        self
    }

    /// Only if `condition` holds; otherwise [`Error::ConditionFailed`].
    #[must_use]
    pub fn only_if(mut self, condition: Condition) -> Self {
        self.condition = Some(condition);
        self
    }

    fn options(self, size: Option<u64>) -> wit::PutOptions {
        wit::PutOptions {
            content_type: self.content_type,
            metadata: self.metadata,
            condition: self.condition.map(Into::into),
            size,
        }
    }
}

/// A page of a listing.
#[derive(Debug, Clone)]
pub struct Page {
    /// In the order of the bytes of their names.
    pub objects: Vec<Info>,
    /// Beginnings of names up to the delimiter, once each.
    pub prefixes: Vec<String>,
    /// Where the next page begins; `None`: there are no more.
    pub cursor: Option<String>,
}

impl Container {
    /// The container `name`, made if it does not exist.
    ///
    /// # Errors
    /// The platform's, as for a name that cannot be one.
    pub fn create(name: &str) -> Result<Self, Error> {
        block_on(wit::create_container(name.to_owned()))?;
        Ok(Self::named(name))
    }

    /// The container `name`, which is looked for when it is used.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
        }
    }

    /// Removes the container with all that is in it.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`].
    pub fn delete_all(&self) -> Result<(), Error> {
        Ok(block_on(wit::delete_container(self.name.clone(), true))?)
    }

    /// Puts an object, in place of the one there.
    ///
    /// # Errors
    /// [`Error::Body`] if `body` broke off, and then nothing has changed; else the platform's.
    pub fn put(&self, name: &str, body: impl Into<Body>) -> Result<Info, Error> {
        self.put_with(name, body, Put::new())
    }

    /// Puts an object with a content type, metadata or a condition.
    ///
    /// # Errors
    /// [`Error::ConditionFailed`]; else as [`Container::put`].
    pub fn put_with(&self, name: &str, body: impl Into<Body>, options: Put) -> Result<Info, Error> {
        let body = body.into();
        let options = options.options(body.length());
        let put = |bytes| wit::put(self.name.clone(), name.to_owned(), bytes, options);
        Ok(offer(body, put)??.into())
    }

    /// The object `name`, as it is now; what is read stays that, whatever is put meanwhile.
    ///
    /// # Errors
    /// [`Error::NoSuchObject`]; else the platform's.
    pub fn get(&self, name: &str) -> Result<Object, Error> {
        self.read(name, None)
    }

    /// The bytes of `range` of the object; fewer at the object's end.
    ///
    /// # Errors
    /// [`Error::InvalidRange`] if it begins beyond the end; else as [`Container::get`].
    pub fn get_range(&self, name: &str, range: RangeInclusive<u64>) -> Result<Object, Error> {
        let length = range.end().saturating_sub(*range.start()).saturating_add(1);
        self.read(name, Some(wit::Range::Slice((*range.start(), length))))
    }

    /// The bytes from `offset` to the end of the object.
    ///
    /// # Errors
    /// As [`Container::get_range`].
    pub fn get_from(&self, name: &str, offset: u64) -> Result<Object, Error> {
        self.read(name, Some(wit::Range::From(offset)))
    }

    fn read(&self, name: &str, range: Option<wit::Range>) -> Result<Object, Error> {
        let reading = block_on(wit::get(self.name.clone(), name.to_owned(), range))?;
        let outcome = reading.outcome;
        let outcome = async move {
            let outcome = outcome.await;
            outcome.map_err(|error| failed(Error::from(error)))
        };
        let body = ByteStream::new(reading.body, Some(reading.length), outcome);
        Ok(Object {
            info: reading.info.into(),
            offset: reading.offset,
            length: reading.length,
            body: body.into(),
        })
    }

    /// What is known about the object `name`.
    ///
    /// # Errors
    /// As [`Container::get`].
    pub fn info(&self, name: &str) -> Result<Info, Error> {
        Ok(block_on(wit::head(self.name.clone(), name.to_owned()))?.into())
    }

    /// Removes the object `name`, and says whether there was one.
    ///
    /// # Errors
    /// The platform's.
    pub fn delete(&self, name: &str) -> Result<bool, Error> {
        Ok(block_on(wit::delete(
            self.name.clone(),
            name.to_owned(),
            None,
        ))?)
    }

    /// The objects whose names begin with `prefix`, fetched page by page.
    pub fn list(&self, prefix: &str) -> impl Iterator<Item = Result<Info, Error>> + '_ {
        let mut cursor = Some(None);
        let prefix = prefix.to_owned();
        let pages = std::iter::from_fn(move || {
            let page = self.page(&prefix, None, cursor.take()?);
            if let Ok(page) = &page {
                cursor = page.cursor.clone().map(Some);
            }
            Some(page)
        });
        pages.flat_map(|page| match page {
            Ok(page) => page.objects.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        })
    }

    /// One page of the objects whose names begin with `prefix`. With a delimiter, as `/`, names
    /// with it after the prefix are told by their beginnings alone, as folders are.
    ///
    /// # Errors
    /// The platform's.
    pub fn page(
        &self,
        prefix: &str,
        delimiter: Option<&str>,
        cursor: Option<String>,
    ) -> Result<Page, Error> {
        let options = wit::ListOptions {
            prefix: prefix.to_owned(),
            delimiter: delimiter.map(str::to_owned),
            cursor,
            limit: u32::MAX,
        };
        let page = block_on(wit::list(self.name.clone(), options))?;
        Ok(Page {
            objects: page.objects.into_iter().map(Into::into).collect(),
            prefixes: page.prefixes,
            cursor: page.cursor,
        })
    }

    /// Copies the object `name` to `to` in the container `target`, with its content type and
    /// metadata.
    ///
    /// # Errors
    /// As [`Container::get`].
    pub fn copy(&self, name: &str, target: &Self, to: &str) -> Result<Info, Error> {
        Ok(block_on(wit::copy(self.id(name), target.id(to), None))?.into())
    }

    /// Gives the object `name` the name `to` in the container `target`, in one step.
    ///
    /// # Errors
    /// As [`Container::get`].
    pub fn rename(&self, name: &str, target: &Self, to: &str) -> Result<Info, Error> {
        Ok(block_on(wit::move_(self.id(name), target.id(to), None))?.into())
    }

    fn id(&self, name: &str) -> wit::ObjectId {
        wit::ObjectId {
            container: self.name.clone(),
            name: name.to_owned(),
        }
    }

    /// A path by which whoever knows it can download the object for the time `valid`, without a
    /// credential. A browser saves it as `file_name`.
    ///
    /// # Errors
    /// The platform's, as for a time that is too long.
    pub fn presign_get(
        &self,
        name: &str,
        valid: Duration,
        file_name: Option<&str>,
    ) -> Result<String, Error> {
        self.presign(name, valid, |options| {
            options.file_name = file_name.map(str::to_owned);
        })
    }

    /// A path to which whoever knows it can upload (by PUT) at most `max_size` bytes for the time
    /// `valid`, without a credential. The request has to have `content_type`, if one is given.
    ///
    /// # Errors
    /// The platform's, as for a time that is too long.
    pub fn presign_put(
        &self,
        name: &str,
        valid: Duration,
        max_size: u64,
        content_type: Option<&str>,
    ) -> Result<String, Error> {
        self.presign(name, valid, |options| {
            options.method = wit::Method::Put;
            options.max_size = Some(max_size);
            options.content_type = content_type.map(str::to_owned);
        })
    }

    fn presign(
        &self,
        name: &str,
        valid: Duration,
        change: impl FnOnce(&mut wit::PresignOptions),
    ) -> Result<String, Error> {
        let mut options = wit::PresignOptions {
            method: wit::Method::Get,
            expires_in: u32::try_from(valid.as_secs()).unwrap_or(u32::MAX),
            max_size: None,
            content_type: None,
            file_name: None,
        };
        change(&mut options);
        let path = wit::presign(self.name.clone(), name.to_owned(), options);
        Ok(block_on(path)?)
    }
}

impl Object {
    /// A response with the object's content, type and etag: 200, or 206 for a range.
    #[must_use]
    pub fn into_response(self) -> Response {
        let kind = self.info.content_type.as_deref();
        let headers = [
            (
                header::CONTENT_TYPE,
                kind.unwrap_or("application/octet-stream").to_owned(),
            ),
            (header::ETAG, format!("\"{}\"", self.info.etag)),
        ];
        if self.length == self.info.size {
            return (headers, self.body).into_response();
        }
        let last = (self.offset + self.length).saturating_sub(1);
        let range = format!("bytes {}-{last}/{}", self.offset, self.info.size);
        let range = [(header::CONTENT_RANGE, range)];
        (StatusCode::PARTIAL_CONTENT, range, (headers, self.body)).into_response()
    }
}

impl From<wit::ObjectInfo> for Info {
    fn from(info: wit::ObjectInfo) -> Self {
        let time = |ms| {
            UNIX_EPOCH
                .checked_add(Duration::from_millis(ms))
                .unwrap_or(UNIX_EPOCH)
        };
        Self {
            name: info.name,
            size: info.size,
            etag: info.etag,
            content_type: info.content_type,
            metadata: info.metadata,
            created: time(info.created),
            modified: time(info.modified),
        }
    }
}

impl From<Condition> for wit::Condition {
    fn from(condition: Condition) -> Self {
        match condition {
            Condition::Match(etag) => Self::IfMatch(etag),
            Condition::Absent => Self::IfAbsent,
        }
    }
}
