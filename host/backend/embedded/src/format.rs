//! The database file of one installation: where it is and what is in it.

use std::path::{Path, PathBuf};

use canopy_backend::{Scope, StorageKind};
use canopy_backend_sqlite::Format;

/// `Cnpy`, in the header of every file of ours.
const APPLICATION_ID: i32 = 0x436e_7079;

pub(crate) const FILE_NAME: &str = "data.db";

/// What the file's key is derived for.
pub(crate) const PURPOSE: &str = "key-value";

/// `expires_at` is in milliseconds since 1970. `canopy_usage` counts what the tables hold, entries
/// included that have expired and are not removed yet, and the last version that was given.
pub(crate) const FORMAT: Format = Format {
    application_id: APPLICATION_ID,
    migrations: &["
    CREATE TABLE canopy_bucket (
        id INTEGER PRIMARY KEY,
        name BLOB NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE canopy_entry (
        id INTEGER PRIMARY KEY,
        bucket INTEGER NOT NULL,
        key BLOB NOT NULL,
        value BLOB NOT NULL,
        version INTEGER NOT NULL,
        expires_at INTEGER,
        UNIQUE (bucket, key)
    ) STRICT;
    CREATE INDEX canopy_entry_expiry ON canopy_entry (expires_at) WHERE expires_at IS NOT NULL;
    CREATE TABLE canopy_usage (
        id INTEGER PRIMARY KEY CHECK (id = 0),
        bytes INTEGER NOT NULL CHECK (bytes >= 0),
        items INTEGER NOT NULL CHECK (items >= 0),
        version INTEGER NOT NULL
    ) STRICT;
    INSERT INTO canopy_usage VALUES (0, 0, 0, 0);
    "],
};

/// The folder of `scope`'s keys and values in the folder of storage.
pub(crate) fn folder(storage: &Path, scope: Scope) -> PathBuf {
    storage
        .join(scope.tenant.to_string())
        .join(scope.installation.to_string())
        .join(StorageKind::KeyValue.as_str())
}
