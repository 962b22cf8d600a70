//! `canopy tenant`: the customer organisations.

use canopy_api_types::{Tenant as Noun, TenantPut};
use canopy_ids::Label;

use super::erasure::Erase;
use super::pair;
use super::transfer::{Export, Import};
use crate::client::Condition;
use crate::ui::{fields, moment, table};
use crate::{Context, Error};

/// Manage tenants
#[derive(Debug, clap::Subcommand)]
pub enum Tenant {
    /// Create a tenant
    Create {
        /// Its name, the second label of its applications' host names
        name: Label,
        #[command(flatten)]
        facts: Facts,
    },
    /// Change what is known of a tenant; what is not named stays
    Set {
        /// Its name
        name: Label,
        #[command(flatten)]
        facts: Facts,
    },
    /// List all tenants
    List,
    /// Show one tenant
    Show {
        /// Its name
        name: Label,
    },
    /// Write everything of a tenant to an archive that another node can import
    Export(Export),
    /// Take in a tenant from an archive
    Import(Import),
    /// Erase a tenant for good, with a signed record of it
    ///
    /// Without --confirm, only says what would go.
    Erase(Erase),
    /// Delete a tenant with all its installations and data
    Delete {
        /// Its name
        name: Label,
        /// Do it; without this, only say what would be lost
        #[arg(long)]
        yes: bool,
    },
}

/// What is known of a tenant.
#[derive(Debug, clap::Args)]
pub struct Facts {
    /// What people call it [default: its name]
    #[arg(long)]
    display_name: Option<String>,
    /// The plan that it is on
    #[arg(long)]
    plan: Option<String>,
    /// Where its data is kept
    #[arg(long)]
    region: Option<String>,
    /// A fact for its applications to read; may be repeated
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = pair)]
    attributes: Vec<(String, String)>,
}

impl Facts {
    fn apply(self, mut body: TenantPut) -> TenantPut {
        body.display_name = self.display_name.unwrap_or(body.display_name);
        body.plan = self.plan.unwrap_or(body.plan);
        body.region = self.region.unwrap_or(body.region);
        body.attributes.extend(self.attributes);
        body
    }
}

impl Tenant {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        match self {
            Self::Export(command) => command.run(context).await?,
            Self::Import(command) => command.run(context).await?,
            Self::Erase(command) => command.run(context).await?,
            Self::Create { name, facts } => {
                let body = facts.apply(TenantPut::new(name.to_string()));
                let created = client
                    .put(&["tenants", name.as_str()], &body, Condition::Absent)
                    .await;
                let tenant: Noun = created.map_err(|error| {
                    let advice = format!("change it with `canopy tenant set {name}`");
                    error.of_creating(&format!("tenant {name}"), advice)
                })?;
                context.ui.result(&tenant, |tenant| {
                    format!(
                        "Created tenant {0}.\nNext: canopy install PUBLISHER/PACKAGE --tenant {0}",
                        tenant.name
                    )
                });
            }
            Self::Set { name, facts } => {
                let path = ["tenants", name.as_str()];
                let old: Noun = client.get(&path).await?;
                let body = facts.apply(TenantPut {
                    display_name: old.display_name,
                    plan: old.plan,
                    region: old.region,
                    attributes: old.attributes,
                });
                let tenant: Noun = client
                    .put(&path, &body, Condition::Revision(old.revision))
                    .await?;
                context
                    .ui
                    .result(&tenant, |tenant| format!("Changed tenant {}.", tenant.name));
            }
            Self::List => {
                let tenants: Vec<Noun> = client.list(&["tenants"], &[]).await?;
                context.ui.result(&tenants, |tenants| {
                    let none = "No tenants. Create one with `canopy tenant create NAME`.";
                    let rows = tenants.iter().map(|tenant| {
                        let name = tenant.name.to_string();
                        [
                            name,
                            tenant.display_name.clone(),
                            tenant.plan.clone(),
                            tenant.region.clone(),
                        ]
                    });
                    table(none, ["name", "display name", "plan", "region"], rows)
                });
            }
            Self::Show { name } => {
                let tenant: Noun = client.get(&["tenants", name.as_str()]).await?;
                context.ui.result(&tenant, describe);
            }
            Self::Delete { name, yes } => {
                let path = ["tenants", name.as_str()];
                let tenant: Noun = client.get(&path).await?;
                if !yes {
                    return Err(Error::Usage(format!(
                        "deleting tenant {} ({}) erases its installations, drivers, data and logs for good; \
                         repeat with --yes to do it",
                        tenant.name, tenant.display_name
                    )));
                }
                client.delete(&path).await?;
                context
                    .ui
                    .result(&tenant, |tenant| format!("Deleted tenant {}.", tenant.name));
            }
        }
        Ok(())
    }
}

fn describe(tenant: &Noun) -> String {
    let attributes: Vec<_> = tenant
        .attributes
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    fields([
        ("name", tenant.name.to_string()),
        ("display name", tenant.display_name.clone()),
        ("id", tenant.id.to_string()),
        ("plan", tenant.plan.clone()),
        ("region", tenant.region.clone()),
        ("attributes", attributes.join("\n")),
        ("created", moment(tenant.created_at)),
        ("changed", moment(tenant.updated_at)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays_as_it_is() {
        let mut old = TenantPut::new("Acme");
        old.attributes.insert("vat".into(), "DE1".into());
        let facts = Facts {
            display_name: None,
            plan: Some("pro".into()),
            region: None,
            attributes: vec![("size".into(), "9".into())],
        };
        let new = facts.apply(old);
        assert_eq!(
            (new.display_name.as_str(), new.plan.as_str()),
            ("Acme", "pro")
        );
        assert_eq!(new.attributes.len(), 2);
    }
}
