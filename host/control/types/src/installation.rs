//! Installations: one application version for one tenant, with all that is set about it.

use std::collections::BTreeMap;

use canopy_ids::{BindingKey, Digest, InstallationId, InterfaceName, Label, PackageName};
use semver::Version;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::SecretText;

/// Configuration values by key, as the package's JSON Schema describes them.
pub type Config = serde_json::Map<String, serde_json::Value>;

/// Creates or replaces an installation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InstallationPut {
    /// The application.
    #[schema(value_type = String)]
    pub package: PackageName,
    /// Its version. Absent: the newest for a new installation, the present one for an old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub version: Option<Version>,
    /// The whole configuration.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub config: Config,
    /// Secrets to set. Those not named here stay as they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub secrets: BTreeMap<String, SecretText>,
    /// What it may reach: rules such as `api.example.com:443` or `GET https://api.example.com`,
    /// and networks that are not public, which only the operator can add.
    #[serde(default)]
    pub egress: Vec<String>,
    /// Who serves what the component imports: one of the tenant's drivers by its name, or
    /// `platform`. A key is a WIT package (`wasi:keyvalue`), an interface without its version
    /// (`canopy:storage/sql`), or one of the two with `=label` behind it for an import under that
    /// label; the narrowest that covers an import decides.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub bindings: BTreeMap<BindingKey, Label>,
}

impl InstallationPut {
    /// The newest version of `package` with nothing set.
    pub fn new(package: PackageName) -> Self {
        Self {
            package,
            version: None,
            config: Config::new(),
            secrets: BTreeMap::new(),
            egress: Vec::new(),
            bindings: BTreeMap::new(),
        }
    }
}

/// An installation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Installation {
    /// Never used again for another installation.
    #[schema(value_type = String)]
    pub id: InstallationId,
    /// Its name within the tenant; the first label of its host name.
    #[schema(value_type = String)]
    pub name: Label,
    /// The tenant's name.
    #[schema(value_type = String)]
    pub tenant: Label,
    /// The application.
    #[schema(value_type = String)]
    pub package: PackageName,
    /// The version that runs.
    #[schema(value_type = String)]
    pub version: Version,
    /// The digest of that version's component.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// The version that a rollback would return to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub previous_version: Option<Version>,
    /// Where it answers; absent where it answers no requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Custom domains that it answers on too.
    pub domains: Vec<String>,
    /// The whole configuration.
    #[schema(value_type = Object)]
    pub config: Config,
    /// The names of the secrets that are set.
    pub secrets: Vec<String>,
    /// What it may reach: rules, and networks that the operator opened.
    pub egress: Vec<String>,
    /// Who serves what the component imports, as it was set.
    #[schema(value_type = BTreeMap<String, String>)]
    pub bindings: BTreeMap<BindingKey, Label>,
    /// Who serves each interface that the component imports.
    pub interfaces: Vec<InterfaceSource>,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
    /// When it was changed last.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: OffsetDateTime,
    /// Grows with every change; the ETag.
    pub revision: u64,
}

/// Who serves one imported interface of an installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InterfaceSource {
    /// The interface.
    #[schema(value_type = String)]
    pub interface: InterfaceName,
    /// The label that the component imports it under, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub label: Option<Label>,
    /// The tenant's driver; absent where the platform serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub driver: Option<Label>,
}

/// Moves an installation or a driver to another version of its package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VersionPut {
    /// The version to run.
    #[schema(value_type = String)]
    pub version: Version,
}

/// Chooses who serves what a component imports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BindingPut {
    /// The driver's name within the tenant; `platform` for the platform itself. A driver that is
    /// bound to the platform's storage has that of the installation that calls it.
    #[schema(value_type = String)]
    pub driver: Label,
}

/// Sets one secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretPut {
    /// The secret. It is never shown again.
    #[schema(value_type = String)]
    pub value: SecretText,
}

/// The names of the secrets that are set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretNames {
    /// In alphabetical order.
    pub names: Vec<String>,
}

/// Sets what may be reached over the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EgressPut {
    /// Rules such as `api.example.com:443`, `GET,HEAD https://*.example.com` or
    /// `tcp://10.0.0.5:5432`, and networks that are not public, such as `10.2.0.0/16`, which only
    /// the operator can add; none at all closes the network.
    pub egress: Vec<String>,
}

/// A custom domain of an installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Domain {
    /// The domain, in lower case and without a trailing dot.
    pub domain: String,
    /// The installation that answers on it.
    #[schema(value_type = String)]
    pub installation: Label,
}
