//! Which paths of an application anonymous callers may reach, as its manifest says.
//!
//! A path that could mean different things to the platform and to the application must not slip
//! past this check: such a path matches no pattern but `/*`, which leaves everything open anyway.
//! Ambiguous are an empty, `.` or `..` segment, a backslash, a `;` parameter, and a percent-encoded
//! byte; nothing is decoded here, because the application may decode differently.

/// Patterns of paths: an exact path (`/`, `/login`), or a prefix of whole segments (`/api/*`, which
/// is `/api/` and everything below it).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnonymousPaths {
    everything: bool,
    exact: Box<[Box<str>]>,
    below: Box<[Box<str>]>,
}

/// A pattern that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{pattern}` is not a path pattern: write an exact path such as `/login`, or `/api/*` for \
     everything below `/api/`"
)]
pub struct InvalidPathPattern {
    /// What was written, shortened.
    pub pattern: String,
}

impl AnonymousPaths {
    /// Reads the patterns of a manifest.
    pub fn parse<S: AsRef<str>>(
        patterns: impl IntoIterator<Item = S>,
    ) -> Result<Self, InvalidPathPattern> {
        let mut everything = false;
        let mut exact = Vec::new();
        let mut below = Vec::new();
        for pattern in patterns {
            let pattern = pattern.as_ref();
            let (path, prefix) = match pattern.strip_suffix('*') {
                Some(path) if path.ends_with('/') => (path, true),
                _ => (pattern, false),
            };
            let plain = path.starts_with('/') && !path.contains(['*', '?', '#', ' ']);
            if !plain || is_ambiguous(path) {
                return Err(InvalidPathPattern {
                    pattern: pattern.chars().take(80).collect(),
                });
            }
            match (path, prefix) {
                ("/", true) => everything = true,
                (path, true) => below.push(path.into()),
                (path, false) => exact.push(path.into()),
            }
        }
        Ok(Self {
            everything,
            exact: exact.into(),
            below: below.into(),
        })
    }

    /// Whether an anonymous caller may reach `path`.
    pub fn allows(&self, path: &str) -> bool {
        if self.everything {
            return true;
        }
        !is_ambiguous(path)
            && (self.exact.iter().any(|exact| **exact == *path)
                || self.below.iter().any(|prefix| path.starts_with(&**prefix)))
    }
}

fn is_ambiguous(path: &str) -> bool {
    path.contains(['\\', ';', '%'])
        || path.contains("//")
        || path.split('/').any(|segment| matches!(segment, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(patterns: &[&str]) -> AnonymousPaths {
        AnonymousPaths::parse(patterns).expect("valid patterns")
    }

    #[test]
    fn nothing_is_open_unless_the_manifest_says_so() {
        assert!(!AnonymousPaths::default().allows("/"));
        assert!(!paths(&[]).allows("/"));
    }

    #[test]
    fn exact_paths_and_prefixes_of_whole_segments() {
        let open = paths(&["/", "/login", "/api/*"]);
        for path in ["/", "/login", "/api/", "/api/a", "/api/a/b"] {
            assert!(open.allows(path), "{path}");
        }
        for path in ["/login/", "/api", "/apix", "/Login", "/x/api/a", "/loginx"] {
            assert!(!open.allows(path), "{path}");
        }
    }

    #[test]
    fn a_path_of_two_meanings_is_not_open() {
        let open = paths(&["/", "/api/*"]);
        for path in [
            "/api/../admin",
            "/api/./x",
            "/api//x",
            "/api/%2e%2e/admin",
            "/api/%2fadmin",
            "/api/%252e%252e/admin",
            "/api/..;/admin",
            "/api/..\\admin",
            "/api/..",
        ] {
            assert!(!open.allows(path), "{path}");
        }
        assert!(paths(&["/*"]).allows("/a/../b"));
    }

    #[test]
    fn patterns_that_mean_nothing_are_refused() {
        for pattern in [
            "", "api", "*", "/a*", "/*/a", "/a/*/b", "/a?b", "/a/../*", "/a%20b", "//*",
        ] {
            assert!(AnonymousPaths::parse([pattern]).is_err(), "{pattern:?}");
        }
    }
}
