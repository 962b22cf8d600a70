//! The keys of a node: opened with the operator's, made at first use, changed and destroyed.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use canopy_backend::files::{create_dir, sync_dir};
use canopy_ids::TenantId;
use parking_lot::Mutex;

use crate::derive::{FileKey, TenantKeys};
use crate::operator::{OperatorKey, OperatorKeys};
use crate::stored::{
    self, Format, NODE_FILE, NodeFile, StoredVersion, TENANT_FILE, TenantFile, Wrapped,
};
use crate::wrap::Secret;
use crate::{KEY_BYTES, KeyError};

const NODE_PLACE: &str = "canopy node key";

/// All keys of a node. Clones are the same.
///
/// Everything but [`Self::node_key`] may wait for the disk.
#[derive(Clone)]
pub struct Keyring(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    operator: OperatorKeys,
    node: Secret,
    tenants: Mutex<Tenants>,
}

#[derive(Default)]
struct Tenants {
    opened: HashMap<TenantId, Arc<TenantKeys>>,
    erased: HashSet<TenantId>,
}

impl Keyring {
    /// Opens the keys in `folder`, the folder of storage. The operator's key is verified before
    /// anything is written; if there is none of the node's keys yet, and no tenant's data, they
    /// are made.
    ///
    /// If what is stored was wrapped by [`OperatorKeys::previous`], everything is rewrapped by the
    /// current key before this returns.
    pub fn open(operator: impl Into<OperatorKeys>, folder: &Path) -> Result<Self, KeyError> {
        let operator = operator.into();
        let path = folder.join(NODE_FILE);
        let node = match stored::read_bytes(&path)? {
            Some(bytes) => open_node(&operator, folder, stored::parse(&bytes, &path)?)?,
            None => make_node(&operator.current, folder)?,
        };
        Ok(Self(Arc::new(Inner {
            folder: folder.to_owned(),
            operator,
            node,
            tenants: Mutex::default(),
        })))
    }

    /// The key of a file of the node itself, which no other file may have.
    pub fn node_key(&self, purpose: &str) -> FileKey {
        FileKey::derive(1, &self.0.node, "node", purpose)
    }

    /// Fingerprint of the operator's key.
    pub fn operator_fingerprint(&self) -> String {
        self.0.operator.current.fingerprint()
    }

    /// The keys of `tenant`, made if it has none yet.
    pub fn tenant(&self, tenant: TenantId) -> Result<Arc<TenantKeys>, KeyError> {
        let mut tenants = self.0.tenants.lock();
        self.0.tenant(&mut tenants, tenant)
    }

    /// Gives `tenant` a new version of its key and returns its number. What is written from now on
    /// is encrypted with it; files that are there keep theirs until they are re-encrypted.
    pub fn rotate(&self, tenant: TenantId) -> Result<u32, KeyError> {
        let mut tenants = self.0.tenants.lock();
        let keys = self.0.tenant(&mut tenants, tenant)?;
        let mut versions = copies(&keys);
        let version = keys.newest() + 1;
        versions.push((version, Secret::new()?));
        self.0.write(&mut tenants, tenant, versions)?;
        tracing::info!(%tenant, version, "a tenant has a new data key");
        Ok(version)
    }

    /// Destroys the keys of `tenant`, for ever. Idempotent. Whoever asks for them later is told
    /// [`KeyError::Erased`].
    pub fn erase(&self, tenant: TenantId) -> Result<(), KeyError> {
        let mut tenants = self.0.tenants.lock();
        tenants.erased.insert(tenant);
        tenants.opened.remove(&tenant);
        let folder = self.0.folder.join(tenant.to_string());
        stored::destroy(&folder)
    }

    /// The keys of `tenant` as they are stored, wrapped, to go into a backup; `None` if it has
    /// none.
    pub fn wrapped(&self, tenant: TenantId) -> Result<Option<Vec<u8>>, KeyError> {
        let _others_wait = self.0.tenants.lock();
        stored::read_bytes(&self.0.path(tenant))
    }

    /// Adds those versions of what [`Self::wrapped`] gave that `tenant` does not have, so that a
    /// restored backup can be read. They must be wrapped by the current operator's key or the
    /// previous one. A version that both have must be the same.
    pub fn adopt(&self, tenant: TenantId, wrapped: &[u8]) -> Result<(), KeyError> {
        let mut tenants = self.0.tenants.lock();
        if tenants.erased.contains(&tenant) {
            return Err(KeyError::Erased(tenant));
        }
        let path = self.0.path(tenant);
        let place = Path::new("of the backup");
        let theirs = open_tenant(
            &self.0.operator,
            tenant,
            stored::parse(wrapped, place)?,
            place,
        )?;
        let mut versions = match stored::read_bytes(&path)? {
            Some(_) => copies(&*self.0.tenant(&mut tenants, tenant)?),
            None => Vec::new(),
        };
        let before = versions.len();
        for (number, secret) in theirs.versions() {
            match versions.iter().find(|(known, _)| known == number) {
                Some((_, known)) if known.bytes() != secret.bytes() => {
                    return Err(KeyError::Damaged {
                        place: "of the backup".into(),
                        problem: format!("its version {number} is another key than the tenant's"),
                    });
                }
                Some(_) => {}
                None => versions.push((*number, Secret::from(*secret.bytes()))),
            }
        }
        if versions.len() == before {
            return Ok(());
        }
        versions.sort_by_key(|(number, _)| *number);
        self.0.write(&mut tenants, tenant, versions)
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring")
            .field("folder", &self.0.folder)
            .field("operator", &self.0.operator)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn path(&self, tenant: TenantId) -> PathBuf {
        self.folder.join(tenant.to_string()).join(TENANT_FILE)
    }

    fn tenant(&self, tenants: &mut Tenants, tenant: TenantId) -> Result<Arc<TenantKeys>, KeyError> {
        if tenants.erased.contains(&tenant) {
            return Err(KeyError::Erased(tenant));
        }
        if let Some(keys) = tenants.opened.get(&tenant) {
            return Ok(keys.clone());
        }
        let path = self.path(tenant);
        match stored::read_bytes(&path)? {
            Some(bytes) => {
                let file = stored::parse(&bytes, &path)?;
                let keys = Arc::new(open_tenant(&self.operator, tenant, file, &path)?);
                tenants.opened.insert(tenant, keys.clone());
                Ok(keys)
            }
            None => {
                self.write(tenants, tenant, vec![(1, Secret::new()?)])?;
                self.tenant(tenants, tenant)
            }
        }
    }

    fn write(
        &self,
        tenants: &mut Tenants,
        tenant: TenantId,
        versions: Vec<(u32, Secret)>,
    ) -> Result<(), KeyError> {
        let folder = self.folder.join(tenant.to_string());
        let made = create_dir(&folder).and_then(|()| sync_dir(&self.folder));
        made.map_err(KeyError::io("making the folder", &folder))?;
        let path = self.path(tenant);
        let file = tenant_file(&self.operator.current, tenant, &versions)?;
        stored::replace(&path, &file)?;
        if let Some(keys) = TenantKeys::new(tenant, versions) {
            tenants.opened.insert(tenant, Arc::new(keys));
        }
        Ok(())
    }
}

/// In the order of their numbers.
fn copies(keys: &TenantKeys) -> Vec<(u32, Secret)> {
    let mut versions: Vec<_> = keys
        .versions()
        .map(|(number, secret)| (*number, Secret::from(*secret.bytes())))
        .collect();
    versions.reverse();
    versions
}

fn make_node(operator: &OperatorKey, folder: &Path) -> Result<Secret, KeyError> {
    let path = folder.join(NODE_FILE);
    if !tenants_in(folder)?.is_empty() {
        return Err(KeyError::NodeKeyMissing { path });
    }
    create_dir(folder).map_err(KeyError::io("making the folder", folder))?;
    let node = Secret::new()?;
    stored::replace(&path, &node_file(&node, operator, None)?)?;
    Ok(node)
}

fn open_node(operator: &OperatorKeys, folder: &Path, file: NodeFile) -> Result<Secret, KeyError> {
    let path = folder.join(NODE_FILE);
    let current = operator.current.fingerprint();
    let open = |by: &OperatorKey| {
        Secret::unwrap(&file.wrapped.0, by.secret(), NODE_PLACE).ok_or_else(|| KeyError::Damaged {
            place: path.display().to_string(),
            problem: "the node's key can't be opened".into(),
        })
    };
    let previous = operator
        .previous
        .as_ref()
        .filter(|key| key.fingerprint() == file.operator_key);
    match (previous, &file.changing_to) {
        (_, None) if file.operator_key == current => open(&operator.current),
        (_, Some(to)) if *to != current || previous.is_none() => Err(KeyError::ChangeUnderWay {
            from: file.operator_key.clone(),
            to: to.clone(),
        }),
        (Some(previous), _) => {
            let node = open(previous)?;
            rewrap(operator, previous, folder, &node)?;
            Ok(node)
        }
        (None, _) => Err(KeyError::WrongOperatorKey {
            expected: file.operator_key.clone(),
            given: current,
        }),
    }
}

/// Wraps every key by the current operator's key, the node's last: until that one is written, the
/// next start does it again.
fn rewrap(
    operator: &OperatorKeys,
    previous: &OperatorKey,
    folder: &Path,
    node: &Secret,
) -> Result<(), KeyError> {
    let path = folder.join(NODE_FILE);
    let (from, to) = (previous.fingerprint(), operator.current.fingerprint());
    let tenants = tenants_in(folder)?;
    tracing::info!(
        from,
        to,
        tenants = tenants.len(),
        "changing the operator's key"
    );
    stored::replace(&path, &node_file(node, previous, Some(to.clone()))?)?;
    for tenant in tenants {
        let path = folder.join(tenant.to_string()).join(TENANT_FILE);
        let Some(bytes) = stored::read_bytes(&path)? else {
            continue;
        };
        let file: TenantFile = stored::parse(&bytes, &path)?;
        if file.operator_key != to {
            let keys = open_tenant(operator, tenant, file, &path)?;
            let file = tenant_file(&operator.current, tenant, &copies(&keys))?;
            stored::replace(&path, &file)?;
        }
    }
    stored::replace(&path, &node_file(node, &operator.current, None)?)?;
    tracing::info!(
        to,
        "the operator's key was changed; the previous one is no longer needed"
    );
    Ok(())
}

fn node_file(
    node: &Secret,
    by: &OperatorKey,
    changing_to: Option<String>,
) -> Result<NodeFile, KeyError> {
    Ok(NodeFile {
        format: Format,
        operator_key: by.fingerprint(),
        changing_to,
        wrapped: Wrapped(node.wrapped(by.secret(), NODE_PLACE)?),
    })
}

fn tenant_file(
    operator: &OperatorKey,
    tenant: TenantId,
    versions: &[(u32, Secret)],
) -> Result<TenantFile, KeyError> {
    let wrap = |(version, secret): &(u32, Secret)| {
        Ok(StoredVersion {
            version: *version,
            wrapped: Wrapped(secret.wrapped(operator.secret(), &place(tenant, *version))?),
        })
    };
    Ok(TenantFile {
        format: Format,
        tenant,
        operator_key: operator.fingerprint(),
        versions: versions.iter().map(wrap).collect::<Result<_, KeyError>>()?,
    })
}

fn open_tenant(
    operator: &OperatorKeys,
    tenant: TenantId,
    file: TenantFile,
    path: &Path,
) -> Result<TenantKeys, KeyError> {
    let damaged = |problem: String| KeyError::Damaged {
        place: path.display().to_string(),
        problem,
    };
    if file.tenant != tenant {
        return Err(damaged(format!("it belongs to {}", file.tenant)));
    }
    let by = std::iter::once(&operator.current)
        .chain(&operator.previous)
        .find(|key| key.fingerprint() == file.operator_key)
        .ok_or_else(|| KeyError::WrongOperatorKey {
            expected: file.operator_key.clone(),
            given: operator.current.fingerprint(),
        })?;
    let mut versions: Vec<(u32, Secret)> = Vec::with_capacity(file.versions.len());
    for StoredVersion { version, wrapped } in &file.versions {
        if versions.last().is_some_and(|(before, _)| before >= version) {
            return Err(damaged("its versions are out of order".into()));
        }
        let secret = Secret::unwrap(&wrapped.0, by.secret(), &place(tenant, *version))
            .ok_or_else(|| damaged(format!("version {version} can't be opened")))?;
        versions.push((*version, secret));
    }
    TenantKeys::new(tenant, versions).ok_or_else(|| damaged("it has no key".into()))
}

/// Where a tenant's key belongs: it opens nowhere else.
fn place(tenant: TenantId, version: u32) -> String {
    format!("canopy tenant key {KEY_BYTES} {tenant} {version}")
}

/// The tenants that have a folder.
fn tenants_in(folder: &Path) -> Result<Vec<TenantId>, KeyError> {
    let failed = || KeyError::io("reading the folder", folder);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed())?,
    };
    let mut tenants = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed())?.file_name();
        tenants.extend(name.to_str().and_then(|name| name.parse::<TenantId>().ok()));
    }
    Ok(tenants)
}
