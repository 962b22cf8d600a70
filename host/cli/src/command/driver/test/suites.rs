//! Which suite tests which interface, and where their components come from: this program carries their
//! source, as it carries that of the SDK, and they are built like any other project.

use std::path::{Path, PathBuf};

use canopy_ids::{BindingKey, InterfaceName};

use super::cases::{self, Case};
use crate::command::build;
use crate::project::{Project, digest};
use crate::{Context, Error, source};

/// What tests one interface.
pub(super) struct Suite {
    /// How records call it: the WIT package and its version.
    pub(super) name: &'static str,
    /// The interface that a driver serves who is tested by it.
    interface: &'static str,
    /// The binding that leads its component's imports to the driver.
    binding: &'static str,
    /// Its component's folder.
    folder: &'static str,
}

const SUITES: [Suite; 2] = [
    Suite {
        name: "wasi:keyvalue@0.2.0-draft",
        interface: "wasi:keyvalue/store@0.2.0-draft",
        binding: "wasi:keyvalue",
        folder: "keyvalue-draft",
    },
    Suite {
        name: "wasi:keyvalue@0.2.0-draft2",
        interface: "wasi:keyvalue/store@0.2.0-draft2",
        binding: "wasi:keyvalue",
        folder: "keyvalue-draft2",
    },
];

/// The suites for what a driver serves, and the WIT packages among it that have none.
pub(super) fn choose(serves: &[InterfaceName]) -> (Vec<&'static Suite>, Vec<String>) {
    let chosen: Vec<_> = SUITES
        .iter()
        .filter(|suite| {
            serves
                .iter()
                .any(|served| served.to_string() == suite.interface)
        })
        .collect();
    let package = |name: &InterfaceName| match &name.version {
        Some(version) => format!("{}@{version}", name.package),
        None => name.package.to_string(),
    };
    let mut without: Vec<_> = serves
        .iter()
        .map(package)
        .filter(|package| !chosen.iter().any(|suite| suite.name == package))
        .collect();
    without.sort();
    without.dedup();
    (chosen, without)
}

impl Suite {
    pub(super) fn cases(&self) -> impl Iterator<Item = &'static Case> {
        cases::of_key_value()
    }

    pub(super) fn binding(&self) -> Result<BindingKey, Error> {
        self.binding
            .parse()
            .map_err(|error: canopy_ids::InvalidInterface| Error::local("a suite", error))
    }

    /// The package of its component in the folder of all suites. Its version names the component's
    /// bytes, which are not the same wherever they are built.
    pub(super) fn package(&self, suites: &Path) -> Result<(PathBuf, Project), Error> {
        let dir = suites.join(self.folder);
        let project = Project::read(&dir)?;
        let digest = digest(&project.component)?.to_string();
        let bytes: String = digest.chars().rev().take(12).collect();
        let version = format!("{}-bytes.x{bytes}", project.manifest.version);
        let project = project.with_version(&version)?;
        Ok((dir, project))
    }
}

/// The folder of the suites, with their components built.
pub(super) async fn folder(context: &Context, given: Option<PathBuf>) -> Result<PathBuf, Error> {
    let dir = match given {
        Some(dir) => dir,
        None => source::place_suites(&crate::profile::cache_dir()?.join("suites"))?,
    };
    context.ui.note("Building the suites");
    build::build(context, &dir, true).await?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interfaces(names: &[&str]) -> Vec<InterfaceName> {
        names
            .iter()
            .map(|name| name.parse().expect("an interface"))
            .collect()
    }

    #[test]
    fn what_has_no_suite_is_said() {
        let serves = interfaces(&[
            "wasi:keyvalue/store@0.2.0-draft",
            "wasi:keyvalue/atomics@0.2.0-draft",
            "canopy:mail/sender@0.1.0",
        ]);
        let (chosen, without) = choose(&serves);
        let names: Vec<_> = chosen.iter().map(|suite| suite.name).collect();
        assert_eq!(names, ["wasi:keyvalue@0.2.0-draft"]);
        assert_eq!(without, ["canopy:mail@0.1.0"]);
    }

    #[test]
    fn both_drafts_have_a_suite() {
        let serves = interfaces(&[
            "wasi:keyvalue/store@0.2.0-draft",
            "wasi:keyvalue/store@0.2.0-draft2",
        ]);
        assert_eq!(choose(&serves).0.len(), 2);
        assert!(choose(&serves).1.is_empty());
    }
}
