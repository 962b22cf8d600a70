//! The keys of one tenant, and the keys of files that come of them.

use canopy_backend::Scope;
use canopy_ids::TenantId;

use crate::KEY_BYTES;
use crate::wrap::{Secret, to_hex};

/// The key of one file, of one version of its tenant's key.
pub struct FileKey {
    version: u32,
    secret: Secret,
}

impl FileKey {
    pub(crate) fn derive(version: u32, from: &Secret, whose: &str, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("canopy file key v1");
        hasher.update(from.bytes());
        for part in [whose, purpose] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self {
            version,
            secret: Secret::from(*hasher.finalize().as_bytes()),
        }
    }

    /// Of which version of the tenant's key it is.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The key itself.
    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        self.secret.bytes()
    }

    /// Which key it is. Public: it may stand in the file, and says nothing of the key itself.
    pub fn id(&self) -> [u8; 16] {
        let hash = blake3::derive_key("canopy file key id v1", self.secret.bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        id
    }
}

/// Its version and what it is called, never the key.
impl std::fmt::Debug for FileKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileKey({}, v{})", *to_hex(&self.id()), self.version)
    }
}

/// The keys of one file: of every version of the tenant's key, the newest first. Never empty.
#[derive(Debug)]
pub struct FileKeys {
    newest: FileKey,
    older: Vec<FileKey>,
}

impl FileKeys {
    /// The key that new files are encrypted with.
    pub fn newest(&self) -> &FileKey {
        &self.newest
    }

    /// All of them, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = &FileKey> {
        std::iter::once(&self.newest).chain(&self.older)
    }

    /// The one with this [`FileKey::id`].
    pub fn by_id(&self, id: &[u8]) -> Option<&FileKey> {
        self.iter().find(|key| key.id() == id)
    }
}

impl From<FileKey> for FileKeys {
    fn from(newest: FileKey) -> Self {
        Self {
            newest,
            older: Vec::new(),
        }
    }
}

/// The data keys of one tenant.
pub struct TenantKeys {
    tenant: TenantId,
    newest: (u32, Secret),
    /// Newest first.
    older: Vec<(u32, Secret)>,
}

impl TenantKeys {
    /// `versions` in the order of their numbers; `None` if there is none.
    pub(crate) fn new(tenant: TenantId, mut versions: Vec<(u32, Secret)>) -> Option<Self> {
        let newest = versions.pop()?;
        versions.reverse();
        Some(Self {
            tenant,
            newest,
            older: versions,
        })
    }

    /// Whose they are.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The newest version, with which everything new is encrypted.
    pub fn newest(&self) -> u32 {
        self.newest.0
    }

    /// Versions and their keys, the newest first.
    pub(crate) fn versions(&self) -> impl Iterator<Item = &(u32, Secret)> {
        std::iter::once(&self.newest).chain(&self.older)
    }

    /// The newest key of the file of `scope` that serves `purpose`, which no other file of that
    /// installation may have.
    pub fn file_key(&self, scope: Scope, purpose: &str) -> FileKey {
        self.derive(&self.newest, scope, purpose)
    }

    /// The same of another version; `None` if there is no such version.
    pub fn file_key_of(&self, version: u32, scope: Scope, purpose: &str) -> Option<FileKey> {
        let found = self.versions().find(|(number, _)| *number == version)?;
        Some(self.derive(found, scope, purpose))
    }

    /// The same of every version.
    pub fn file_keys(&self, scope: Scope, purpose: &str) -> FileKeys {
        FileKeys {
            newest: self.file_key(scope, purpose),
            older: (self.older.iter())
                .map(|version| self.derive(version, scope, purpose))
                .collect(),
        }
    }

    fn derive(&self, (version, secret): &(u32, Secret), scope: Scope, purpose: &str) -> FileKey {
        // The tenant's own key, whatever the scope says: with another's it opens nothing.
        FileKey::derive(*version, secret, &scope.to_string(), purpose)
    }
}

impl std::fmt::Debug for TenantKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TenantKeys({}, v{})", self.tenant, self.newest())
    }
}

#[cfg(test)]
mod tests {
    use canopy_ids::InstallationId;

    use super::*;

    #[test]
    fn every_file_has_a_key_of_its_own() {
        let tenant = TenantId::new();
        let secrets = || Secret::from([7; KEY_BYTES]);
        let keys = TenantKeys::new(tenant, vec![(1, secrets()), (2, Secret::from([8; 32]))])
            .expect("two versions");
        let scope = Scope {
            tenant,
            installation: InstallationId::new(),
        };
        let other = Scope {
            installation: InstallationId::new(),
            ..scope
        };
        let key = keys.file_key(scope, "a");
        assert_eq!(key.version(), 2);
        assert_eq!(key.bytes(), keys.file_key(scope, "a").bytes());
        let others = [
            keys.file_key(scope, "b"),
            keys.file_key(other, "a"),
            keys.file_key_of(1, scope, "a").expect("a version"),
        ];
        for other in &others {
            assert_ne!(other.bytes(), key.bytes());
            assert_ne!(other.id(), key.id());
        }
        assert!(keys.file_key_of(3, scope, "a").is_none());
        let all = keys.file_keys(scope, "a");
        let versions: Vec<_> = all.iter().map(FileKey::version).collect();
        assert_eq!(versions, [2, 1]);
        assert_eq!(all.by_id(&others[2].id()).map(FileKey::version), Some(1));
        assert!(all.by_id(&others[0].id()).is_none());
    }

    #[test]
    fn what_is_printed_shows_no_key() {
        let key = FileKey::derive(1, &Secret::from([7; 32]), "a", "b");
        let text = format!("{key:?}");
        assert!(!text.contains(&*to_hex(key.bytes())), "{text}");
    }
}
