//! Exports and imports: archives of tenants that leave the node or arrive at it.

use std::path::PathBuf;

use canopy_api_types::{Export, ExportList, Import, ImportCreate, ImportStart, Job};
use canopy_ids::{ExportId, ImportId, Label};
use canopy_store::ArchiveRow;
use time::OffsetDateTime;
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt as _;

use crate::upkeep::UpkeepError;
use crate::work::Work;
use crate::{Action, App, AppError, Context, Resource, validate};

/// An archive that is being received.
pub struct ImportUpload {
    file: File,
    path: PathBuf,
    received: u64,
    size: u64,
}

impl ImportUpload {
    /// Adds the next piece. What was added stays if the rest never comes.
    pub async fn write(&mut self, piece: &[u8]) -> Result<(), AppError> {
        let received = self.received + piece.len() as u64;
        if received > self.size {
            return Err(UpkeepError::TooMuch { size: self.size }.into());
        }
        self.file
            .write_all(piece)
            .await
            .map_err(|error| self.failed(error))?;
        self.received = received;
        Ok(())
    }

    /// Puts on the disk what has arrived.
    pub async fn finish(mut self) -> Result<u64, AppError> {
        let flushed = self.file.flush().await;
        flushed.map_err(|error| self.failed(error))?;
        let synced = self.file.sync_all().await;
        synced.map_err(|error| self.failed(error))?;
        Ok(self.received)
    }

    fn failed(&self, error: std::io::Error) -> AppError {
        let error = canopy_backend_archive::ArchiveError::io("writing", &self.path, error);
        UpkeepError::from(error).into()
    }
}

impl App {
    /// Begins the export of a tenant.
    pub async fn create_export(&self, context: &Context, tenant: Label) -> Result<Job, AppError> {
        context.authorize(Action::Write, Resource::Tenant(&tenant))?;
        let named = self.named_tenant(tenant.clone()).await?;
        let work = Work::Export {
            tenant: named,
            export: ExportId::new(),
        };
        self.begin_work(context, Some(tenant), &work).await
    }

    /// The archives that wait to be fetched.
    pub async fn exports(&self, context: &Context) -> Result<ExportList, AppError> {
        context.authorize(Action::Read, Resource::Platform)?;
        let rows = self.store.archives().await?;
        let items = rows.into_iter().filter_map(|row| {
            Some(Export {
                id: row.id.parse().ok()?,
                tenant: row.name,
                size: row.size?,
                created_at: row.created_at,
                expires_at: row.expires_at,
            })
        });
        Ok(ExportList {
            items: items.collect(),
        })
    }

    /// The file of an archive, and its length.
    pub async fn export_file(
        &self,
        context: &Context,
        id: ExportId,
    ) -> Result<(PathBuf, u64), AppError> {
        context.authorize(Action::Read, Resource::Platform)?;
        let row = self.store.archive("export", id.to_string()).await?;
        Ok((self.upkeep.folders().archive(id), row.size.unwrap_or(0)))
    }

    /// Removes an archive that waits to be fetched.
    pub async fn delete_export(&self, context: &Context, id: ExportId) -> Result<(), AppError> {
        context.authorize(Action::Delete, Resource::Platform)?;
        self.store.archive("export", id.to_string()).await?;
        self.drop_archive(&id.to_string()).await
    }

    /// Announces an archive that will be sent.
    pub async fn create_import(
        &self,
        context: &Context,
        create: ImportCreate,
    ) -> Result<Import, AppError> {
        context.authorize(Action::Write, Resource::Platform)?;
        validate::display_name("name", &create.name)?;
        let settings = self.upkeep_settings();
        if create.size > settings.import_bytes {
            return Err(UpkeepError::ArchiveTooLarge {
                size: create.size,
                limit: settings.import_bytes,
            }
            .into());
        }
        let now = OffsetDateTime::now_utc();
        let row = ArchiveRow {
            id: ImportId::new().to_string(),
            tenant: None,
            name: create.name,
            size: Some(create.size),
            created_at: now,
            expires_at: now + settings.import_kept,
        };
        self.store.put_archive(row.clone()).await?;
        self.show_import(row).await
    }

    /// How much of an archive has arrived.
    pub async fn import(&self, context: &Context, id: ImportId) -> Result<Import, AppError> {
        context.authorize(Action::Read, Resource::Platform)?;
        let row = self.store.archive("import", id.to_string()).await?;
        self.show_import(row).await
    }

    /// Goes on receiving an archive where it stopped.
    pub async fn receive_import(
        &self,
        context: &Context,
        id: ImportId,
        offset: u64,
    ) -> Result<ImportUpload, AppError> {
        context.authorize(Action::Write, Resource::Platform)?;
        let row = self.store.archive("import", id.to_string()).await?;
        let import = self.show_import(row).await?;
        if offset != import.received {
            return Err(UpkeepError::WrongOffset {
                received: import.received,
            }
            .into());
        }
        let path = self.upkeep.folders().archive(id);
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let file = options.open(&path).await.map_err(|error| {
            let error = canopy_backend_archive::ArchiveError::io("opening", &path, error);
            UpkeepError::from(error)
        })?;
        Ok(ImportUpload {
            file,
            path,
            received: import.received,
            size: import.size,
        })
    }

    /// Begins to take in an archive that has arrived whole.
    pub async fn start_import(
        &self,
        context: &Context,
        id: ImportId,
        start: ImportStart,
    ) -> Result<Job, AppError> {
        context.authorize(Action::Write, Resource::Platform)?;
        let row = self.store.archive("import", id.to_string()).await?;
        let import = self.show_import(row).await?;
        if import.received != import.size {
            return Err(UpkeepError::Incomplete {
                received: import.received,
                size: import.size,
            }
            .into());
        }
        let work = Work::Import {
            import: id,
            name: start.tenant.clone(),
        };
        self.begin_work(context, start.tenant, &work).await
    }

    /// Removes an archive that was to be taken in.
    pub async fn delete_import(&self, context: &Context, id: ImportId) -> Result<(), AppError> {
        context.authorize(Action::Delete, Resource::Platform)?;
        self.store.archive("import", id.to_string()).await?;
        self.drop_archive(&id.to_string()).await
    }

    pub(crate) async fn drop_archive(&self, id: &str) -> Result<(), AppError> {
        let path = self.upkeep.folders().archive(id);
        match tokio::fs::remove_file(&path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let error = canopy_backend_archive::ArchiveError::io("removing", &path, error);
                return Err(UpkeepError::from(error).into());
            }
            _ => {}
        }
        Ok(self.store.remove_archive(id.to_owned()).await?)
    }

    async fn show_import(&self, row: ArchiveRow) -> Result<Import, AppError> {
        let id: ImportId = row
            .id
            .parse()
            .map_err(|_| AppError::not_found("import", &row.id))?;
        let file = tokio::fs::metadata(self.upkeep.folders().archive(id)).await;
        Ok(Import {
            id,
            name: row.name,
            size: row.size.unwrap_or(0),
            received: file.map_or(0, |metadata| metadata.len()),
            expires_at: row.expires_at,
        })
    }
}
