//! Serves `canopy:storage/key-value` from the `canopy:storage/key-value` that it is bound to, and passes
//! everything on as it is; where it is set to, without the conditions of writes.

use bindings::canopy::storage::key_value as beneath;
use bindings::exports::canopy::storage::key_value::{
    Change, Condition, Entry, Error, Guest, GuestStore, ListOptions, Outcome, Page, Precondition,
    SetOptions, Store,
};
use canopy_sdk::config;

#[canopy_sdk::driver(
    "canopy:storage/key-value@0.1.0",
    imports = ["canopy:storage/key-value@0.1.0"],
    wit = ["../../../../wit/storage/0.1.0"]
)]
struct Shelf;

impl Guest for Shelf {
    type Store = Opened;
}

struct Opened(beneath::Store);

/// The condition, if it is passed on.
fn kept(condition: Option<Condition>) -> Result<Option<Condition>, Error> {
    let forgetful = config::parse_or("forgetful", false);
    let forgetful = forgetful.map_err(|error| Error::Other(error.to_string()))?;
    Ok(condition.filter(|_| !forgetful))
}

impl GuestStore for Opened {
    async fn open(name: String) -> Result<Store, Error> {
        Ok(Store::new(Self(beneath::Store::open(name).await?)))
    }

    async fn get(&self, key: String) -> Result<Option<Vec<u8>>, Error> {
        self.0.get(key).await
    }

    async fn get_entry(&self, key: String) -> Result<Option<Entry>, Error> {
        self.0.get_entry(key).await
    }

    async fn set(&self, key: String, value: Vec<u8>, options: SetOptions) -> Result<u64, Error> {
        let condition = kept(options.condition)?;
        let options = SetOptions {
            condition,
            ..options
        };
        self.0.set(key, value, options).await
    }

    async fn delete(&self, key: String, condition: Option<Condition>) -> Result<bool, Error> {
        self.0.delete(key, kept(condition)?).await
    }

    async fn exists(&self, key: String) -> Result<bool, Error> {
        self.0.exists(key).await
    }

    async fn list(&self, options: ListOptions) -> Result<Page, Error> {
        self.0.list(options).await
    }

    async fn get_many(&self, keys: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.0.get_many(keys).await
    }

    async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        self.0.set_many(pairs).await
    }

    async fn delete_many(&self, keys: Vec<String>) -> Result<(), Error> {
        self.0.delete_many(keys).await
    }

    async fn increment(&self, key: String, delta: i64) -> Result<i64, Error> {
        self.0.increment(key, delta).await
    }

    async fn transact(
        &self,
        preconditions: Vec<Precondition>,
        changes: Vec<Change>,
    ) -> Result<Vec<Outcome>, Error> {
        self.0.transact(preconditions, changes).await
    }
}
