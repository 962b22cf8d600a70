//! `canopy:storage/blobs@0.1.0`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use canopy_backend::Held;
use canopy_backend::blob::{self, BlobBody, BlobError, BlobLimits, Blobs, ByteRange, ObjectId};
use wasmtime::component::{Accessor, FutureReader, StreamReader};

use crate::address::{Address, AddressMethod};
use crate::bindings::Capability;
use crate::bindings::storage;
use crate::bindings::storage::{
    Condition, ContainerInfo, ContainerPage, Error, Host, HostWithStore, ListOptions, Method,
    ObjectInfo, ObjectPage, PartInfo, PartPage, PresignOptions, PutOptions, Range, Reading,
    UploadInfo,
};
use crate::ctx::{BlobsView, Objects};
use crate::failure::Failure;
use crate::stream::{ObjectBody, from_guest};

type Result<T> = std::result::Result<T, Failure>;

fn objects<T>(store: &Accessor<T, Capability>) -> Result<Objects> {
    Ok(store.with(|mut store| store.get().ctx.objects())?)
}

/// What an object that is written takes on its way: what is collected, what is being written, and a
/// piece of the guest's before that.
const WRITE_BYTES: usize = 512 << 10;
/// What an entry of a listing takes beside its texts.
const ENTRY_BYTES: usize = 256;

/// What a call brings at most, for which it waits until there is room.
#[derive(Clone, Copy)]
enum Brings {
    Nothing,
    /// An object's name and metadata.
    Info,
    /// So many names.
    Names(usize),
    /// Objects of a page, with their metadata.
    Page(usize),
    /// So many parts of an upload.
    Parts(usize),
}

impl Brings {
    fn bytes(self, limits: &BlobLimits) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Info => limits.name_bytes + limits.metadata_bytes,
            Self::Names(most) => most * (limits.name_bytes + ENTRY_BYTES),
            Self::Page(most) => limits.page_bytes + most.min(limits.page) * ENTRY_BYTES,
            Self::Parts(most) => most.min(limits.page) * ENTRY_BYTES,
        }
    }
}

/// The objects, for a call that was handed so many bytes of texts.
async fn blobs<T>(
    store: &Accessor<T, Capability>,
    handed: usize,
    brings: Brings,
) -> Result<(Arc<dyn Blobs>, Held)> {
    let objects = objects(store)?;
    let kept = store.with(|mut store| store.get().kept.clone());
    let brings = brings.bytes(&objects.limits());
    let held = kept.room(handed + brings).await?;
    Ok((objects.open().await?, held))
}

/// The objects, for a call that writes `body`, and has the engine take what the guest writes.
async fn written<T>(
    store: &Accessor<T, Capability>,
    handed: usize,
    body: StreamReader<u8>,
) -> Result<(Arc<dyn Blobs>, BlobBody, Held)> {
    let objects = objects(store)?;
    let (consumer, taken) = from_guest();
    let held = store.with(|mut store| {
        let held = store.get().kept.hold(handed + WRITE_BYTES)?;
        body.pipe(store, consumer)?;
        Ok::<_, Failure>(held)
    })?;
    Ok((objects.open().await?, taken, held))
}

/// Bytes of the texts of `options`.
fn options_bytes(options: &PutOptions) -> usize {
    let metadata = options.metadata.iter();
    let metadata = metadata.map(|(name, value)| name.len() + value.len() + ENTRY_BYTES);
    metadata.sum::<usize>() + options.content_type.as_ref().map_or(0, String::len)
}

impl Host for BlobsView<'_> {
    fn convert_error(&mut self, failure: Failure) -> wasmtime::Result<Error> {
        match failure {
            Failure::Error(error) => Ok(error),
            Failure::Trap(error) => Err(error),
        }
    }
}

impl<T: Send + 'static> HostWithStore<T> for Capability {
    async fn create_container(store: &Accessor<T, Self>, name: String) -> Result<bool> {
        let (blobs, _held) = blobs(store, name.len(), Brings::Nothing).await?;
        Ok(blobs.create_container(&name).await?)
    }

    async fn delete_container(store: &Accessor<T, Self>, name: String, force: bool) -> Result<()> {
        let (blobs, _held) = blobs(store, name.len(), Brings::Nothing).await?;
        Ok(blobs.delete_container(&name, force).await?)
    }

    async fn container(store: &Accessor<T, Self>, name: String) -> Result<ContainerInfo> {
        let (blobs, _held) = blobs(store, name.len(), Brings::Nothing).await?;
        Ok(blobs.container(&name).await?.into())
    }

    async fn list_containers(
        store: &Accessor<T, Self>,
        prefix: String,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<ContainerPage> {
        let handed = prefix.len() + cursor.as_ref().map_or(0, String::len);
        let most = objects(store)?.limits().page.min(limit as usize);
        let (blobs, _held) = blobs(store, handed, Brings::Names(most)).await?;
        let page = blobs
            .containers(&prefix, cursor.as_deref(), limit as usize)
            .await?;
        Ok(ContainerPage {
            containers: page.containers.into_iter().map(Into::into).collect(),
            cursor: page.next,
        })
    }

    async fn put(
        store: &Accessor<T, Self>,
        container: String,
        name: String,
        body: StreamReader<u8>,
        options: PutOptions,
    ) -> Result<ObjectInfo> {
        let handed = container.len() + name.len() + options_bytes(&options);
        let (blobs, body, _held) = written(store, handed, body).await?;
        let id = ObjectId::new(&container, &name);
        Ok(blobs.put(id, options.into(), body).await?.into())
    }

    async fn get(
        store: &Accessor<T, Self>,
        container: String,
        name: String,
        range: Option<Range>,
    ) -> Result<Reading> {
        let id = ObjectId::new(&container, &name);
        let (blobs, _held) = blobs(store, container.len() + name.len(), Brings::Info).await?;
        let reading = blobs.get(id, range.map(Into::into)).await?;
        let kept = store.with(|mut store| store.get().kept.clone());
        let (body, outcome) = ObjectBody::new(reading.body, kept);
        let outcome = async move {
            let ended = outcome
                .await
                .unwrap_or_else(|_| Err(BlobError::Body("it was not read to its end".into())));
            Ok::<_, wasmtime::Error>(ended.map_err(Error::from))
        };
        store.with(|mut store| {
            Ok(Reading {
                info: reading.info.into(),
                offset: reading.offset,
                length: reading.length,
                body: StreamReader::new(&mut store, body)?,
                outcome: FutureReader::new(&mut store, outcome)?,
            })
        })
    }

    async fn head(
        store: &Accessor<T, Self>,
        container: String,
        name: String,
    ) -> Result<ObjectInfo> {
        let id = ObjectId::new(&container, &name);
        let (blobs, _held) = blobs(store, container.len() + name.len(), Brings::Info).await?;
        Ok(blobs.head(id).await?.into())
    }

    async fn delete(
        store: &Accessor<T, Self>,
        container: String,
        name: String,
        condition: Option<Condition>,
    ) -> Result<bool> {
        let id = ObjectId::new(&container, &name);
        let condition = condition.map(Into::into);
        let (blobs, _held) = blobs(store, container.len() + name.len(), Brings::Nothing).await?;
        Ok(blobs.delete(id, condition).await?)
    }

    async fn delete_many(
        store: &Accessor<T, Self>,
        container: String,
        names: Vec<String>,
    ) -> Result<u64> {
        let bytes = names.iter().map(|name| name.len() + ENTRY_BYTES);
        let (blobs, _held) = blobs(
            store,
            container.len() + bytes.sum::<usize>(),
            Brings::Nothing,
        )
        .await?;
        Ok(blobs.delete_many(&container, names).await?)
    }

    async fn list(
        store: &Accessor<T, Self>,
        container: String,
        options: ListOptions,
    ) -> Result<ObjectPage> {
        let cursor = options.cursor.as_ref().map_or(0, String::len);
        let handed = container.len() + options.prefix.len() + cursor;
        let listing = blob::Listing {
            prefix: options.prefix,
            delimiter: options.delimiter,
            after: options.cursor,
            limit: options.limit as usize,
        };
        let (blobs, _held) = blobs(store, handed, Brings::Page(listing.limit)).await?;
        let page = blobs.list(&container, listing).await?;
        Ok(ObjectPage {
            objects: page.objects.into_iter().map(Into::into).collect(),
            prefixes: page.prefixes,
            cursor: page.next,
        })
    }

    async fn copy(
        store: &Accessor<T, Self>,
        source: storage::ObjectId,
        target: storage::ObjectId,
        condition: Option<Condition>,
    ) -> Result<ObjectInfo> {
        let (blobs, _held) =
            blobs(store, id_bytes(&source) + id_bytes(&target), Brings::Info).await?;
        let (source, target) = (named(&source), named(&target));
        let condition = condition.map(Into::into);
        Ok(blobs.copy(source, target, condition).await?.into())
    }

    async fn move_(
        store: &Accessor<T, Self>,
        source: storage::ObjectId,
        target: storage::ObjectId,
        condition: Option<Condition>,
    ) -> Result<ObjectInfo> {
        let (blobs, _held) =
            blobs(store, id_bytes(&source) + id_bytes(&target), Brings::Info).await?;
        let (source, target) = (named(&source), named(&target));
        let condition = condition.map(Into::into);
        Ok(blobs.rename(source, target, condition).await?.into())
    }

    async fn begin_upload(
        store: &Accessor<T, Self>,
        container: String,
        name: String,
        options: PutOptions,
    ) -> Result<UploadInfo> {
        let handed = container.len() + name.len() + options_bytes(&options);
        let (blobs, _held) = blobs(store, handed, Brings::Info).await?;
        let id = ObjectId::new(&container, &name);
        Ok(blobs.begin_upload(id, options.into()).await?.into())
    }

    async fn put_part(
        store: &Accessor<T, Self>,
        upload: String,
        number: u32,
        body: StreamReader<u8>,
    ) -> Result<PartInfo> {
        let (blobs, body, _held) = written(store, upload.len(), body).await?;
        Ok(blobs.put_part(&upload, number, body).await?.into())
    }

    async fn list_parts(
        store: &Accessor<T, Self>,
        upload: String,
        cursor: Option<u32>,
        limit: u32,
    ) -> Result<PartPage> {
        let (blobs, _held) = blobs(store, upload.len(), Brings::Parts(limit as usize)).await?;
        let page = blobs.parts(&upload, cursor, limit as usize).await?;
        Ok(PartPage {
            parts: page.parts.into_iter().map(Into::into).collect(),
            cursor: page.next,
        })
    }

    async fn complete_upload(
        store: &Accessor<T, Self>,
        upload: String,
        parts: Vec<(u32, String)>,
    ) -> Result<ObjectInfo> {
        let bytes = parts.iter().map(|(_, etag)| etag.len() + ENTRY_BYTES);
        let (blobs, _held) =
            blobs(store, upload.len() + bytes.sum::<usize>(), Brings::Info).await?;
        Ok(blobs.complete_upload(&upload, parts).await?.into())
    }

    async fn abort_upload(store: &Accessor<T, Self>, upload: String) -> Result<()> {
        let (blobs, _held) = blobs(store, upload.len(), Brings::Nothing).await?;
        Ok(blobs.abort_upload(&upload).await?)
    }

    async fn list_uploads(store: &Accessor<T, Self>, container: String) -> Result<Vec<UploadInfo>> {
        let most = objects(store)?.limits().uploads;
        let (blobs, _held) = blobs(store, container.len(), Brings::Names(most)).await?;
        let uploads = blobs.uploads(&container).await?;
        Ok(uploads.into_iter().map(Into::into).collect())
    }

    async fn presign(
        store: &Accessor<T, Self>,
        container: String,
        name: String,
        options: PresignOptions,
    ) -> Result<String> {
        let objects = objects(store)?;
        let longest = objects.settings().address_expiry;
        let time = Duration::from_secs(options.expires_in.into());
        if time.is_zero() || time > longest {
            return Err(Error::Invalid(format!(
                "`expires-in` is not between 1 and {} seconds",
                longest.as_secs()
            ))
            .into());
        }
        let address = Address {
            method: match options.method {
                Method::Get => AddressMethod::Get,
                Method::Put => AddressMethod::Put,
            },
            container,
            name,
            expires: unix_seconds(SystemTime::now() + time),
            max_size: options.max_size,
            content_type: options.content_type,
            file_name: options.file_name,
        };
        if let Some(why) = address.fault() {
            return Err(Error::Invalid(why.into()).into());
        }
        let signed = objects.addresses().sign(objects.scope(), &address).await;
        Ok(signed?)
    }
}

fn id_bytes(id: &storage::ObjectId) -> usize {
    id.container.len() + id.name.len()
}

fn named(id: &storage::ObjectId) -> ObjectId<'_> {
    ObjectId::new(&id.container, &id.name)
}

pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

impl From<blob::ContainerInfo> for ContainerInfo {
    fn from(info: blob::ContainerInfo) -> Self {
        Self {
            name: info.name,
            created: milliseconds(info.created),
            objects: info.objects,
            bytes: info.bytes,
        }
    }
}

impl From<blob::ObjectInfo> for ObjectInfo {
    fn from(info: blob::ObjectInfo) -> Self {
        Self {
            name: info.name,
            size: info.size,
            etag: info.etag,
            content_type: info.content_type,
            metadata: info.metadata.into_iter().collect(),
            created: milliseconds(info.created),
            modified: milliseconds(info.modified),
        }
    }
}

impl From<PutOptions> for blob::PutOptions {
    fn from(options: PutOptions) -> Self {
        Self {
            content_type: options.content_type,
            metadata: options.metadata.into_iter().collect(),
            condition: options.condition.map(Into::into),
            size: options.size,
            max_size: None,
        }
    }
}

impl From<Condition> for blob::Condition {
    fn from(condition: Condition) -> Self {
        match condition {
            Condition::IfMatch(etag) => Self::IfMatch(etag),
            Condition::IfAbsent => Self::IfAbsent,
        }
    }
}

impl From<Range> for ByteRange {
    fn from(range: Range) -> Self {
        match range {
            Range::From(offset) => Self::From(offset),
            Range::Slice((offset, length)) => Self::Slice { offset, length },
            Range::Last(length) => Self::Last(length),
        }
    }
}

impl From<blob::UploadInfo> for UploadInfo {
    fn from(info: blob::UploadInfo) -> Self {
        Self {
            id: info.id,
            name: info.name,
            created: milliseconds(info.created),
        }
    }
}

impl From<blob::PartInfo> for PartInfo {
    fn from(info: blob::PartInfo) -> Self {
        Self {
            number: info.number,
            size: info.size,
            etag: info.etag,
        }
    }
}
