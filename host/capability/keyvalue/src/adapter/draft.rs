//! `wasi:keyvalue@0.2.0-draft`: cursors are numbers, counters are not negative.

use wasmtime::component::Resource;

use crate::adapter::Failure;
use crate::bindings::draft::{atomics, batch, store};
use crate::bucket::Bucket;
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
        cursor: Option<u64>,
    ) -> Result<store::KeyResponse, Failure> {
        let bucket = self.table.get_mut(&bucket)?;
        let skip = cursor.unwrap_or(0);
        let (keys, cursor) = bucket.numbered_page(skip, self.kept).await?;
        Ok(store::KeyResponse { keys, cursor })
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for KeyValueView<'_> {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: u64,
    ) -> Result<u64, Failure> {
        let delta = i64::try_from(delta)
            .map_err(|_| Failure::invalid("an increment is at most 9223372036854775807"))?;
        let store = self.table.get(&bucket)?.store.clone();
        let sum = store.increment(&key, delta).await?;
        if let Ok(sum) = u64::try_from(sum) {
            return Ok(sum);
        }
        // An error changes nothing: what was added is taken away.
        let number = store.increment(&key, -delta).await?;
        Err(Failure::invalid(format!(
            "the number of this key is negative: {number}"
        )))
    }
}

impl batch::Host for KeyValueView<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, Failure> {
        let values = self.table.get(&bucket)?.store.get_many(&keys).await?;
        let pair = |(key, value): (String, Option<Vec<u8>>)| value.map(|value| (key, value));
        Ok(keys.into_iter().zip(values).map(pair).collect())
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
