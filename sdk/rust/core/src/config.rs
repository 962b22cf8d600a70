//! The installation's configuration and secrets.
//!
//! Which settings a package has, their meaning and their defaults stand in `[config]` of its
//! manifest; the tenant sets them and the platform checks them before they get here.
//!
//! ```no_run
//! use canopy_sdk::config;
//!
//! fn prefix() -> Result<String, config::Error> {
//!     Ok(config::get("number_prefix")?.unwrap_or_else(|| "INV-".to_owned()))
//! }
//!
//! fn port() -> Result<u16, config::Error> {
//!     config::parse_or("port", 25)
//! }
//! ```

use std::fmt::Display;
use std::str::FromStr;

use crate::bindings::wasi::config::store as wit;

/// Why a setting could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The setting has no value and the package cannot do without.
    #[error("the setting `{0}` is missing")]
    Missing(String),
    /// The setting's value is not of its type. The value is not named: it may be a secret.
    #[error("the setting `{key}` is not valid: {reason}")]
    Invalid {
        /// The setting.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The platform could not read the configuration.
    #[error("the configuration could not be read: {0}")]
    Unavailable(String),
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::Upstream(text) | wit::Error::Io(text) => Self::Unavailable(text),
        }
    }
}

/// The value of `key`, if it is set.
///
/// # Errors
/// [`Error::Unavailable`].
pub fn get(key: &str) -> Result<Option<String>, Error> {
    Ok(wit::get(key)?)
}

/// The value of `key`, which must be set.
///
/// # Errors
/// [`Error::Missing`] or [`Error::Unavailable`].
pub fn require(key: &str) -> Result<String, Error> {
    get(key)?.ok_or_else(|| Error::Missing(key.to_owned()))
}

/// The value of `key` as a `T`, or `default` if it is not set.
///
/// # Errors
/// [`Error::Invalid`] or [`Error::Unavailable`].
pub fn parse_or<T: FromStr<Err: Display>>(key: &str, default: T) -> Result<T, Error> {
    match get(key)? {
        None => Ok(default),
        Some(text) => text.parse().map_err(|error: T::Err| Error::Invalid {
            key: key.to_owned(),
            reason: error.to_string(),
        }),
    }
}

/// All settings that have a value.
///
/// # Errors
/// [`Error::Unavailable`].
pub fn all() -> Result<Vec<(String, String)>, Error> {
    Ok(wit::get_all()?)
}
