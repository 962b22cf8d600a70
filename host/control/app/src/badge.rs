//! Records of tests of published versions.
//!
//! Threat: a record is a text that somebody else has made, and whoever chooses a driver relies on it. The
//! platform has not seen the test. So a record names the digest of what was tested and is refused for
//! other bytes; what comes with publishing is kept as the publisher's own word, and only the operator's
//! own record as the operator's; whether it passed is counted from its cases; and it is small.

use canopy_api_types::{Badge, BadgeSource, MAX_BADGE_BYTES, PackageVersion, RecordedBadge};
use canopy_ids::{Digest, PackageName};
use canopy_store::BadgeRow;
use semver::Version;

use crate::{Action, App, AppError, Context, Resource};

/// Cases of one record.
const MAX_CASES: usize = 500;
/// Characters of a text of a record.
const MAX_TEXT: usize = 500;

impl App {
    /// Keeps the operator's own record of a version's test, in place of an earlier one.
    pub async fn record_badge(
        &self,
        context: &Context,
        package: PackageName,
        version: Version,
        badge: Badge,
    ) -> Result<PackageVersion, AppError> {
        context.authorize(Action::Write, Resource::Platform)?;
        let release = self.catalog.release(&package, &version).await?;
        let document = checked(&badge, &package, &version, &release.digest)?;
        let source = BadgeSource::Operator.as_str();
        self.store
            .put_badge(package, version, source, document)
            .await?;
        self.describe(&release).await
    }
}

/// What is kept of a record, if it is of these bytes and in its limits.
pub(crate) fn checked(
    badge: &Badge,
    package: &PackageName,
    version: &Version,
    digest: &Digest,
) -> Result<String, AppError> {
    if badge.package != *package || badge.version != *version {
        let (of, tested) = (&badge.package, &badge.version);
        return Err(AppError::field(
            "badge.package",
            format!("is {of} {tested}, and this is {package} {version}"),
        ));
    }
    if badge.digest != *digest {
        let tested = &badge.digest;
        return Err(AppError::field(
            "badge.digest",
            format!("{tested} was tested, and this is {digest}: test it again"),
        ));
    }
    if badge.cases.is_empty() || badge.cases.len() > MAX_CASES {
        return Err(AppError::field(
            "badge.cases",
            format!("must be from 1 to {MAX_CASES}"),
        ));
    }
    let cases = badge.cases.iter().flat_map(|case| {
        let reason = case.reason.iter();
        [&case.suite, &case.name].into_iter().chain(reason)
    });
    let others = badge.suites.iter().chain(&badge.untested);
    let versions = [&badge.suite_version, &badge.host_version];
    let mut texts = cases.chain(others).chain(versions);
    if texts.any(|text| text.chars().count() > MAX_TEXT) {
        return Err(AppError::field(
            "badge",
            format!("has a text of more than {MAX_TEXT} characters"),
        ));
    }
    let document = serde_json::to_string(badge)
        .map_err(|error| AppError::Internal(format!("a badge: {error}")))?;
    if document.len() > MAX_BADGE_BYTES {
        return Err(AppError::field(
            "badge",
            format!("is over the limit of {MAX_BADGE_BYTES} bytes"),
        ));
    }
    Ok(document)
}

/// A record as it is shown.
pub(crate) fn recorded(row: &BadgeRow) -> Result<RecordedBadge, AppError> {
    let broken = |what: &dyn std::fmt::Display| {
        AppError::Internal(format!("a stored badge of {}: {what}", row.version))
    };
    let badge: Badge = serde_json::from_str(&row.document).map_err(|error| broken(&error))?;
    let source = [BadgeSource::Publisher, BadgeSource::Operator]
        .into_iter()
        .find(|source| source.as_str() == row.source)
        .ok_or_else(|| broken(&row.source))?;
    Ok(RecordedBadge {
        source,
        passed: badge.passed(),
        recorded_at: row.recorded_at,
        badge,
    })
}

#[cfg(test)]
mod tests {
    use canopy_api_types::{BadgeCase, CaseOutcome};
    use time::OffsetDateTime;

    use super::*;

    fn badge() -> Badge {
        Badge {
            package: "acme/one".parse().expect("a package"),
            version: Version::new(1, 0, 0),
            digest: Digest::of(b"one"),
            suites: vec!["wasi:keyvalue@0.2.0-draft".into()],
            untested: Vec::new(),
            suite_version: "0.1.0".into(),
            host_version: "0.1.0".into(),
            tested_at: OffsetDateTime::UNIX_EPOCH,
            cases: vec![BadgeCase {
                suite: "wasi:keyvalue@0.2.0-draft".into(),
                name: "behaviour/list".into(),
                outcome: CaseOutcome::Passed,
                reason: None,
            }],
        }
    }

    fn refusal(change: impl FnOnce(&mut Badge)) -> String {
        let mut badge = badge();
        change(&mut badge);
        let package = "acme/one".parse().expect("a package");
        let version = Version::new(1, 0, 0);
        checked(&badge, &package, &version, &Digest::of(b"one"))
            .expect_err("refused")
            .to_string()
    }

    #[test]
    fn a_record_is_of_these_very_bytes_and_says_something() {
        let text = refusal(|badge| badge.digest = Digest::of(b"other"));
        assert!(text.contains("test it again"), "{text}");
        let text = refusal(|badge| badge.version = Version::new(1, 0, 1));
        assert!(text.contains("acme/one 1.0.1"), "{text}");
        let text = refusal(|badge| badge.cases.clear());
        assert!(text.contains("from 1 to"), "{text}");
        let text = refusal(|badge| badge.cases[0].reason = Some("x".repeat(MAX_TEXT + 1)));
        assert!(text.contains("characters"), "{text}");
    }

    #[test]
    fn whether_it_passed_is_counted() {
        let mut badge = badge();
        assert!(badge.passed());
        badge.cases[0].outcome = CaseOutcome::Skipped;
        assert!(!badge.passed(), "nothing was tried");
        badge.cases[0].outcome = CaseOutcome::Failed;
        assert!(!badge.passed());
    }
}
