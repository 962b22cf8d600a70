//! What `install`, `driver add`, `config set` and `secret set` have in common: configuration values
//! typed on a command line, and secrets that must not be.

use std::collections::BTreeMap;
use std::str::FromStr;

use canopy_api_types::{Config, Package, PackageVersion, SecretText};
use canopy_ids::PackageName;
use semver::Version;
use serde_json::Value;

use crate::Error;
use crate::client::Client;

/// One configuration value: `KEY=TEXT`, typed by the package's schema, or `KEY:=JSON`, as it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setting {
    key: String,
    value: Typed,
}

#[derive(Debug, Clone, PartialEq)]
enum Typed {
    Text(String),
    Json(Value),
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text
            .split_once('=')
            .ok_or("write it as KEY=VALUE or KEY:=JSON")?;
        let (key, value) = match key.strip_suffix(':') {
            Some(key) => {
                let json = serde_json::from_str(value)
                    .map_err(|error| format!("{value:?} is no JSON: {error}"))?;
                (key, Typed::Json(json))
            }
            None => (key, Typed::Text(value.into())),
        };
        if key.is_empty() {
            return Err("the key is missing: write it as KEY=VALUE or KEY:=JSON".into());
        }
        Ok(Self {
            key: key.into(),
            value,
        })
    }
}

impl Setting {
    /// The value as `schema`, the JSON Schema of the whole configuration, wants it. Where it says
    /// nothing about the key, what reads as a number, a truth value or null is one.
    fn typed(self, schema: &Value) -> Result<(String, Value), Error> {
        let text = match self.value {
            Typed::Json(json) => return Ok((self.key, json)),
            Typed::Text(text) => text,
        };
        let kind = &schema["properties"][&self.key]["type"];
        let allows = |name: &str| match kind {
            Value::String(one) => one == name,
            Value::Array(several) => several.iter().any(|one| one == name),
            _ => false,
        };
        let parsed = serde_json::from_str::<Value>(&text).ok();
        let value = match (kind.is_null(), parsed) {
            (true, Some(value @ (Value::Number(_) | Value::Bool(_) | Value::Null))) => value,
            (true, _) => Value::String(text),
            (false, _) if allows("string") => Value::String(text),
            (false, Some(value)) => value,
            (false, None) => {
                return Err(Error::Usage(format!(
                    "{}: expected a value of type {kind}, not {text:?}",
                    self.key
                )));
            }
        };
        Ok((self.key, value))
    }
}

/// Configuration and secrets of a new installation or driver.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Settings {
    /// A configuration value; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<Setting>,
    /// A secret, taken from a variable of the environment; may be repeated
    #[arg(long = "secret-env", value_name = "KEY=VARIABLE", value_parser = super::pair)]
    secrets: Vec<(String, String)>,
    /// What it may reach over the network, such as api.example.com:443; may be repeated
    #[arg(long = "egress", value_name = "RULE")]
    pub(super) egress: Vec<String>,
}

impl Settings {
    /// Shares them out among `count` owners. `owners` says whose each value of an option is, in the order
    /// in which they were given; options go by the names of their fields.
    pub(super) fn share(self, count: usize, owners: impl Fn(&str) -> Vec<usize>) -> Vec<Self> {
        let mut shares = vec![Self::default(); count];
        for (owner, setting) in owners("settings").into_iter().zip(self.settings) {
            shares[owner].settings.push(setting);
        }
        for (owner, secret) in owners("secrets").into_iter().zip(self.secrets) {
            shares[owner].secrets.push(secret);
        }
        for (owner, rule) in owners("egress").into_iter().zip(self.egress) {
            shares[owner].egress.push(rule);
        }
        shares
    }

    /// Puts values in the place of their names.
    pub(super) fn fill(&mut self, values: &[(&str, &str)]) {
        for setting in &mut self.settings {
            if let Typed::Text(text) = &mut setting.value {
                for (name, value) in values {
                    *text = text.replace(name, value);
                }
            }
        }
    }

    /// The secrets, read from the environment.
    pub(super) fn secrets(&self) -> Result<BTreeMap<String, SecretText>, Error> {
        let read =
            |(key, variable): &(String, String)| Ok((key.clone(), from_environment(variable)?));
        self.secrets.iter().map(read).collect()
    }

    /// The configuration, typed by the schema of that version or else of the newest.
    pub(super) async fn config(
        &self,
        client: &Client,
        package: &PackageName,
        version: Option<&Version>,
    ) -> Result<Config, Error> {
        config(client, package, version, self.settings.clone()).await
    }
}

/// `settings`, typed by the schema of a package's version or else of its newest.
pub(super) async fn config(
    client: &Client,
    package: &PackageName,
    version: Option<&Version>,
    settings: Vec<Setting>,
) -> Result<Config, Error> {
    if settings.is_empty() {
        return Ok(Config::new());
    }
    let base = [
        "packages",
        package.publisher.as_str(),
        package.name.as_str(),
    ];
    let version = match version {
        Some(version) => version.to_string(),
        None => client
            .get::<Package>(&base)
            .await?
            .latest_version
            .to_string(),
    };
    let path: Vec<&str> = base.into_iter().chain(["versions", &version]).collect();
    let version: PackageVersion = client.get(&path).await?;
    settings
        .into_iter()
        .map(|setting| setting.typed(&version.config_schema))
        .collect()
}

/// A secret from a variable of the environment.
pub(super) fn from_environment(variable: &str) -> Result<SecretText, Error> {
    match std::env::var(variable) {
        Ok(value) if !value.is_empty() => Ok(SecretText::new(value)),
        Ok(_) => Err(Error::Usage(format!("the variable {variable} is empty"))),
        Err(error) => Err(Error::Usage(format!("the variable {variable}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn typed(text: &str, schema: Value) -> Result<Value, Error> {
        text.parse::<Setting>()
            .map_err(Error::Usage)?
            .typed(&schema)
            .map(|(_, value)| value)
    }

    fn of_type(kind: Value) -> Value {
        json!({ "properties": { "k": { "type": kind } } })
    }

    #[test]
    fn the_schema_decides_the_type() {
        assert_eq!(
            typed("k=5", of_type(json!("string"))).expect("text"),
            json!("5")
        );
        assert_eq!(
            typed("k=5", of_type(json!("integer"))).expect("number"),
            json!(5)
        );
        assert_eq!(
            typed("k=[1]", of_type(json!(["array", "null"]))).expect("array"),
            json!([1])
        );
        assert_eq!(
            typed("k=a=b", of_type(json!("string"))).expect("text"),
            json!("a=b")
        );
    }

    #[test]
    fn without_a_schema_numbers_and_truth_values_are_recognised() {
        assert_eq!(typed("k=5", json!({})).expect("number"), json!(5));
        assert_eq!(typed("k=true", json!({})).expect("truth"), json!(true));
        assert_eq!(typed("k={}", json!({})).expect("text"), json!("{}"));
    }

    #[test]
    fn what_cannot_be_of_the_type_is_refused_here() {
        let error = typed("k=five", of_type(json!("integer"))).expect_err("refused");
        assert_eq!(error.code(), 2);
        assert!(error.to_string().contains("integer"));
    }

    #[test]
    fn json_is_taken_as_it_is() {
        assert_eq!(
            typed("k:={\"a\":1}", of_type(json!("string"))).expect("json"),
            json!({"a": 1})
        );
        assert!("k:={".parse::<Setting>().is_err());
        assert!("=x".parse::<Setting>().is_err() && "k".parse::<Setting>().is_err());
    }
}
