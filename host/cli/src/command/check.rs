//! `canopy check`: whether everything that is stored is as it was written.

use std::path::PathBuf;

use canopy_api_types::Job;
use canopy_ids::Label;

use super::job::{self, Waiting};
use crate::{Context, Error};

/// Check that everything that is stored is as it was written
///
/// With --data-dir, every store of a stopped node; with --tenant, what one tenant stores, by a
/// running node. The exit code is 1 if anything is found.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// The tenant
    #[arg(long, short, required_unless_present = "data_dir")]
    tenant: Option<Label>,
    /// The node's data folder; no node may use it
    #[arg(long, value_name = "DIR", conflicts_with = "tenant")]
    pub data_dir: Option<PathBuf>,
    /// File of settings of the node, for where its operator's key is
    #[arg(long, value_name = "FILE", requires = "data_dir")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    waiting: Waiting,
}

impl Check {
    /// Whether a stopped node is to be checked, which needs none.
    pub fn is_offline(&self) -> bool {
        self.data_dir.is_some()
    }

    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let Some(tenant) = self.tenant else {
            return Err(Error::Usage("name the tenant with --tenant".into()));
        };
        let client = context.client()?;
        let path = ["tenants", tenant.as_str(), "check"];
        let job: Job = client.post(&path, &serde_json::json!({})).await?;
        let mut outcome = Ok(());
        job::finish(context, &client, job, self.waiting, |job| {
            outcome = job::findings(job);
            let count = job::number(job, "installations");
            format!("Checked what {count} installations of {tenant} store.")
        })
        .await?;
        outcome
    }
}
