//! `canopy blob`: objects that an installation stores.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use canopy_api_types::{Container, Object};
use futures::StreamExt as _;
use reqwest::header::CONTENT_LENGTH;
use serde_json::json;
use tokio_util::io::ReaderStream;

use super::AppArg;
use crate::ui::{bytes, fields, moment, table};
use crate::{Context, Error, file};

/// Look at and repair the objects of an installation
#[derive(Debug, clap::Subcommand)]
pub enum Blob {
    /// List the containers
    Containers {
        #[command(flatten)]
        app: AppArg,
    },
    /// Make a container
    Create {
        #[command(flatten)]
        app: AppArg,
        /// The container
        container: String,
    },
    /// Remove a container
    Remove {
        #[command(flatten)]
        app: AppArg,
        /// The container
        container: String,
        /// With all that is in it
        #[arg(long)]
        force: bool,
    },
    /// List the objects of a container
    List {
        #[command(flatten)]
        app: AppArg,
        /// The container
        container: String,
        /// Only objects whose names begin so
        #[arg(long, default_value = "")]
        prefix: String,
    },
    /// Show an object but for its content
    Head {
        #[command(flatten)]
        object: ObjectArg,
    },
    /// Write the content of an object to a file or, without one, to standard output
    Get {
        #[command(flatten)]
        object: ObjectArg,
        /// Where to write it
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Put an object
    Put {
        #[command(flatten)]
        object: ObjectArg,
        /// What to put [default: what comes by standard input]
        file: Option<PathBuf>,
        /// Its media type
        #[arg(long, default_value = "application/octet-stream")]
        content_type: String,
    },
    /// Remove an object
    Delete {
        #[command(flatten)]
        object: ObjectArg,
    },
}

/// An object of an installation.
#[derive(Debug, clap::Args)]
pub struct ObjectArg {
    #[command(flatten)]
    app: AppArg,
    /// The container
    container: String,
    /// The object's name
    key: String,
}

impl ObjectArg {
    fn query(&self) -> Vec<(&'static str, String)> {
        vec![
            ("container", self.container.clone()),
            ("name", self.key.clone()),
        ]
    }

    fn path(&self) -> Vec<&str> {
        self.app.path(&["blobs", "object"])
    }
}

impl Blob {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        match self {
            Self::Containers { app } => {
                let path = app.path(&["blobs", "containers"]);
                let containers: Vec<Container> = client.list(&path, &[]).await?;
                context.ui.result(&containers, |containers| {
                    let rows = containers.iter().map(|container| {
                        [
                            container.name.clone(),
                            container.objects.to_string(),
                            bytes(container.bytes),
                        ]
                    });
                    table("No containers.", ["container", "objects", "size"], rows)
                });
            }
            Self::Create { app, container } => {
                let query = [("container", container.clone())];
                let path = app.path(&["blobs", "container"]);
                client
                    .put_bytes(&path, &query, reqwest::Body::default(), None)
                    .await?;
                let created = json!({ "created": container });
                context
                    .ui
                    .result(&created, |_| format!("Container {container:?} is there."));
            }
            Self::Remove {
                app,
                container,
                force,
            } => {
                let query = [
                    ("container", container.clone()),
                    ("force", force.to_string()),
                ];
                let path = app.path(&["blobs", "container"]);
                client.delete_one(&path, &query).await?;
                let deleted = json!({ "deleted": container });
                context
                    .ui
                    .result(&deleted, |_| format!("Removed container {container:?}."));
            }
            Self::List {
                app,
                container,
                prefix,
            } => {
                let query = [("container", container), ("prefix", prefix)];
                let path = app.path(&["blobs", "objects"]);
                let objects: Vec<Object> = client.list(&path, &query).await?;
                context.ui.result(&objects, |objects| {
                    let rows = objects.iter().map(|object| {
                        [
                            object.name.clone(),
                            bytes(object.bytes),
                            object.content_type.clone().unwrap_or_default(),
                            moment(object.modified_at),
                        ]
                    });
                    table("No objects.", ["object", "size", "type", "put"], rows)
                });
            }
            Self::Head { object } => {
                let path = object.app.path(&["blobs", "info"]);
                let found: Object = client.query(&path, &object.query()).await?;
                context.ui.result(&found, describe);
            }
            Self::Get { object, output } => get(context, &object, output.as_deref()).await?,
            Self::Put {
                object,
                file,
                content_type,
            } => put(context, &object, file.as_deref(), &content_type).await?,
            Self::Delete { object } => {
                client.delete_one(&object.path(), &object.query()).await?;
                let deleted = json!({ "deleted": object.key });
                context
                    .ui
                    .result(&deleted, |_| format!("Removed {:?}.", object.key));
            }
        }
        Ok(())
    }
}

async fn get(context: &Context, object: &ObjectArg, output: Option<&Path>) -> Result<(), Error> {
    let client = context.client()?;
    if output.is_none() && std::io::stdout().is_terminal() {
        return Err(Error::Usage(
            "the content would go to a terminal; name a file with --output, or lead it elsewhere"
                .into(),
        ));
    }
    let response = client.stream(&object.path(), &object.query()).await?;
    let length = response.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
    let url = response.url().to_string();
    let broken = |error: reqwest::Error| Error::Unreachable {
        url: url.clone(),
        reason: format!("the content ended early: {error}"),
    };
    let mut pieces = response.bytes_stream();
    let Some(path) = output else {
        while let Some(piece) = pieces.next().await {
            let mut out = std::io::stdout().lock();
            out.write_all(&piece.map_err(broken)?)
                .map_err(|error| Error::local("standard output can't be written", error))?;
        }
        return Ok(());
    };
    let progress = context
        .ui
        .transfer(format!("Fetching {:?}", object.key), length.unwrap_or(0));
    let step = |bytes| progress.bar().inc(bytes);
    file::write_stream(path, &mut pieces, step, broken).await?;
    drop(progress);
    let written = json!({ "file": path, "bytes": length });
    context
        .ui
        .result(&written, |_| format!("Wrote {}.", path.display()));
    Ok(())
}

async fn put(
    context: &Context,
    object: &ObjectArg,
    path: Option<&Path>,
    content_type: &str,
) -> Result<(), Error> {
    let client = context.client()?;
    let (body, length) = match path {
        Some(path) => {
            let unreadable =
                |error| Error::local(format!("{} can't be read", path.display()), error);
            let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
            let length = file.metadata().await.map_err(unreadable)?.len();
            let progress = context
                .ui
                .transfer(format!("Sending {}", path.display()), length);
            let pieces = ReaderStream::with_capacity(file, 64 << 10).inspect(move |piece| {
                if let Ok(piece) = piece {
                    progress.bar().inc(piece.len() as u64);
                }
            });
            (reqwest::Body::wrap_stream(pieces), Some(length))
        }
        None => {
            let pieces = ReaderStream::with_capacity(tokio::io::stdin(), 64 << 10);
            (reqwest::Body::wrap_stream(pieces), None)
        }
    };
    let headers = (content_type, length);
    let response = client
        .put_bytes(&object.path(), &object.query(), body, Some(headers))
        .await?;
    let put: Object = client.read_json(response).await?;
    context.ui.result(&put, |put| {
        format!("Put {:?}, {}.", put.name, bytes(put.bytes))
    });
    Ok(())
}

fn describe(object: &Object) -> String {
    let metadata: Vec<_> = object
        .metadata
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    fields([
        ("name", object.name.clone()),
        (
            "size",
            format!("{} ({} bytes)", bytes(object.bytes), object.bytes),
        ),
        ("type", object.content_type.clone().unwrap_or_default()),
        ("etag", object.etag.clone()),
        ("metadata", metadata.join("\n")),
        ("put", moment(object.modified_at)),
    ])
}
