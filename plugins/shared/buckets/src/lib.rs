//! What drivers that serve `wasi:keyvalue` have in common: [`drafts`] is the interface in its versions,
//! each a thin layer over one [`KeyValue`]; [`Watched`] is its compare-and-swap; [`check_key`] and its like
//! refuse what all refuse alike.

mod drafts;
mod limits;
mod watched;

use canopy_sdk::{config, identity, log};

pub use limits::{
    MAX_BUCKET, MAX_KEY, MAX_VALUE, check_count, check_key, check_value, is_bucket, is_sound,
};
pub use watched::Watched;

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The name is none of a bucket.
    NoSuchStore,
    /// Whoever calls is not whose bucket it is.
    AccessDenied,
    /// Anything else, in words.
    Other(String),
}

impl From<config::Error> for Fault {
    fn from(error: config::Error) -> Self {
        log::error!("{error}");
        Self::Other(error.to_string())
    }
}

/// A fault that is told in words alone.
pub fn other(text: impl Into<String>) -> Fault {
    Fault::Other(text.into())
}

/// Some keys, and where the next ones begin if there are more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<C> {
    pub keys: Vec<String>,
    pub cursor: Option<C>,
}

/// A bucket of the installation that opened it, as a driver keeps it. It works for that installation
/// and nobody else, whoever may hold it.
pub trait KeyValue: Clone + Sized + 'static {
    /// A value, and whatever tells that it is still there.
    type Found: AsRef<[u8]> + Into<Vec<u8>> + 'static;

    /// The bucket of that name of the installation that calls.
    fn open(identifier: &str) -> Result<Self, Fault>;

    /// Refuses whoever is not the installation that opened it.
    fn check_caller(&self) -> Result<(), Fault>;

    fn find(&self, key: &str) -> Result<Option<Self::Found>, Fault>;

    fn set(&self, key: &str, value: &[u8]) -> Result<(), Fault>;

    fn delete(&self, key: &str) -> Result<(), Fault>;

    fn exists(&self, key: &str) -> Result<bool, Fault>;

    /// The page at `cursor`, a number that means something to this driver alone.
    fn page(&self, cursor: Option<u64>) -> Result<Page<u64>, Fault>;

    /// The same where cursors are text: the number's, unless the driver knows better.
    fn page_by_text(&self, cursor: Option<String>) -> Result<Page<String>, Fault> {
        let page = self.page(limits::number(cursor.as_deref())?)?;
        Ok(Page {
            keys: page.keys,
            cursor: page.cursor.map(|cursor| cursor.to_string()),
        })
    }

    /// Adds to the number of this key and returns the sum; what is beyond 64 bits is refused and
    /// changes nothing.
    fn increment(&self, key: &str, delta: i64) -> Result<i64, Fault>;

    /// Sets a value if that stored is the `expected` one, and says whether it was.
    fn swap(&self, key: &str, expected: Option<&Self::Found>, value: &[u8]) -> Result<bool, Fault>;

    /// The values of several keys, in their order.
    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Fault>;

    /// Of a key that is there twice the last value counts.
    fn set_many(&self, key_values: Vec<(String, Vec<u8>)>) -> Result<(), Fault>;

    fn delete_many(&self, keys: Vec<String>) -> Result<(), Fault>;
}

/// What the macro refers to; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::limits::{step, unsigned};
}

/// Refuses whoever is not `installation`.
pub fn check_caller(installation: &str) -> Result<(), Fault> {
    let caller = identity::installation();
    if caller.is_none_or(|caller| caller.id != installation) {
        return Err(Fault::AccessDenied);
    }
    Ok(())
}
