//! An edge on a port of its own, and applications that do what their paths say.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use canopy_admission::{Admission, AdmissionSettings};
use canopy_edge::{Certificates, Edge, EdgeSettings, Guests, Listener, TlsSettings};
use canopy_ids::{Digest, InstallationId, TenantId};
use canopy_runtime::{
    Call, ComponentSpec, EgressPolicy, InstallationSpec, Limits, MessageDelivery, RequestBody,
    ServeError, TenantLimits, TenantSpec,
};
use canopy_tenant::{AnonymousPaths, HostName, Routes, Snapshot};
use futures::StreamExt as _;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) type TestBody = UnsyncBoxBody<Bytes, ServeError>;

/// What the applications and the tests have in common.
#[derive(Default)]
pub(crate) struct Stage {
    /// Lets `/gate` answer, and `/gated-body` end.
    pub(crate) open: Notify,
    /// Requests that have reached an application.
    pub(crate) entered: AtomicUsize,
    /// Of those, the ones that were cancelled.
    pub(crate) cancelled: Arc<AtomicUsize>,
}

pub(crate) struct Applications(Arc<Stage>);

struct CountDrop(Option<Arc<AtomicUsize>>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Guests for Applications {
    type Body = TestBody;

    async fn serve(
        &self,
        _spec: &Arc<InstallationSpec>,
        call: Call,
        request: Request<RequestBody>,
    ) -> Result<Response<TestBody>, ServeError> {
        self.0.entered.fetch_add(1, Ordering::SeqCst);
        let (head, body) = request.into_parts();
        let permit = call.permit.clone();
        match head.uri.path() {
            "/echo" => match body.collect().await {
                Ok(body) => Ok(whole(body.to_bytes())),
                Err(error) => {
                    let mut response = whole(error.to_string().into());
                    *response.status_mut() = StatusCode::IM_A_TEAPOT;
                    Ok(response)
                }
            },
            "/seen" => {
                let mut lines = format!("uri: {}\n", head.uri);
                for (name, value) in &head.headers {
                    lines += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
                }
                Ok(whole(lines.into()))
            }
            "/gate" => {
                self.0.open.notified().await;
                Ok(whole("through".into()))
            }
            "/gated-body" => {
                let stage = Arc::clone(&self.0);
                let rest = futures::stream::once(async move {
                    stage.open.notified().await;
                    drop(permit);
                    Ok(Frame::data(Bytes::from_static(b"end")))
                });
                let first = futures::stream::iter([Ok(Frame::data(Bytes::from_static(b"begin ")))]);
                Ok(Response::new(
                    StreamBody::new(first.chain(rest)).boxed_unsync(),
                ))
            }
            "/hang" => {
                let _counted = CountDrop(Some(Arc::clone(&self.0.cancelled)));
                std::future::pending().await
            }
            "/endless" => {
                let held = (permit, CountDrop(Some(Arc::clone(&self.0.cancelled))));
                let chunk = Bytes::from(vec![b'x'; 64 << 10]);
                let chunks = futures::stream::repeat_with(move || {
                    let _ = &held;
                    Ok(Frame::data(chunk.clone()))
                });
                Ok(Response::new(StreamBody::new(chunks).boxed_unsync()))
            }
            "/breaks" => {
                let frames = [
                    Ok(Frame::data(Bytes::from_static(b"part"))),
                    Err(ServeError::Trap {
                        message: "late".into(),
                        backtrace: String::new(),
                    }),
                ];
                Ok(Response::new(
                    StreamBody::new(futures::stream::iter(frames)).boxed_unsync(),
                ))
            }
            "/trap" => Err(ServeError::Trap {
                message: "unreachable".into(),
                backtrace: "0: secret".into(),
            }),
            "/switch" => {
                let mut response = whole(Bytes::new());
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                Ok(response)
            }
            _ => Ok(whole("hello".into())),
        }
    }

    async fn deliver(
        &self,
        _spec: &Arc<InstallationSpec>,
        call: Call,
        message: MessageDelivery,
    ) -> Result<Result<(), String>, ServeError> {
        let _permit = call.permit;
        match message.topic.as_str() {
            "declined" => Ok(Err("no such order".into())),
            "trapped" => Err(ServeError::Trap {
                message: "unreachable".into(),
                backtrace: "0: secret".into(),
            }),
            "hanging" => std::future::pending().await,
            _ => Ok(Ok(())),
        }
    }
}

fn whole(body: Bytes) -> Response<TestBody> {
    Response::new(
        Full::new(body)
            .map_err(|never| match never {})
            .boxed_unsync(),
    )
}

/// A running edge.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) tls_address: Option<SocketAddr>,
    pub(crate) stage: Arc<Stage>,
    pub(crate) edge: Arc<Edge<Applications>>,
    pub(crate) installation: InstallationId,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

/// What a test wants to be different.
pub(crate) struct Setup {
    pub(crate) edge: EdgeSettings,
    pub(crate) admission: AdmissionSettings,
    pub(crate) limits: Limits,
    pub(crate) tenant: TenantLimits,
    /// Also answers by TLS, and sends there who comes without if the flag is set.
    pub(crate) tls: Option<(TlsSettings, bool)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            edge: EdgeSettings::default(),
            admission: AdmissionSettings {
                max_wait: Duration::ZERO,
                ..AdmissionSettings::default()
            },
            limits: Limits::default(),
            tenant: TenantLimits::default(),
            tls: None,
        }
    }
}

impl Node {
    /// Starts an edge with the installation `app` of the tenant `acme`, open but for `/private`.
    pub(crate) async fn start(setup: Setup) -> Self {
        let spec = Arc::new(InstallationSpec {
            id: InstallationId::new(),
            name: "app".parse().expect("a name"),
            generation: 1,
            tenant: Arc::new(TenantSpec {
                id: TenantId::new(),
                name: "acme".parse().expect("a name"),
                display_name: "Acme".into(),
                plan: "standard".into(),
                region: "local".into(),
                attributes: BTreeMap::new(),
                limits: setup.tenant,
            }),
            component: ComponentSpec {
                package: "acme/app".parse().expect("a package name"),
                version: semver::Version::new(1, 0, 0),
                digest: Digest::of(b""),
                reuse: false,
                config: Arc::default(),
                egress: Arc::new(EgressPolicy::default()),
                limits: setup.limits,
            },
            stores: Arc::default(),
            databases: Arc::default(),
            bindings: BTreeMap::new(),
        });
        let anonymous = AnonymousPaths::parse([
            "/",
            "/echo",
            "/seen",
            "/gate",
            "/gated-body",
            "/hang",
            "/endless",
            "/breaks",
            "/trap",
            "/switch",
        ]);
        let installation = spec.id;
        let mut builder = Snapshot::builder(HostName::from_name("localhost").expect("a name"));
        builder
            .installation(spec, anonymous.expect("patterns"), [])
            .expect("free");
        let stage = Arc::new(Stage::default());
        let edge = Edge::new(
            setup.edge,
            Routes::new(builder.build()),
            Admission::new(setup.admission),
            Applications(Arc::clone(&stage)),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut listeners = Vec::new();
        let mut tls_address = None;
        match setup.tls {
            None => listeners.push(Listener::plain(listener)),
            Some((files, redirect)) => {
                let tls = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let at = tls.local_addr().expect("an address");
                tls_address = Some(at);
                listeners.push(match redirect {
                    true => Listener::redirecting(listener, Some(at.port())),
                    false => Listener::plain(listener),
                });
                let certificates = Certificates::load(files).expect("certificates");
                listeners.push(Listener::tls(tls, certificates));
            }
        }
        let stop = CancellationToken::new();
        let serving = tokio::spawn(Arc::clone(&edge).serve(listeners, stop.clone()));
        Self {
            address,
            tls_address,
            stage,
            edge,
            installation,
            stop,
            serving,
        }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connected")
    }

    /// Sends `request` over a connection of its own and returns all that comes back until the
    /// connection ends.
    pub(crate) async fn exchange(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        // The node may refuse before everything was written, and close.
        let _ = stream.write_all(request.as_ref()).await;
        read_all(&mut stream).await
    }

    /// The same with a simple request for `path`.
    pub(crate) async fn get(&self, path: &str) -> String {
        self.exchange(get(path)).await
    }

    /// Tells the node to stop and returns when it has.
    pub(crate) fn stop(self) -> JoinHandle<()> {
        self.stop.cancel();
        self.serving
    }

    /// Waits until `count` requests have reached an application.
    pub(crate) async fn entered(&self, count: usize) {
        until(|| self.stage.entered.load(Ordering::SeqCst) >= count).await;
    }
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: app.acme.localhost\r\nConnection: close\r\n\r\n")
}

pub(crate) async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A connection that is broken off may end in a reset; what came before it counts.
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes))
        .await
        .expect("the node closes the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for a condition that holds soon.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the condition does not hold after 10 s");
}

/// The status of the first response.
pub(crate) fn status(response: &str) -> u16 {
    response
        .split(' ')
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}
