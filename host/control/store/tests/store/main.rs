//! The store keeps what it acknowledged, and refuses what must not be.

mod catalogue;
mod database;
mod schedules;
mod tenants;

use std::collections::BTreeMap;
use std::path::Path;

use canopy_backend_keys::{Keyring, OperatorKey};
use canopy_ids::{Digest, Label, PackageName, TenantId};
use canopy_manifest::Kind;
use canopy_store::{
    DriverWrite, InstallationWrite, NewVersion, PageRequest, Precondition, Store, TenantWrite,
};
use semver::Version;

/// The keys of a node whose operator keeps his in the same folder.
fn keys(directory: &Path) -> Keyring {
    let operator = OperatorKey::from_file(&directory.join("operator.key"), true).expect("a key");
    Keyring::open(operator, directory).expect("a ring")
}

fn label(text: &str) -> Label {
    text.parse().expect(text)
}

fn package(text: &str) -> PackageName {
    text.parse().expect(text)
}

fn page(limit: usize, cursor: Option<String>) -> PageRequest {
    PageRequest { limit, cursor }
}

fn tenant(display_name: &str) -> TenantWrite {
    TenantWrite {
        display_name: display_name.into(),
        plan: "standard".into(),
        region: "local".into(),
        attributes: BTreeMap::new(),
    }
}

fn version(name: &str, version: &str, kind: Kind, bytes: &[u8]) -> NewVersion {
    let serves = match kind {
        Kind::App => Vec::new(),
        Kind::Driver => vec!["acme:payments/charge@1.2.0".parse().expect("an interface")],
    };
    NewVersion {
        package: package(name),
        version: version.parse().expect(version),
        kind,
        title: format!("Title of {version}"),
        summary: "Summary.".into(),
        categories: vec!["office".into()],
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        manifest: "name = …".into(),
        migrations: BTreeMap::new(),
        imports: Vec::new(),
        exports: serves.clone(),
        serves,
        badge: None,
        schedules: Vec::new(),
    }
}

fn installation() -> InstallationWrite {
    InstallationWrite {
        package: package("acme/notes"),
        version: Version::new(1, 0, 0),
        previous_version: None,
        config: serde_json::Map::new(),
        egress: vec!["api.example.com:443".into()],
        bindings: BTreeMap::new(),
        domains: Vec::new(),
        secrets: BTreeMap::new(),
    }
}

fn driver() -> DriverWrite {
    DriverWrite {
        package: package("acme/pay"),
        version: Version::new(1, 0, 0),
        previous_version: None,
        config: serde_json::Map::new(),
        egress: Vec::new(),
        bindings: BTreeMap::new(),
        secrets: BTreeMap::new(),
    }
}

/// A store with a publisher, an app, a driver package and the tenants `one` and `two`.
async fn filled(directory: &Path) -> (Store, TenantId, TenantId) {
    let store = Store::open(directory, &keys(directory)).expect("opens");
    let any = Precondition::Any;
    store
        .put_publisher(label("acme"), "Acme".into(), any)
        .await
        .expect("publisher");
    store
        .publish(version("acme/notes", "1.0.0", Kind::App, b"app"))
        .await
        .expect("app");
    store
        .publish(version("acme/pay", "1.0.0", Kind::Driver, b"driver"))
        .await
        .expect("driver");
    let one = store
        .put_tenant(label("one"), tenant("One"), any)
        .await
        .expect("tenant")
        .row
        .id;
    let two = store
        .put_tenant(label("two"), tenant("Two"), any)
        .await
        .expect("tenant")
        .row
        .id;
    (store, one, two)
}
