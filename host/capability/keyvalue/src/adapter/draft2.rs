//! `wasi:keyvalue@0.2.0-draft2`: cursors are keys, counters are signed, and there is
//! compare-and-swap.

use canopy_backend::{StorageError, Swap};
use wasmtime::component::{Resource, ResourceTableError};

use crate::adapter::Failure;
use crate::bindings::draft2::{atomics, batch, store};
use crate::bucket::{Bucket, Cas};
use crate::ctx::KeyValueView;

impl store::Host for KeyValueView<'_> {
    async fn open(&mut self, name: String) -> Result<Resource<Bucket>, Failure> {
        let bucket = self.open_bucket(&name).await?;
        Ok(self.table.push(bucket)?)
    }

    fn convert_error(&mut self, failure: Failure) -> wasmtime::Result<store::Error> {
        Ok(match failure {
            Failure::NoSuchStore => store::Error::NoSuchStore,
            Failure::AccessDenied => store::Error::AccessDenied,
            Failure::Trap(error) => return Err(error),
            told => store::Error::Other(told.to_string()),
        })
    }
}

impl store::HostBucket for KeyValueView<'_> {
    async fn get(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.table.get(&bucket)?.store.get(&key).await?)
    }

    async fn set(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), Failure> {
        Ok(self.table.get(&bucket)?.store.set(&key, value).await?)
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Result<(), Failure> {
        Ok(self.table.get(&bucket)?.store.delete(&key).await?)
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Result<bool, Failure> {
        Ok(self.table.get(&bucket)?.store.exists(&key).await?)
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<String>,
    ) -> Result<store::KeyResponse, Failure> {
        let page = self.table.get(&bucket)?.page(cursor.as_deref()).await?;
        Ok(store::KeyResponse {
            keys: page.keys,
            cursor: page.next,
        })
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

/// Why a swap did not take place.
#[derive(Debug)]
pub(crate) enum SwapFailure {
    /// The value was another one; this is how to try again.
    Conflict(Resource<Cas>),
    /// Any other reason.
    Failure(Failure),
}

impl From<StorageError> for SwapFailure {
    fn from(error: StorageError) -> Self {
        Self::Failure(error.into())
    }
}

impl From<ResourceTableError> for SwapFailure {
    fn from(error: ResourceTableError) -> Self {
        Self::Failure(error.into())
    }
}

impl atomics::Host for KeyValueView<'_> {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> Result<i64, Failure> {
        Ok(self
            .table
            .get(&bucket)?
            .store
            .increment(&key, delta)
            .await?)
    }

    async fn swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> Result<(), SwapFailure> {
        let Cas {
            store,
            key,
            seen,
            held,
        } = self.table.delete(cas)?;
        match store.compare_and_set(&key, seen, value).await? {
            Swap::Done => Ok(()),
            Swap::Conflict(seen) => {
                drop(held);
                let cas = Cas::seen(store, key, seen, self.kept)?;
                Err(SwapFailure::Conflict(self.table.push(cas)?))
            }
        }
    }

    fn convert_cas_error(&mut self, failure: SwapFailure) -> wasmtime::Result<atomics::CasError> {
        Ok(match failure {
            SwapFailure::Conflict(cas) => atomics::CasError::CasFailed(cas),
            SwapFailure::Failure(failure) => {
                atomics::CasError::StoreError(store::Host::convert_error(self, failure)?)
            }
        })
    }
}

impl atomics::HostCas for KeyValueView<'_> {
    async fn new(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> Result<Resource<Cas>, Failure> {
        let cas = Cas::look(self.table.get(&bucket)?, key, self.kept).await?;
        Ok(self.table.push(cas)?)
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.table.get(&cas)?.seen.clone())
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl batch::Host for KeyValueView<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, Failure> {
        let values = self.table.get(&bucket)?.store.get_many(&keys).await?;
        Ok(keys.into_iter().zip(values).collect())
    }

    async fn set_many(
        &mut self,
        bucket: Resource<Bucket>,
        pairs: Vec<(String, Vec<u8>)>,
    ) -> Result<(), Failure> {
        Ok(self.table.get(&bucket)?.store.set_many(pairs).await?)
    }

    async fn delete_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<(), Failure> {
        Ok(self.table.get(&bucket)?.store.delete_many(keys).await?)
    }
}
