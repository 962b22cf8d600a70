//! What the node says about itself.

use canopy_api_types::{Counts, Load, Status, StorageUse};
use time::OffsetDateTime;

use crate::{Action, App, AppError, Context, Resource};

impl App {
    /// The state of this node.
    pub async fn status(&self, context: &Context) -> Result<Status, AppError> {
        context.authorize(Action::Read, Resource::Platform)?;
        let counts = self.store.counts().await?;
        let uptime = OffsetDateTime::now_utc() - self.started_at;
        let (store, components) = (self.store.clone(), self.components.clone());
        let storage = tokio::task::spawn_blocking(move || StorageUse {
            control_bytes: store.size(),
            component_bytes: components.size(),
        });
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").into(),
            started_at: self.started_at,
            uptime_seconds: uptime.whole_seconds().unsigned_abs(),
            apps_base_url: self.settings.url(self.settings.base.as_str()),
            counts: Counts {
                publishers: counts.publishers,
                packages: counts.packages,
                versions: counts.versions,
                tenants: counts.tenants,
                installations: counts.installations,
                drivers: counts.drivers,
            },
            load: self.load(),
            storage: storage.await.unwrap_or_default(),
        })
    }

    fn load(&self) -> Load {
        let pool = self.engine.pool_use();
        Load {
            requests: (self.requests)(),
            instances: pool.instances,
            waiting_instances: self.runtime.waiting_instances(),
            memories: pool.memories,
            tables: pool.tables,
            stacks: pool.stacks,
        }
    }
}
