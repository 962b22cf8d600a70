//! What can be set about installations and driver instances alike.

use canopy_api_types::{Config, SecretText};
use canopy_store::{DriverWrite, InstallationWrite, SecretChanges};
use semver::Version;
use serde_json::Value;

/// One change of an installation or a driver instance.
#[derive(Debug, Clone, PartialEq)]
pub enum Setting {
    /// Runs another version.
    Version(Version),
    /// Replaces the whole configuration.
    Config(Config),
    /// Changes the keys that are named; `null` removes one.
    PatchConfig(Config),
    /// Sets a secret.
    SetSecret(String, SecretText),
    /// Removes a secret; no fault if there is none.
    RemoveSecret(String),
    /// Replaces what may be reached.
    Egress(Vec<String>),
}

/// The parts that a setting can change.
pub(crate) struct Settable<'a> {
    version: &'a mut Version,
    config: &'a mut Config,
    egress: &'a mut Vec<String>,
    secrets: &'a mut SecretChanges,
}

impl<'a> From<&'a mut InstallationWrite> for Settable<'a> {
    fn from(write: &'a mut InstallationWrite) -> Self {
        Self {
            version: &mut write.version,
            config: &mut write.config,
            egress: &mut write.egress,
            secrets: &mut write.secrets,
        }
    }
}

impl<'a> From<&'a mut DriverWrite> for Settable<'a> {
    fn from(write: &'a mut DriverWrite) -> Self {
        Self {
            version: &mut write.version,
            config: &mut write.config,
            egress: &mut write.egress,
            secrets: &mut write.secrets,
        }
    }
}

impl Settable<'_> {
    pub(crate) fn set(self, setting: Setting) {
        match setting {
            Setting::Version(version) => *self.version = version,
            Setting::Config(config) => *self.config = config,
            Setting::PatchConfig(changes) => {
                for (key, value) in changes {
                    if value == Value::Null {
                        self.config.shift_remove(&key);
                    } else {
                        self.config.insert(key, value);
                    }
                }
            }
            Setting::SetSecret(key, value) => {
                self.secrets.insert(key, Some(value.into_inner()));
            }
            Setting::RemoveSecret(key) => {
                self.secrets.insert(key, None);
            }
            Setting::Egress(egress) => *self.egress = egress,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_keeps_what_it_does_not_name() {
        let object = |value: Value| value.as_object().expect("an object").clone();
        let mut write = DriverWrite {
            package: "acme/pay".parse().expect("a name"),
            version: Version::new(1, 0, 0),
            config: object(json!({ "a": 1, "b": 2, "c": 3 })),
            previous_version: None,
            egress: Vec::new(),
            bindings: BTreeMap::new(),
            secrets: BTreeMap::new(),
        };
        let patch = object(json!({ "b": null, "c": 4, "d": 5, "zzz": null }));
        Settable::from(&mut write).set(Setting::PatchConfig(patch));
        assert_eq!(write.config, object(json!({ "a": 1, "c": 4, "d": 5 })));
    }
}
