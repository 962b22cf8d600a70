//! Bringing an installation's SQL databases to the version that is about to run.
//!
//! It happens before the version is written, so before any request meets it. What fails leaves the
//! databases and the installation as they were. Requests of the version before go on meanwhile and
//! meet the new tables: a migration must leave what the version before needs.

use std::collections::BTreeSet;
use std::sync::Arc;

use canopy_backend::Scope;
use canopy_backend::sql::{DatabaseMigrations, Migrated, Migration};
use canopy_backend_logs::{Entry, Level, LogContext, Source};
use canopy_ids::{InstallationId, Label};
use canopy_store::{InstallationRow, InstallationWrite, Precondition, TenantRow};

use crate::catalog::Release;
use crate::{App, AppError};

/// An installation that is about to run another version, or its first.
pub(crate) struct Migrating<'a> {
    pub(crate) tenant: &'a TenantRow,
    pub(crate) id: InstallationId,
    pub(crate) name: &'a Label,
    pub(crate) old: Option<&'a InstallationRow>,
    pub(crate) write: &'a InstallationWrite,
    pub(crate) condition: Precondition,
}

impl Migrating<'_> {
    fn scope(&self) -> Scope {
        Scope {
            tenant: self.tenant.id,
            installation: self.id,
        }
    }
}

impl App {
    /// Applies what the databases have not seen yet of the version's migrations.
    pub(crate) async fn migrate(&self, migrating: &Migrating<'_>) -> Result<(), AppError> {
        let Migrating { old, write, .. } = *migrating;
        migrating.condition.check(old.map(|old| old.revision))?;
        if old.is_some_and(|old| old.version == write.version) {
            return Ok(());
        }
        let new = self.catalog.release(&write.package, &write.version).await?;
        let before = match old {
            Some(old) => Some(self.catalog.release(&old.package, &old.version).await?),
            None => None,
        };
        let names: BTreeSet<&str> = before
            .iter()
            .chain([&new])
            .flat_map(|release| &release.manifest.sql)
            .filter(|asked| !asked.migrations.is_empty())
            .map(|asked| asked.database.as_str())
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let databases = self.migrations(&new, &names).await?;
        match self.sql.migrate(migrating.scope(), &databases).await {
            Ok(migrated) => {
                self.tell(migrating, &migrated);
                Ok(())
            }
            Err(error) => {
                self.forget(migrating).await;
                Err(AppError::Migration {
                    package: write.package.clone(),
                    version: write.version.clone(),
                    error: Box::new(error),
                })
            }
        }
    }

    /// Removes what an installation stored that did not come to be.
    pub(crate) async fn forget(&self, migrating: &Migrating<'_>) {
        if migrating.old.is_some() {
            return;
        }
        for storage in &self.storages {
            if let Err(error) = storage.erase(migrating.scope()).await {
                tracing::error!(scope = %migrating.scope(), %error, "what is left could not be removed");
            }
        }
    }

    async fn migrations(
        &self,
        release: &Release,
        names: &BTreeSet<&str>,
    ) -> Result<Vec<DatabaseMigrations>, AppError> {
        let texts = self
            .store
            .migrations(release.package.clone(), release.version.clone())
            .await?;
        let of = |name: &str| -> Result<Vec<Migration>, AppError> {
            let asked = release.manifest.sql.iter().find(|a| a.database == name);
            let files = asked.map(|asked| asked.migrations.as_slice());
            files
                .unwrap_or_default()
                .iter()
                .map(|file| {
                    let text = texts.get(file).ok_or_else(|| {
                        AppError::Internal(format!("the migration {file} is not stored"))
                    })?;
                    Ok(Migration {
                        name: file.clone(),
                        text: Arc::from(text.as_str()),
                    })
                })
                .collect()
        };
        names
            .iter()
            .map(|name| {
                Ok(DatabaseMigrations {
                    database: (*name).to_owned(),
                    migrations: of(name)?,
                })
            })
            .collect()
    }

    /// Says in the installation's log what was done to its databases.
    fn tell(&self, migrating: &Migrating<'_>, migrated: &[Migrated]) {
        let context = LogContext {
            tenant: migrating.tenant.name.clone(),
            app: Some(migrating.name.clone()),
            driver: None,
            package: migrating.write.package.clone(),
            version: migrating.write.version.clone(),
        };
        let log = self.logs.log(migrating.id, context);
        for Migrated {
            database,
            applied,
            newer,
        } in migrated
        {
            if !applied.is_empty() {
                let text = format!("migrated the database {database}: {}", applied.join(", "));
                log.append(Entry::new(Level::Info, Source::Platform, &text));
            }
            if !newer.is_empty() {
                let text = format!(
                    "the database {database} keeps the tables of a newer version: {}",
                    newer.join(", ")
                );
                log.append(Entry::new(Level::Warn, Source::Platform, &text));
            }
        }
    }
}
