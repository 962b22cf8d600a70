//! A node without its control plane: edge, tenant, admission and runtime as they are, with
//! installations that no plan holds back.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use canopy_admission::{Admission, AdmissionSettings};
use canopy_backend::KeyValueProvider;
use canopy_backend::blob::BlobProvider;
use canopy_backend::sql::SqlProvider;
use canopy_backend_blobs::{BlobSettings, BlobStorage};
use canopy_backend_embedded::{EmbeddedParts, EmbeddedSettings, EmbeddedStorage};
use canopy_backend_logs::{LogSettings, LogStore};
use canopy_backend_sql::{SqlSettings, SqlStorage};
use canopy_edge::{Edge, EdgeSettings};
use canopy_engine::{Artifacts, CompilerCommand, Engine, EngineSettings};
use canopy_ids::{Digest, InstallationId, RequestId, TenantId};
use canopy_runtime::{
    Call, Caller, ComponentSpec, InstallationSpec, Limits, RequestBody, Runtime, RuntimeParts,
    RuntimeSettings, TenantLimits, TenantSpec,
};
use canopy_tenant::{AnonymousPaths, HostName, Routes, Snapshot};
use http::Request;
use http_body_util::{BodyExt, Empty};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// The word by which this program becomes the compiler's child.
pub(crate) const COMPILE: &str = "compile-child";

/// The installations, by their names, each with the guest that it runs.
const INSTALLED: [(&str, &str); 5] = [
    ("hello-p3", "hello-p3"),
    ("hello-p2-wstd", "hello-p2-wstd"),
    (REUSED, "hello-p2-wstd"),
    ("bench", "bench"),
    ("bench-storage", "bench-storage"),
];

/// The installation of a WASI 0.2 guest whose instances serve more than one request.
pub(crate) const REUSED: &str = "hello-p2-reused";

/// So many installations there are beside, none of which is asked.
const OTHERS: usize = 1_000;

/// Memories where nothing is short of address space.
pub(crate) const MEMORIES: u32 = 160;

/// What is in nobody's way here.
const PLENTY: u32 = 1_000_000;

/// A node in a folder.
pub(crate) struct Node {
    pub(crate) runtime: Runtime,
    pub(crate) engine: Engine,
    pub(crate) storage: Arc<dyn KeyValueProvider>,
    pub(crate) blobs: Arc<dyn BlobProvider>,
    pub(crate) sql: Arc<dyn SqlProvider>,
    pub(crate) routes: Routes,
    edge: Arc<Edge<Runtime>>,
    installed: BTreeMap<&'static str, Arc<InstallationSpec>>,
}

impl Node {
    /// A node that keeps native code in `folder`, and compiles what is not there by `compiler`.
    /// Each of the memories of its pool takes 4 GiB of address space.
    pub(crate) fn new(folder: &Path, compiler: CompilerCommand, memories: u32) -> Self {
        let engine = Engine::new(&engine_settings(memories)).expect("engine");
        let artifacts =
            Artifacts::open(&engine, folder.join("artifacts"), compiler).expect("artifacts");
        // Data is made anew each time: what is measured does not depend on what was before.
        let data = folder.join(format!("data-{}", TenantId::new()));
        let parts = EmbeddedParts::temporary(data.join("storage")).expect("keys");
        let (dir, keys, ledger) = (parts.dir.clone(), parts.keys.clone(), parts.ledger.clone());
        let blobs = BlobStorage::open(
            dir.clone(),
            keys.clone(),
            ledger.clone(),
            BlobSettings::default(),
        );
        let sql = SqlStorage::open(dir, keys, ledger, SqlSettings::default());
        let storage = EmbeddedStorage::open(parts, EmbeddedSettings::default()).expect("storage");
        let storage: Arc<dyn KeyValueProvider> = Arc::new(storage);
        let blobs: Arc<dyn BlobProvider> = Arc::new(blobs.expect("objects"));
        let sql: Arc<dyn SqlProvider> = Arc::new(sql.expect("databases"));
        let installed = install();
        let runtime = Runtime::new(RuntimeParts {
            engine: engine.clone(),
            artifacts,
            component_path: component_path(&installed),
            storage: Arc::clone(&storage),
            blobs: Arc::clone(&blobs),
            sql: Arc::clone(&sql),
            logs: LogStore::open(data.join("logs"), LogSettings::default()).expect("logs"),
            settings: RuntimeSettings::default(),
        });
        let runtime = runtime.expect("runtime");
        let routes = Routes::new(snapshot(&installed));
        let edge = Edge::new(
            EdgeSettings::default(),
            routes.clone(),
            Admission::new(AdmissionSettings::default()),
            runtime.clone(),
        );
        Self {
            runtime,
            engine,
            storage,
            blobs,
            sql,
            routes,
            edge,
            installed,
        }
    }

    pub(crate) fn spec(&self, guest: &str) -> &Arc<InstallationSpec> {
        &self.installed[guest]
    }

    /// A call of a guest by the runtime alone, to the end of its answer.
    pub(crate) async fn call(&self, guest: &str, path: &str) -> Bytes {
        let spec = self.spec(guest);
        let deadline = Instant::now() + spec.component.limits.wall;
        let call = Call::new(RequestId::new(), Arc::new(Caller::anonymous()), deadline);
        let body: RequestBody = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = Request::get(format!("http://{guest}.bench.localhost{path}"))
            .body(body)
            .expect("request");
        let answer = self.runtime.serve(spec, call, request).await;
        let answer = answer.expect("an answer");
        let status = answer.status();
        let body = answer
            .into_body()
            .collect()
            .await
            .expect("whole")
            .to_bytes();
        assert!(status.is_success(), "{guest}{path}: {status} {body:?}");
        body
    }

    /// A connection to the edge that is no socket: nothing of the kernel is in its way.
    pub(crate) fn connect(&self, guest: &str) -> Client {
        let (stream, other) = duplex(256 << 10);
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        tokio::spawn(Arc::clone(&self.edge).serve_connection(other, peer));
        let request = format!("GET / HTTP/1.1\r\nHost: {guest}.bench.localhost\r\n\r\n");
        Client {
            stream,
            request,
            buffer: Vec::new(),
        }
    }
}

/// The other end of a connection.
pub(crate) struct Client {
    stream: DuplexStream,
    request: String,
    buffer: Vec<u8>,
}

impl Client {
    /// Asks once more, and returns the status.
    pub(crate) async fn ask(&mut self) -> u16 {
        let sent = self.stream.write_all(self.request.as_bytes()).await;
        sent.expect("sent");
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await;
            assert!(read.expect("an answer") > 0, "the connection has ended");
            if let Some(status) = complete(&self.buffer) {
                return status;
            }
        }
    }
}

/// The status, once head and body are there.
fn complete(answer: &[u8]) -> Option<u16> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..end]).expect("a head");
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map(|(_, value)| value.trim().parse::<usize>().expect("a length"))
        .expect("an answer has its length");
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
    (answer.len() >= end + length).then(|| status.expect("a status"))
}

/// This program as the compiler's child.
pub(crate) fn compiler() -> CompilerCommand {
    CompilerCommand::this_program([COMPILE]).expect("this program")
}

/// As on a node, with a smaller pool.
fn engine_settings(memories: u32) -> EngineSettings {
    let mut settings = EngineSettings::default();
    settings.pool.instances = memories;
    settings.pool.memories = memories;
    settings.pool.tables = 8 * memories;
    settings.pool.stacks = 2 * memories;
    settings.compile.wall_seconds = 600;
    // Under valgrind guests take so long that how often they are interrupted would count.
    settings.tick = Duration::from_secs(1);
    settings
}

fn install() -> BTreeMap<&'static str, Arc<InstallationSpec>> {
    let tenant = Arc::new(TenantSpec {
        id: TenantId::new(),
        name: "bench".parse().expect("a name"),
        display_name: "Bench".into(),
        plan: "standard".into(),
        region: "local".into(),
        attributes: BTreeMap::new(),
        limits: TenantLimits {
            concurrency: 1000,
            requests_per_second: PLENTY,
            burst: PLENTY,
            ..TenantLimits::default()
        },
    });
    let installed = INSTALLED.map(|(name, guest)| {
        let bytes = std::fs::read(component_file(guest)).unwrap_or_else(|error| {
            panic!("{guest}: {error}; `canopy build --workspace tests/guests` makes it")
        });
        let mut spec = description(name, &tenant, Digest::of(&bytes));
        spec.component.reuse = name != "hello-p2-wstd";
        (name, Arc::new(spec))
    });
    BTreeMap::from(installed)
}

fn description(name: &str, tenant: &Arc<TenantSpec>, digest: Digest) -> InstallationSpec {
    InstallationSpec {
        id: InstallationId::new(),
        name: name.parse().expect("a name"),
        generation: 1,
        tenant: Arc::clone(tenant),
        component: ComponentSpec {
            package: format!("guests/{name}").parse().expect("a package"),
            version: semver::Version::new(0, 1, 0),
            digest,
            reuse: false,
            config: Arc::default(),
            egress: Arc::default(),
            limits: Limits {
                cpu: Duration::from_secs(600),
                wall: Duration::from_secs(600),
                concurrency: 1000,
                requests_per_second: PLENTY,
                burst: PLENTY,
                ..Limits::default()
            },
        },
        stores: Arc::default(),
        databases: Arc::default(),
        bindings: BTreeMap::new(),
    }
}

fn component_file(guest: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../guests/target/wasm32-wasip2/release")
        .join(format!("{}.wasm", guest.replace('-', "_")))
}

fn component_path(
    installed: &BTreeMap<&'static str, Arc<InstallationSpec>>,
) -> canopy_runtime::ComponentPath {
    let files: BTreeMap<Digest, PathBuf> = INSTALLED
        .iter()
        .map(|(name, guest)| (installed[name].component.digest, component_file(guest)))
        .collect();
    Arc::new(move |digest| files[digest].clone())
}

fn snapshot(installed: &BTreeMap<&'static str, Arc<InstallationSpec>>) -> Snapshot {
    let mut builder = Snapshot::builder(HostName::from_name("localhost").expect("a name"));
    let open = || AnonymousPaths::parse(["/", "/*"]).expect("patterns");
    let any = &installed[INSTALLED[0].0];
    for number in 0..OTHERS {
        let other = description(&format!("other{number}"), &any.tenant, any.component.digest);
        let added = builder.installation(Arc::new(other), open(), []);
        added.expect("free");
    }
    for spec in installed.values() {
        let added = builder.installation(Arc::clone(spec), open(), []);
        added.expect("free");
    }
    builder.build()
}
