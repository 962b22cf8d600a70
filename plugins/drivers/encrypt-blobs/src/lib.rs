//! Serves `canopy:storage/blobs` and keeps everything, encrypted, by `canopy:storage/blobs` of another
//! driver.
//!
//! [`chunks`] says what a kept content looks like and [`span`] where in it a range is; [`note`] is
//! what the content is read by; [`transfer`] lets bytes through both ways; here the interface is joined
//! to it on both sides.

mod chunks;
mod note;
mod span;
mod transfer;

use bindings::canopy::storage::blobs as beneath;
use bindings::exports::canopy::storage::blobs::{
    Condition, ContainerInfo, ContainerPage, Error, Guest, ListOptions, ObjectId, ObjectInfo,
    ObjectPage, PartInfo, PartPage, PresignOptions, PutOptions, Range, Reading, UploadInfo,
};
use canopy_sdk::stream::StreamReader;
use canopy_sdk::{config, identity, log};
use note::{Note, Unreadable};
use span::Span;
use vault::keyring::Keyring;

#[canopy_sdk::driver(
    "canopy:storage/blobs@0.1.0",
    imports = ["canopy:storage/blobs@0.1.0"],
    wit = ["../../../wit/storage/0.1.0"]
)]
struct EncryptBlobs;

/// The installation that calls, and the tenant's keys.
struct Vault {
    installation: String,
    keys: Keyring,
}

impl Vault {
    fn open() -> Result<Self, Error> {
        let installation = identity::installation().ok_or(Error::AccessDenied)?.id;
        let keys = Keyring::read(
            &config::require("key")?,
            config::get("old_keys")?.as_deref(),
            None,
        );
        let keys = keys.map_err(|unusable| {
            log::error!("{unusable}");
            Error::Other(unusable.to_string())
        })?;
        Ok(Self { installation, keys })
    }

    fn place(&self, container: &str, name: &str) -> Vec<u8> {
        note::place(&self.installation, container, name)
    }

    /// The note of an object, and how long its content is.
    fn read(&self, container: &str, info: &ObjectInfo) -> Result<(Note, u64), Error> {
        let place = self.place(container, &info.name);
        let note = Note::open(&self.keys, &place, &info.metadata).map_err(unreadable)?;
        let size = chunks::size(info.size).ok_or_else(changed)?;
        Ok((note, size))
    }

    fn described(&self, container: &str, info: ObjectInfo) -> Result<ObjectInfo, Error> {
        let (note, size) = self.read(container, &info)?;
        Ok(described(info, size, note))
    }
}

impl Guest for EncryptBlobs {
    async fn create_container(name: String) -> Result<bool, Error> {
        beneath::create_container(name).await
    }

    async fn delete_container(name: String, force: bool) -> Result<(), Error> {
        beneath::delete_container(name, force).await
    }

    /// The bytes are those that are kept.
    async fn container(name: String) -> Result<ContainerInfo, Error> {
        beneath::container(name).await
    }

    async fn list_containers(
        prefix: String,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<ContainerPage, Error> {
        beneath::list_containers(prefix, cursor, limit).await
    }

    async fn put(
        container: String,
        name: String,
        body: StreamReader<u8>,
        options: PutOptions,
    ) -> Result<ObjectInfo, Error> {
        let vault = Vault::open()?;
        let note = Note::fresh(options.content_type, options.metadata).map_err(failed)?;
        let kept = PutOptions {
            content_type: None,
            metadata: note
                .seal(&vault.keys, &vault.place(&container, &name))
                .map_err(failed)?,
            condition: options.condition,
            size: options.size.map(chunks::kept_size),
        };
        let info = transfer::put(container, name, body, options.size, kept, &note).await?;
        let size = chunks::size(info.size).ok_or_else(changed)?;
        Ok(described(info, size, note))
    }

    async fn get(container: String, name: String, range: Option<Range>) -> Result<Reading, Error> {
        let vault = Vault::open()?;
        let mut expected = None;
        let (offset, length) = match range {
            None => (0, u64::MAX),
            Some(Range::From(offset)) => (offset, u64::MAX),
            Some(Range::Slice(slice)) => slice,
            // Where that begins is known when the size is.
            Some(Range::Last(length)) => {
                let head = beneath::head(container.clone(), name.clone()).await?;
                let size = chunks::size(head.size).ok_or_else(changed)?;
                expected = Some(head.etag);
                (size.saturating_sub(length), length)
            }
        };
        let kept = range.and_then(|_| Span::of(u64::MAX / 2, offset, length));
        let kept = kept.map(|span| Range::Slice(span.kept));
        let reading = beneath::get(container.clone(), name, kept).await;
        let reading = reading.map_err(about_content)?;
        if expected.is_some_and(|etag| etag != reading.info.etag) {
            // It has been replaced since its size was known.
            return Err(Error::Busy);
        }
        let (note, size) = vault.read(&container, &reading.info)?;
        let span = Span::of(size, offset, length).ok_or(Error::InvalidRange(size))?;
        if span.length > 0 && (reading.offset, reading.length) != span.kept {
            return Err(changed());
        }
        Ok(transfer::get(reading, note, size, span))
    }

    async fn head(container: String, name: String) -> Result<ObjectInfo, Error> {
        let vault = Vault::open()?;
        let info = beneath::head(container.clone(), name).await?;
        vault.described(&container, info)
    }

    async fn delete(
        container: String,
        name: String,
        condition: Option<Condition>,
    ) -> Result<bool, Error> {
        beneath::delete(container, name, condition).await
    }

    async fn delete_many(container: String, names: Vec<String>) -> Result<u64, Error> {
        beneath::delete_many(container, names).await
    }

    async fn list(container: String, options: ListOptions) -> Result<ObjectPage, Error> {
        let mut page = beneath::list(container, options).await?;
        // What has another length than any content was not written here.
        page.objects.retain_mut(|info| {
            let size = chunks::size(info.size);
            (info.content_type, info.metadata) = (None, Vec::new());
            size.is_some_and(|size| {
                info.size = size;
                true
            })
        });
        Ok(page)
    }

    /// The content is passed on as it is kept, with a note for its new place.
    async fn copy(
        source: ObjectId,
        target: ObjectId,
        condition: Option<Condition>,
    ) -> Result<ObjectInfo, Error> {
        let vault = Vault::open()?;
        let reading = beneath::get(source.container.clone(), source.name, None).await?;
        let (note, size) = vault.read(&source.container, &reading.info)?;
        let kept = PutOptions {
            content_type: None,
            metadata: note
                .seal(&vault.keys, &vault.place(&target.container, &target.name))
                .map_err(failed)?,
            condition,
            // What breaks off is not taken for the whole.
            size: Some(reading.info.size),
        };
        let info = beneath::put(target.container, target.name, reading.body, kept).await?;
        Ok(described(info, size, note))
    }

    /// A copy, and then the source is removed: who looks in between sees both.
    async fn move_(
        source: ObjectId,
        target: ObjectId,
        condition: Option<Condition>,
    ) -> Result<ObjectInfo, Error> {
        let (container, name) = (source.container.clone(), source.name.clone());
        let same = container == target.container && name == target.name;
        let info = Self::copy(source, target, condition).await?;
        if !same {
            beneath::delete(container, name, None).await?;
        }
        Ok(info)
    }

    async fn begin_upload(_: String, _: String, _: PutOptions) -> Result<UploadInfo, Error> {
        Err(in_parts())
    }

    async fn put_part(_: String, _: u32, _: StreamReader<u8>) -> Result<PartInfo, Error> {
        Err(Error::NoSuchUpload)
    }

    async fn list_parts(_: String, _: Option<u32>, _: u32) -> Result<PartPage, Error> {
        Err(Error::NoSuchUpload)
    }

    async fn complete_upload(_: String, _: Vec<(u32, String)>) -> Result<ObjectInfo, Error> {
        Err(Error::NoSuchUpload)
    }

    async fn abort_upload(_: String) -> Result<(), Error> {
        Err(Error::NoSuchUpload)
    }

    /// There are none.
    async fn list_uploads(container: String) -> Result<Vec<UploadInfo>, Error> {
        beneath::container(container).await?;
        Ok(Vec::new())
    }

    async fn presign(_: String, _: String, _: PresignOptions) -> Result<String, Error> {
        Err(Error::Other(
            "this storage gives no addresses: what is kept is encrypted, and only its driver can read it"
                .to_owned(),
        ))
    }
}

/// What is known about an object, as the application may know it.
fn described(info: ObjectInfo, size: u64, note: Note) -> ObjectInfo {
    ObjectInfo {
        size,
        content_type: note.content_type,
        metadata: note.metadata,
        ..info
    }
}

/// An error about a range of what is kept, as one about the content.
fn about_content(error: Error) -> Error {
    match error {
        Error::InvalidRange(kept) => match chunks::size(kept) {
            Some(size) => Error::InvalidRange(size),
            None => Error::Damaged,
        },
        other => other,
    }
}

fn in_parts() -> Error {
    Error::Other(
        "the driver that encrypts takes no uploads in parts: put the object as a whole".to_owned(),
    )
}

fn changed() -> Error {
    log::error!("an object has another length than its content could have");
    Error::Damaged
}

fn failed(failure: vault::envelope::Failure) -> Error {
    log::error!("{failure}");
    Error::Other(failure.to_string())
}

fn unreadable(unreadable: Unreadable) -> Error {
    log::error!("{unreadable}");
    match unreadable {
        Unreadable::Envelope(vault::envelope::Failure::Changed) => Error::Damaged,
        other => Error::Other(other.to_string()),
    }
}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        log::error!("{error}");
        Self::Other(error.to_string())
    }
}
