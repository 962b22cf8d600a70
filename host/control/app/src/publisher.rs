//! Publishers.

use canopy_api_types::{Page, Publisher, PublisherPut};
use canopy_ids::Label;
use canopy_store::{PageRequest, Precondition, PublisherRow, Written};

use crate::{Action, App, AppError, Context, Resource, validate};

impl App {
    /// Creates or replaces a publisher. The flag says whether it is new.
    pub async fn put_publisher(
        &self,
        context: &Context,
        name: Label,
        put: PublisherPut,
        condition: Precondition,
    ) -> Result<(Publisher, bool), AppError> {
        context.authorize(Action::Write, Resource::Publisher(&name))?;
        validate::display_name("display_name", &put.display_name)?;
        let Written { row, created } = self
            .store
            .put_publisher(name, put.display_name, condition)
            .await?;
        Ok((publisher(row), created))
    }

    /// One publisher.
    pub async fn publisher(&self, context: &Context, name: Label) -> Result<Publisher, AppError> {
        context.authorize(Action::Read, Resource::Publisher(&name))?;
        Ok(publisher(self.store.publisher(name).await?))
    }

    /// Publishers by name.
    pub async fn publishers(
        &self,
        context: &Context,
        page: PageRequest,
    ) -> Result<Page<Publisher>, AppError> {
        context.authorize(Action::Read, Resource::Platform)?;
        let rows = self.store.publishers(page).await?;
        Ok(Page {
            items: rows.rows.into_iter().map(publisher).collect(),
            next_cursor: rows.next,
        })
    }
}

fn publisher(row: PublisherRow) -> Publisher {
    Publisher {
        name: row.name,
        display_name: row.display_name,
        created_at: row.created_at,
        updated_at: row.updated_at,
        revision: row.revision,
    }
}
