//! Which compilers to try, in which order: a pure function of what was found on the machine.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::TARGET;

/// How long `rustup target add` may take, so that a network that swallows packets does not hold
/// the user for ever. It downloads about 25 MB.
pub(super) const RUSTUP_LIMIT: Duration = Duration::from_secs(180);

/// Where a compiler for guests comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Source {
    /// The active toolchain with its target, added by rustup if need be.
    Target,
    /// Debian's packages in the cache.
    Debian,
}

/// What was found on the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Whether `cargo` and `rustc` can be started.
    pub(super) has_rust: bool,
    /// The active compiler's version.
    pub(super) version: String,
    /// Whether the active toolchain has the target.
    pub(super) has_target: bool,
    /// Whether `rustup` can be started and the active toolchain is one of its own.
    pub(super) has_rustup: bool,
    /// The folders of `wasm-component-ld` and `wasm-ld` in the active toolchain, if they are there.
    pub(super) linkers: Option<Vec<PathBuf>>,
    /// Whether a compiler from Debian's packages is in the cache.
    pub(super) has_cached: bool,
    /// What stands in the way of Debian's packages: tools or keys that are missing.
    pub(super) debian_lacks: Vec<String>,
}

/// A way to a compiler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// It is there.
    Use(Source),
    /// Have rustup add the target.
    Rustup,
    /// Unpack Debian's packages.
    Debian,
    /// There is none, and this is why.
    Missing(String),
}

/// The ways to try one after the other. The last may say what is missing.
pub(super) fn plan(facts: &Facts, only: Option<Source>) -> Vec<Step> {
    if !facts.has_rust {
        return vec![Step::Missing(
            "  cargo and rustc are not on the path".into(),
        )];
    }
    let mut steps = Vec::new();
    if only != Some(Source::Debian) && facts.has_target {
        return vec![Step::Use(Source::Target)];
    }
    let debian = only != Some(Source::Target);
    if debian && facts.has_cached && facts.linkers.is_some() {
        steps.push(Step::Use(Source::Debian));
    }
    if only != Some(Source::Debian) {
        steps.push(if facts.has_rustup {
            Step::Rustup
        } else {
            Step::Missing(format!(
                "  the active toolchain has no target {TARGET} and is not managed by rustup"
            ))
        });
    }
    if debian {
        steps.push(match (&facts.linkers, facts.debian_lacks.as_slice()) {
            (None, _) => Step::Missing(
                "  the active toolchain has no wasm-component-ld and wasm-ld, which a compiler from Debian's \
                 packages would need"
                    .into(),
            ),
            (Some(_), []) => Step::Debian,
            (Some(_), lacks) => {
                Step::Missing(format!("  Debian's packages cannot be used here: no {}", lacks.join(", no ")))
            }
        });
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Facts {
        Facts {
            has_rust: true,
            has_rustup: true,
            linkers: Some(vec!["/l".into()]),
            ..Facts::default()
        }
    }

    #[test]
    fn an_active_toolchain_with_the_target_is_used_as_it_is() {
        let facts = Facts {
            has_target: true,
            has_cached: true,
            ..machine()
        };
        assert_eq!(plan(&facts, None), [Step::Use(Source::Target)]);
    }

    #[test]
    fn what_was_brought_before_is_used_before_the_network() {
        let facts = Facts {
            has_cached: true,
            ..machine()
        };
        assert_eq!(
            plan(&facts, None),
            [Step::Use(Source::Debian), Step::Rustup, Step::Debian]
        );
    }

    #[test]
    fn rustup_is_tried_before_debian() {
        assert_eq!(plan(&machine(), None), [Step::Rustup, Step::Debian]);
    }

    #[test]
    fn one_source_can_be_asked_for() {
        let facts = Facts {
            has_target: true,
            ..machine()
        };
        assert_eq!(plan(&facts, Some(Source::Debian)), [Step::Debian]);
        assert_eq!(plan(&machine(), Some(Source::Target)), [Step::Rustup]);
    }

    #[test]
    fn without_the_machines_linkers_a_brought_compiler_is_of_no_use() {
        let facts = Facts {
            linkers: None,
            has_cached: true,
            ..machine()
        };
        let steps = plan(&facts, None);
        assert_eq!(steps[0], Step::Rustup);
        assert!(matches!(&steps[1], Step::Missing(why) if why.contains("wasm-component-ld")));
    }

    #[test]
    fn what_is_missing_is_named() {
        let facts = Facts {
            has_rustup: false,
            debian_lacks: vec!["apt-get".into()],
            ..machine()
        };
        let steps = plan(&facts, None);
        assert!(matches!(&steps[0], Step::Missing(why) if why.contains("not managed by rustup")));
        assert!(matches!(&steps[1], Step::Missing(why) if why.contains("no apt-get")));
        let steps = plan(&Facts::default(), None);
        assert!(matches!(&steps[..], [Step::Missing(why)] if why.contains("cargo and rustc")));
    }
}
