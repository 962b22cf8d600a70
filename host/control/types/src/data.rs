//! What installations store, as people look at it.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// The header that says when a value ends to exist.
pub const EXPIRES_AT: &str = "canopy-expires-at";

/// A store of keys and values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreName {
    /// Its name.
    pub name: String,
}

/// A key and what is known of its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyEntry {
    /// The key.
    pub key: String,
    /// Bytes of the value.
    pub bytes: u64,
    /// Which write of the store it is; the ETag of the value.
    pub version: u64,
    /// When it ends to exist.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<OffsetDateTime>,
}
