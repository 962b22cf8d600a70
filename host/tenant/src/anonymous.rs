//! Which paths of an application anonymous callers may reach, as its manifest says.
//!
//! A path that could mean different things to the platform and to the application must not slip
//! past this check: such a path matches no pattern but `/*`, which leaves everything open anyway.
//! Ambiguous are an empty, `.` or `..` segment, a backslash, a `;` parameter, a byte that stands in no
//! path, and a percent-encoding of any of these, or of `%`, which a second decoding would turn into
//! one. Other encodings, as of a space or of letters outside ASCII, change no path's structure:
//! whatever the application makes of them stays below the same prefix. Nothing is decoded or
//! rewritten on the way: the path that is checked here is, byte for byte, the one that the
//! application gets, so there is one form for both.

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
            let plain = path.starts_with('/') && !path.contains(['*', '?', '#', ' ', '%']);
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
    path.contains(['\\', ';'])
        || path.contains("//")
        || path.bytes().any(|byte| !byte.is_ascii_graphic())
        || path.split('/').any(|segment| matches!(segment, "." | ".."))
        || path.split('%').skip(1).any(hides_structure)
}

/// Whether an encoding, of which `rest` is what follows the `%`, is none or stands for a byte that
/// gives a path its structure.
fn hides_structure(rest: &str) -> bool {
    let digits = rest.get(..2).unwrap_or_default();
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return true;
    }
    let Ok(byte) = u8::from_str_radix(digits, 16) else {
        return true;
    };
    byte.is_ascii_control() || matches!(byte, b'/' | b'\\' | b'.' | b';' | b'%')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            "/api/%2E./admin",
            "/api/%5cadmin",
            "/api/%3badmin",
            "/api/a%00",
            "/api/a%0d%0aadmin",
            "/api/%7f",
            "/api/%",
            "/api/%2",
            "/api/%+2e",
            "/api/%zz",
            "/api/\u{e9}",
            "/api/\u{ff0f}..",
        ] {
            assert!(!open.allows(path), "{path}");
        }
        assert!(paths(&["/*"]).allows("/a/../b"));
    }

    #[test]
    fn an_encoding_that_changes_no_structure_stays_below_its_prefix() {
        let open = paths(&["/api/*", "/login"]);
        for path in ["/api/caf%C3%A9", "/api/a%20b", "/api/%61dmin"] {
            assert!(open.allows(path), "{path}");
        }
        for path in ["/%61pi/x", "/log%69n", "/%6Cogin"] {
            assert!(!open.allows(path), "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_decoding_leads_out_of_a_prefix(rest in "[a-z./;%0-9A-F\\\\]{0,24}") {
            let path = format!("/api/{rest}");
            if paths(&["/api/*"]).allows(&path) {
                let mut decoded = path;
                for _ in 0..3 {
                    decoded = decode(&decoded);
                    prop_assert!(!decoded.contains(['\\', ';']) && !decoded.contains("//"));
                    prop_assert!(!decoded.split('/').any(|segment| matches!(segment, "." | "..")));
                }
            }
        }
    }

    fn decode(path: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = path.as_bytes();
        while let Some((&first, after)) = rest.split_first() {
            let digits = after
                .get(..2)
                .and_then(|digits| std::str::from_utf8(digits).ok());
            match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                Some(byte) if first == b'%' => {
                    bytes.push(byte);
                    rest = &after[2..];
                }
                _ => {
                    bytes.push(first);
                    rest = after;
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
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
