//! What the demo publishes, creates and installs. What is there already stays as it is, so that
//! what the user has changed is kept.

use std::path::{Path, PathBuf};

use canopy_api_types::{
    Config, Driver, DriverPut, Installation, InstallationPut, PackageVersion, Plan, PlanLimits,
    PlanPut, Publisher, PublisherPut, SecretText, Tenant, TenantPut, Token, TokenCreate,
    TokenCreated,
};
use canopy_ids::{BindingKey, InvalidInterface, InvalidName, Label, PackageName};
use serde_json::json;

use super::redis::Server;
use crate::client::{Client, Condition};
use crate::command::publish;
use crate::profile::write_private;
use crate::project::{self, Project};
use crate::{Context, Error};

/// The samples' publisher.
const PUBLISHER: &str = "canopy";
/// The samples, drivers first because the applications' imports need somebody who serves them.
pub(super) const SAMPLES: [&str; 5] = [
    "drivers/smtp",
    "drivers/redis",
    "apps/invoices",
    "apps/mailroom",
    "apps/documents",
];

/// The plan of the larger tenant.
const PLAN: &str = "business";

/// Where things are.
pub(super) struct Places<'a> {
    pub(super) dir: &'a Path,
    pub(super) plugins: &'a Path,
    pub(super) apps: u16,
    pub(super) mail: u16,
    pub(super) redis: Option<Server>,
}

/// What there is in the end.
pub(super) struct Done {
    pub(super) acme_invoices: Installation,
    pub(super) globex_invoices: Installation,
    pub(super) mailroom: Installation,
    pub(super) documents: Installation,
    /// The file of a token of acme.
    pub(super) token: PathBuf,
}

/// Publishes, creates and installs.
pub(super) async fn run(
    context: &Context,
    client: &Client,
    places: &Places<'_>,
) -> Result<Done, Error> {
    let publisher = ["publishers", PUBLISHER];
    if client.find::<Publisher>(&publisher).await?.is_none() {
        let body = PublisherPut {
            display_name: "Canopy samples".into(),
        };
        let _: Publisher = client.put(&publisher, &body, Condition::Always).await?;
    }
    for sample in SAMPLES {
        publish_sample(context, client, &places.plugins.join(sample)).await?;
    }
    plan(client).await?;
    tenant(client, "acme", "Acme GmbH", PLAN, "eu-central").await?;
    tenant(
        client,
        "globex",
        "Globex Corporation",
        "standard",
        "us-east",
    )
    .await?;

    let smtp =
        json!({ "host": "127.0.0.1", "port": places.mail, "from": "Acme <office@acme.example>" });
    driver(client, "acme", "smtp", smtp, places.mail, None).await?;
    let acme_invoices = install(
        client,
        "acme",
        "invoices",
        json!({ "seller": "Acme GmbH\nLange Straße 1\n10115 Berlin" }),
        None,
    )
    .await?;
    let mailroom = install(
        client,
        "acme",
        "mailroom",
        json!({}),
        Some(("canopy:mail", "smtp")),
    )
    .await?;

    let documents = json!({ "title": "Acme’s documents" });
    let documents = install(client, "acme", "documents", documents, None).await?;

    let globex = json!({ "seller": "Globex Corporation", "currency": "USD", "vat_rates": "0" });
    let binding = match &places.redis {
        Some(server) => {
            let config = json!({ "host": "127.0.0.1", "port": server.port });
            let password = Some(("password", server.password.as_str()));
            driver(client, "globex", "redis", config, server.port, password).await?;
            Some(("wasi:keyvalue", "redis"))
        }
        None => None,
    };
    let globex_invoices = install(client, "globex", "invoices", globex, binding).await?;
    let token = token(client, places.dir, "acme").await?;
    Ok(Done {
        acme_invoices,
        globex_invoices,
        mailroom,
        documents,
        token,
    })
}

async fn publish_sample(context: &Context, client: &Client, dir: &Path) -> Result<(), Error> {
    let Project {
        manifest,
        component,
        ..
    } = Project::read(dir)?;
    let PackageName { publisher, name } = &manifest.name;
    let version = manifest.version.to_string();
    let path = [
        "packages",
        publisher.as_str(),
        name.as_str(),
        "versions",
        &version,
    ];
    let Some(published) = client.find::<PackageVersion>(&path).await? else {
        return publish::publish(context, client, dir, None, false)
            .await
            .map(drop);
    };
    if published.digest != project::digest(&component)? {
        context.ui.warn(format_args!(
            "{} is published as {} {version} with other bytes, which go on; to run these, raise `version` in its \
             canopy.toml, `canopy publish` it and `canopy upgrade`",
            dir.display(),
            manifest.name,
        ));
    }
    Ok(())
}

/// A plan beside `standard`, which every node has: twice the share of a busy node, more room.
async fn plan(client: &Client) -> Result<(), Error> {
    let path = ["plans", PLAN];
    if client.find::<Plan>(&path).await?.is_none() {
        let body = PlanPut {
            display_name: "Business".into(),
            limits: PlanLimits {
                weight: Some(200),
                storage_bytes: Some(50 << 30),
                ..PlanLimits::default()
            },
        };
        let _: Plan = client.put(&path, &body, Condition::Always).await?;
    }
    Ok(())
}

async fn tenant(
    client: &Client,
    name: &str,
    display_name: &str,
    plan: &str,
    region: &str,
) -> Result<(), Error> {
    let path = ["tenants", name];
    if client.find::<Tenant>(&path).await?.is_none() {
        let body = TenantPut {
            plan: plan.into(),
            region: region.into(),
            ..TenantPut::new(display_name)
        };
        let _: Tenant = client.put(&path, &body, Condition::Always).await?;
    }
    Ok(())
}

/// A driver that reaches a server of the demo. Its port may be another at each start, so its
/// settings are written each time.
async fn driver(
    client: &Client,
    tenant: &str,
    name: &str,
    config: serde_json::Value,
    port: u16,
    secret: Option<(&str, &str)>,
) -> Result<(), Error> {
    let path = ["tenants", tenant, "drivers", name];
    let secrets = secret.map(|(key, value)| (key.to_owned(), SecretText::new(value)));
    let body = DriverPut {
        config: object(config),
        secrets: secrets.into_iter().collect(),
        // The server is on this machine, which only the operator can open, to this driver alone.
        egress: vec!["127.0.0.0/8".into(), format!("127.0.0.1:{port}")],
        ..DriverPut::new(package(name)?)
    };
    let _: Driver = client.put(&path, &body, Condition::Always).await?;
    Ok(())
}

async fn install(
    client: &Client,
    tenant: &str,
    name: &str,
    config: serde_json::Value,
    binding: Option<(&str, &str)>,
) -> Result<Installation, Error> {
    let path = ["tenants", tenant, "installations", name];
    if let Some(there) = client.find(&path).await? {
        return Ok(there);
    }
    let mut body = InstallationPut {
        config: object(config),
        ..InstallationPut::new(package(name)?)
    };
    // Whoever reaches this machine's loopback address is the user who runs the demo.
    body.config
        .insert("anonymous_access".into(), "write".into());
    if let Some((interface, driver)) = binding {
        let interface: BindingKey = interface
            .parse()
            .map_err(|error: InvalidInterface| Error::local("a binding", error))?;
        body.bindings.insert(interface, label(driver)?);
    }
    client.put(&path, &body, Condition::Absent).await
}

/// A token with which programs call acme's applications, kept in a file because its secret is
/// shown once.
async fn token(client: &Client, dir: &Path, tenant: &str) -> Result<PathBuf, Error> {
    let path = dir.join(format!("{tenant}.token"));
    let subject = "demo-program";
    let there: Vec<Token> = client.list(&["tenants", tenant, "tokens"], &[]).await?;
    if path.is_file() && there.iter().any(|token| token.subject == subject) {
        return Ok(path);
    }
    let body = TokenCreate {
        subject: subject.into(),
        display_name: None,
        roles: vec!["clerk".into()],
        access: None,
    };
    let created: TokenCreated = client.post(&["tenants", tenant, "tokens"], &body).await?;
    write_private(&path, created.secret.reveal())
        .map_err(|error| Error::local(path.display(), error))?;
    Ok(path)
}

fn package(name: &str) -> Result<PackageName, Error> {
    Ok(PackageName {
        publisher: label(PUBLISHER)?,
        name: label(name)?,
    })
}

fn label(name: &str) -> Result<Label, Error> {
    name.parse()
        .map_err(|error: InvalidName| Error::local("a name of the demo", error))
}

fn object(value: serde_json::Value) -> Config {
    match value {
        serde_json::Value::Object(object) => object,
        _ => Config::new(),
    }
}
