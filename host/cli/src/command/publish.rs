//! `canopy publish`: a version of a package.

use std::path::{Path, PathBuf};

use canopy_api_types::{PackageKind, PackageVersion, Publisher, PublisherPut};
use canopy_ids::Label;
use futures::TryStreamExt as _;
use reqwest::Body;
use reqwest::multipart::{Form, Part};
use tokio_util::io::ReaderStream;

use super::driver;
use crate::client::{Client, Condition};
use crate::project::{Project, digest};
use crate::ui::bytes;
use crate::{Context, Error};

/// Publish a version of a package
///
/// Sends the manifest canopy.toml and the component that it names, and what `canopy driver test` has
/// written down about these very bytes. Publishing the same bytes again changes nothing but that;
/// publishing other bytes as a version that exists is refused.
#[derive(Debug, clap::Args)]
pub struct Publish {
    /// The project's folder, with canopy.toml
    #[arg(default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// The component, if it is not where canopy.toml says
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Create the publisher if it does not exist
    #[arg(long)]
    create_publisher: bool,
}

impl Publish {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let version = publish(
            context,
            &client,
            &self.dir,
            self.component.as_deref(),
            self.create_publisher,
        )
        .await?;
        context.ui.result(&version, |version| {
            let next = match version.kind {
                PackageKind::App => format!("canopy install {} --tenant TENANT", version.package),
                PackageKind::Driver => {
                    format!("canopy driver add {} --tenant TENANT", version.package)
                }
            };
            let tested = version.badges.iter().map(|recorded| {
                let result = driver::badge_result(&recorded.badge);
                format!("\nIts badge says, {}: {result}.", recorded.source)
            });
            let tested: String = tested.collect();
            format!(
                "Published {} {} ({}, {}).{tested}\nNext: {next}",
                version.package,
                version.version,
                bytes(version.size),
                version.digest
            )
        });
        Ok(())
    }
}

/// Publishes the project in `dir`.
pub(super) async fn publish(
    context: &Context,
    client: &Client,
    dir: &Path,
    component: Option<&Path>,
    create_publisher: bool,
) -> Result<PackageVersion, Error> {
    let project = Project::read(dir)?;
    publish_project(context, client, dir, project, component, create_publisher).await
}

/// Publishes `project`, whose files are in `dir`.
pub(super) async fn publish_project(
    context: &Context,
    client: &Client,
    dir: &Path,
    project: Project,
    component: Option<&Path>,
    create_publisher: bool,
) -> Result<PackageVersion, Error> {
    let component = component.unwrap_or(&project.component);
    if !component.is_file() {
        return Err(Error::advised(
            format!("the component {} does not exist", component.display()),
            format!(
                "build it with `canopy build {}`, or name it with --component",
                dir.display()
            ),
        ));
    }
    let name = project.manifest.name.clone();
    owner(client, &name.publisher, create_publisher).await?;
    let digest = digest(component)?;
    let failed = |error: std::io::Error| Error::local(component.display(), error);
    let file = tokio::fs::File::open(component).await.map_err(failed)?;
    let size = file.metadata().await.map_err(failed)?.len();
    let title = format!(
        "Publishing {name} {} ({})",
        project.manifest.version,
        bytes(size)
    );
    let progress = context.ui.transfer(title, size);
    let bar = progress.bar().clone();
    let stream = ReaderStream::new(file).inspect_ok(move |piece| bar.inc(piece.len() as u64));
    let part =
        Part::stream_with_length(Body::wrap_stream(stream), size).file_name("component.wasm");
    let part = part
        .mime_str("application/wasm")
        .map_err(|error| Error::local("the form", error))?;
    let mut form = Form::new()
        .text("digest", digest.to_string())
        .text("manifest", project.text);
    for file in project.manifest.sql.iter().flat_map(|a| &a.migrations) {
        let path = dir.join(file);
        let text = tokio::fs::read_to_string(&path).await;
        let text = text.map_err(|error| Error::local(path.display(), error))?;
        form = form.part("migration", Part::text(text).file_name(file.clone()));
    }
    if let Some(badge) = driver::badge_of(component, &digest)? {
        let text = serde_json::to_string(&badge);
        form = form.text(
            "badge",
            text.map_err(|error| Error::local("the badge", error))?,
        );
    }
    let form = form.part("component", part);
    let version = project.manifest.version.to_string();
    let path = [
        "packages",
        name.publisher.as_str(),
        name.name.as_str(),
        "versions",
        &version,
    ];
    client
        .put_form(&path, form)
        .await
        .map_err(|error| match error.status() {
            Some(409) => error.with_advice(
                "a version never changes: raise `version` in canopy.toml and publish that",
            ),
            _ => error,
        })
}

/// Looks whether the publisher exists before anything long is sent, and creates it if asked to.
async fn owner(client: &Client, publisher: &Label, create: bool) -> Result<(), Error> {
    let path = ["publishers", publisher.as_str()];
    match client.get::<Publisher>(&path).await {
        Ok(_) => Ok(()),
        Err(error) if error.status() != Some(404) => Err(error),
        Err(_) if create => {
            let body = PublisherPut { display_name: publisher.to_string() };
            client.put::<_, Publisher>(&path, &body, Condition::Always).await.map(drop)
        }
        Err(error) => Err(error.with_advice(format!(
            "create the publisher with `canopy publisher create {publisher}`, or add --create-publisher"
        ))),
    }
}
