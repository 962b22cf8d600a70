//! `canopy tenant erase` and `canopy erasure`: erasing a tenant for good, and the proof of it.

use std::path::PathBuf;

use canopy_api_types::{ErasureCreate, ErasurePlan, ErasureRecord, Job, SigningKey};
use canopy_ids::{ErasureId, Label};
use ed25519_dalek::{Signature, VerifyingKey};

use super::job::{self, Waiting};
use crate::ui::{bytes, fields, moment, table};
use crate::{Context, Error};

/// Look at the signed records of erasures
#[derive(Debug, clap::Subcommand)]
pub enum Erasure {
    /// List the records, the oldest first
    List,
    /// Show one record; with --json, as a document to keep
    Show {
        /// Its id
        id: ErasureId,
    },
    /// Verify the signature of a record
    Verify {
        /// Its id, or a file that `canopy erasure show --json` wrote
        #[arg(value_name = "ID|FILE")]
        record: String,
        /// The node's public key [default: the one that the node publishes]
        #[arg(long, value_name = "HEX")]
        key: Option<String>,
    },
}

/// Options of `canopy tenant erase`.
#[derive(Debug, clap::Args)]
pub struct Erase {
    /// The tenant
    name: Label,
    /// Its name once more: do it; without this, only say what would go
    #[arg(long, value_name = "NAME")]
    confirm: Option<Label>,
    /// Do not wait for the time that the node keeps erased tenants for (`erase.tombstone`)
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    waiting: Waiting,
}

impl Erase {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let path = ["tenants", self.name.as_str(), "erasure"];
        let Some(confirm) = self.confirm else {
            let plan: ErasurePlan = client.get(&path).await?;
            context.ui.result(&plan, |plan| {
                format!(
                    "{}\nNothing was changed. To erase it for good: canopy tenant erase {name} \
                     --confirm {name}",
                    planned(plan),
                    name = plan.name
                )
            });
            return Ok(());
        };
        let body = ErasureCreate {
            confirm,
            now: self.now,
        };
        let job: Job = client.post(&path, &body).await?;
        job::finish(context, &client, job, self.waiting, |job| {
            if job.state.is_final() {
                let id = job::outcome(job, "erasure");
                format!(
                    "Erased tenant {}. The signed record is {id}.\nNext: canopy erasure verify {id}",
                    self.name
                )
            } else {
                format!(
                    "Tenant {} answers no more and is erased for good at {}.\nUntil then it comes \
                     back with `canopy job cancel {}`.",
                    self.name,
                    moment(job.not_before),
                    job.id
                )
            }
        })
        .await
    }
}

fn planned(plan: &ErasurePlan) -> String {
    let rows = plan.amounts.iter().map(|amount| {
        let size = if amount.bytes > 0 {
            bytes(amount.bytes)
        } else {
            String::new()
        };
        [amount.what.clone(), amount.items.to_string(), size]
    });
    format!(
        "Erasing tenant {} would remove:\n{}\nAsked for now, it would be gone at {}.",
        plan.name,
        table("", ["what", "how many", "size"], rows),
        moment(plan.erase_at)
    )
}

impl Erasure {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        match self {
            Self::List => {
                let client = context.client()?;
                let records: Vec<ErasureRecord> = client.list(&["erasures"], &[]).await?;
                context.ui.result(&records, |records| {
                    let rows = records.iter().map(|record| {
                        let name = record.name.to_string();
                        [record.id.to_string(), name, moment(record.erased_at)]
                    });
                    table("Nothing was erased.", ["id", "tenant", "erased"], rows)
                });
            }
            Self::Show { id } => {
                let client = context.client()?;
                let path = ["erasures", &id.to_string()];
                let record: ErasureRecord = client.get(&path).await?;
                context.ui.result(&record, describe);
            }
            Self::Verify { record, key } => {
                let record = match record.parse::<ErasureId>() {
                    Ok(id) => {
                        let path = ["erasures", &id.to_string()];
                        context.client()?.get(&path).await?
                    }
                    Err(_) => read(&record.into())?,
                };
                let key = match key {
                    Some(key) => key,
                    None => {
                        let published: SigningKey =
                            context.client()?.get(&["erasures", "key"]).await?;
                        published.public_key
                    }
                };
                verify(&record, &key)?;
                context.ui.result(&record, |record| {
                    format!(
                        "The signature is genuine: tenant {} was erased at {}.",
                        record.name,
                        moment(record.erased_at)
                    )
                });
            }
        }
        Ok(())
    }
}

fn read(path: &PathBuf) -> Result<ErasureRecord, Error> {
    let failed = |error: String| Error::local(path.display(), error);
    let text = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))
}

/// Checks that `key` signed the record, and that what is shown beside the signed text is in it.
fn verify(record: &ErasureRecord, key: &str) -> Result<(), Error> {
    let forged = |why: &str| {
        Error::advised(
            format!("the record {} is not genuine: {why}", record.id),
            "compare the key with the one that the node publishes, `GET /api/v1/erasures/key`",
        )
    };
    let public = from_hex(key)
        .and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
        .ok_or_else(|| {
            Error::Usage("the key is not 64 hexadecimal digits of an Ed25519 key".into())
        })?;
    let signature = from_hex(&record.signature).map(|bytes| Signature::from_bytes(&bytes));
    let signature = signature.ok_or_else(|| forged("its signature is none"))?;
    public
        .verify_strict(record.record.as_bytes(), &signature)
        .map_err(|_| forged("the signature does not fit the text and the key"))?;
    let signed: serde_json::Value = serde_json::from_str(&record.record)
        .map_err(|_| forged("what was signed is no statement"))?;
    let same = signed["id"] == record.id.to_string()
        && signed["tenant"] == record.tenant.to_string()
        && signed["name"] == record.name.as_str();
    if same {
        Ok(())
    } else {
        Err(forged("what is beside the signed text differs from it"))
    }
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

fn describe(record: &ErasureRecord) -> String {
    let signed: serde_json::Value = serde_json::from_str(&record.record).unwrap_or_default();
    let text = |member: &str| signed[member].as_str().unwrap_or_default().to_owned();
    let list = |member: &str, line: &dyn Fn(&serde_json::Value) -> String| {
        let items = signed[member].as_array().map(Vec::as_slice);
        let lines: Vec<_> = items.unwrap_or_default().iter().map(line).collect();
        lines.join("\n")
    };
    fields([
        ("id", record.id.to_string()),
        ("tenant", format!("{} ({})", record.name, record.tenant)),
        ("erased", moment(record.erased_at)),
        ("requested", text("requested_at")),
        ("requested by", text("requested_by")),
        (
            "keys",
            list("keys", &|key| {
                let part = |member: &str| key[member].as_str().unwrap_or_default().to_owned();
                format!("{} (blake3 {})", part("file"), part("blake3"))
            }),
        ),
        (
            "removed",
            list("erased", &|one| {
                let size = one["bytes"].as_u64().unwrap_or(0);
                let what = one["what"].as_str().unwrap_or_default();
                let size = if size > 0 {
                    format!(", {}", bytes(size))
                } else {
                    String::new()
                };
                format!("{} {what}{size}", one["items"])
            }),
        ),
        ("statement", text("statement")),
        ("public key", record.public_key.clone()),
        ("signature", record.signature.clone()),
    ])
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey as Secret};
    use time::OffsetDateTime;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn record() -> (ErasureRecord, String) {
        let key = Secret::from_bytes(&[7; 32]);
        let (id, tenant) = (ErasureId::new(), canopy_ids::TenantId::new());
        let text = format!(r#"{{"id":"{id}","tenant":"{tenant}","name":"acme"}}"#);
        let public = hex(key.verifying_key().as_bytes());
        let record = ErasureRecord {
            id,
            tenant,
            name: "acme".parse().expect("a name"),
            erased_at: OffsetDateTime::UNIX_EPOCH,
            signature: hex(&key.sign(text.as_bytes()).to_bytes()),
            record: text,
            public_key: public.clone(),
        };
        (record, public)
    }

    #[test]
    fn a_genuine_record_is_told_from_a_forged_one() {
        let (genuine, key) = record();
        verify(&genuine, &key).expect("genuine");
        let mut forged = genuine.clone();
        forged.record = forged.record.replace("acme", "evil");
        assert!(verify(&forged, &key).is_err());
        let mut renamed = genuine.clone();
        renamed.name = "evil".parse().expect("a name");
        assert!(verify(&renamed, &key).is_err());
        let mut broken = genuine.clone();
        broken.signature = "00".into();
        assert!(verify(&broken, &key).is_err());
        let other = hex(Secret::from_bytes(&[8; 32]).verifying_key().as_bytes());
        assert!(verify(&genuine, &other).is_err());
        assert_eq!(verify(&genuine, "xyz").expect_err("no key").code(), 2);
    }
}
