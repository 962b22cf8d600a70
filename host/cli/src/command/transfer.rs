//! `canopy tenant export` and `canopy tenant import`: a tenant as a file, that goes on where it
//! stopped.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use canopy_api_types::{ExportList, Import as Noun, ImportCreate, ImportStart, Job};
use canopy_ids::{ExportId, ImportId, Label};
use futures::StreamExt as _;

use super::job::{self, Waiting};
use crate::client::Client;
use crate::ui::bytes;
use crate::{Context, Error};

/// Bytes that one request sends.
const PIECE: usize = 8 << 20;
/// How often in a row a transfer may break before it is given up.
const ATTEMPTS: u32 = 5;
/// How long to wait after it broke.
const PAUSE: Duration = Duration::from_secs(2);

/// Options of `canopy tenant export`.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// The tenant
    name: Label,
    /// File to write [default: TENANT.canopy.tar]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Fetch this export, which was made before, instead of a new one
    #[arg(long, value_name = "ID")]
    export: Option<ExportId>,
    #[command(flatten)]
    waiting: Waiting,
}

/// Options of `canopy tenant import`.
#[derive(Debug, clap::Args)]
pub struct Import {
    /// An archive that `canopy tenant export` wrote
    file: PathBuf,
    /// The tenant's name here [default: the one that it had]
    #[arg(long = "as", value_name = "NAME")]
    name: Option<Label>,
    /// Go on with this import, whose sending broke off
    #[arg(long, value_name = "ID")]
    import: Option<ImportId>,
    #[command(flatten)]
    waiting: Waiting,
}

impl Export {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let output = self
            .output
            .unwrap_or_else(|| format!("{}.canopy.tar", self.name).into());
        let export = match self.export {
            Some(export) => export,
            None => {
                let path = ["tenants", self.name.as_str(), "exports"];
                let job: Job = client.post(&path, &serde_json::json!({})).await?;
                if self.waiting.is_declined() {
                    return job::finish(context, &client, job, self.waiting, job::describe).await;
                }
                let job = job::follow(context, &client, job).await?;
                let id = job::outcome(&job, "export");
                id.parse()
                    .map_err(|error| Error::local("the node's answer", error))?
            }
        };
        let list: ExportList = client.get(&["exports"]).await?;
        let found = list.items.iter().find(|one| one.id == export);
        let size = found
            .ok_or_else(|| Error::NotFound(format!("there is no export {export} any more")))?
            .size;
        fetch(context, &client, export, size, &output).await?;
        let result = serde_json::json!({ "export": export, "file": output, "size": size });
        context.ui.result(&result, |_| {
            format!(
                "Wrote {} ({}). It is not encrypted and holds everything but secrets and tokens: \
                 keep it safe.",
                output.display(),
                bytes(size)
            )
        });
        Ok(())
    }
}

/// Fetches an export into a file beside `output` and puts it there when it is whole.
async fn fetch(
    context: &Context,
    client: &Client,
    export: ExportId,
    size: u64,
    output: &Path,
) -> Result<(), Error> {
    let partial = PathBuf::from(format!("{}.{export}.part", output.display()));
    let failed = |error: std::io::Error| Error::local(partial.display(), error);
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let mut file = options.open(&partial).map_err(failed)?;
    let progress = context.ui.transfer("fetching", size);
    let mut broken = 0;
    loop {
        let here = file.metadata().map_err(failed)?.len();
        progress.bar().set_position(here);
        if here >= size {
            break;
        }
        let path = ["exports", &export.to_string(), "content"];
        let response = match client.stream_from(&path, here).await {
            Ok(response) => response,
            Err(error @ Error::Unreachable { .. }) => {
                pause(&mut broken, error).await?;
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut pieces = response.bytes_stream();
        while let Some(piece) = pieces.next().await {
            let Ok(piece) = piece else {
                break;
            };
            file.write_all(&piece).map_err(failed)?;
            progress.bar().inc(piece.len() as u64);
            broken = 0;
        }
        let error = Error::local("the download", "it broke off");
        if file.metadata().map_err(failed)?.len() < size {
            pause(&mut broken, error).await?;
        }
    }
    file.sync_all().map_err(failed)?;
    std::fs::rename(&partial, output).map_err(|error| Error::local(output.display(), error))
}

async fn pause(broken: &mut u32, error: Error) -> Result<(), Error> {
    *broken += 1;
    if *broken >= ATTEMPTS {
        return Err(error);
    }
    tokio::time::sleep(PAUSE).await;
    Ok(())
}

impl Import {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let failed = |error: std::io::Error| Error::local(self.file.display(), error);
        let mut file = File::open(&self.file).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let import: Noun = match self.import {
            Some(id) => client.get(&["imports", &id.to_string()]).await?,
            None => {
                let name = self.file.file_name().unwrap_or_default();
                let body = ImportCreate {
                    size,
                    name: name.to_string_lossy().chars().take(100).collect(),
                };
                client.post(&["imports"], &body).await?
            }
        };
        if import.size != size {
            return Err(Error::Usage(format!(
                "{} has {size} bytes, and import {} was begun with a file of {}",
                self.file.display(),
                import.id,
                import.size
            )));
        }
        let again = format!(
            "go on with `canopy tenant import {} --import {}`",
            self.file.display(),
            import.id
        );
        send(context, &client, &mut file, &import)
            .await
            .map_err(|error| error.with_advice(again.as_str()))?;
        let body = ImportStart { tenant: self.name };
        let id = import.id.to_string();
        let job: Job = client.post(&["imports", &id, "start"], &body).await?;
        job::finish(context, &client, job, self.waiting, |job| {
            let tenant = job::outcome(job, "tenant");
            let mut text = format!(
                "Imported tenant {tenant} with {} installations.",
                job::number(job, "installations")
            );
            for (member, said) in [
                ("secrets_to_set", "Secrets are not in an archive; set"),
                ("domains_left_out", "Domains in use here were left out"),
            ] {
                let list = job.result.as_ref().and_then(|result| result.get(member));
                let list = list.and_then(|list| list.as_array());
                for (index, item) in list.into_iter().flatten().enumerate() {
                    let item = item.as_str().unwrap_or_default();
                    let before = if index == 0 {
                        format!("\n{said}:")
                    } else {
                        String::new()
                    };
                    text.push_str(&format!("{before}\n  {item}"));
                }
            }
            text
        })
        .await
    }
}

/// Sends what the node does not have yet, piece by piece.
async fn send(
    context: &Context,
    client: &Client,
    file: &mut File,
    import: &Noun,
) -> Result<(), Error> {
    let id = import.id.to_string();
    let progress = context.ui.transfer("sending", import.size);
    let mut received = import.received;
    let mut broken = 0;
    let mut piece = Vec::new();
    while received < import.size {
        progress.bar().set_position(received);
        piece.clear();
        file.seek(SeekFrom::Start(received))
            .and_then(|_| file.take(PIECE as u64).read_to_end(&mut piece))
            .map_err(|error| Error::local("reading the archive", error))?;
        let query = [("offset", received.to_string())];
        let path = ["imports", id.as_str(), "content"];
        match client.put_piece(&path, &query, piece.clone()).await {
            Ok(Noun { received: now, .. }) => {
                received = now;
                broken = 0;
            }
            Err(error @ Error::Unreachable { .. }) => {
                pause(&mut broken, error).await?;
                // Some of the piece may have arrived.
                let now: Result<Noun, _> = client.get(&["imports", &id]).await;
                received = now.map_or(received, |now| now.received);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
