//! Objects in containers.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use canopy_api_types::{Container, Object, Page};
use canopy_backend::blob::{
    BlobBody, BlobError, Blobs, Condition, Listing, ObjectId, ObjectInfo, PutOptions,
};
use canopy_ids::Label;
use canopy_store::PageRequest;
use futures::{Stream, StreamExt as _};
use time::OffsetDateTime;

use super::{Site, quoted};
use crate::{Action, App, AppError, Context, Resource};

/// Bytes of an object on their way to a client. An error ends them.
pub type ObjectBody = Pin<Box<dyn Stream<Item = Result<Bytes, BlobError>> + Send>>;

/// An object of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectAddress {
    /// The tenant.
    pub tenant: Label,
    /// The installation.
    pub installation: Label,
    /// The container.
    pub container: String,
    /// The object's name.
    pub name: String,
}

impl ObjectAddress {
    fn id(&self) -> ObjectId<'_> {
        ObjectId::new(&self.container, &self.name)
    }

    fn shown(&self) -> String {
        format!(
            "object {} of container {}",
            quoted(&self.name),
            quoted(&self.container)
        )
    }
}

/// What is sent with an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectPut {
    /// Its media type.
    pub content_type: Option<String>,
    /// How long it is, if that is known.
    pub bytes: Option<u64>,
    /// The etag that the object there must have; `None`: none is asked for.
    pub condition: Option<ObjectCondition>,
}

/// What must hold of the object that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectCondition {
    /// There is none.
    Absent,
    /// It has this etag.
    Etag(String),
}

impl From<ObjectCondition> for Condition {
    fn from(condition: ObjectCondition) -> Self {
        match condition {
            ObjectCondition::Absent => Self::IfAbsent,
            ObjectCondition::Etag(etag) => Self::IfMatch(etag),
        }
    }
}

impl App {
    /// The containers of an installation.
    pub async fn containers(
        &self,
        context: &Context,
        tenant: Label,
        installation: Label,
        page: PageRequest,
    ) -> Result<Page<Container>, AppError> {
        context.authorize(Action::Read, Resource::Data(&tenant))?;
        let (_, blobs) = self.blobs_of(tenant, installation).await?;
        let found = blobs
            .containers("", page.cursor.as_deref(), page.limit)
            .await?;
        let items = found.containers.into_iter().map(|info| Container {
            name: info.name,
            objects: info.objects,
            bytes: info.bytes,
            created_at: info.created.into(),
        });
        Ok(Page {
            items: items.collect(),
            next_cursor: found.next,
        })
    }

    /// Makes a container; no fault if there is one.
    pub async fn put_container(
        &self,
        context: &Context,
        tenant: Label,
        installation: Label,
        name: &str,
    ) -> Result<bool, AppError> {
        context.authorize(Action::Write, Resource::Data(&tenant))?;
        let (site, blobs) = self.blobs_of(tenant, installation).await?;
        let created = blobs.create_container(name).await?;
        if created {
            site.changed(context, &format!("container {} was made", quoted(name)));
        }
        Ok(created)
    }

    /// Removes a container, with all that is in it if `force`.
    pub async fn delete_container(
        &self,
        context: &Context,
        tenant: Label,
        installation: Label,
        name: &str,
        force: bool,
    ) -> Result<(), AppError> {
        context.authorize(Action::Delete, Resource::Data(&tenant))?;
        let (site, blobs) = self.blobs_of(tenant, installation).await?;
        blobs.delete_container(name, force).await?;
        site.changed(context, &format!("container {} was removed", quoted(name)));
        Ok(())
    }

    /// Objects of a container whose names begin with `prefix`.
    pub async fn objects(
        &self,
        context: &Context,
        tenant: Label,
        installation: Label,
        container: &str,
        prefix: String,
        page: PageRequest,
    ) -> Result<Page<Object>, AppError> {
        context.authorize(Action::Read, Resource::Data(&tenant))?;
        let (_, blobs) = self.blobs_of(tenant, installation).await?;
        let listing = Listing {
            prefix,
            delimiter: None,
            after: page.cursor,
            limit: page.limit,
        };
        let found = blobs.list(container, listing).await?;
        Ok(Page {
            items: found.objects.into_iter().map(object).collect(),
            next_cursor: found.next,
        })
    }

    /// An object but for its content.
    pub async fn object(
        &self,
        context: &Context,
        address: ObjectAddress,
    ) -> Result<Object, AppError> {
        context.authorize(Action::Read, Resource::Data(&address.tenant))?;
        let (_, blobs) = self
            .blobs_of(address.tenant.clone(), address.installation.clone())
            .await?;
        Ok(object(blobs.head(address.id()).await?))
    }

    /// An object with its content.
    pub async fn read_object(
        &self,
        context: &Context,
        address: ObjectAddress,
    ) -> Result<(Object, ObjectBody), AppError> {
        context.authorize(Action::Read, Resource::Data(&address.tenant))?;
        let (_, blobs) = self
            .blobs_of(address.tenant.clone(), address.installation.clone())
            .await?;
        let reading = blobs.get(address.id(), None).await?;
        Ok((object(reading.info), reading.body))
    }

    /// Puts an object, in place of the one there. An error of `body` ends it, and nothing is put.
    pub async fn put_object(
        &self,
        context: &Context,
        address: ObjectAddress,
        put: ObjectPut,
        body: impl Stream<Item = Result<Bytes, String>> + Send + 'static,
    ) -> Result<Object, AppError> {
        context.authorize(Action::Write, Resource::Data(&address.tenant))?;
        let (site, blobs) = self
            .blobs_of(address.tenant.clone(), address.installation.clone())
            .await?;
        let options = PutOptions {
            content_type: put.content_type,
            condition: put.condition.map(Condition::from),
            size: put.bytes,
            ..PutOptions::default()
        };
        let body: BlobBody = Box::pin(body.map(|piece| piece.map_err(BlobError::Body)));
        let info = blobs.put(address.id(), options, body).await?;
        let what = format!("{} was put, {} bytes,", address.shown(), info.size);
        site.changed(context, &what);
        Ok(object(info))
    }

    /// Removes an object.
    pub async fn delete_object(
        &self,
        context: &Context,
        address: ObjectAddress,
        condition: Option<ObjectCondition>,
    ) -> Result<(), AppError> {
        context.authorize(Action::Delete, Resource::Data(&address.tenant))?;
        let (site, blobs) = self
            .blobs_of(address.tenant.clone(), address.installation.clone())
            .await?;
        let condition = condition.map(Condition::from);
        if !blobs.delete(address.id(), condition).await? {
            return Err(BlobError::NoSuchObject.into());
        }
        site.changed(context, &format!("{} was removed", address.shown()));
        Ok(())
    }

    async fn blobs_of(
        &self,
        tenant: Label,
        installation: Label,
    ) -> Result<(Site, Arc<dyn Blobs>), AppError> {
        let site = self.site(tenant, installation).await?;
        let blobs = self.blobs.open(site.scope).await?;
        Ok((site, blobs))
    }
}

fn object(info: ObjectInfo) -> Object {
    Object {
        name: info.name,
        bytes: info.size,
        etag: info.etag,
        content_type: info.content_type,
        metadata: info.metadata,
        modified_at: OffsetDateTime::from(info.modified),
    }
}
