//! `canopy bind`: choose who serves an interface for an installation.

use canopy_api_types::{BindingPut, Installation};
use canopy_ids::{BindingKey, Label};

use super::TenantArg;
use crate::{Context, Error};

/// Choose who serves an interface for an installation
///
/// Of several bindings that cover an import the narrowest decides: one with a label before one
/// without, then one interface before a whole package.
#[derive(Debug, clap::Args)]
pub struct Bind {
    /// The installation
    name: Label,
    #[command(flatten)]
    what: Bindable,
    /// The tenant's driver that serves it from now on, or `platform` for the platform itself
    #[arg(required_unless_present = "platform", conflicts_with = "platform")]
    driver: Option<Label>,
    /// Remove the binding, so that a wider one decides, or else the platform
    #[arg(long)]
    platform: bool,
    #[command(flatten)]
    tenant: TenantArg,
}

/// What a binding is for.
#[derive(Debug, clap::Args)]
pub struct Bindable {
    /// A WIT package such as wasi:keyvalue, or one interface of it such as canopy:storage/sql; with
    /// =LABEL behind it, what the component imports under that label
    #[arg(value_name = "WIT-PACKAGE[/INTERFACE][=LABEL]")]
    key: BindingKey,
    /// The label, in place of =LABEL
    #[arg(long)]
    label: Option<Label>,
}

impl Bindable {
    pub(super) fn key(self) -> Result<BindingKey, Error> {
        match (self.key, self.label) {
            (key, None) => Ok(key),
            (key, label) if key.label.is_none() => Ok(BindingKey { label, ..key }),
            (key, _) => Err(Error::Usage(format!(
                "`{key}` has a label already; leave out --label"
            ))),
        }
    }
}

impl Bind {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let key = self.what.key()?.to_string();
        let installation = [
            "tenants",
            self.tenant.as_str(),
            "installations",
            self.name.as_str(),
        ];
        let path: Vec<&str> = installation.into_iter().chain(["bindings", &key]).collect();
        match self.driver {
            Some(driver) => client.put_only(&path, &BindingPut { driver }).await?,
            None => client.delete(&path).await?,
        }
        let now: Installation = client.get(&installation).await?;
        context.ui.result(&now, |now| {
            let by = now
                .bindings
                .iter()
                .find(|(bound, _)| bound.to_string() == key);
            match by {
                Some((_, driver)) => {
                    format!("{key} of {} is served by {}.", now.name, provider(driver))
                }
                None if now.bindings.is_empty() => {
                    format!("{key} of {} is served by the platform.", now.name)
                }
                None => format!("{key} of {} has no binding of its own.", now.name),
            }
        });
        Ok(())
    }
}

/// Who serves, for people.
pub(super) fn provider(name: &Label) -> String {
    match name.as_str() {
        "platform" => "the platform".to_owned(),
        name => format!("driver {name}"),
    }
}
