//! Keys and values.

use std::sync::Arc;
use std::time::Duration;

use canopy_api_types::{KeyEntry, Page, StoreName};
use canopy_backend::{Condition, Conditional, Entry, KeyValue, SetOptions};
use canopy_ids::Label;
use canopy_store::{PageRequest, Precondition, StoreError};
use time::OffsetDateTime;

use super::{Site, quoted};
use crate::{Action, App, AppError, Context, Resource};

/// The store of an installation that somebody is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreAddress {
    /// The tenant.
    pub tenant: Label,
    /// The installation.
    pub installation: Label,
    /// The store, also called bucket.
    pub store: String,
}

/// A value with what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Which write of the store it is.
    pub version: u64,
    /// When it ends to exist.
    pub expires_at: Option<OffsetDateTime>,
}

impl App {
    /// The stores of an installation that something is in.
    pub async fn key_value_stores(
        &self,
        context: &Context,
        tenant: Label,
        installation: Label,
    ) -> Result<Page<StoreName>, AppError> {
        context.authorize(Action::Read, Resource::Data(&tenant))?;
        let site = self.site(tenant, installation).await?;
        let names = self.storage.buckets(site.scope).await?;
        Ok(Page {
            items: names
                .into_iter()
                .filter(|name| !is_reserved(name))
                .map(|name| StoreName { name })
                .collect(),
            next_cursor: None,
        })
    }

    /// Keys of a store that begin with `prefix`.
    pub async fn keys(
        &self,
        context: &Context,
        address: StoreAddress,
        prefix: &str,
        page: PageRequest,
    ) -> Result<Page<KeyEntry>, AppError> {
        context.authorize(Action::Read, Resource::Data(&address.tenant))?;
        let site = self.site(address.tenant, address.installation).await?;
        let Some(store) = self.find_store(&site, &address.store).await? else {
            return Err(AppError::not_found("store", address.store));
        };
        let found = store
            .list_entries(prefix, page.cursor.as_deref(), page.limit)
            .await?;
        let items = found.entries.into_iter().map(|(key, entry)| KeyEntry {
            key,
            bytes: entry.value.len() as u64,
            version: entry.version,
            expires_at: expiry(&entry),
        });
        Ok(Page {
            items: items.collect(),
            next_cursor: found.next,
        })
    }

    /// The value of a key.
    pub async fn value(
        &self,
        context: &Context,
        address: StoreAddress,
        key: &str,
    ) -> Result<Value, AppError> {
        context.authorize(Action::Read, Resource::Data(&address.tenant))?;
        let site = self.site(address.tenant, address.installation).await?;
        let entry = match self.find_store(&site, &address.store).await? {
            Some(store) => store.get_entry(key).await?,
            None => None,
        };
        let entry = entry.ok_or_else(|| no_key(key))?;
        Ok(Value {
            expires_at: expiry(&entry),
            bytes: entry.value,
            version: entry.version,
        })
    }

    /// Sets the value of a key, for `ttl` if it is given. Returns the version that it has now.
    pub async fn set_value(
        &self,
        context: &Context,
        address: StoreAddress,
        key: &str,
        value: Vec<u8>,
        ttl: Option<Duration>,
        condition: Precondition,
    ) -> Result<u64, AppError> {
        context.authorize(Action::Write, Resource::Data(&address.tenant))?;
        let site = self.site(address.tenant, address.installation).await?;
        if is_reserved(&address.store) {
            let message = "must not contain control characters";
            return Err(AppError::field("store", message));
        }
        let store = self.storage.open(site.scope, &address.store).await?;
        let bytes = value.len();
        let options = SetOptions {
            ttl,
            condition: asked(condition),
        };
        let version = done(store.set_with(key, value, options).await?)?;
        let (key, store) = (quoted(key), quoted(&address.store));
        site.changed(
            context,
            &format!("key {key} of store {store} was set to {bytes} bytes"),
        );
        Ok(version)
    }

    /// Removes a key.
    pub async fn delete_value(
        &self,
        context: &Context,
        address: StoreAddress,
        key: &str,
        condition: Precondition,
    ) -> Result<(), AppError> {
        context.authorize(Action::Delete, Resource::Data(&address.tenant))?;
        let site = self.site(address.tenant, address.installation).await?;
        let removed = match self.find_store(&site, &address.store).await? {
            Some(store) => done(store.delete_if(key, asked(condition)).await?)?,
            None => false,
        };
        if !removed {
            return Err(no_key(key));
        }
        let (key, store) = (quoted(key), quoted(&address.store));
        site.changed(context, &format!("key {key} of store {store} was removed"));
        Ok(())
    }

    /// Bytes of a value, at most.
    pub fn value_limit(&self) -> usize {
        self.storage.limits().value_bytes
    }

    /// A store that something is in. Looking for one must not make it.
    async fn find_store(
        &self,
        site: &Site,
        name: &str,
    ) -> Result<Option<Arc<dyn KeyValue>>, AppError> {
        let stores = self.storage.buckets(site.scope).await?;
        if !is_reserved(name) && stores.iter().any(|store| store == name) {
            Ok(Some(self.storage.open(site.scope, name).await?))
        } else {
            Ok(None)
        }
    }
}

/// Whether the platform keeps something of its own there, as messages that wait. Guests cannot open
/// such a store, and people would only break what is in it.
fn is_reserved(store: &str) -> bool {
    store.contains(char::is_control)
}

fn no_key(key: &str) -> AppError {
    AppError::not_found("key", key)
}

fn asked(condition: Precondition) -> Condition {
    match condition {
        Precondition::Any => Condition::Always,
        Precondition::Absent => Condition::Absent,
        Precondition::Present => Condition::Present,
        Precondition::Revision(version) => Condition::Version(version),
    }
}

fn done<T>(outcome: Conditional<T>) -> Result<T, AppError> {
    match outcome {
        Conditional::Done(value) => Ok(value),
        Conditional::Conflict(found) => Err(AppError::Store(StoreError::PreconditionFailed {
            current: found.map(|entry| entry.version),
        })),
    }
}

fn expiry(entry: &Entry) -> Option<OffsetDateTime> {
    let millis = i128::from(entry.expires_at?);
    OffsetDateTime::from_unix_timestamp_nanos(millis * 1_000_000).ok()
}
