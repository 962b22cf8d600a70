//! `canopy status`: the state of the node.

use std::time::Duration;

use canopy_api_types::Status as Noun;

use crate::ui::{bytes, fields, moment};
use crate::{Context, Error};

/// Show the state of the node
#[derive(Debug, clap::Args)]
pub struct Status {}

impl Status {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let status: Noun = context.client()?.get(&["status"]).await?;
        context.ui.result(&status, |status| {
            let (counts, load) = (status.counts, status.load);
            let uptime = indicatif::HumanDuration(Duration::from_secs(status.uptime_seconds));
            fields([
                ("version", status.version.clone()),
                (
                    "started",
                    format!("{} ({uptime} ago)", moment(status.started_at)),
                ),
                (
                    "applications",
                    format!("APP.TENANT at {}", status.apps_base_url),
                ),
                ("publishers", counts.publishers.to_string()),
                (
                    "packages",
                    format!("{} in {} versions", counts.packages, counts.versions),
                ),
                ("tenants", counts.tenants.to_string()),
                ("installations", counts.installations.to_string()),
                ("drivers", counts.drivers.to_string()),
                ("requests under way", load.requests.to_string()),
                (
                    "instances",
                    format!("{}, {} waiting", load.instances, load.waiting_instances),
                ),
                ("components", bytes(status.storage.component_bytes)),
                ("control database", bytes(status.storage.control_bytes)),
            ])
        });
        Ok(())
    }
}
