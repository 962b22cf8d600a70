//! Badges: what came of testing a driver.

use canopy_ids::{Digest, PackageName};
use semver::Version;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// What `canopy driver test` found out about one component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Badge {
    /// The package that was tested.
    #[schema(value_type = String)]
    pub package: PackageName,
    /// Its version.
    #[schema(value_type = String)]
    pub version: Version,
    /// The digest of the component that was tested.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// The suites that it was tested by, as WIT packages with their versions.
    pub suites: Vec<String>,
    /// What it serves besides, for which there is no suite.
    #[serde(default)]
    pub untested: Vec<String>,
    /// The version of the suites.
    pub suite_version: String,
    /// The version of the node on which it was tested.
    pub host_version: String,
    /// When it was tested.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub tested_at: OffsetDateTime,
    /// What came of each case.
    pub cases: Vec<BadgeCase>,
}

/// What came of one case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BadgeCase {
    /// The suite that it is of.
    pub suite: String,
    /// Its name, as in `faults/silent`.
    pub name: String,
    /// What came of it.
    pub outcome: CaseOutcome,
    /// Why it did not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What can come of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CaseOutcome {
    /// The driver did what it has to.
    Passed,
    /// It did not.
    Failed,
    /// The case does not apply to it, or not to how it was tested.
    Skipped,
}

impl Badge {
    /// How many cases came to this.
    pub fn count(&self, outcome: CaseOutcome) -> usize {
        let such = self.cases.iter().filter(|case| case.outcome == outcome);
        such.count()
    }

    /// Whether some case passed and none failed.
    pub fn passed(&self) -> bool {
        self.count(CaseOutcome::Failed) == 0 && self.count(CaseOutcome::Passed) > 0
    }
}

/// Who says what came of a test. The platform has not looked itself in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BadgeSource {
    /// Whoever published the version, of his own work.
    Publisher,
    /// Whoever runs this platform.
    Operator,
}

impl BadgeSource {
    /// `publisher` or `operator`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Operator => "operator",
        }
    }
}

impl std::fmt::Display for BadgeSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Publisher => "self-tested by the publisher",
            Self::Operator => "tested by the operator",
        })
    }
}

/// A badge that is kept with the version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordedBadge {
    /// Who says so.
    pub source: BadgeSource,
    /// Whether some case passed and none failed.
    pub passed: bool,
    /// When it was recorded.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub recorded_at: OffsetDateTime,
    /// What was found out.
    pub badge: Badge,
}
