//! What there is: nodes of the tree, versions of documents, what happened to them.

use std::time::{SystemTime, UNIX_EPOCH};

use canopy_sdk::{Problem, StatusCode, identity};
use serde::{Deserialize, Serialize};

/// The folder that everything is in.
pub const ROOT: i64 = 1;
/// Characters of the longest name.
const MAX_NAME: usize = 200;

/// What a node of the tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Folder,
    Document,
}

/// A folder or a document; what is said of a document's content is of its newest version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    pub id: i64,
    pub parent: Option<i64>,
    pub kind: Kind,
    pub name: String,
    /// Milliseconds since 1970, as all times here.
    pub created: i64,
    pub changed: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trashed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author_name: Option<String>,
}

/// The columns of a [`Node`].
pub const NODE: &str = "SELECT n.id, n.parent, n.kind, n.name, n.created, n.changed, n.trashed, \
     v.number AS version, v.size, v.content_type, v.author_name \
     FROM node n LEFT JOIN version v ON v.id = n.current";

/// One version of a document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Version {
    pub number: i64,
    #[serde(skip_serializing)]
    pub blob: String,
    pub size: i64,
    pub content_type: String,
    pub etag: String,
    pub author: String,
    pub author_name: String,
    pub created: i64,
}

/// Something that happened to a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    pub at: i64,
    pub who: String,
    pub who_name: String,
    pub what: String,
    pub detail: String,
}

/// Who does something, as the platform vouches for it.
#[derive(Debug, Clone)]
pub struct Author {
    pub subject: String,
    pub name: String,
}

impl Author {
    /// The caller of this request.
    pub fn current() -> Self {
        let caller = identity::caller();
        if caller.is_anonymous() {
            return Self {
                subject: String::new(),
                name: "Anonymous".to_owned(),
            };
        }
        Self {
            subject: caller.subject,
            name: caller.display_name,
        }
    }
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// A name without blanks around it, if it can be one.
pub fn name(text: &str) -> Result<String, Problem> {
    let name = text.trim();
    let flaw = if name.is_empty() {
        "must not be empty"
    } else if name.chars().count() > MAX_NAME {
        "has more than 200 characters"
    } else if name.contains(['/', '\\']) {
        "must not contain a slash"
    } else if name.chars().any(char::is_control) {
        "must not contain control characters"
    } else if name == "." || name == ".." {
        "must not be `.` or `..`"
    } else {
        return Ok(name.to_owned());
    };
    Err(Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        format!("The name {flaw}."),
    )
    .kind("urn:canopy:documents:name"))
}

/// The answer where a node is not.
pub fn missing() -> Problem {
    Problem::not_found("There is no such folder or document.")
}

/// A number of bytes for people.
pub fn bytes(size: i64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if size < 1000 {
        return format!("{size} bytes");
    }
    let (mut tenths, mut unit) = (size / 100, 0);
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_mislead_are_refused() {
        for wrong in ["", "  ", "a/b", "a\\b", "a\nb", "..", ".", &"x".repeat(201)] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(name(" Übersicht 2026.txt ").unwrap(), "Übersicht 2026.txt");
    }

    #[test]
    fn sizes_are_readable() {
        for (size, expected) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (1_000_000, "1.0 MB"),
            (1_234_567_890, "1.2 GB"),
        ] {
            assert_eq!(bytes(size), expected);
        }
    }
}
