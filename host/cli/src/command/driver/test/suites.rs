//! Which suite tests which interface, and where their components come from: this program carries their
//! source, as it carries that of the SDK, and they are built like any other project.

use std::path::{Path, PathBuf};

use canopy_ids::{BindingKey, InterfaceName};
use serde_json::{Value, json};

use super::cases::{self, Case};
use crate::command::build;
use crate::project::{Project, digest};
use crate::{Context, Error, source};

/// What tests one interface.
pub(super) struct Suite {
    /// How records call it: the WIT package or the interface, and its version.
    pub(super) name: &'static str,
    /// The interface that a driver serves who is tested by it.
    interface: &'static str,
    /// The binding that leads its component's imports to the driver.
    binding: &'static str,
    /// Its component's folder.
    folder: &'static str,
    /// Its cases, room by room.
    cases: &'static [&'static [Case]],
}

const SUITES: [Suite; 7] = [
    Suite {
        name: "wasi:keyvalue@0.2.0-draft",
        interface: "wasi:keyvalue/store@0.2.0-draft",
        binding: "wasi:keyvalue",
        folder: "keyvalue-draft",
        cases: cases::KEY_VALUE,
    },
    Suite {
        name: "wasi:keyvalue@0.2.0-draft2",
        interface: "wasi:keyvalue/store@0.2.0-draft2",
        binding: "wasi:keyvalue",
        folder: "keyvalue-draft2",
        cases: cases::KEY_VALUE,
    },
    Suite {
        name: "canopy:storage/key-value@0.1.0",
        interface: "canopy:storage/key-value@0.1.0",
        binding: "canopy:storage/key-value",
        folder: "key-value",
        cases: cases::ENTRIES,
    },
    Suite {
        name: "canopy:storage/blobs@0.1.0",
        interface: "canopy:storage/blobs@0.1.0",
        binding: "canopy:storage/blobs",
        folder: "blobs",
        cases: cases::BLOBS,
    },
    Suite {
        name: "canopy:storage/sql@0.1.0",
        interface: "canopy:storage/sql@0.1.0",
        binding: "canopy:storage/sql",
        folder: "sql",
        cases: cases::SQL,
    },
    Suite {
        name: "spin:postgres/postgres@4.2.0",
        interface: "spin:postgres/postgres@4.2.0",
        binding: "spin:postgres",
        folder: "spin-postgres",
        cases: cases::ROWS,
    },
    Suite {
        name: "canopy:mail/sender@0.1.0",
        interface: MAIL,
        binding: "canopy:mail/sender",
        folder: "mail",
        cases: cases::MAIL,
    },
];

/// The interface whose use others notice.
const MAIL: &str = "canopy:mail/sender@0.1.0";

/// The suites for what a driver serves, and the interfaces among it that have none.
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
    let tested = |served: &&InterfaceName| {
        let (package, interface) = (package(served), served.to_string());
        let mut suites = chosen.iter();
        suites.any(|suite| suite.name == package || suite.name == interface)
    };
    let without = serves.iter().filter(|served| !tested(served));
    let without = without.map(ToString::to_string).collect();
    (chosen, without)
}

impl Suite {
    pub(super) fn cases(&self) -> impl Iterator<Item = &'static Case> {
        self.cases.iter().copied().flatten()
    }

    /// What its component is asked for to see that the driver works, if there is a `key` by a name that is
    /// new each time; `None`: without a reason to, nothing may be asked for.
    pub(super) fn settling(&self, mail_to: Option<&str>) -> Option<Value> {
        if self.interface == MAIL {
            mail_to.map(|to| json!({"op": "send", "with": {"to": [to], "subject": "Settling"}}))
        } else {
            Some(json!({"op": "get", "key": "settling"}))
        }
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
            "canopy:storage/sql@0.1.0",
            "canopy:storage/key-value@0.1.0",
            "canopy:webhook/sender@0.1.0",
        ]);
        let (chosen, without) = choose(&serves);
        let names: Vec<_> = chosen.iter().map(|suite| suite.name).collect();
        assert_eq!(
            names,
            [
                "wasi:keyvalue@0.2.0-draft",
                "canopy:storage/key-value@0.1.0",
                "canopy:storage/sql@0.1.0"
            ]
        );
        assert_eq!(without, ["canopy:webhook/sender@0.1.0"]);
    }

    #[test]
    fn every_suite_is_found_by_its_interface_and_names_its_cases_apart() {
        for suite in &SUITES {
            let (chosen, without) = choose(&interfaces(&[suite.interface]));
            assert_eq!(chosen.len(), 1, "{}", suite.name);
            assert!(without.is_empty(), "{without:?}");
            assert!(suite.binding().is_ok(), "{}", suite.binding);
            let cases = cases::of_any_driver().chain(suite.cases());
            let mut names: Vec<_> = cases.map(|case| case.name).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{}", suite.name);
        }
    }

    #[test]
    fn mail_is_sent_to_nobody_who_was_not_named() {
        for suite in &SUITES {
            let asked = suite.settling(None);
            assert_eq!(asked.is_none(), suite.interface == MAIL, "{}", suite.name);
        }
    }
}
