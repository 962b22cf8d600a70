//! One container, and the names of its objects.

use std::sync::Arc;

use canopy_backend::blob::{BlobError, Blobs, ByteRange, Listing, ObjectId, PutOptions};
use wasmtime::component::Resource;

use super::{IncomingValue, OutgoingValue, Told, text};
use crate::bindings::draft::container::{
    ContainerMetadata, Host, HostContainer, HostStreamObjectNames, ObjectMetadata,
};
use crate::ctx::BlobsView;
use crate::storage::unix_seconds;

/// Names that are read at once.
const PAGE: usize = 1000;

/// What a guest's `container` handle stands for.
#[expect(unreachable_pub, reason = "generated bindings re-export it")]
pub struct Container {
    pub(super) blobs: Arc<dyn Blobs>,
    pub(super) name: String,
}

/// A listing that goes on.
#[expect(unreachable_pub, reason = "generated bindings re-export it")]
pub struct ObjectNames {
    blobs: Arc<dyn Blobs>,
    container: String,
    after: Option<String>,
    ended: bool,
}

impl ObjectNames {
    /// Up to `limit` more names, fewer only if a page has fewer.
    async fn next(&mut self, limit: u64) -> Result<Vec<String>, BlobError> {
        if self.ended || limit == 0 {
            return Ok(Vec::new());
        }
        let listing = Listing {
            after: self.after.take(),
            limit: usize::try_from(limit).unwrap_or(PAGE).min(PAGE),
            ..Listing::default()
        };
        let page = self.blobs.list(&self.container, listing).await?;
        self.ended = page.next.is_none();
        self.after = page.next;
        Ok(page.objects.into_iter().map(|object| object.name).collect())
    }
}

/// Removes all objects of a container, so many in one step.
async fn clear(blobs: &dyn Blobs, container: &str, step: usize) -> Result<(), BlobError> {
    loop {
        let listing = Listing {
            limit: step,
            ..Listing::default()
        };
        let page = blobs.list(container, listing).await?;
        let names: Vec<_> = page.objects.into_iter().map(|object| object.name).collect();
        if !names.is_empty() {
            blobs.delete_many(container, names).await?;
        }
        if page.next.is_none() {
            return Ok(());
        }
    }
}

impl Host for BlobsView<'_> {}

impl HostContainer for BlobsView<'_> {
    async fn name(&mut self, container: Resource<Container>) -> Told<String> {
        Ok(Ok(self.table.get(&container)?.name.clone()))
    }

    async fn info(&mut self, container: Resource<Container>) -> Told<ContainerMetadata> {
        let Container { blobs, name } = self.table.get(&container)?;
        let info = blobs.container(name).await.map_err(text);
        Ok(info.map(|info| ContainerMetadata {
            name: info.name,
            created_at: unix_seconds(info.created),
        }))
    }

    async fn get_data(
        &mut self,
        container: Resource<Container>,
        name: String,
        start: u64,
        end: u64,
    ) -> Told<Resource<IncomingValue>> {
        let Container {
            blobs,
            name: container,
        } = self.table.get(&container)?;
        // Both ends are inclusive.
        let Some(length) = end.checked_sub(start).map(|more| more.saturating_add(1)) else {
            return Ok(Err("the end of the range is before its start".into()));
        };
        let range = ByteRange::Slice {
            offset: start,
            length,
        };
        match blobs
            .get(ObjectId::new(container, &name), Some(range))
            .await
        {
            Ok(reading) => Ok(Ok(self.table.push(IncomingValue(reading))?)),
            Err(error) => Ok(Err(text(error))),
        }
    }

    async fn write_data(
        &mut self,
        container: Resource<Container>,
        name: String,
        data: Resource<OutgoingValue>,
    ) -> Told<()> {
        let Container {
            blobs,
            name: container,
        } = self.table.get(&container)?;
        let (blobs, container) = (blobs.clone(), container.clone());
        // What can be refused now is not refused only when all has been written.
        if let Err(error) = blobs.container(&container).await {
            return Ok(Err(text(error)));
        }
        let value = self.table.get_mut(&data)?;
        Ok(value.write(|body| async move {
            let id = ObjectId::new(&container, &name);
            blobs.put(id, PutOptions::default(), body).await.map(drop)
        }))
    }

    async fn list_objects(
        &mut self,
        container: Resource<Container>,
    ) -> Told<Resource<ObjectNames>> {
        let Container { blobs, name } = self.table.get(&container)?;
        if let Err(error) = blobs.container(name).await {
            return Ok(Err(text(error)));
        }
        let names = ObjectNames {
            blobs: blobs.clone(),
            container: name.clone(),
            after: None,
            ended: false,
        };
        Ok(Ok(self.table.push(names)?))
    }

    async fn delete_object(&mut self, container: Resource<Container>, name: String) -> Told<()> {
        let Container {
            blobs,
            name: container,
        } = self.table.get(&container)?;
        let deleted = blobs.delete(ObjectId::new(container, &name), None).await;
        Ok(deleted.map(drop).map_err(text))
    }

    async fn delete_objects(
        &mut self,
        container: Resource<Container>,
        names: Vec<String>,
    ) -> Told<()> {
        let Container {
            blobs,
            name: container,
        } = self.table.get(&container)?;
        let deleted = blobs.delete_many(container, names).await;
        Ok(deleted.map(drop).map_err(text))
    }

    async fn has_object(&mut self, container: Resource<Container>, name: String) -> Told<bool> {
        let Container {
            blobs,
            name: container,
        } = self.table.get(&container)?;
        Ok(match blobs.head(ObjectId::new(container, &name)).await {
            Ok(_) => Ok(true),
            Err(BlobError::NoSuchObject) => Ok(false),
            Err(error) => Err(text(error)),
        })
    }

    async fn object_info(
        &mut self,
        container: Resource<Container>,
        name: String,
    ) -> Told<ObjectMetadata> {
        let Container {
            blobs,
            name: container,
        } = self.table.get(&container)?;
        let info = blobs.head(ObjectId::new(container, &name)).await;
        Ok(info.map_err(text).map(|info| ObjectMetadata {
            name: info.name,
            container: container.clone(),
            created_at: unix_seconds(info.created),
            size: info.size,
        }))
    }

    async fn clear(&mut self, container: Resource<Container>) -> Told<()> {
        let Container { blobs, name } = self.table.get(&container)?;
        let step = self
            .ctx
            .objects()
            .map_or(PAGE, |objects| objects.limits().batch);
        Ok(clear(&**blobs, name, step).await.map_err(text))
    }

    async fn drop(&mut self, container: Resource<Container>) -> wasmtime::Result<()> {
        self.table.delete(container)?;
        Ok(())
    }
}

impl HostStreamObjectNames for BlobsView<'_> {
    async fn read_stream_object_names(
        &mut self,
        names: Resource<ObjectNames>,
        len: u64,
    ) -> Told<(Vec<String>, bool)> {
        let names = self.table.get_mut(&names)?;
        let read = names.next(len).await.map_err(text);
        Ok(read.map(|read| (read, names.ended)))
    }

    async fn skip_stream_object_names(
        &mut self,
        names: Resource<ObjectNames>,
        num: u64,
    ) -> Told<(u64, bool)> {
        let names = self.table.get_mut(&names)?;
        let mut skipped = 0;
        while skipped < num && !names.ended {
            match names.next(num - skipped).await {
                Ok(page) => skipped += page.len() as u64,
                Err(error) => return Ok(Err(text(error))),
            }
        }
        Ok(Ok((skipped, names.ended)))
    }

    async fn drop(&mut self, names: Resource<ObjectNames>) -> wasmtime::Result<()> {
        self.table.delete(names)?;
        Ok(())
    }
}
