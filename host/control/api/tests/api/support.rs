//! A whole control plane in a folder of its own, and components to publish.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use canopy_app::{App, AppParts, AppSettings, Folders, Invoke, PlanQuotas};
use canopy_backend::{Ledger, Maintenance, StorageQuota, SystemClock};
use canopy_backend_blobs::{BlobSettings, BlobStorage};
use canopy_backend_embedded::{EmbeddedParts, EmbeddedSettings, EmbeddedStorage};
use canopy_backend_keys::{Keyring, OperatorKey};
use canopy_backend_logs::{LogSettings, LogStore};
use canopy_backend_sql::{SqlSettings, SqlStorage};
use canopy_engine::{Artifacts, CompilerCommand, Engine, EngineSettings};
use canopy_ids::Digest;
use canopy_runtime::{Runtime, RuntimeParts, RuntimeSettings};
use canopy_store::{Components, Store};
use canopy_tenant::{HostName, Routes};
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// The largest component that a test's node takes.
pub(crate) const COMPONENT_BYTES: u64 = 64 << 10;

pub(crate) struct Node {
    pub(crate) folder: TempDir,
    pub(crate) router: Router,
    pub(crate) routes: Routes,
    pub(crate) logs: LogStore,
    pub(crate) storage: Arc<EmbeddedStorage>,
    pub(crate) sql: Arc<SqlStorage>,
    pub(crate) stopping: CancellationToken,
    pub(crate) token: String,
    app: App,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("JSON: {self:?}"))
    }

    pub(crate) fn etag(&self) -> &str {
        self.headers["etag"].to_str().expect("text")
    }

    /// Checks that this is a problem document of `status`, and returns its code.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.headers[CONTENT_TYPE], "application/problem+json",
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(
            problem["request_id"],
            self.headers["x-request-id"].to_str().expect("text")
        );
        for member in ["title", "detail"] {
            assert!(
                !problem[member].as_str().unwrap_or_default().is_empty(),
                "{self:?}"
            );
        }
        let kind = problem["type"].as_str().expect("text");
        kind.strip_prefix("urn:canopy:problem:")
            .expect("our own")
            .to_owned()
    }
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), None).await
    }

    /// The same node again in a new process's place.
    pub(crate) async fn restart(self) -> Self {
        self.app.close().await;
        let Self {
            folder,
            token,
            app,
            router,
            logs,
            storage,
            sql,
            ..
        } = self;
        drop((app, router, logs, storage, sql));
        Self::start_in(folder, Some(token)).await
    }

    async fn start_in(folder: TempDir, token: Option<String>) -> Self {
        let mut settings = EngineSettings::default();
        settings.pool.instances = 16;
        settings.pool.memories = 32;
        settings.pool.tables = 64;
        settings.pool.stacks = 32;
        let engine = Engine::new(&settings).expect("an engine");
        let compiler = CompilerCommand::this_program(["compiler_child", "--exact", "--nocapture"])
            .expect("this program has a path");
        let path = |name: &str| folder.path().join(name);
        for folder in ["archives", "work"] {
            std::fs::create_dir_all(path(folder)).expect("a folder");
        }
        let quotas = PlanQuotas::new(StorageQuota::default());
        let operator = OperatorKey::from_file(&path("operator.key"), true).expect("a key");
        let keys = Keyring::open(operator, &path("storage")).expect("keys");
        let parts = EmbeddedParts {
            dir: path("storage"),
            keys: keys.clone(),
            ledger: Ledger::new(Arc::new(quotas.clone())),
            clock: Arc::new(SystemClock),
        };
        let blobs = BlobStorage::open(
            path("storage"),
            keys.clone(),
            parts.ledger.clone(),
            BlobSettings::default(),
        );
        let blobs = Arc::new(blobs.expect("objects"));
        let sql = SqlStorage::open(
            path("storage"),
            keys.clone(),
            parts.ledger.clone(),
            SqlSettings::default(),
        );
        let sql: Arc<SqlStorage> = Arc::new(sql.expect("databases"));
        let ledger = parts.ledger.clone();
        let storage = EmbeddedStorage::open(parts, EmbeddedSettings::default());
        let storage = Arc::new(storage.expect("storage"));
        let storages: Vec<Arc<dyn Maintenance>> = vec![
            Arc::clone(&storage) as _,
            Arc::clone(&blobs) as _,
            Arc::clone(&sql) as _,
        ];
        ledger.measure_with(path("storage"), &storages);
        let logs = LogStore::open(path("logs"), LogSettings::default()).expect("logs");
        let routes = Routes::default();
        let components = Components::open(path("components"), COMPONENT_BYTES).expect("components");
        let artifacts = Artifacts::open(&engine, path("artifacts"), compiler).expect("artifacts");
        let runtime = Runtime::new(RuntimeParts {
            engine: engine.clone(),
            artifacts: artifacts.clone(),
            component_path: {
                let components = components.clone();
                Arc::new(move |digest: &Digest| components.path(digest))
            },
            storage: Arc::clone(&storage) as _,
            blobs: Arc::clone(&blobs) as _,
            sql: Arc::clone(&sql) as _,
            logs: logs.clone(),
            settings: RuntimeSettings::default(),
        });
        let runtime = runtime.expect("a runtime");
        let app = App::start(AppParts {
            store: Store::open(folder.path(), &keys).expect("a store"),
            components,
            artifacts,
            engine,
            storage: Arc::clone(&storage) as _,
            blobs: Arc::clone(&blobs) as _,
            sql: Arc::clone(&sql) as _,
            storages,
            quotas,
            portables: Vec::new(),
            keyring: keys,
            folders: Folders {
                control: folder.path().to_path_buf(),
                components: path("components"),
                storage: path("storage"),
                archives: path("archives"),
                work: path("work"),
            },
            logs: logs.clone(),
            runtime,
            routes: routes.clone(),
            requests: Arc::new(|| 7),
            settings: {
                let base = HostName::from_name("localhost").expect("a name");
                let mut settings = AppSettings::new(base);
                settings.schedules.retry_after = Duration::from_millis(1);
                settings
            },
        })
        .await
        .expect("an app");
        let first = app.create_first_operator_token().await.expect("a token");
        assert_eq!(
            first.is_some(),
            token.is_none(),
            "the token is created once"
        );
        let stopping = CancellationToken::new();
        let router = canopy_api::router(app.clone(), stopping.clone());
        let token = token.or(first).expect("a token");
        Self {
            folder,
            router,
            routes,
            logs,
            storage,
            sql,
            stopping,
            token,
            app,
        }
    }

    /// Has scheduled calls made by way of `invoke`.
    pub(crate) async fn schedules(&self, invoke: Arc<dyn Invoke>) {
        self.app.start_schedules(invoke).await.expect("started");
    }

    /// Sends a request as it is.
    pub(crate) async fn raw(&self, request: Request<Body>) -> Answer {
        let response = self
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text,
        }
    }

    /// A request below `/api/v1` with the operator's token.
    pub(crate) fn request(&self, method: Method, path: &str) -> axum::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("/api/v1/{path}"))
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = self.request(Method::GET, path).body(Body::empty());
        self.raw(request.expect("a request")).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        let request = self.request(Method::DELETE, path).body(Body::empty());
        self.raw(request.expect("a request")).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, &[], body).await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Answer {
        let mut request = self
            .request(method, path)
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.raw(
            request
                .body(Body::from(body.to_string()))
                .expect("a request"),
        )
        .await
    }

    /// Publishes parts of a form as they are.
    pub(crate) async fn form(&self, path: &str, parts: &[(&str, &[u8])]) -> Answer {
        let mut body = Vec::new();
        for (name, bytes) in parts {
            body.extend_from_slice(
                format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n")
                    .as_bytes(),
            );
            body.extend_from_slice(bytes);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--X--\r\n");
        let request = self
            .request(Method::PUT, path)
            .header(CONTENT_TYPE, "multipart/form-data; boundary=X")
            .body(Body::from(body));
        self.raw(request.expect("a request")).await
    }

    /// Publishes `acme/NAME` in VERSION.
    pub(crate) async fn publish(
        &self,
        name: &str,
        version: &str,
        more: &str,
        component: &[u8],
    ) -> Answer {
        let manifest = manifest(name, version, more);
        let path = format!("packages/acme/{name}/versions/{version}");
        self.form(
            &path,
            &[("manifest", manifest.as_bytes()), ("component", component)],
        )
        .await
    }

    /// A node with the publisher `acme`, the driver `pay`, the apps `notes` and `shop`, and the
    /// tenants `one` and `two`.
    pub(crate) async fn furnished() -> Self {
        let node = Self::start().await;
        let name = |name: &str| serde_json::json!({ "display_name": name });
        assert_eq!(node.put("publishers/acme", name("Acme")).await.status, 201);
        for answer in [
            node.publish("pay", "1.0.0", DRIVER, &driver("")).await,
            node.publish("notes", "1.0.0", NOTES, &app("")).await,
            node.publish("shop", "1.0.0", SHOP, &app(CHARGE)).await,
            node.put("tenants/one", name("One")).await,
            node.put("tenants/two", name("Two")).await,
        ] {
            assert_eq!(answer.status, 201, "{answer:?}");
        }
        node
    }

    /// Whether requests for `host` reach an installation.
    pub(crate) fn answers(&self, host: &str) -> bool {
        self.routes
            .current()
            .route(&HostName::from_name(host).expect(host))
            .is_some()
    }
}

pub(crate) const DRIVER: &str =
    "kind = \"driver\"\n[serves]\ninterfaces = [\"acme:payments/charge@1.2.0\"]";

pub(crate) const NOTES: &str = r#"
    kind = "app"
    [[needs]]
    interface = "wasi:http/types"
    reason = "Asks others."
    hosts = ["*.example.com:443", "127.0.0.1:*", "10.2.0.5:*"]
    [network.tls]
    roots = "ca"
    [config]
    required = ["key"]
    [config.properties.ca]
    type = "string"
    [config.properties.language]
    type = "string"
    default = "en"
    [config.properties.key]
    type = "string"
    writeOnly = true
"#;

pub(crate) const SHOP: &str = r#"
    kind = "app"
    [[needs]]
    interface = "acme:payments"
    reason = "Takes money."
"#;

pub(crate) const CHARGE: &str =
    r#"(import "acme:payments/charge@1.2.0" (instance (export "pay" (func))))"#;

pub(crate) fn manifest(name: &str, version: &str, more: &str) -> String {
    format!(
        "name = \"acme/{name}\"\nversion = \"{version}\"\ntitle = \"{name}\"\nsummary = \"s\"\n\
         component = \"c.wasm\"\n{more}"
    )
}

/// A component that exports what an app must.
pub(crate) fn app(more: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            {more}
            (import "wasi:http/types@0.2.6" (instance $types
                (export "incoming-request" (type (sub resource)))
                (export "response-outparam" (type (sub resource)))))
            (alias export $types "incoming-request" (type $request))
            (alias export $types "response-outparam" (type $answer))
            (core module $m (func (export "f") (param i32 i32)))
            (core instance $i (instantiate $m))
            (func $f (param "request" (own $request)) (param "response-out" (own $answer))
                (canon lift (core func $i "f")))
            (instance $e (export "handle" (func $f)))
            (export "wasi:http/incoming-handler@0.2.6" (instance $e)))"#
    );
    wat::parse_str(text).expect("valid text")
}

/// A component that exports `interface` with one function `pay`, which takes nothing.
pub(crate) fn serving(interface: &str, more: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            {more}
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (instance $e (export "pay" (func $f)))
            (export "{interface}" (instance $e)))"#
    );
    wat::parse_str(text).expect("valid text")
}

/// A component that exports `acme:payments/charge@1.2.0`.
pub(crate) fn driver(more: &str) -> Vec<u8> {
    serving("acme:payments/charge@1.2.0", more)
}

/// The same component with other bytes.
pub(crate) fn marked(mark: &str) -> String {
    format!("(core module (func (export \"{mark}\")))")
}
