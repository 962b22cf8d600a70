//! A runtime with everything behind it, and installations to serve.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use canopy_backend_blobs::{BlobSettings, BlobStorage};
use canopy_backend_embedded::{EmbeddedParts, EmbeddedSettings, EmbeddedStorage};
use canopy_backend_logs::{LogOwner, LogRange, LogSettings, LogStore};
use canopy_backend_sql::{SqlSettings, SqlStorage};
use canopy_engine::{Artifacts, CompilerCommand, Engine, EngineSettings};
use canopy_ids::{Digest, DriverInstanceId, InstallationId, RequestId, TenantId};
use canopy_runtime::{
    Call, Caller, ComponentSpec, DriverSpec, EgressPolicy, InstallationSpec, Limits, Provider,
    RequestBody, ResponseBody, Runtime, RuntimeParts, RuntimeSettings, ServeError, StoreNames,
    TenantLimits, TenantSpec, TlsIdentity,
};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tempfile::TempDir;

/// A runtime and the folders that it works in.
pub(crate) struct Node {
    pub(crate) runtime: Runtime,
    pub(crate) logs: LogStore,
    components: Arc<Mutex<BTreeMap<Digest, PathBuf>>>,
    folder: TempDir,
}

impl Node {
    pub(crate) fn new() -> Self {
        Self::with(RuntimeSettings::default(), |_| {})
    }

    pub(crate) fn with(
        settings: RuntimeSettings,
        engine: impl FnOnce(&mut EngineSettings),
    ) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let mut engine_settings = EngineSettings::default();
        // Tests have many engines at once, so each has a small pool.
        engine_settings.pool.instances = 16;
        engine_settings.pool.memories = 32;
        engine_settings.pool.tables = 64;
        engine_settings.pool.stacks = 32;
        engine(&mut engine_settings);
        let engine = Engine::new(&engine_settings).expect("engine");
        let artifacts = Artifacts::open(&engine, folder.path().join("artifacts"), compiler())
            .expect("artifacts");
        let logs =
            LogStore::open(folder.path().join("logs"), LogSettings::default()).expect("logs");
        let parts = EmbeddedParts::temporary(folder.path().join("data")).expect("keys");
        let blobs = BlobStorage::open(
            parts.dir.clone(),
            parts.keys.clone(),
            parts.ledger.clone(),
            BlobSettings::default(),
        );
        let sql = SqlStorage::open(
            parts.dir.clone(),
            parts.keys.clone(),
            parts.ledger.clone(),
            SqlSettings::default(),
        );
        let storage = EmbeddedStorage::open(parts, EmbeddedSettings::default()).expect("storage");
        let components = Arc::new(Mutex::new(BTreeMap::<Digest, PathBuf>::new()));
        let known = components.clone();
        let runtime = Runtime::new(RuntimeParts {
            engine,
            artifacts,
            component_path: Arc::new(move |digest| known.lock().expect("lock")[digest].clone()),
            storage: Arc::new(storage),
            blobs: Arc::new(blobs.expect("objects")),
            sql: Arc::new(sql.expect("databases")),
            logs: logs.clone(),
            settings,
        })
        .expect("runtime");
        Self {
            runtime,
            logs,
            components,
            folder,
        }
    }

    /// A component spec of a guest of `tests/guests`.
    pub(crate) fn guest(&self, name: &str) -> ComponentSpec {
        let file = format!("{}.wasm", name.replace('-', "_"));
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/guests/target/wasm32-wasip2/release")
            .join(file);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| {
            panic!("{}: {error}; `tests/run` builds the guests", path.display())
        });
        self.component(name, &bytes, path)
    }

    /// A component spec of a component written as text.
    pub(crate) fn text(&self, name: &str, text: &str) -> ComponentSpec {
        let bytes = wat::parse_str(text).expect("component text");
        let path = self.folder.path().join(format!("{name}.wasm"));
        std::fs::write(&path, &bytes).expect("written");
        self.component(name, &bytes, path)
    }

    fn component(&self, name: &str, bytes: &[u8], path: PathBuf) -> ComponentSpec {
        let digest = Digest::of(bytes);
        self.components.lock().expect("lock").insert(digest, path);
        ComponentSpec {
            package: format!("guests/{name}").parse().expect("name"),
            version: "0.1.0".parse().expect("version"),
            digest,
            reuse: false,
            config: Arc::default(),
            egress: Arc::default(),
            limits: Limits {
                wall: Duration::from_secs(20),
                ..Limits::default()
            },
        }
    }

    /// An app of a guest for a tenant of its own.
    pub(crate) fn app(&self, guest: &str) -> App {
        App::of(self.guest(guest))
    }

    pub(crate) async fn serve(
        &self,
        app: &App,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, ServeError> {
        let spec = app.spec();
        let deadline = Instant::now() + spec.component.limits.wall;
        let call = Call::new(RequestId::new(), app.caller.clone(), deadline);
        self.runtime.serve(&spec, call, request).await
    }

    /// The whole answer as text.
    pub(crate) async fn get(&self, app: &App, path: &str) -> Result<(u16, String), ServeError> {
        self.post(app, path, "").await
    }

    pub(crate) async fn post(
        &self,
        app: &App,
        path: &str,
        body: &str,
    ) -> Result<(u16, String), ServeError> {
        let response = self.serve(app, request(path, body)).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// The messages in a log.
    pub(crate) async fn log(&self, owner: impl Into<LogOwner>) -> Vec<String> {
        let page = self
            .logs
            .read(owner, LogRange::Last, 1000)
            .await
            .expect("log");
        page.records
            .into_iter()
            .map(|record| record.message)
            .collect()
    }
}

pub(crate) fn request(path: &str, body: &str) -> Request<RequestBody> {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let body = Full::new(Bytes::from(body.to_owned())).map_err(|never| match never {});
    Request::builder()
        .method(method)
        .uri(format!("http://app.tenant.example{path}"))
        .body(body.boxed_unsync())
        .expect("request")
}

fn compiler() -> CompilerCommand {
    CompilerCommand::this_program(["compiler_child", "--exact", "--nocapture"]).expect("path")
}

/// An installation under construction.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) spec: InstallationSpec,
    pub(crate) caller: Arc<Caller>,
    fixed: Arc<Mutex<Option<Arc<InstallationSpec>>>>,
}

static GENERATION: AtomicU64 = AtomicU64::new(1);

impl App {
    pub(crate) fn of(component: ComponentSpec) -> Self {
        let spec = InstallationSpec {
            id: InstallationId::new(),
            name: component.package.name.clone(),
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
            tenant: tenant("acme"),
            component,
            stores: Arc::new(StoreNames::of(["second".to_owned()])),
            databases: Arc::new(["second".to_owned()]),
            bindings: BTreeMap::new(),
        };
        Self {
            spec,
            caller: Arc::new(Caller::anonymous()),
            fixed: Arc::default(),
        }
    }

    pub(crate) fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.spec.component.limits);
        self
    }

    pub(crate) fn egress(mut self, rules: &[&str], opened: &[&str]) -> Self {
        self.spec.component.egress = Arc::new(EgressPolicy::new(
            rules.iter().map(|text| text.parse().expect(text)).collect(),
            opened
                .iter()
                .map(|text| text.parse().expect(text))
                .collect(),
        ));
        self
    }

    /// Trusts these authorities (PEM) beside those of the public web.
    pub(crate) fn trusting(self, roots: &str) -> Self {
        self.speaking(TlsIdentity {
            roots: Some(roots.into()),
            ..TlsIdentity::default()
        })
    }

    /// Speaks TLS so.
    pub(crate) fn speaking(mut self, tls: TlsIdentity) -> Self {
        let policy = EgressPolicy::clone(&self.spec.component.egress);
        self.spec.component.egress = Arc::new(policy.speaking(tls));
        self
    }

    pub(crate) fn bind(mut self, package: &str, driver: &Arc<DriverSpec>) -> Self {
        self.spec.bindings.insert(
            package.parse().expect(package),
            Provider::Driver(driver.clone()),
        );
        self
    }

    pub(crate) fn caller(mut self, caller: Caller) -> Self {
        self.caller = Arc::new(caller);
        self
    }

    pub(crate) fn id(&self) -> InstallationId {
        self.spec.id
    }

    /// The description as a snapshot would have it: the same one every time.
    pub(crate) fn spec(&self) -> Arc<InstallationSpec> {
        let mut fixed = self.fixed.lock().expect("lock");
        fixed
            .get_or_insert_with(|| Arc::new(self.spec.clone()))
            .clone()
    }
}

pub(crate) fn tenant(name: &str) -> Arc<TenantSpec> {
    Arc::new(TenantSpec {
        id: TenantId::new(),
        name: name.parse().expect(name),
        display_name: format!("{name} Ltd"),
        plan: "team".into(),
        region: "eu".into(),
        attributes: BTreeMap::from([("vat".into(), "DE1".into())]),
        limits: TenantLimits::default(),
    })
}

pub(crate) fn driver(component: ComponentSpec, name: &str) -> Arc<DriverSpec> {
    Arc::new(DriverSpec {
        id: DriverInstanceId::new(),
        name: name.parse().expect(name),
        generation: GENERATION.fetch_add(1, Ordering::Relaxed),
        tenant: tenant("acme"),
        component,
        bindings: BTreeMap::new(),
    })
}
