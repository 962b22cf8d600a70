//! Archives of tenants: made here to be fetched, or sent here to be taken in.

use canopy_ids::{ExportId, ImportId, Label};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// An archive of a tenant that waits to be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Export {
    /// Its identifier.
    #[schema(value_type = String)]
    pub id: ExportId,
    /// The tenant's name.
    pub tenant: String,
    /// Its bytes.
    pub size: u64,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
    /// When it is removed from the node.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: OffsetDateTime,
}

/// All archives that wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExportList {
    /// The oldest first.
    pub items: Vec<Export>,
}

/// Announces an archive that will be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportCreate {
    /// Its bytes.
    pub size: u64,
    /// What to call it, so that it can be taken up again; such as its file name.
    pub name: String,
}

/// An archive that is being sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Import {
    /// Its identifier.
    #[schema(value_type = String)]
    pub id: ImportId,
    /// What the one who sends it calls it.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// How many of them are here; send what follows with `?offset=` set to this.
    pub received: u64,
    /// When it is removed unless it was taken in.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: OffsetDateTime,
}

/// Takes in an archive that has arrived whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportStart {
    /// The tenant's name here; the one that it had where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub tenant: Option<Label>,
}
