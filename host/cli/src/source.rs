//! Source text that the binary carries: the SDK, the WIT packages and the project templates, so that
//! `canopy new` and `canopy build` need no network and no checkout of the platform.

use std::path::{Path, PathBuf};

use rust_embed::{EmbeddedFile, RustEmbed};

use crate::Error;

/// Where a project keeps its copy of the SDK.
pub(crate) const SDK_FOLDER: &str = ".canopy";

#[derive(RustEmbed)]
#[folder = "../../sdk/rust"]
#[include = "Cargo.toml"]
#[include = "src/*"]
#[include = "core/Cargo.toml"]
#[include = "core/src/*"]
#[include = "macros/Cargo.toml"]
#[include = "macros/src/*"]
struct Sdk;

#[derive(RustEmbed)]
#[folder = "../../plugins/suites"]
#[include = "Cargo.toml"]
#[include = "Cargo.lock"]
#[include = "*/Cargo.toml"]
#[include = "*/canopy.toml"]
#[include = "*/src/*"]
#[exclude = "target/*"]
struct Suites;

#[derive(RustEmbed)]
#[folder = "../../wit"]
#[include = "*.wit"]
struct Wit;

/// The names of the templates.
pub(crate) const TEMPLATES: [&str; 2] = ["driver", "http"];

#[derive(RustEmbed)]
#[folder = "templates"]
struct Templates;

/// The files of the SDK and of the WIT packages, as they lie in a checkout.
fn sdk() -> impl Iterator<Item = (PathBuf, EmbeddedFile)> {
    let sdk = Sdk::iter()
        .filter_map(|name| Some((PathBuf::from("sdk/rust").join(&*name), Sdk::get(&name)?)));
    let wit =
        Wit::iter().filter_map(|name| Some((PathBuf::from("wit").join(&*name), Wit::get(&name)?)));
    sdk.chain(wit)
}

/// Writes the SDK and the WIT packages into `project`, where they are not as this binary has them.
/// Returns whether anything was written.
pub(crate) fn place_sdk(project: &Path) -> Result<bool, Error> {
    let root = project.join(SDK_FOLDER);
    let mut changed = false;
    for (name, file) in sdk() {
        let path = root.join(name);
        if std::fs::read(&path).is_ok_and(|old| old == *file.data) {
            continue;
        }
        write(&path, &file.data)?;
        changed = true;
    }
    Ok(changed)
}

/// Writes the suites of drivers below `root`, with the SDK and the WIT packages that they are made with,
/// where they are not as this binary has them. Returns their folder.
pub(crate) fn place_suites(root: &Path) -> Result<PathBuf, Error> {
    let folder = Path::new("plugins/suites");
    let suites = Suites::iter().filter_map(|name| Some((folder.join(&*name), Suites::get(&name)?)));
    for (name, file) in suites.chain(sdk()) {
        let path = root.join(name);
        if std::fs::read(&path).is_ok_and(|old| old == *file.data) {
            continue;
        }
        write(&path, &file.data)?;
    }
    Ok(root.join(folder))
}

/// Whether the project in `dir` uses the copy of the SDK that `canopy new` gave it.
pub(crate) fn uses_placed_sdk(dir: &Path) -> bool {
    std::fs::read_to_string(dir.join("Cargo.toml")).is_ok_and(|text| text.contains(".canopy/sdk"))
}

/// The files of a template with `{{key}}` replaced in their text and names.
pub(crate) fn template(name: &str, values: &[(&str, String)]) -> Vec<(String, String)> {
    let fill = |text: &str| {
        values.iter().fold(text.to_owned(), |text, (key, value)| {
            text.replace(&format!("{{{{{key}}}}}"), value)
        })
    };
    let start = format!("{name}/");
    let files = Templates::iter().filter_map(|path| {
        let file = Templates::get(&path)?;
        let text = String::from_utf8_lossy(&file.data).into_owned();
        // A file called Cargo.toml would make the template a package of its own.
        let path = path.strip_prefix(&start)?.replace(".template", "");
        Some((fill(&path), fill(&text)))
    });
    files.collect()
}

/// Writes a file whose folders may not exist yet.
pub(crate) fn write(path: &Path, contents: &[u8]) -> Result<(), Error> {
    let write = || -> std::io::Result<()> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        std::fs::write(path, contents)
    };
    write().map_err(|error| Error::local(path.display(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn templates() -> Vec<String> {
        let mut names: Vec<String> = Templates::iter()
            .filter_map(|path| path.split_once('/').map(|(name, _)| name.to_owned()))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    #[test]
    fn the_sdk_is_placed_whole_and_only_once() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(place_sdk(dir.path()).expect("placed"));
        for path in [
            "sdk/rust/Cargo.toml",
            "sdk/rust/src/lib.rs",
            "wit/tenant/0.1.0/identity.wit",
        ] {
            assert!(dir.path().join(SDK_FOLDER).join(path).is_file(), "{path}");
        }
        assert!(!dir.path().join(SDK_FOLDER).join("sdk/rust/target").exists());
        assert!(!place_sdk(dir.path()).expect("placed"));
    }

    #[test]
    fn the_suites_are_placed_with_what_they_are_made_of() {
        let dir = tempfile::tempdir().expect("a folder");
        let suites = place_suites(dir.path()).expect("placed");
        for path in [
            "Cargo.toml",
            "probe/src/lib.rs",
            "keyvalue-draft/canopy.toml",
        ] {
            assert!(suites.join(path).is_file(), "{path}");
        }
        assert!(!suites.join("target").exists());
        // Where they look for them.
        for path in [
            "../../sdk/rust/core/Cargo.toml",
            "../../wit/deps/keyvalue-0.2.0-draft",
        ] {
            assert!(suites.join(path).exists(), "{path}");
        }
    }

    #[test]
    fn what_was_lost_of_the_sdk_is_restored() {
        let dir = tempfile::tempdir().expect("a folder");
        place_sdk(dir.path()).expect("placed");
        let file = dir.path().join(SDK_FOLDER).join("sdk/rust/src/lib.rs");
        std::fs::write(&file, "// lost").expect("written");
        assert!(place_sdk(dir.path()).expect("placed"));
        assert_ne!(std::fs::read_to_string(&file).expect("read"), "// lost");
    }

    #[test]
    fn every_template_has_a_manifest_and_leaves_nothing_unfilled() {
        let values = ["name", "crate", "publisher", "publisher_crate", "title"]
            .map(|key| (key, "shop".to_owned()));
        assert_eq!(templates(), TEMPLATES);
        for name in templates() {
            let files = template(&name, &values);
            assert!(
                files.iter().any(|(path, _)| path == "canopy.toml"),
                "{name}"
            );
            assert!(files.iter().any(|(path, _)| path == "Cargo.toml"), "{name}");
            for (path, text) in files {
                assert!(!text.contains("{{"), "{name}: {path}");
            }
        }
    }
}
