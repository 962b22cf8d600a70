//! What installations store, as people look at it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::Problem;

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

/// A container of objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Objects in it.
    pub objects: u64,
    /// Bytes of these objects.
    pub bytes: u64,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
}

/// An object but for its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// Bytes of its content.
    pub bytes: u64,
    /// Changes whenever the content does.
    pub etag: String,
    /// Its media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// What the application noted about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// When it was put.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub modified_at: OffsetDateTime,
}

/// A SQL database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DatabaseName {
    /// Its name.
    pub name: String,
}

/// A value of a database as JSON: null, numbers and texts as they are, all else as an object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum SqlJson {
    /// No value.
    Null,
    /// A signed 64-bit number.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes {
        /// In base64.
        base64: String,
    },
    /// A number that JSON has none for.
    Beyond {
        /// `inf` or `-inf`.
        real: String,
    },
}

/// A statement to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlRun {
    /// The database; `default` where none is given.
    #[serde(default = "default_database")]
    pub database: String,
    /// One statement.
    pub statement: String,
    /// The values of its parameters, in the order of their numbers.
    #[serde(default)]
    pub parameters: Vec<SqlJson>,
    /// Whether it may write.
    #[serde(default)]
    pub write: bool,
}

fn default_database() -> String {
    "default".into()
}

/// A line of the answer to a statement: the columns, then the rows, then what it did. An answer
/// that does not end with `done` or `failed` was broken off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SqlLine {
    /// The names of the columns.
    Columns(Vec<String>),
    /// A row.
    Row(Vec<SqlJson>),
    /// The statement ran to its end.
    Done {
        /// Rows that it inserted, updated or deleted.
        changes: u64,
        /// The row id of the row inserted last by it, or 0.
        last_insert_rowid: i64,
    },
    /// The statement failed after it had begun to answer.
    Failed(Problem),
}
