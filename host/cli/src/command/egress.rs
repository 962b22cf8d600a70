//! `canopy egress`: what an installation or a driver may reach over the network.

use canopy_api_types::EgressPut;
use serde::{Deserialize, Serialize};

use super::Target;
use crate::client::Condition;
use crate::ui::printable;
use crate::{Context, Error};

/// Grant what an installation or a driver may reach over the network
#[derive(Debug, clap::Subcommand)]
pub enum Egress {
    /// List what may be reached
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Grant hosts and ports in addition
    Allow {
        #[command(flatten)]
        target: Target,
        /// Such as api.example.com:443, 'GET,HEAD https://*.example.com' or tcp://db.example.com:5432;
        /// for the operator also networks that are not public, such as 10.2.0.0/16
        #[arg(required = true, value_name = "RULE")]
        hosts: Vec<String>,
    },
    /// Take grants back
    Revoke {
        #[command(flatten)]
        target: Target,
        /// As `canopy egress list` shows them
        #[arg(required = true, value_name = "RULE")]
        hosts: Vec<String>,
    },
}

/// What installations and drivers say alike about their grants.
#[derive(Serialize, Deserialize)]
struct Granted {
    egress: Vec<String>,
    revision: u64,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

impl Egress {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let (Self::List { target } | Self::Allow { target, .. } | Self::Revoke { target, .. }) =
            &self;
        let now: Granted = client.get(&target.path(&[])).await?;
        let wanted = match &self {
            Self::List { .. } => None,
            Self::Allow { hosts, .. } => Some(with(now.egress.clone(), hosts)),
            Self::Revoke { hosts, .. } => Some(without(now.egress.clone(), hosts, target)?),
        };
        let now = match wanted {
            None => now,
            Some(egress) => {
                let condition = Condition::Revision(now.revision);
                client
                    .put(&target.path(&["egress"]), &EgressPut { egress }, condition)
                    .await?
            }
        };
        context.ui.result(&now.egress, |hosts| {
            if hosts.is_empty() {
                format!("{} may reach nothing over the network.", target.name)
            } else {
                hosts
                    .iter()
                    .map(|host| printable(host))
                    .collect::<Vec<_>>()
                    .join("\n")
            }
        });
        Ok(())
    }
}

fn with(mut granted: Vec<String>, hosts: &[String]) -> Vec<String> {
    for host in hosts {
        if !granted.contains(host) {
            granted.push(host.clone());
        }
    }
    granted
}

fn without(
    mut granted: Vec<String>,
    hosts: &[String],
    target: &Target,
) -> Result<Vec<String>, Error> {
    for host in hosts {
        let Some(index) = granted.iter().position(|grant| grant == host) else {
            return Err(Error::NotFound(format!(
                "{} {} has no grant {host:?}",
                target.noun(),
                target.name
            )));
        };
        granted.remove(index);
    }
    Ok(granted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn granting_twice_is_granting_once() {
        assert_eq!(
            with(vec!["a:1".into()], &["a:1".into(), "b:2".into()]),
            ["a:1", "b:2"]
        );
    }
}
