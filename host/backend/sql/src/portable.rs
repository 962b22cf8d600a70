//! Databases as plain SQLite files, for an export and an import.

use std::fs;
use std::path::Path;

use async_trait::async_trait;
use canopy_backend::files::create_dir;
use canopy_backend::{Maintenance, Portable, Scope, StorageError, StorageKind, Usage};
use canopy_backend_sqlite::{OpenError, export_plain, import_plain};

use crate::account::{SUFFIX, databases};
use crate::connection::FORMAT;
use crate::maintenance::blocking;
use crate::storage::SqlStorage;

/// What the name of a plain file ends in.
const PLAIN: &str = ".sqlite";

#[async_trait]
impl Portable for SqlStorage {
    fn kind(&self) -> StorageKind {
        StorageKind::Sql
    }

    async fn export(&self, scope: Scope, into: &Path) -> Result<Usage, StorageError> {
        let copy = into.with_file_name(".sql");
        create_dir(&copy).map_err(OpenError::from)?;
        self.copy(scope, &copy).await?;
        let (node, into) = (self.node.clone(), into.to_owned());
        blocking(move || {
            let mut usage = Usage::default();
            for name in databases(&copy)?.into_keys() {
                let database = node.database(scope, &name);
                let keys = database.keys(&node)?;
                let plain = into.join(format!("{name}{PLAIN}"));
                export_plain(&copy.join(format!("{name}{SUFFIX}")), &keys, &plain)?;
                usage.items += 1;
                usage.bytes += fs::metadata(&plain)?.len();
            }
            fs::remove_dir_all(&copy)?;
            Ok(usage)
        })
        .await
    }

    async fn import(&self, scope: Scope, from: &Path) -> Result<Usage, StorageError> {
        let encrypted = from.with_file_name(".sql");
        let (node, source, target) = (self.node.clone(), from.to_owned(), encrypted.clone());
        let usage = blocking(move || {
            create_dir(&target)?;
            let mut usage = Usage::default();
            for entry in fs::read_dir(&source)? {
                let entry = entry?;
                let file = entry.file_name();
                let name = file.to_str().and_then(|name| name.strip_suffix(PLAIN));
                let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
                let Some(name) = name.filter(|n| !n.is_empty() && n.bytes().all(plain)) else {
                    let what = format!("{} is no database", file.display());
                    return Err(StorageError::Damaged(what).into());
                };
                let keys = node.database(scope, name).keys(&node)?;
                let path = target.join(format!("{name}{SUFFIX}"));
                import_plain(&entry.path(), &path, &keys, &FORMAT)?;
                usage.items += 1;
                usage.bytes += fs::metadata(&path)?.len();
            }
            Ok(usage)
        })
        .await?;
        self.restore(scope, &encrypted).await?;
        Ok(usage)
    }
}
