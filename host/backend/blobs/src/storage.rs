//! The storage of objects of a node.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use canopy_backend::blob::{AddressKey, BlobLimits, BlobProvider, Blobs};
use canopy_backend::{CpuPayer, Ledger, Scope, StorageError};
use canopy_backend_keys::Keyring;

use crate::objects::Objects;
use crate::pool::Pool;
use crate::settings::BlobSettings;

/// What the key for addresses is derived for.
const ADDRESSES: &str = "blobs-addresses";

/// The objects of all installations of a node. Clones are the same storage.
#[derive(Clone)]
pub struct BlobStorage {
    pub(crate) pool: Arc<Pool>,
    /// Its end ends the thread that closes idle indexes.
    _tending: mpsc::Sender<()>,
}

impl BlobStorage {
    /// Objects in `root`, in the folders of their tenants and installations, encrypted with keys
    /// of `keyring` and counted in `ledger`. Nothing is opened or made before the first use.
    pub fn open(
        root: impl Into<PathBuf>,
        keyring: Keyring,
        ledger: Ledger,
        settings: BlobSettings,
    ) -> std::io::Result<Self> {
        let interval = settings
            .idle_close
            .clamp(Duration::from_millis(10), Duration::from_secs(10));
        let pool = Arc::new(Pool::new(root.into(), settings, keyring, ledger));
        let (tending, ended) = mpsc::channel::<()>();
        let weak = Arc::downgrade(&pool);
        thread::Builder::new().name("blobs".into()).spawn(move || {
            while ended.recv_timeout(interval) == Err(mpsc::RecvTimeoutError::Timeout) {
                match weak.upgrade() {
                    Some(pool) => pool.tend(),
                    None => break,
                }
            }
        })?;
        Ok(Self {
            pool,
            _tending: tending,
        })
    }

    /// Lets nobody in any more, and closes what is not in use.
    pub fn close(&self) {
        self.pool.close();
    }

    /// How many indexes are open.
    pub fn open_stores(&self) -> usize {
        self.pool.open_stores()
    }
}

#[async_trait]
impl BlobProvider for BlobStorage {
    fn limits(&self) -> BlobLimits {
        self.pool.settings.limits
    }

    fn paid_by(&self, payer: CpuPayer) {
        self.pool.payers.set(payer);
    }

    async fn open(&self, scope: Scope) -> Result<Arc<dyn Blobs>, StorageError> {
        Ok(Arc::new(Objects {
            pool: self.pool.clone(),
            scope,
        }))
    }

    async fn address_key(
        &self,
        scope: Scope,
        version: Option<u32>,
    ) -> Result<Option<AddressKey>, StorageError> {
        let keyring = self.pool.keyring.clone();
        let derive = move || -> Result<_, StorageError> {
            let keys = keyring.tenant(scope.tenant)?;
            let key = match version {
                Some(version) => keys.file_key_of(version, scope, ADDRESSES),
                None => Some(keys.file_key(scope, ADDRESSES)),
            };
            Ok(key.map(|key| AddressKey {
                version: key.version(),
                key: *key.bytes(),
            }))
        };
        tokio::task::spawn_blocking(derive)
            .await
            .map_err(|error| StorageError::Failed(error.to_string()))?
    }
}
