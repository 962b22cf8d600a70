//! Containers by name, and objects between them.

use canopy_backend::blob;
use wasmtime::component::Resource;

use super::{Container, Told, text};
use crate::bindings::draft::blobstore::Host;
use crate::bindings::draft::types::ObjectId;
use crate::ctx::BlobsView;

impl BlobsView<'_> {
    async fn existing(&mut self, name: String) -> Result<Container, String> {
        let blobs = self.blobs().await?;
        blobs.container(&name).await.map_err(text)?;
        Ok(Container { blobs, name })
    }

    async fn made(&mut self, name: String) -> Result<Container, String> {
        let blobs = self.blobs().await?;
        blobs.create_container(&name).await.map_err(text)?;
        Ok(Container { blobs, name })
    }
}

impl Host for BlobsView<'_> {
    async fn create_container(&mut self, name: String) -> Told<Resource<Container>> {
        match self.made(name).await {
            Ok(container) => Ok(Ok(self.table.push(container)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn get_container(&mut self, name: String) -> Told<Resource<Container>> {
        match self.existing(name).await {
            Ok(container) => Ok(Ok(self.table.push(container)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn delete_container(&mut self, name: String) -> Told<()> {
        let delete = async {
            self.blobs()
                .await?
                .delete_container(&name, true)
                .await
                .map_err(text)
        };
        Ok(delete.await)
    }

    async fn container_exists(&mut self, name: String) -> Told<bool> {
        let exists = async {
            match self.blobs().await?.container(&name).await {
                Ok(_) => Ok(true),
                Err(blob::BlobError::NoSuchContainer) => Ok(false),
                Err(error) => Err(text(error)),
            }
        };
        Ok(exists.await)
    }

    async fn copy_object(&mut self, src: ObjectId, dest: ObjectId) -> Told<()> {
        let copy = async {
            let (source, target) = (named(&src), named(&dest));
            let copied = self.blobs().await?.copy(source, target, None).await;
            copied.map(drop).map_err(text)
        };
        Ok(copy.await)
    }

    async fn move_object(&mut self, src: ObjectId, dest: ObjectId) -> Told<()> {
        let rename = async {
            let (source, target) = (named(&src), named(&dest));
            let moved = self.blobs().await?.rename(source, target, None).await;
            moved.map(drop).map_err(text)
        };
        Ok(rename.await)
    }
}

fn named(id: &ObjectId) -> blob::ObjectId<'_> {
    blob::ObjectId::new(&id.container, &id.object)
}
