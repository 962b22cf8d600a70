//! `fermyon:spin/key-value@2.0.0`: all keys of a store at once.

use wasmtime::component::Resource;

use crate::adapter::Failure;
use crate::bindings::spin2::key_value;
use crate::bucket::Bucket;
use crate::ctx::KeyValueView;

/// Bytes of the keys that one answer may have. It is what a batch may have by default, and fits into
/// a guest.
const MAX_KEYS_BYTES: usize = 16 << 20;

impl key_value::Host for KeyValueView<'_> {
    fn convert_error(&mut self, failure: Failure) -> wasmtime::Result<key_value::Error> {
        Ok(match failure {
            Failure::NoSuchStore => key_value::Error::NoSuchStore,
            Failure::AccessDenied => key_value::Error::AccessDenied,
            Failure::Trap(error) => return Err(error),
            told => key_value::Error::Other(told.to_string()),
        })
    }
}

impl key_value::HostStore for KeyValueView<'_> {
    async fn open(&mut self, label: String) -> Result<Resource<Bucket>, Failure> {
        let bucket = self.open_bucket(&label).await?;
        Ok(self.table.push(bucket)?)
    }

    async fn get(
        &mut self,
        store: Resource<Bucket>,
        key: String,
    ) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.table.get(&store)?.store.get(&key).await?)
    }

    async fn set(
        &mut self,
        store: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), Failure> {
        Ok(self.table.get(&store)?.store.set(&key, value).await?)
    }

    async fn delete(&mut self, store: Resource<Bucket>, key: String) -> Result<(), Failure> {
        Ok(self.table.get(&store)?.store.delete(&key).await?)
    }

    async fn exists(&mut self, store: Resource<Bucket>, key: String) -> Result<bool, Failure> {
        Ok(self.table.get(&store)?.store.exists(&key).await?)
    }

    async fn get_keys(&mut self, store: Resource<Bucket>) -> Result<Vec<String>, Failure> {
        let bucket = self.table.get(&store)?;
        let (mut keys, mut bytes, mut after) = (Vec::new(), 0_usize, None);
        loop {
            let page = bucket.page(after.as_deref()).await?;
            bytes += page.keys.iter().map(String::len).sum::<usize>();
            if bytes > MAX_KEYS_BYTES {
                return Err(Failure::invalid(format!(
                    "the keys of this store are over the limit of {MAX_KEYS_BYTES} bytes for one \
                     answer; spin:key-value@3.0.0 and wasi:keyvalue list them in parts"
                )));
            }
            keys.extend(page.keys);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(keys),
            }
        }
    }

    async fn drop(&mut self, store: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(store)?;
        Ok(())
    }
}
