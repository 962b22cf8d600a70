//! Wires a node together, runs it until it is told to stop, and takes it apart in order.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use canopy_admission::Admission;
use canopy_app::{App, AppParts, Folders, PlanQuotas};
use canopy_backend::blob::BlobProvider;
use canopy_backend::sql::SqlProvider;
use canopy_backend::{KeyValueProvider, Ledger, Maintenance, SystemClock};
use canopy_backend_blobs::BlobStorage;
use canopy_backend_embedded::{EmbeddedParts, EmbeddedStorage};
use canopy_backend_logs::LogStore;
use canopy_backend_sql::SqlStorage;
use canopy_edge::{Certificates, Edge, Listener};
use canopy_engine::{Artifacts, CompilerCommand, Engine, PoolSettings};
use canopy_runtime::{Runtime, RuntimeParts};
use canopy_store::{Components, Store};
use canopy_tenant::{Routes, Snapshot};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::data_dir::DataDir;
use crate::invoke::Scheduled;
use crate::listen::listen;
use crate::settings::Settings;

/// How often the runtime is told which installations are gone.
const FORGET_INTERVAL: Duration = Duration::from_secs(5);

/// Runs a node until SIGTERM or SIGINT.
pub(crate) async fn run(mut settings: Settings, new_operator_token: bool) -> anyhow::Result<()> {
    // A second installation is refused and harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut signals = Signals::new()?;
    keep_descriptors(raise_descriptor_limit(), &mut settings);
    let tls = settings
        .tls
        .files()
        .map(|(address, files)| anyhow::Ok((address, Certificates::load(files)?)))
        .transpose()
        .context("settings `tls`")?;
    let api_tls = settings.api_tls.files().map(Certificates::load);
    let api_tls = api_tls.transpose().context("settings `api.tls`")?;
    let data = DataDir::open(&settings.data_dir.0)?;
    data.require_free(settings.min_free_bytes)?;

    // From right to left: what a request reaches last has to be there first.
    let quotas = PlanQuotas::new(settings.app.storage_quota);
    let keys = crate::operator_key::open(&settings.keys, &data).await?;
    let ledger = Ledger::new(Arc::new(quotas.clone()));
    let parts = EmbeddedParts {
        dir: data.storage(),
        keys: keys.clone(),
        ledger: ledger.clone(),
        clock: Arc::new(SystemClock),
    };
    let embedded = Arc::new(EmbeddedStorage::open(parts, settings.storage.clone())?);
    let storage: Arc<dyn KeyValueProvider> = embedded.clone();
    let sql = SqlStorage::open(
        data.storage(),
        keys.clone(),
        ledger.clone(),
        settings.sql.clone(),
    )?;
    let databases: Arc<dyn SqlProvider> = Arc::new(sql.clone());
    let blobs = BlobStorage::open(
        data.storage(),
        keys.clone(),
        ledger.clone(),
        settings.blobs.clone(),
    )?;
    let objects: Arc<dyn BlobProvider> = Arc::new(blobs.clone());
    let storages: Vec<Arc<dyn Maintenance>> = vec![
        embedded.clone(),
        Arc::new(blobs.clone()),
        Arc::new(sql.clone()),
    ];
    ledger.measure_with(data.storage(), &storages);
    let logs = LogStore::open(data.logs(), settings.logs.clone())?;
    let machine = crate::machine::memory();
    keep_memory(machine, &mut settings.engine.pool);
    let engine = Engine::new(&settings.engine)?;
    let compiler = CompilerCommand::this_program(["compile"])?;
    let artifacts = Artifacts::open(&engine, data.artifacts(), compiler)?;
    let components = Components::open(data.components(), settings.upload_bytes)?;
    let component_path = {
        let components = components.clone();
        Arc::new(move |digest: &canopy_ids::Digest| components.path(digest))
    };
    let mut guests = settings.runtime.clone();
    guests.node_memory_bytes = settings.node_memory.of(machine).context(
        "setting `guest.node_memory`: this machine does not say how much memory it has; name a size",
    )?;
    tracing::info!(
        bytes = guests.node_memory_bytes,
        machine,
        "memory of all applications together"
    );
    for file in &settings.trusted_certificates {
        guests
            .network
            .trusted_certificates
            .extend(certificates(&file.0)?);
    }
    let runtime = Runtime::new(RuntimeParts {
        engine: engine.clone(),
        artifacts: artifacts.clone(),
        component_path,
        storage: Arc::clone(&storage),
        blobs: Arc::clone(&objects),
        sql: Arc::clone(&databases),
        logs: logs.clone(),
        settings: guests,
    })?;
    let messages = runtime.messages().clone();
    let routes = Routes::default();
    let admission = Admission::new(settings.admission);
    let app = App::start(AppParts {
        store: Store::open(&data.control(), &keys)?,
        components,
        engine,
        artifacts,
        storage,
        blobs: objects,
        sql: databases,
        storages: storages.clone(),
        quotas,
        portables: vec![
            embedded.clone(),
            Arc::new(blobs.clone()),
            Arc::new(sql.clone()),
        ],
        keyring: keys.clone(),
        folders: Folders {
            control: data.control(),
            components: data.components(),
            storage: data.storage(),
            archives: data.archives(),
            work: data.work(),
        },
        logs: logs.clone(),
        runtime: runtime.clone(),
        routes: routes.clone(),
        requests: admission.gauge(),
        settings: settings.app.clone(),
    })
    .await?;
    let token = if new_operator_token {
        Some(app.replace_operator_tokens().await?)
    } else {
        app.create_first_operator_token().await?
    };
    if let Some(token) = token {
        let file = settings
            .operator_token_file
            .as_ref()
            .map(|file| file.0.as_path());
        hand_over(&token, file)?;
    }

    let (backlog, api_backlog) = (settings.backlog, settings.api_backlog);
    let api_listener = listen("api_listen", settings.api_listen, api_backlog)?;
    let (api_at, api_secure) = (api_listener.local_addr()?, api_tls.is_some());
    let api_listener = match api_tls {
        Some(certificates) => Listener::tls(api_listener, certificates),
        None => Listener::plain(api_listener),
    };
    let listener = listen("listen", settings.listen, backlog)?;
    let applications_at = listener.local_addr()?;
    let mut listeners = Vec::new();
    match tls {
        Some((address, certificates)) => {
            let socket = listen("tls.listen", address, backlog)?;
            listeners.push(match settings.tls.redirect {
                true => Listener::redirecting(listener, settings.app.port),
                false => Listener::plain(listener),
            });
            tracing::info!(address = %socket.local_addr()?, "applications answer by TLS");
            listeners.push(Listener::tls(socket, certificates));
        }
        None => listeners.push(Listener::plain(listener)),
    }
    let stop = CancellationToken::new();
    let forgetting = tokio::spawn(forget(routes.clone(), runtime.clone()));
    let drain_grace = settings.edge.drain_grace;
    let proxies = settings.edge.trusted_proxies.clone();
    let edge = Edge::new(settings.edge, routes, admission, runtime);
    tracing::info!(
        applications = %applications_at,
        api = %api_at,
        api_secure,
        base_domain = %settings.base_domain,
        data = %data.path().display(),
        version = env!("CARGO_PKG_VERSION"),
        "serving",
    );
    let delivering = Arc::clone(&edge).deliver(messages, stop.clone());
    let delivering = tokio::spawn(delivering);
    let scheduled = Scheduled(Arc::clone(&edge));
    app.start_schedules(Arc::new(scheduled)).await?;
    let mut api = tokio::spawn(crate::api_listener::serve(
        settings.api,
        proxies,
        canopy_api::router(app.clone(), stop.clone()),
        api_listener,
        stop.clone(),
    ));
    let mut applications = tokio::spawn(edge.serve(listeners, stop.clone()));
    let watchdog = crate::service::ready();

    let name = tokio::select! {
        name = signals.next() => name,
        ended = &mut applications => anyhow::bail!("the applications' listener ended: {ended:?}"),
        ended = &mut api => anyhow::bail!("the API's listener ended: {ended:?}"),
    };
    tracing::info!(
        signal = name,
        "stopping; a second signal ends the node at once"
    );
    crate::service::stopping(drain_grace);
    stop.cancel();
    tokio::select! {
        _ = async {
            tokio::join!(applications, api, app.finish_schedules(drain_grace), delivering)
        } => {}
        name = signals.next() => tracing::warn!(signal = name, "ended without waiting"),
    }
    forgetting.abort();
    if let Some(watchdog) = watchdog {
        watchdog.abort();
    }
    app.close().await;
    sql.close().await;
    blobs.close();
    embedded.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// The certificates of a PEM file.
fn certificates(file: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    CertificateDer::pem_file_iter(file)
        .and_then(|found| found.map(|one| one.map(|one| one.to_vec())).collect())
        .with_context(|| format!("setting `egress.trusted_certificates`: {}", file.display()))
}

/// Lets the process have as many open files as the system allows it: every open database, loaded
/// component and connection is one or several.
fn raise_descriptor_limit() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let before = getrlimit(Resource::Nofile);
    let mut limit = before;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.current,
        Err(error) => {
            tracing::warn!("the limit of open files stays as it is: {error}");
            before.current
        }
    }
}

/// Sees to it that clients' connections, which nobody can stop from coming, leave descriptors for
/// what the node needs to answer them, and one address's for another's.
fn keep_descriptors(limit: Option<u64>, settings: &mut Settings) {
    let edge = &mut settings.edge;
    if let Some(limit) = limit {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let room = limit - settings.descriptor_reserve.min(limit / 2);
        if edge.max_connections > room {
            tracing::warn!(
                asked = edge.max_connections,
                room,
                limit,
                "fewer connections than `edge.max_connections`: the system allows too few open files"
            );
            edge.max_connections = room;
        }
    }
    let half = (edge.max_connections / 2).max(1);
    edge.max_connections_per_address = edge.max_connections_per_address.min(half);
    let api = &mut settings.api;
    let half = (api.max_connections / 2).max(1);
    api.max_connections_per_address = api.max_connections_per_address.min(half);
}

/// Sees to it that what guests have used of the pool, and nobody uses now, leaves the machine's memory to
/// those that are at work.
fn keep_memory(machine: Option<u64>, pool: &mut PoolSettings) {
    let Some(machine) = machine else { return };
    let (asked, room) = (pool.resident_memory_bytes, pool.resident_within(machine));
    if asked > room {
        tracing::info!(
            asked,
            room,
            machine,
            "less than `engine.pool.resident_memory_bytes` stays resident: the machine has little memory"
        );
        pool.resident_memory_bytes = room;
    }
}

/// Gives a new operator token to whoever started the node. It is nowhere else.
fn hand_over(token: &str, file: Option<&Path>) -> anyhow::Result<()> {
    let Some(path) = file else {
        let mut out = std::io::stdout().lock();
        writeln!(out, "The operator's token, shown this once: {token}")?;
        return Ok(out.flush()?);
    };
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let write = || -> std::io::Result<()> {
        let mut file = options.open(path)?;
        writeln!(file, "{token}")?;
        file.sync_all()
    };
    if let Err(error) = write() {
        // It exists already and would otherwise be lost.
        println!("The operator's token, shown this once: {token}");
        return Err(error).with_context(|| format!("operator token file {}", path.display()));
    }
    tracing::info!(file = %path.display(), "the operator's token was written");
    Ok(())
}

/// Tells the runtime which installations and driver instances still exist.
async fn forget(routes: Routes, runtime: Runtime) {
    let mut last: Option<Arc<Snapshot>> = None;
    loop {
        tokio::time::sleep(FORGET_INTERVAL).await;
        let current = Arc::clone(&routes.current());
        if last
            .as_ref()
            .is_some_and(|last| Arc::ptr_eq(last, &current))
        {
            continue;
        }
        runtime.retain(|id| current.has_installation(id), |id| current.driver(id));
        last = Some(current);
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
