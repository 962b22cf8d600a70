//! `canopy publisher`: who owns packages.

use canopy_api_types::{Publisher as Noun, PublisherPut};
use canopy_ids::Label;

use crate::client::Condition;
use crate::ui::{fields, moment, table};
use crate::{Context, Error};

/// Manage publishers
#[derive(Debug, clap::Subcommand)]
pub enum Publisher {
    /// Create a publisher
    Create {
        /// Its name, the first part of its packages' names
        name: Label,
        /// What people call it [default: its name]
        #[arg(long)]
        display_name: Option<String>,
    },
    /// List all publishers
    List,
    /// Show one publisher
    Show {
        /// Its name
        name: Label,
    },
}

impl Publisher {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        match self {
            Self::Create { name, display_name } => {
                let body = PublisherPut {
                    display_name: display_name.unwrap_or_else(|| name.to_string()),
                };
                let path = ["publishers", name.as_str()];
                let created = client.put(&path, &body, Condition::Absent).await;
                let publisher: Noun = created.map_err(|error| {
                    let advice = format!("look at it with `canopy publisher show {name}`");
                    error.of_creating(&format!("publisher {name}"), advice)
                })?;
                context.ui.result(&publisher, |publisher| {
                    format!("Created publisher {}.", publisher.name)
                });
            }
            Self::List => {
                let publishers: Vec<Noun> = client.list(&["publishers"], &[]).await?;
                context.ui.result(&publishers, |publishers| {
                    let none = "No publishers. Create one with `canopy publisher create NAME`.";
                    let rows = publishers
                        .iter()
                        .map(|p| [p.name.to_string(), p.display_name.clone()]);
                    table(none, ["name", "display name"], rows)
                });
            }
            Self::Show { name } => {
                let publisher: Noun = client.get(&["publishers", name.as_str()]).await?;
                context.ui.result(&publisher, |publisher| {
                    fields([
                        ("name", publisher.name.to_string()),
                        ("display name", publisher.display_name.clone()),
                        ("created", moment(publisher.created_at)),
                        ("changed", moment(publisher.updated_at)),
                    ])
                });
            }
        }
        Ok(())
    }
}
