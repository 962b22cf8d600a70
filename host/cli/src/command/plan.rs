//! `canopy plan`: what tenants may use.

use canopy_api_types::{LimitUnit, Plan as Noun, PlanLimit, PlanLimits, PlanPut};
use canopy_ids::Label;
use canopy_manifest::nearest;
use serde_json::{Map, Value};

use super::pair;
use crate::client::Condition;
use crate::ui::{fields, moment, table};
use crate::{Context, Error};

/// Manage plans: what tenants may use
#[derive(Debug, clap::Subcommand)]
pub enum Plan {
    /// Create a plan
    Create {
        /// Its name
        name: Label,
        #[command(flatten)]
        facts: Facts,
    },
    /// Change a plan; what is not named stays, and tenants on it have the new limits at once
    Set {
        /// Its name
        name: Label,
        #[command(flatten)]
        facts: Facts,
    },
    /// List all plans
    List,
    /// Show one plan
    Show {
        /// Its name
        name: Label,
    },
    /// List the limits that a plan can set
    Limits,
    /// Delete a plan that no tenant is on
    Delete {
        /// Its name
        name: Label,
    },
}

/// What a plan says.
#[derive(Debug, clap::Args)]
pub struct Facts {
    /// What people call it [default: its name]
    #[arg(long)]
    display_name: Option<String>,
    /// A limit, as in keys=5000, blob_bytes=2GiB or cpu_ms=500, or `default` for the node's
    /// setting; may be repeated
    #[arg(long = "limit", value_name = "NAME=VALUE", value_parser = pair)]
    limits: Vec<(String, String)>,
}

impl Facts {
    fn apply(self, mut body: PlanPut) -> Result<PlanPut, Error> {
        body.display_name = self.display_name.unwrap_or(body.display_name);
        body.limits = changed(body.limits, &self.limits)?;
        Ok(body)
    }
}

impl Plan {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        match self {
            Self::Create { name, facts } => {
                let body = facts.apply(PlanPut {
                    display_name: name.to_string(),
                    limits: PlanLimits::default(),
                })?;
                let created = context
                    .client()?
                    .put(&["plans", name.as_str()], &body, Condition::Absent)
                    .await;
                let plan: Noun = created.map_err(|error| {
                    let advice = format!("change it with `canopy plan set {name}`");
                    error.of_creating(&format!("plan {name}"), advice)
                })?;
                context.ui.result(&plan, |plan| {
                    format!(
                        "Created plan {0}.\nNext: canopy tenant set TENANT --plan {0}",
                        plan.name
                    )
                });
            }
            Self::Set { name, facts } => {
                let (client, path) = (context.client()?, ["plans", name.as_str()]);
                let old: Noun = client.get(&path).await?;
                let body = facts.apply(PlanPut {
                    display_name: old.display_name,
                    limits: old.limits,
                })?;
                let plan: Noun = client
                    .put(&path, &body, Condition::Revision(old.revision))
                    .await?;
                context
                    .ui
                    .result(&plan, |plan| format!("Changed plan {}.", plan.name));
            }
            Self::List => {
                let plans: Vec<Noun> = context.client()?.list(&["plans"], &[]).await?;
                context.ui.result(&plans, |plans| {
                    let rows = plans.iter().map(|plan| {
                        [
                            plan.name.to_string(),
                            plan.display_name.clone(),
                            set(plan).len().to_string(),
                        ]
                    });
                    table("No plans.", ["name", "display name", "limits set"], rows)
                });
            }
            Self::Show { name } => {
                let plan: Noun = context.client()?.get(&["plans", name.as_str()]).await?;
                context.ui.result(&plan, describe);
            }
            Self::Limits => {
                let all: Vec<_> = PlanLimits::ALL
                    .iter()
                    .map(|limit| {
                        serde_json::json!({
                            "name": limit.name, "unit": limit.unit, "meaning": limit.meaning
                        })
                    })
                    .collect();
                context.ui.result(&all, |_| {
                    let rows = PlanLimits::ALL.iter().map(|limit| {
                        let unit = match limit.unit {
                            LimitUnit::Count => "",
                            LimitUnit::Bytes => "bytes",
                            LimitUnit::Milliseconds => "ms",
                            LimitUnit::PerSecond => "1/s",
                        };
                        [limit.name.into(), unit.into(), limit.meaning.into()]
                    });
                    table("", ["limit", "unit", "meaning"], rows)
                });
            }
            Self::Delete { name } => {
                context.client()?.delete(&["plans", name.as_str()]).await?;
                let deleted = serde_json::json!({ "deleted": name });
                context
                    .ui
                    .result(&deleted, |_| format!("Deleted plan {name}."));
            }
        }
        Ok(())
    }
}

fn set(plan: &Noun) -> Vec<(&'static PlanLimit, u64)> {
    let all = PlanLimits::ALL.iter();
    all.filter_map(|limit| Some((limit, plan.limits.get(limit.name)?)))
        .collect()
}

fn describe(plan: &Noun) -> String {
    let limits: Vec<_> = set(plan)
        .iter()
        .map(|(limit, value)| {
            format!(
                "{} = {}",
                limit.name,
                super::usage::amount(*value, limit.unit)
            )
        })
        .collect();
    fields([
        ("name", plan.name.to_string()),
        ("display name", plan.display_name.clone()),
        ("limits", limits.join("\n")),
        ("created", moment(plan.created_at)),
        ("changed", moment(plan.updated_at)),
    ])
}

/// `limits` with changes as they stand on the command line.
fn changed(limits: PlanLimits, changes: &[(String, String)]) -> Result<PlanLimits, Error> {
    let mut members: Map<String, Value> = match serde_json::to_value(limits) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    for (name, text) in changes {
        let names = PlanLimits::ALL.iter().map(|limit| limit.name);
        let Some(limit) = PlanLimits::ALL.iter().find(|limit| limit.name == name) else {
            let hint = match nearest(name, names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`canopy plan limits` lists those there are".into(),
            };
            return Err(Error::Usage(format!("there is no limit `{name}`; {hint}")));
        };
        if text == "default" {
            members.remove(name);
            continue;
        }
        let value = value(text, limit.unit).ok_or_else(|| {
            let form = match limit.unit {
                LimitUnit::Bytes => "bytes, as in 65536, 64KiB or 2GiB",
                _ => "a whole number",
            };
            Error::Usage(format!("limit `{name}`: {text:?} is not {form}"))
        })?;
        members.insert(name.clone(), value.into());
    }
    serde_json::from_value(Value::Object(members)).map_err(|error| Error::Usage(error.to_string()))
}

fn value(text: &str, unit: LimitUnit) -> Option<u64> {
    const UNITS: [(&str, u64); 4] = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ];
    let (number, factor) = match unit {
        LimitUnit::Bytes => UNITS
            .iter()
            .find_map(|(name, factor)| Some((text.strip_suffix(name)?, *factor)))
            .unwrap_or((text, 1)),
        _ => (text, 1),
    };
    number.trim().parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, text: &str) -> Result<PlanLimits, Error> {
        let old = PlanLimits {
            keys: Some(7),
            ..PlanLimits::default()
        };
        changed(old, &[(name.into(), text.into())])
    }

    #[test]
    fn limits_are_set_and_given_back_and_the_others_stay() {
        let new = change("blob_bytes", "2GiB").expect("valid");
        assert_eq!((new.keys, new.blob_bytes), (Some(7), Some(2 << 30)));
        assert_eq!(change("keys", "default").expect("valid").keys, None);
        assert_eq!(change("cpu_ms", "500").expect("valid").cpu_ms, Some(500));
    }

    #[test]
    fn an_unknown_limit_names_the_nearest_and_a_bad_value_its_form() {
        let error = change("blob_byte", "1").expect_err("unknown");
        assert!(error.to_string().contains("`blob_bytes`"), "{error}");
        let error = change("blob_bytes", "2GB").expect_err("no unit");
        assert!(error.to_string().contains("2GiB"), "{error}");
        assert!(change("keys", "1KiB").is_err());
        assert!(change("blob_bytes", "99999999999TiB").is_err());
    }
}
