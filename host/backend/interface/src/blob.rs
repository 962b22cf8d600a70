//! Object storage: containers of objects whose bodies are streams.
//!
//! Nothing here holds a whole object: whoever gives or takes a body sets the pace, and an engine
//! keeps a bounded part of it in memory.

mod body;
mod error;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::{CpuPayer, Scope, StorageError};

pub use body::{BlobBody, body_of, whole_body};
pub use error::BlobError;

/// How much a backend takes. What is over a limit is refused with [`BlobError::TooLarge`] or
/// [`BlobError::TooMany`], which names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobLimits {
    /// Bytes of a container's or an object's name.
    pub name_bytes: usize,
    /// Bytes of one body: an object put in one piece, or a part of one.
    pub object_bytes: u64,
    /// Bytes of an object's metadata, names and values together with the content type.
    pub metadata_bytes: usize,
    /// Parts of one upload, and the greatest number of one.
    pub parts: u32,
    /// Uploads in parts of one installation that are under way.
    pub uploads: usize,
    /// Bodies of one installation that are being written at once.
    pub concurrent_writes: usize,
    /// Bodies of one installation that are being read at once.
    pub concurrent_reads: usize,
    /// Objects named by one operation.
    pub batch: usize,
    /// Containers of one installation.
    pub containers: usize,
    /// Entries of one page of a listing; a larger page is asked for in vain, not refused.
    pub page: usize,
    /// Bytes of the names and metadata of one page's objects; a page has one object at least.
    pub page_bytes: usize,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerInfo {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: SystemTime,
    /// Objects in it.
    pub objects: u64,
    /// Bytes of these objects.
    pub bytes: u64,
}

/// An object but for its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its name.
    pub name: String,
    /// Bytes of its content.
    pub size: u64,
    /// Changes whenever the content does; without quotes.
    pub etag: String,
    /// Its media type, if it was given one.
    pub content_type: Option<String>,
    /// What was noted about it.
    pub metadata: BTreeMap<String, String>,
    /// When an object of this name was first put.
    pub created: SystemTime,
    /// When this object was put.
    pub modified: SystemTime,
}

/// What is given with a body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// Its media type.
    pub content_type: Option<String>,
    /// What is noted about it.
    pub metadata: BTreeMap<String, String>,
    /// What must hold of the object that is there when the body has ended.
    pub condition: Option<Condition>,
    /// The length of the body; another one is [`BlobError::WrongSize`].
    pub size: Option<u64>,
    /// The most that the body may have; more is [`BlobError::TooLarge`].
    pub max_size: Option<u64>,
}

/// What must hold of an object at the moment in which an operation takes place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It exists and has this etag.
    IfMatch(String),
    /// It does not exist.
    IfAbsent,
}

/// Which bytes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// From this byte to the end.
    From(u64),
    /// So many bytes from an offset, or fewer if the object ends.
    Slice {
        /// The first byte.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// So many bytes at the end, or all if the object is shorter.
    Last(u64),
}

impl ByteRange {
    /// The offset and length of the range in an object of `size` bytes; `None`: it begins beyond
    /// the end. The one place beyond which nothing is, the end itself, is a range of no bytes.
    pub fn within(self, size: u64) -> Option<(u64, u64)> {
        let (offset, length) = match self {
            Self::From(offset) => (offset, u64::MAX),
            Self::Slice { offset, length } => (offset, length),
            Self::Last(length) => (size.saturating_sub(length), length),
        };
        (offset <= size).then(|| (offset, length.min(size - offset)))
    }
}

/// An object being read, as it was when reading began, whatever becomes of it meanwhile.
pub struct Reading {
    /// The object.
    pub info: ObjectInfo,
    /// Where in the object the body begins.
    pub offset: u64,
    /// Bytes of the body.
    pub length: u64,
    /// The bytes. An error ends them: those before are right.
    pub body: BlobBody,
}

/// Which part of a container is listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Only names that begin so.
    pub prefix: String,
    /// Names that have this after the prefix appear as their beginning up to and with it.
    pub delimiter: Option<String>,
    /// Only names after this one, which may also be a common beginning.
    pub after: Option<String>,
    /// Entries of the page: at least one, at most [`BlobLimits::page`].
    pub limit: usize,
}

/// One page of a listing of objects, in the order of the bytes of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectPage {
    /// The objects.
    pub objects: Vec<ObjectInfo>,
    /// Common beginnings of names, each with the delimiter.
    pub prefixes: Vec<String>,
    /// Where the next page begins: list again with `after` set to this. `None`: no more.
    pub next: Option<String>,
}

/// One page of a listing of containers, in the order of the bytes of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerPage {
    /// The containers.
    pub containers: Vec<ContainerInfo>,
    /// Where the next page begins. `None`: no more.
    pub next: Option<String>,
}

/// An upload in parts that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadInfo {
    /// Names it.
    pub id: String,
    /// The name of the object to be.
    pub name: String,
    /// When it was begun.
    pub created: SystemTime,
}

/// A part of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartInfo {
    /// From 1.
    pub number: u32,
    /// Bytes of it.
    pub size: u64,
    /// Of its content.
    pub etag: String,
}

/// One page of the parts of an upload, by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartPage {
    /// The parts.
    pub parts: Vec<PartInfo>,
    /// The last number of this page, if there are more.
    pub next: Option<u32>,
}

/// The name of an object and of the container that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectId<'a> {
    /// The container.
    pub container: &'a str,
    /// The object in it.
    pub name: &'a str,
}

impl<'a> ObjectId<'a> {
    /// The object `name` in `container`.
    pub fn new(container: &'a str, name: &'a str) -> Self {
        Self { container, name }
    }
}

/// The objects of one installation.
///
/// A write that has returned is durable, and every read that begins later sees it. A write that
/// fails, or whose future is dropped, leaves what was there before, or takes place whole.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Makes a container; whether it is new.
    async fn create_container(&self, name: &str) -> Result<bool, BlobError>;
    /// Removes a container: with all that is in it if `force`, else only an empty one.
    async fn delete_container(&self, name: &str, force: bool) -> Result<(), BlobError>;
    /// A container.
    async fn container(&self, name: &str) -> Result<ContainerInfo, BlobError>;
    /// Up to `limit` containers whose names begin with `prefix` and are greater than `after`.
    async fn containers(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ContainerPage, BlobError>;

    /// Puts an object, in place of the one there. An error of `body` is this call's.
    async fn put(
        &self,
        id: ObjectId<'_>,
        options: PutOptions,
        body: BlobBody,
    ) -> Result<ObjectInfo, BlobError>;
    /// Begins to read an object, or a range of it.
    async fn get(&self, id: ObjectId<'_>, range: Option<ByteRange>) -> Result<Reading, BlobError>;
    /// An object but for its content.
    async fn head(&self, id: ObjectId<'_>) -> Result<ObjectInfo, BlobError>;
    /// Removes an object; whether there was one.
    async fn delete(
        &self,
        id: ObjectId<'_>,
        condition: Option<Condition>,
    ) -> Result<bool, BlobError>;
    /// Removes several objects of a container in one step, and says how many there were.
    async fn delete_many(&self, container: &str, names: Vec<String>) -> Result<u64, BlobError>;
    /// A page of a container's objects.
    async fn list(&self, container: &str, listing: Listing) -> Result<ObjectPage, BlobError>;
    /// Copies an object with all that was noted about it. `condition` is about the target.
    async fn copy(
        &self,
        source: ObjectId<'_>,
        target: ObjectId<'_>,
        condition: Option<Condition>,
    ) -> Result<ObjectInfo, BlobError>;
    /// Moves an object in one step. `condition` is about the target.
    async fn rename(
        &self,
        source: ObjectId<'_>,
        target: ObjectId<'_>,
        condition: Option<Condition>,
    ) -> Result<ObjectInfo, BlobError>;

    /// Begins an upload in parts.
    async fn begin_upload(
        &self,
        id: ObjectId<'_>,
        options: PutOptions,
    ) -> Result<UploadInfo, BlobError>;
    /// Puts a part, in place of the one of that number.
    async fn put_part(
        &self,
        upload: &str,
        number: u32,
        body: BlobBody,
    ) -> Result<PartInfo, BlobError>;
    /// Up to `limit` parts whose number is greater than `after`.
    async fn parts(
        &self,
        upload: &str,
        after: Option<u32>,
        limit: usize,
    ) -> Result<PartPage, BlobError>;
    /// Makes the object of the parts that are named by number and etag, in rising order, and
    /// forgets the others.
    async fn complete_upload(
        &self,
        upload: &str,
        parts: Vec<(u32, String)>,
    ) -> Result<ObjectInfo, BlobError>;
    /// Forgets an upload and its parts.
    async fn abort_upload(&self, upload: &str) -> Result<(), BlobError>;
    /// Uploads of a container that are under way, oldest first.
    async fn uploads(&self, container: &str) -> Result<Vec<UploadInfo>, BlobError>;
}

/// A key by which addresses of an installation's objects are signed.
#[derive(Clone, PartialEq, Eq)]
pub struct AddressKey {
    /// Of the tenant's data key that it is derived from.
    pub version: u32,
    /// The key.
    pub key: [u8; 32],
}

/// Opens the objects of installations.
#[async_trait]
pub trait BlobProvider: Send + Sync + 'static {
    /// How much one installation may store, and one operation may carry.
    fn limits(&self) -> BlobLimits;
    /// Has `payer` told, from now on, of the processor time that operations use on threads of this
    /// node. A backend that works elsewhere has nothing to tell.
    fn paid_by(&self, _payer: CpuPayer) {}
    /// The objects of `scope`.
    async fn open(&self, scope: Scope) -> Result<Arc<dyn Blobs>, StorageError>;
    /// The key for addresses of `scope`: of that version if it still exists, or the newest.
    async fn address_key(
        &self,
        scope: Scope,
        version: Option<u32>,
    ) -> Result<Option<AddressKey>, StorageError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_with_the_object() {
        let slice = |offset, length| ByteRange::Slice { offset, length }.within(10);
        assert_eq!(slice(0, 10), Some((0, 10)));
        assert_eq!(slice(3, u64::MAX), Some((3, 7)));
        assert_eq!(slice(10, 1), Some((10, 0)));
        assert_eq!(slice(11, 1), None);
        assert_eq!(ByteRange::From(9).within(10), Some((9, 1)));
        assert_eq!(ByteRange::From(u64::MAX).within(10), None);
        assert_eq!(ByteRange::Last(4).within(10), Some((6, 4)));
        assert_eq!(ByteRange::Last(40).within(10), Some((0, 10)));
        assert_eq!(ByteRange::Last(0).within(10), Some((10, 0)));
    }
}
