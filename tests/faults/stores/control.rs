//! The control plane: its database, and the files of components that its rows name.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use canopy_backend::files::create_dir;
use canopy_ids::{Digest, Label, PackageName, TenantId};
use canopy_manifest::Kind;
use canopy_store::{
    Components, InstallationWrite, NewVersion, PackageFilter, PageRequest, Precondition,
    Store as Database, StoreError, TenantWrite,
};
use semver::Version;

use super::{Store, Units, content, keyring, of_content, text, written};

pub(super) struct ControlStore {
    database: Database,
    components: Components,
}

const COMPONENT: usize = 150_000;

fn label(text: &str) -> Label {
    text.parse().expect(text)
}

fn package() -> PackageName {
    "acme/notes".parse().expect("a package")
}

fn version(n: u32) -> Version {
    Version::new(1, 0, n.into())
}

fn page() -> PageRequest {
    PageRequest {
        limit: 1000,
        cursor: None,
    }
}

fn new_version(n: u32, digest: Digest, size: u64) -> NewVersion {
    NewVersion {
        package: package(),
        version: version(n),
        kind: Kind::App,
        title: "Notes".into(),
        summary: "Notes.".into(),
        categories: Vec::new(),
        digest,
        size,
        manifest: format!("step = {n}"),
        migrations: BTreeMap::new(),
        imports: Vec::new(),
        exports: Vec::new(),
        serves: Vec::new(),
        schedules: Vec::new(),
        badge: None,
    }
}

impl ControlStore {
    /// As the API does: the component first, then the row that names it.
    async fn publish(&self, n: u32) -> Result<(), String> {
        let mut upload = self.components.upload().await.map_err(text)?;
        for piece in content(n, COMPONENT).chunks(40_000) {
            upload.write(piece).await.map_err(text)?;
        }
        let uploaded = upload.finish().await.map_err(text)?;
        let new = new_version(n, uploaded.digest(), uploaded.size());
        uploaded.store().await.map_err(text)?;
        self.database.publish(new).await.map(drop).map_err(text)
    }

    async fn tenant(&self) -> Result<TenantId, String> {
        let row = self.database.tenant(label("one")).await;
        Ok(row.map_err(text)?.id)
    }

    async fn install(&self, n: u32) -> Result<(), String> {
        let mut config = serde_json::Map::new();
        config.insert("step".into(), n.into());
        let secret = String::from_utf8(content(n, 100)).expect("text");
        let write = InstallationWrite {
            package: package(),
            version: version(2),
            previous_version: None,
            config,
            egress: vec!["api.example.com:443".into()],
            bindings: BTreeMap::new(),
            domains: vec![format!("notes-{n}.example.com")],
            secrets: BTreeMap::from([("key".into(), Some(secret))]),
        };
        let (tenant, name) = (self.tenant().await?, label(&format!("app-{n}")));
        let put = self
            .database
            .put_installation(tenant, name, write, Precondition::Any);
        put.await.map(drop).map_err(text)
    }
}

impl Store for ControlStore {
    const NAME: &'static str = "control-plane";
    const STEPS: u32 = 13;

    async fn open(dir: &Path) -> Result<Self, String> {
        let control = dir.join("control");
        create_dir(&control).map_err(text)?;
        let database = Database::open(&control, &keyring(dir)?).map_err(text)?;
        let components = Components::open(dir.join("components"), 1 << 20).map_err(text)?;
        // What was uploaded and never published goes at a start.
        let keep: HashSet<Digest> = database
            .digests()
            .await
            .map_err(text)?
            .into_iter()
            .collect();
        components.retain(&keep).map_err(text)?;
        Ok(Self {
            database,
            components,
        })
    }

    async fn step(&mut self, n: u32) -> Result<(), String> {
        let any = Precondition::Any;
        match n {
            1 => {
                let put = self
                    .database
                    .put_publisher(label("acme"), "Acme".into(), any);
                put.await.map(drop).map_err(text)
            }
            2 | 5 | 9 => self.publish(n).await,
            3 | 7 => {
                let write = TenantWrite {
                    display_name: format!("Tenant of step {n}"),
                    plan: "standard".into(),
                    region: "local".into(),
                    attributes: BTreeMap::new(),
                };
                let name = label(if n == 3 { "one" } else { "two" });
                let put = self.database.put_tenant(name, write, any);
                put.await.map(drop).map_err(text)
            }
            10 => {
                let gone =
                    self.database
                        .delete_installation(self.tenant().await?, label("app-4"), any);
                match gone.await {
                    // It had taken place.
                    Err(StoreError::NotFound { .. }) => Ok(()),
                    gone => gone.map(drop).map_err(text),
                }
            }
            _ => self.install(n).await,
        }
    }

    fn expect(n: u32, units: &mut Units) {
        let mut set = |unit: String, value: String| drop(units.insert(unit, value));
        match n {
            1 => set("publisher".into(), "Acme".into()),
            2 | 5 | 9 => set(format!("version{n}"), written(n, COMPONENT)),
            3 => set("tenant one".into(), "Tenant of step 3".into()),
            7 => set("tenant two".into(), "Tenant of step 7".into()),
            10 => drop(units.remove("app-4")),
            _ => set(
                format!("app-{n}"),
                format!("{n} notes-{n}.example.com {}", written(n, 100)),
            ),
        }
    }

    async fn observe(&mut self) -> Result<Units, String> {
        let mut units = Units::new();
        let publishers = self.database.publishers(page()).await.map_err(text)?;
        for row in publishers.rows {
            units.insert("publisher".into(), row.display_name);
        }
        let packages = self
            .database
            .packages(PackageFilter::default(), page())
            .await;
        if !packages.map_err(text)?.rows.is_empty() {
            let versions = self.database.versions(package(), page()).await;
            for row in versions.map_err(text)?.rows {
                let component = match self.components.read(row.digest).await {
                    Ok(bytes) => of_content(&bytes),
                    Err(error) => format!("not to be read: {error}"),
                };
                units.insert(format!("version{}", row.version.patch), component);
            }
        }
        for tenant in self.database.tenants(page()).await.map_err(text)?.rows {
            units.insert(format!("tenant {}", tenant.name), tenant.display_name);
            let rows = self.database.installations(tenant.id, page()).await;
            for row in rows.map_err(text)?.rows {
                let secrets = self.database.installation_secrets(row.id).await;
                let secrets = secrets.map_err(text)?;
                let secret = secrets
                    .get("key")
                    .map(|secret| of_content(secret.as_bytes()));
                let value = format!(
                    "{} {} {}",
                    row.config.get("step").unwrap_or(&serde_json::Value::Null),
                    row.domains.join(","),
                    secret.unwrap_or_default()
                );
                units.insert(row.name.to_string(), value);
            }
        }
        Ok(units)
    }

    async fn check(&mut self) -> Result<Vec<String>, String> {
        self.database.check().await.map_err(text)
    }

    async fn close(self) {
        self.database.close().await;
    }
}
