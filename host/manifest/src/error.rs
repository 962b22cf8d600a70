//! What can be wrong with a manifest.

use std::fmt;

/// One fault and the key where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key, as in `needs[0].reason`; empty for the file as a whole.
    pub key: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "`{}`: {}", self.key, self.message)
        }
    }
}

/// Why a text is not a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The text is longer than a manifest may be.
    #[error("the manifest has {actual} bytes; at most {limit} are read")]
    TooLong {
        /// Its length in bytes.
        actual: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The text is not TOML.
    #[error("the manifest is not TOML: line {line}, column {column}: {message}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// What the parser expected.
        message: String,
    },
    /// Its content is wrong; every fault is listed.
    #[error("{}", list(.0))]
    Faults(Vec<Fault>),
}

impl ManifestError {
    /// The single faults; the error as a whole where it has none.
    pub fn faults(&self) -> Vec<Fault> {
        match self {
            Self::Faults(faults) => faults.clone(),
            other => vec![Fault {
                key: String::new(),
                message: other.to_string(),
            }],
        }
    }
}

fn list(faults: &[Fault]) -> String {
    faults
        .iter()
        .map(Fault::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// The candidate that `text` was probably meant to be.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Comparing is quadratic in the length, and nobody mistypes a long text into a name.
    if text.len() > 200 {
        return None;
    }
    // Of short names one slip of the fingers is most of the text.
    let score = |candidate: &&str| match strsim::damerau_levenshtein(text, candidate) {
        0 | 1 if text.len() > 1 => 1.0,
        _ => strsim::jaro_winkler(text, candidate),
    };
    candidates
        .into_iter()
        .map(|candidate| (score(&candidate), candidate))
        .filter(|(score, _)| *score >= 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not_offered() {
        assert_eq!(nearest("sumary", ["title", "summary"]), Some("summary"));
        assert_eq!(nearest("licence", ["license", "limits"]), Some("license"));
        assert_eq!(nearest("kye", ["host", "key"]), Some("key"));
        assert_eq!(nearest("zzz", ["title", "summary"]), None);
        assert_eq!(nearest(&"a".repeat(300), ["a"]), None);
    }
}
