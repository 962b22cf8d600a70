//! Erasing a tenant, and the records of it.

use canopy_ids::{ErasureId, JobId, Label, TenantId};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// How much there is of something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Amount {
    /// Of what, as in `installations` or `key-value`.
    pub what: String,
    /// How many.
    pub items: u64,
    /// Their bytes, where they have any.
    pub bytes: u64,
}

/// What erasing a tenant would remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErasurePlan {
    /// The tenant's identifier.
    #[schema(value_type = String)]
    pub tenant: TenantId,
    /// Its name, which has to be repeated.
    #[schema(value_type = String)]
    pub name: Label,
    /// What would go.
    pub amounts: Vec<Amount>,
    /// When it goes if it is asked for now.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub erase_at: OffsetDateTime,
    /// The job that will erase it, if that was asked for already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub job: Option<JobId>,
}

/// Erases a tenant: from now on it answers no more, and when its time has come it is gone for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ErasureCreate {
    /// The tenant's name once more.
    #[schema(value_type = String)]
    pub confirm: Label,
    /// Do not wait for the setting `erase.tombstone`.
    #[serde(default)]
    pub now: bool,
}

/// A signed record of an erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErasureRecord {
    /// Its identifier.
    #[schema(value_type = String)]
    pub id: ErasureId,
    /// Whose data was erased.
    #[schema(value_type = String)]
    pub tenant: TenantId,
    /// The name that it had.
    #[schema(value_type = String)]
    pub name: Label,
    /// When everything was gone.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub erased_at: OffsetDateTime,
    /// The statement as JSON; these very bytes are signed.
    pub record: String,
    /// The Ed25519 key, in hexadecimal digits.
    pub public_key: String,
    /// The Ed25519 signature of `record`, in hexadecimal digits.
    pub signature: String,
}

/// The key with which a node signs its records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SigningKey {
    /// `ed25519`.
    pub algorithm: String,
    /// In hexadecimal digits.
    pub public_key: String,
}
