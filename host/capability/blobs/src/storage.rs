//! `canopy:storage/blobs@0.1.0`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use canopy_backend::blob::{self, BlobBody, BlobError, Blobs, ByteRange, ObjectId};
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

async fn blobs<T>(store: &Accessor<T, Capability>) -> Result<Arc<dyn Blobs>> {
    Ok(objects(store)?.open().await?)
}

/// Has the engine take what the guest writes.
fn taken<T>(store: &Accessor<T, Capability>, body: StreamReader<u8>) -> Result<BlobBody> {
    let (consumer, taken) = from_guest();
    store.with(|store| body.pipe(store, consumer))?;
    Ok(taken)
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
        Ok(blobs(store).await?.create_container(&name).await?)
    }

    async fn delete_container(store: &Accessor<T, Self>, name: String, force: bool) -> Result<()> {
        Ok(blobs(store).await?.delete_container(&name, force).await?)
    }

    async fn container(store: &Accessor<T, Self>, name: String) -> Result<ContainerInfo> {
        Ok(blobs(store).await?.container(&name).await?.into())
    }

    async fn list_containers(
        store: &Accessor<T, Self>,
        prefix: String,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<ContainerPage> {
        let page = blobs(store)
            .await?
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
        let body = taken(store, body)?;
        let id = ObjectId::new(&container, &name);
        let put = blobs(store).await?;
        Ok(put.put(id, options.into(), body).await?.into())
    }

    async fn get(
        store: &Accessor<T, Self>,
        container: String,
        name: String,
        range: Option<Range>,
    ) -> Result<Reading> {
        let id = ObjectId::new(&container, &name);
        let blobs = blobs(store).await?;
        let reading = blobs.get(id, range.map(Into::into)).await?;
        let (body, outcome) = ObjectBody::new(reading.body);
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
        Ok(blobs(store).await?.head(id).await?.into())
    }

    async fn delete(
        store: &Accessor<T, Self>,
        container: String,
        name: String,
        condition: Option<Condition>,
    ) -> Result<bool> {
        let id = ObjectId::new(&container, &name);
        let condition = condition.map(Into::into);
        Ok(blobs(store).await?.delete(id, condition).await?)
    }

    async fn delete_many(
        store: &Accessor<T, Self>,
        container: String,
        names: Vec<String>,
    ) -> Result<u64> {
        Ok(blobs(store).await?.delete_many(&container, names).await?)
    }

    async fn list(
        store: &Accessor<T, Self>,
        container: String,
        options: ListOptions,
    ) -> Result<ObjectPage> {
        let listing = blob::Listing {
            prefix: options.prefix,
            delimiter: options.delimiter,
            after: options.cursor,
            limit: options.limit as usize,
        };
        let page = blobs(store).await?.list(&container, listing).await?;
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
        let blobs = blobs(store).await?;
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
        let blobs = blobs(store).await?;
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
        let id = ObjectId::new(&container, &name);
        let blobs = blobs(store).await?;
        Ok(blobs.begin_upload(id, options.into()).await?.into())
    }

    async fn put_part(
        store: &Accessor<T, Self>,
        upload: String,
        number: u32,
        body: StreamReader<u8>,
    ) -> Result<PartInfo> {
        let body = taken(store, body)?;
        let blobs = blobs(store).await?;
        Ok(blobs.put_part(&upload, number, body).await?.into())
    }

    async fn list_parts(
        store: &Accessor<T, Self>,
        upload: String,
        cursor: Option<u32>,
        limit: u32,
    ) -> Result<PartPage> {
        let blobs = blobs(store).await?;
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
        let blobs = blobs(store).await?;
        Ok(blobs.complete_upload(&upload, parts).await?.into())
    }

    async fn abort_upload(store: &Accessor<T, Self>, upload: String) -> Result<()> {
        Ok(blobs(store).await?.abort_upload(&upload).await?)
    }

    async fn list_uploads(store: &Accessor<T, Self>, container: String) -> Result<Vec<UploadInfo>> {
        let uploads = blobs(store).await?.uploads(&container).await?;
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
