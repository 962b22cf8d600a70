//! Packages and their immutable versions.

use canopy_ids::{Digest, InterfaceName, Label, PackageName};
use semver::Version;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::RecordedBadge;

/// What a package is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PackageKind {
    /// Answers HTTP requests.
    App,
    /// Serves interfaces that applications import.
    Driver,
}

impl PackageKind {
    /// `app` or `driver`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Driver => "driver",
        }
    }
}

impl std::fmt::Display for PackageKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A package, described as its newest version describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Package {
    /// Its name, `publisher/name`.
    #[schema(value_type = String)]
    pub name: PackageName,
    /// What it is for; the same for all its versions.
    pub kind: PackageKind,
    /// What people call it.
    pub title: String,
    /// One sentence about it.
    pub summary: String,
    /// Where a catalogue lists it.
    pub categories: Vec<String>,
    /// The greatest version by semver, a pre-release only where there is nothing else.
    #[schema(value_type = String)]
    pub latest_version: Version,
    /// When its first version was published.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
    /// When its last version was published.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: OffsetDateTime,
    /// Grows with every version; the ETag.
    pub revision: u64,
}

/// A version of a package. It never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PackageVersion {
    /// The package.
    #[schema(value_type = String)]
    pub package: PackageName,
    /// The version.
    #[schema(value_type = String)]
    pub version: Version,
    /// What the package is for.
    pub kind: PackageKind,
    /// The digest of the component.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// The component's size in bytes.
    pub size: u64,
    /// What people call it.
    pub title: String,
    /// One sentence about it.
    pub summary: String,
    /// A longer text in Markdown.
    pub description: String,
    /// Where a catalogue lists it.
    pub categories: Vec<String>,
    /// An image as a `data:` or `https:` URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    /// The licence's SPDX expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Where to read more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    /// The interfaces that it asks for.
    pub needs: Vec<Need>,
    /// Every interface that the component imports and who can serve it.
    pub imports: Vec<ServedInterface>,
    /// Every interface that the component exports.
    #[schema(value_type = Vec<String>)]
    pub exports: Vec<InterfaceName>,
    /// The interfaces that it serves to applications; of a driver only.
    #[schema(value_type = Vec<String>)]
    pub serves: Vec<InterfaceName>,
    /// The JSON Schema of its configuration.
    #[schema(value_type = Object)]
    pub config_schema: serde_json::Value,
    /// Path patterns that anonymous callers may reach.
    pub anonymous: Vec<String>,
    /// The limits that it asks for.
    pub limits: LimitsAsked,
    /// The calls that it asks to get at certain times.
    #[serde(default)]
    pub schedules: Vec<PackageSchedule>,
    /// The messages that it wants.
    #[serde(default)]
    pub subscriptions: Vec<PackageSubscription>,
    /// What came of its tests, and who says so. The only thing of a version that can change.
    #[serde(default)]
    pub badges: Vec<RecordedBadge>,
    /// When it was published.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub published_at: OffsetDateTime,
}

/// A call that a package asks to get at certain times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PackageSchedule {
    /// Its name.
    pub name: String,
    /// When it comes, as in a crontab.
    pub cron: String,
    /// In which time zone.
    pub timezone: String,
    /// The method of the call.
    pub method: String,
    /// The path that is called.
    pub path: String,
    /// Whether one may begin before the one before has ended.
    pub overlap: bool,
    /// What it is for, in the publisher's words.
    pub reason: String,
}

/// Messages that a package wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PackageSubscription {
    /// Their topic.
    pub topic: String,
    /// The path that they are delivered to; absent where the component takes them by its
    /// `wasmcloud:messaging/handler`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How many of them are delivered at once.
    pub concurrency: u32,
    /// What they are for, in the publisher's words.
    pub reason: String,
}

/// An interface that a package asks for, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Need {
    /// The interface or, where the version is left open, the package `namespace:name`.
    pub interface: String,
    /// The label under which the component imports it, where it imports one interface several
    /// times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub label: Option<Label>,
    /// What it is needed for, in the publisher's words.
    pub reason: String,
    /// The hosts and ports that the package wants to reach through it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

/// An imported interface and who can serve it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServedInterface {
    /// The interface.
    #[schema(value_type = String)]
    pub interface: InterfaceName,
    /// The label that the component imports it under, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub label: Option<Label>,
    /// Whether the platform serves it itself.
    pub platform: bool,
    /// The published driver packages that can serve it.
    #[schema(value_type = Vec<String>)]
    pub drivers: Vec<PackageName>,
}

/// Limits that a package asks for. What is absent is the platform's default; what is above the
/// platform's maximum is refused at publish.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitsAsked {
    /// Bytes of all linear memories and tables of one instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Milliseconds that the guest may run for one call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// Milliseconds from a request's arrival to the end of its response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u64>,
    /// Milliseconds from a request's arrival to the end of a response that streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_ms: Option<u64>,
    /// Requests of one installation under way at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Stores of a driver at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
    /// Bytes of one request body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_body_bytes: Option<u64>,
}
