//! What installations store, looked at and repaired by people.
//!
//! It goes through the same traits as the applications' own access, so quotas and limits hold.
//! Every change is written to the installation's log, with who made it: the tenant sees what was
//! done to its data, also by the operator.

mod blobs;
mod key_value;
mod messages;
mod sql;

pub use blobs::{ObjectAddress, ObjectBody, ObjectCondition, ObjectPut};
pub use key_value::{StoreAddress, Value};
pub use sql::SqlAnswer;

use canopy_backend::Scope;
use canopy_backend_logs::{Entry, Level, Log, LogContext, Source};
use canopy_ids::Label;

use crate::{App, AppError, Context};

/// Characters of a name that the log shows.
const SHOWN: usize = 200;

/// An installation whose data somebody is at.
struct Site {
    scope: Scope,
    log: Log,
}

impl Site {
    /// Writes a change to the installation's log.
    fn changed(&self, context: &Context, what: &str) {
        let message = format!("{what} by {}, through the API", context.principal);
        let entry = Entry::new(Level::Info, Source::Platform, &message);
        self.log.append(entry.request(context.request_id));
    }
}

impl App {
    async fn site(&self, tenant: Label, name: Label) -> Result<Site, AppError> {
        let tenant = self.store.tenant(tenant).await?;
        let row = self.store.installation(tenant.id, name).await?;
        let context = LogContext {
            tenant: tenant.name,
            app: Some(row.name),
            driver: None,
            package: row.package,
            version: row.version,
        };
        Ok(Site {
            scope: Scope {
                tenant: tenant.id,
                installation: row.id,
            },
            log: self.logs.log(row.id, context),
        })
    }
}

/// A name as the log shows it.
fn quoted(name: &str) -> String {
    let mut shown: String = name.chars().take(SHOWN).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}
