//! `canopy key`: which keys a node has, and new ones.

use std::path::PathBuf;

use canopy_api_types::{Job, KeyStatus};
use canopy_ids::Label;

use super::job::{self, Waiting};
use crate::ui::table;
use crate::{Context, Error};

/// Look at keys and change them
#[derive(Debug, clap::Subcommand)]
pub enum Key {
    /// Show which keys there are, never what they are
    Status,
    /// Give a tenant a new data key and encrypt everything that it stores with it
    RotateTenant {
        /// The tenant
        name: Label,
        /// Whether to wait for the job
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Wrap all keys of a stopped node with a new operator key
    RotateOperator(RotateOperator),
}

/// Wrap all keys of a stopped node with a new operator key
///
/// Nothing that tenants store is encrypted anew: the operator's key wraps their keys. Afterwards
/// set `keys.operator_key_file` to the new file. Backups that were made before need the old key.
#[derive(Debug, clap::Args)]
pub struct RotateOperator {
    /// The node's data folder; no node may use it
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// File with the present key [default: operator.key in the data folder]
    #[arg(long, value_name = "FILE")]
    pub old: Option<PathBuf>,
    /// File with the new key; made if it does not exist
    #[arg(long, value_name = "FILE")]
    pub new: PathBuf,
}

impl Key {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        match self {
            Self::Status => {
                let status: KeyStatus = context.client()?.get(&["keys"]).await?;
                context.ui.result(&status, |status| {
                    let rows = status.tenants.iter().map(|key| {
                        let version = key.version;
                        let version = version.map_or_else(|| "none yet".into(), |v| v.to_string());
                        [key.tenant.to_string(), version]
                    });
                    format!(
                        "operator key: {}\n{}",
                        status.operator_key,
                        table("No tenants.", ["tenant", "key version"], rows)
                    )
                });
                Ok(())
            }
            Self::RotateTenant { name, waiting } => {
                let client = context.client()?;
                let path = ["tenants", name.as_str(), "keys", "rotate"];
                let job: Job = client.post(&path, &serde_json::json!({})).await?;
                job::finish(context, &client, job, waiting, |job| {
                    format!(
                        "Tenant {name} has key version {}; {} installations were encrypted with it.",
                        job::outcome(job, "version"),
                        job::number(job, "installations"),
                    )
                })
                .await
            }
            Self::RotateOperator(_) => Err(Error::Usage(
                "this needs the node's own program, which works on the data folder".into(),
            )),
        }
    }
}
