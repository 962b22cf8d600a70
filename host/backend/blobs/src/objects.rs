//! The objects of one installation, as capabilities use them.

use std::sync::Arc;

use async_trait::async_trait;
use canopy_backend::blob::{
    BlobBody, BlobError, BlobLimits, Blobs, ByteRange, Condition, ContainerInfo, ContainerPage,
    Listing, ObjectId, ObjectInfo, ObjectPage, PartInfo, PartPage, PutOptions, Reading, UploadInfo,
};
use canopy_backend::{Scope, StorageError};
use rusqlite::Connection;

use crate::check;
use crate::index::{self, Change, Content, PageRoom};
use crate::pool::Pool;
use crate::segment::SegmentId;
use crate::store::{Pin, Store};
use crate::transfer::{self, Bounds};

/// The objects of one installation.
pub(crate) struct Objects {
    pub(crate) pool: Arc<Pool>,
    pub(crate) scope: Scope,
}

/// The name of an object, to be taken elsewhere.
#[derive(Clone)]
struct Owned {
    container: String,
    name: String,
}

impl Owned {
    fn as_ref(&self) -> ObjectId<'_> {
        ObjectId::new(&self.container, &self.name)
    }
}

impl Objects {
    fn limits(&self) -> &BlobLimits {
        &self.pool.settings.limits
    }

    async fn store(&self) -> Result<Arc<Store>, StorageError> {
        self.pool.store(self.scope).await
    }

    /// The same, to be written to.
    async fn writable(&self) -> Result<Arc<Store>, StorageError> {
        self.pool.ledger.ready(self.scope.tenant).await?;
        self.store().await
    }

    fn name(&self, id: ObjectId<'_>) -> Result<Owned, BlobError> {
        check::name("the container's name", id.container, self.limits())?;
        check::name("the object's name", id.name, self.limits())?;
        Ok(Owned {
            container: id.container.to_owned(),
            name: id.name.to_owned(),
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let store = self.store().await?;
        store.aside(move |store| store.read(read)).await
    }

    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection, &mut Change) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let store = self.writable().await?;
        store.aside(move |store| store.write(change)).await
    }
}

#[async_trait]
impl Blobs for Objects {
    async fn create_container(&self, name: &str) -> Result<bool, BlobError> {
        check::name("the container's name", name, self.limits())?;
        let (name, limit) = (name.to_owned(), self.limits().containers);
        self.write(move |conn, _| index::create_container(conn, &name, limit))
            .await
    }

    async fn delete_container(&self, name: &str, force: bool) -> Result<(), BlobError> {
        let name = name.to_owned();
        self.write(move |conn, change| {
            *change = index::delete_container(conn, &name, force)?;
            Ok(())
        })
        .await
    }

    async fn container(&self, name: &str) -> Result<ContainerInfo, BlobError> {
        let name = name.to_owned();
        self.read(move |conn| index::container(conn, &name)).await
    }

    async fn containers(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ContainerPage, BlobError> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        let limit = limit.clamp(1, self.limits().page);
        self.read(move |conn| index::containers(conn, &prefix, after.as_deref(), limit))
            .await
    }

    async fn put(
        &self,
        id: ObjectId<'_>,
        options: PutOptions,
        body: BlobBody,
    ) -> Result<ObjectInfo, BlobError> {
        let id = self.name(id)?;
        check::options(&options, self.limits())?;
        let store = self.writable().await?;

        // Refused before the body is taken, as far as that can be said already.
        let (look, wanted) = (id.clone(), options.condition.clone());
        let replaced = store
            .aside(move |store| store.read(|conn| replaced(conn, &look, wanted.as_ref())))
            .await?;
        let bounds = Bounds {
            limit: options
                .max_size
                .unwrap_or(u64::MAX)
                .min(self.limits().object_bytes),
            size: options.size,
            replaced,
        };
        let incoming = transfer::receive(&store, body, bounds).await?;
        let work = move |store: &Arc<Store>| {
            let segment = incoming.writer.finish().map_err(transfer::io_failed)?;
            let named = segment.id;
            let result = store.write(move |conn, change| {
                index::add_segment(conn, &segment).map_err(index::failed)?;
                let content = Content {
                    size: segment.size,
                    etag: index::hex(&segment.hash),
                    content_type: options.content_type,
                    metadata: options.metadata,
                    segments: vec![segment.id],
                };
                index::put(
                    conn,
                    id.as_ref(),
                    content,
                    options.condition.as_ref(),
                    change,
                )
            });
            discard_if_failed(store, named, &result);
            drop((incoming.reserved, incoming.permit));
            result
        };
        store.aside(work).await
    }

    async fn get(&self, id: ObjectId<'_>, range: Option<ByteRange>) -> Result<Reading, BlobError> {
        let id = self.name(id)?;
        let store = self.store().await?;
        let permit = transfer::begin_reading(&store)?;
        let work = move |store: &Arc<Store>| {
            let locked = store.lock()?;
            let conn = locked.conn();
            let (object, info) = index::head(conn, id.as_ref())?;
            let (offset, length) = match range {
                None => (0, info.size),
                Some(range) => range
                    .within(info.size)
                    .ok_or(BlobError::Range { size: info.size })?,
            };
            let pieces = index::pieces(conn, object)?;
            let pin = Pin::new(store, conn, pieces.iter().map(|piece| piece.id).collect());
            drop(locked);
            Ok(Reading {
                body: transfer::send(pin, permit, &pieces, (offset, offset + length)),
                info,
                offset,
                length,
            })
        };
        store.aside(work).await
    }

    async fn head(&self, id: ObjectId<'_>) -> Result<ObjectInfo, BlobError> {
        let id = self.name(id)?;
        self.read(move |conn| Ok(index::head(conn, id.as_ref())?.1))
            .await
    }

    async fn delete(
        &self,
        id: ObjectId<'_>,
        condition: Option<Condition>,
    ) -> Result<bool, BlobError> {
        let id = self.name(id)?;
        self.write(move |conn, change| index::delete(conn, id.as_ref(), condition.as_ref(), change))
            .await
    }

    async fn delete_many(&self, container: &str, names: Vec<String>) -> Result<u64, BlobError> {
        let limit = self.limits().batch;
        if names.len() > limit {
            return Err(BlobError::TooMany {
                what: "objects named at once",
                limit: limit as u64,
            });
        }
        let container = container.to_owned();
        self.write(move |conn, change| {
            index::container_id(conn, &container)?;
            let mut removed = 0;
            for name in &names {
                let id = ObjectId::new(&container, name);
                removed += u64::from(index::delete(conn, id, None, change)?);
            }
            Ok(removed)
        })
        .await
    }

    async fn list(&self, container: &str, listing: Listing) -> Result<ObjectPage, BlobError> {
        let container = container.to_owned();
        let limits = self.limits();
        let room = PageRoom {
            entries: listing.limit.clamp(1, limits.page),
            bytes: limits.page_bytes,
        };
        self.read(move |conn| index::list_objects(conn, &container, &listing, room))
            .await
    }

    async fn copy(
        &self,
        source: ObjectId<'_>,
        target: ObjectId<'_>,
        condition: Option<Condition>,
    ) -> Result<ObjectInfo, BlobError> {
        let (source, target) = (self.name(source)?, self.name(target)?);
        self.write(move |conn, change| {
            let (source, target) = (source.as_ref(), target.as_ref());
            index::copy(conn, source, target, condition.as_ref(), change)
        })
        .await
    }

    async fn rename(
        &self,
        source: ObjectId<'_>,
        target: ObjectId<'_>,
        condition: Option<Condition>,
    ) -> Result<ObjectInfo, BlobError> {
        let (source, target) = (self.name(source)?, self.name(target)?);
        self.write(move |conn, change| {
            let (source, target) = (source.as_ref(), target.as_ref());
            index::rename(conn, source, target, condition.as_ref(), change)
        })
        .await
    }

    async fn begin_upload(
        &self,
        id: ObjectId<'_>,
        options: PutOptions,
    ) -> Result<UploadInfo, BlobError> {
        let id = self.name(id)?;
        check::options(&options, self.limits())?;
        let limit = self.limits().uploads;
        let upload = SegmentId::new().map_err(transfer::io_failed)?.to_string();
        self.write(move |conn, _| index::begin_upload(conn, id.as_ref(), &upload, &options, limit))
            .await
    }

    async fn put_part(
        &self,
        upload: &str,
        number: u32,
        body: BlobBody,
    ) -> Result<PartInfo, BlobError> {
        check::part(number, self.limits())?;
        let upload = upload.to_owned();
        let store = self.writable().await?;
        let look = upload.clone();
        store
            .aside(move |store| store.read(|conn| index::find_upload(conn, &look).map(drop)))
            .await?;
        let bounds = Bounds {
            limit: self.limits().object_bytes,
            size: None,
            replaced: 0,
        };
        let incoming = transfer::receive(&store, body, bounds).await?;
        let work = move |store: &Arc<Store>| {
            let segment = incoming.writer.finish().map_err(transfer::io_failed)?;
            let named = segment.id;
            let result = store.write(move |conn, change| {
                index::put_part(conn, &upload, number, &segment, change)
            });
            discard_if_failed(store, named, &result);
            drop((incoming.reserved, incoming.permit));
            result
        };
        store.aside(work).await
    }

    async fn parts(
        &self,
        upload: &str,
        after: Option<u32>,
        limit: usize,
    ) -> Result<PartPage, BlobError> {
        let upload = upload.to_owned();
        let limit = limit.clamp(1, self.limits().page);
        self.read(move |conn| index::parts(conn, &upload, after, limit))
            .await
    }

    async fn complete_upload(
        &self,
        upload: &str,
        parts: Vec<(u32, String)>,
    ) -> Result<ObjectInfo, BlobError> {
        check::parts(&parts, self.limits())?;
        let upload = upload.to_owned();
        self.write(move |conn, change| index::complete(conn, &upload, &parts, change))
            .await
    }

    async fn abort_upload(&self, upload: &str) -> Result<(), BlobError> {
        let upload = upload.to_owned();
        self.write(move |conn, change| index::abort(conn, &upload, change))
            .await
    }

    async fn uploads(&self, container: &str) -> Result<Vec<UploadInfo>, BlobError> {
        let container = container.to_owned();
        self.read(move |conn| index::uploads(conn, &container))
            .await
    }
}

/// Bytes of the object that is to be replaced, if it may be.
fn replaced(
    conn: &Connection,
    id: &Owned,
    condition: Option<&Condition>,
) -> Result<u64, BlobError> {
    let container = index::container_id(conn, &id.container)?;
    let found = index::find(conn, container, &id.name)?.map(|(_, info)| info);
    index::check_condition(condition, found.as_ref())?;
    Ok(found.map_or(0, |info| info.size))
}

/// Removes the file of a segment that did not become known.
fn discard_if_failed<T>(store: &Store, segment: SegmentId, result: &Result<T, BlobError>) {
    if result.is_err() {
        store.remove(vec![segment]);
    }
}
