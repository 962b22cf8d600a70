//! Service tokens, with which programs invoke a tenant's applications and, where they are given
//! access, use the API for their tenant.

use canopy_ids::TokenId;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::SecretText;

/// What the API lets a token do for its own tenant. Each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// To look at everything but what applications store and what is secret.
    Viewer,
    /// To read and change what applications store.
    Data,
    /// To install, configure and bind applications and drivers, and to manage tokens.
    Admin,
}

/// Creates a service token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenCreate {
    /// Who the applications are told calls.
    pub subject: String,
    /// What to show to people; the subject where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The roles that the applications are told the caller has.
    #[serde(default)]
    pub roles: Vec<String>,
    /// What the API lets the token do. Absent: nothing, it only invokes applications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
}

/// A service token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Its identifier.
    #[schema(value_type = String)]
    pub id: TokenId,
    /// Who the applications are told calls.
    pub subject: String,
    /// What to show to people.
    pub display_name: String,
    /// The roles that the applications are told the caller has.
    pub roles: Vec<String>,
    /// What the API lets the token do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
}

/// A service token that has just been created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenCreated {
    /// What is kept of it.
    #[serde(flatten)]
    pub token: Token,
    /// What the program sends as `Authorization: Bearer`. It cannot be shown again.
    #[schema(value_type = String)]
    pub secret: SecretText,
}
