//! The record of a test, and where it lies until it is published.

use std::path::{Path, PathBuf};

use canopy_api_types::{Badge, BadgeCase, CaseOutcome};
use canopy_ids::Digest;

use crate::Error;
use crate::ui::{fields, moment, table};

/// Where the record of a component lies: beside it.
pub(crate) fn beside(component: &Path) -> PathBuf {
    component.with_extension("badge.json")
}

/// The record in a file.
pub(crate) fn read(path: &Path) -> Result<Badge, Error> {
    let text =
        std::fs::read_to_string(path).map_err(|error| Error::local(path.display(), error))?;
    serde_json::from_str(&text)
        .map_err(|error| Error::local(format_args!("{} is no badge", path.display()), error))
}

/// The record of a component's test, if there is one and it is of these very bytes.
pub(crate) fn of(component: &Path, digest: &Digest) -> Result<Option<Badge>, Error> {
    let path = beside(component);
    if !path.is_file() {
        return Ok(None);
    }
    Ok(Some(read(&path)?).filter(|badge| badge.digest == *digest))
}

/// Writes a record.
pub(super) fn write(path: &Path, badge: &Badge) -> Result<(), Error> {
    let text =
        serde_json::to_string_pretty(badge).map_err(|error| Error::local("the badge", error))?;
    std::fs::write(path, text).map_err(|error| Error::local(path.display(), error))
}

/// A record for people.
pub(super) fn describe(badge: &Badge) -> String {
    let word = |case: &BadgeCase| match case.outcome {
        CaseOutcome::Passed => "passed",
        CaseOutcome::Failed => "FAILED",
        CaseOutcome::Skipped => "skipped",
    };
    let rows = badge.cases.iter().map(|case| {
        [
            case.suite.clone(),
            case.name.clone(),
            word(case).to_owned(),
            case.reason.clone().unwrap_or_default(),
        ]
    });
    let head = fields([
        ("package", format!("{} {}", badge.package, badge.version)),
        ("digest", badge.digest.to_string()),
        ("suites", badge.suites.join("\n")),
        ("without a suite", badge.untested.join("\n")),
        ("suites' version", badge.suite_version.clone()),
        ("host", badge.host_version.clone()),
        ("tested", moment(badge.tested_at)),
        ("result", result(badge)),
    ]);
    let table = table("No cases.", ["suite", "case", "outcome", "reason"], rows);
    format!("{table}\n\n{head}")
}

/// How many cases passed, failed and were skipped.
pub(crate) fn result(badge: &Badge) -> String {
    let count = |outcome| badge.count(outcome);
    let verdict = if badge.passed() { "passed" } else { "failed" };
    format!(
        "{verdict}: {} passed, {} failed, {} skipped",
        count(CaseOutcome::Passed),
        count(CaseOutcome::Failed),
        count(CaseOutcome::Skipped)
    )
}
