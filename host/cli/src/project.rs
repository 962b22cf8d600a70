//! A project on this machine: its manifest, and the component that its build leaves behind.

use std::path::{Path, PathBuf};

use canopy_ids::{Digest, DigestHasher};
use canopy_manifest::{FILE_NAME, Manifest};

use crate::Error;

/// A folder with a manifest.
#[derive(Debug)]
pub(crate) struct Project {
    /// The manifest as it is written.
    pub(crate) text: String,
    /// The manifest as it is understood.
    pub(crate) manifest: Manifest,
    /// Where its build leaves the component.
    pub(crate) component: PathBuf,
}

impl Project {
    /// Reads the manifest of the project in `dir`.
    pub(crate) fn read(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(FILE_NAME);
        let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::advised(
                format!("{} does not exist", path.display()),
                "name the folder of a package, or begin one with `canopy new NAME`",
            ),
            _ => Error::local(path.display(), error),
        })?;
        let manifest = Manifest::parse(&text).map_err(|error| {
            let faults: Vec<_> = error.faults().iter().map(ToString::to_string).collect();
            Error::Local {
                message: format!("{}:\n{}", path.display(), faults.join("\n")),
                advice: None,
            }
        })?;
        let component = locate(dir, &manifest.component);
        Ok(Self {
            text,
            manifest,
            component,
        })
    }

    /// The same component as another version of the package.
    pub(crate) fn with_version(mut self, version: &str) -> Result<Self, Error> {
        let broken = |error: &dyn std::fmt::Display| Error::local("another version", error);
        let mut text: toml::Table = toml::from_str(&self.text).map_err(|error| broken(&error))?;
        text.insert("version".into(), version.into());
        self.text = toml::to_string(&text).map_err(|error| broken(&error))?;
        self.manifest = Manifest::parse(&self.text).map_err(|error| broken(&error))?;
        Ok(self)
    }

    /// Whether `dir` holds a package.
    pub(crate) fn is_in(dir: &Path) -> bool {
        dir.join(FILE_NAME).is_file()
    }
}

/// Where the build of the package in `dir` leaves its component: below `dir` or, where the package
/// is a member of a Cargo workspace, below the workspace's folder.
fn locate(dir: &Path, component: impl AsRef<Path>) -> PathBuf {
    let own = dir.join(&component);
    if own.is_file() {
        return own;
    }
    let Ok(dir) = dir.canonicalize() else {
        return own;
    };
    dir.ancestors()
        .skip(1)
        .filter(|outer| outer.join("Cargo.toml").is_file())
        .map(|outer| outer.join(&component))
        .find(|path| path.is_file())
        .unwrap_or(own)
}

/// The digest of a file.
pub(crate) fn digest(path: &Path) -> Result<Digest, Error> {
    let read = || -> std::io::Result<Digest> {
        let mut file = std::fs::File::open(path)?;
        let mut hasher = DigestHasher::default();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match std::io::Read::read(&mut file, &mut buffer)? {
                0 => return Ok(hasher.finish()),
                count => hasher.update(&buffer[..count]),
            }
        }
    };
    read().map_err(|error| Error::local(path.display(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_manifest_says_how_to_begin_one() {
        let dir = tempfile::tempdir().expect("a folder");
        let error = Project::read(dir.path()).expect_err("no manifest");
        assert!(error.to_string().contains("canopy.toml does not exist"));
        assert!(error.advice().expect("advice").contains("canopy new"));
    }

    #[test]
    fn every_fault_of_a_manifest_is_on_its_own_line() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join(FILE_NAME), "kind = \"thing\"\n").expect("written");
        let text = Project::read(dir.path()).expect_err("faults").to_string();
        assert!(text.lines().count() > 3, "{text}");
    }

    #[test]
    fn a_component_is_found_where_its_cargo_workspace_builds_it() {
        let outer = tempfile::tempdir().expect("a folder");
        let member = outer.path().join("apps/one");
        std::fs::create_dir_all(&member).expect("a folder");
        std::fs::create_dir_all(outer.path().join("target")).expect("a folder");
        std::fs::write(outer.path().join("target/one.wasm"), b"").expect("written");
        assert_eq!(
            locate(&member, "target/one.wasm"),
            member.join("target/one.wasm")
        );

        std::fs::write(outer.path().join("Cargo.toml"), "[workspace]").expect("written");
        let found = locate(&member, "target/one.wasm");
        assert!(
            found.is_file() && !found.starts_with(&member),
            "{}",
            found.display()
        );
    }

    #[test]
    fn the_digest_of_a_file_is_that_of_its_bytes() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("file");
        std::fs::write(&path, b"abc").expect("written");
        assert_eq!(digest(&path).expect("digest"), Digest::of(b"abc"));
    }
}
