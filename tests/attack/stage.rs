//! A node for a machine that fails: what is written to it, the fault that is done to it by the shim of
//! the fault runs, and what must hold afterwards.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::header::HOST;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Reply, get, request_from};
use crate::shim::{self, Call, Fault, Shim};
use crate::support::{Answer, Node, guest};
use crate::victim::Victim;

const VICTIM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// What an installation may answer at once.
const SLOTS: usize = 48;
/// Everything of a data folder that must outlive a fault.
pub(crate) const EVERYTHING: &[&str] = &["storage", "control", "components", "artifacts"];

/// What is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Keys and values, by an application.
    Value,
    /// Objects, by an application.
    Object,
    /// The control plane.
    Tenant,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Value, Self::Object, Self::Tenant];
}

/// Something that was to be written, and whether it was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    kind: Kind,
    name: String,
    pub(crate) acknowledged: bool,
}

/// Where the node is, for those who write while it fails.
#[derive(Clone)]
pub(crate) struct Clients {
    http: Client,
    apps_port: u16,
    api: String,
    token: String,
}

/// What is stored under a name.
fn content(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Tenant => name.to_owned(),
        Kind::Value => format!("{name}:").repeat(50),
        Kind::Object => format!("{name}:").repeat(2000),
    }
}

impl Clients {
    fn app(&self, method: Method, app: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://127.0.0.1:{}{path}", self.apps_port);
        let host = format!("{app}.acme.localhost");
        self.http.request(method, url).header(HOST, host)
    }

    fn tenant(&self, method: Method, name: &str) -> reqwest::RequestBuilder {
        let url = format!("{}/tenants/{name}", self.api);
        self.http.request(method, url).bearer_auth(&self.token)
    }

    /// Writes under a name that nobody has written under; no answer if the node is gone.
    pub(crate) async fn write(&self, kind: Kind, name: &str) -> (Written, Option<Answer>) {
        let text = content(kind, name);
        let request = match kind {
            Kind::Value => self
                .app(Method::POST, "kv-probe", &format!("/?op=set&key={name}"))
                .body(text),
            Kind::Object => self
                .app(Method::PUT, "objects", &format!("/o/{name}"))
                .body(text),
            Kind::Tenant => self
                .tenant(Method::PUT, name)
                .json(&json!({ "display_name": text })),
        };
        let answer = match request.send().await {
            Ok(response) => {
                let (status, headers) = (response.status().as_u16(), response.headers().clone());
                let body = response.text().await.ok();
                body.map(|body| Answer {
                    status,
                    headers,
                    body,
                })
            }
            Err(_) => None,
        };
        let acknowledged = answer
            .as_ref()
            .is_some_and(|answer| (200..300).contains(&answer.status));
        let name = name.to_owned();
        let written = Written {
            kind,
            name,
            acknowledged,
        };
        (written, answer)
    }

    async fn read(&self, kind: Kind, name: &str) -> Option<String> {
        let request = match kind {
            Kind::Value => self.app(Method::GET, "kv-probe", &format!("/?op=get&key={name}")),
            Kind::Object => self.app(Method::GET, "objects", &format!("/o/{name}")),
            Kind::Tenant => self.tenant(Method::GET, name),
        };
        let answer = crate::support::answer(request).await;
        match (answer.status, kind) {
            (404, _) => None,
            (200, Kind::Object) => Some(answer.body),
            (200, Kind::Value) => answer.json().as_str().map(str::to_owned),
            (200, Kind::Tenant) => {
                let tenant: Value = answer.json();
                tenant["display_name"].as_str().map(str::to_owned)
            }
            _ => panic!("{kind:?} {name}: {answer:?}"),
        }
    }

    /// What was acknowledged is there, and what is there is whole.
    pub(crate) async fn keeps(&self, written: &[Written]) {
        for one in written {
            match self.read(one.kind, &one.name).await {
                Some(found) => assert_eq!(found, content(one.kind, &one.name), "{one:?}"),
                None => assert!(!one.acknowledged, "lost: {one:?}"),
            }
        }
    }

    /// A request of the victim, on a connection of its own.
    pub(crate) async fn victim(&self) -> Reply {
        let address = SocketAddr::from(([127, 0, 0, 1], self.apps_port));
        let request = get("hello-p2-wstd.victim.localhost", "/");
        request_from(VICTIM, address, request.as_bytes()).await
    }
}

/// A node with a victim, and a tenant that stores something of each kind.
pub(crate) struct Stage {
    pub(crate) node: Node,
    pub(crate) clients: Clients,
    /// Asked all the while, whether the node runs or not.
    pub(crate) victim: Victim,
    shim: Shim,
    place: TempDir,
    names: u32,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let node = Node::start();
        node.serve(&guest("hello-p2-wstd"), "guests/hello-p2-wstd", &["victim"]);
        node.serve(&guest("kv-probe"), "guests/kv-probe", &["acme"]);
        node.serve(&guest("objects-canopy"), "guests/objects", &["acme"]);
        let place = tempfile::tempdir().expect("a folder");
        let clients = Clients {
            http: node.http.clone(),
            apps_port: node.apps_port(),
            api: node.api_url("/api/v1"),
            token: node.token(),
        };
        let address = SocketAddr::from(([127, 0, 0, 1], node.apps_port()));
        let mut stage = Self {
            victim: Victim::start(address).await,
            shim: Shim::compile(place.path()),
            node,
            clients,
            place,
            names: 0,
        };
        stage.write_all().await;
        stage
    }

    fn arm_file(&self) -> PathBuf {
        self.place.path().join("arm")
    }

    fn report(&self) -> PathBuf {
        self.place.path().join("report")
    }

    /// A name that nothing has yet.
    pub(crate) fn name(&mut self) -> String {
        self.names += 1;
        format!("n{}", self.names)
    }

    /// Writes something; no answer if the node is gone.
    pub(crate) async fn write(&mut self, kind: Kind) -> (Written, Option<Answer>) {
        let name = self.name();
        self.clients.write(kind, &name).await
    }

    /// Writes something of each kind, which must be acknowledged.
    pub(crate) async fn write_all(&mut self) -> Vec<Written> {
        let mut all = Vec::new();
        for kind in Kind::ALL {
            let (written, answer) = self.write(kind).await;
            assert!(written.acknowledged, "{written:?}: {answer:?}");
            all.push(written);
        }
        all
    }

    /// Starts the node again, on a disk that will do `fault` to the calls in some folders of its data,
    /// counted while the stage is armed.
    pub(crate) fn start_with(&mut self, folders: &[&str], fault: Option<Fault>) {
        self.disarm();
        if !self.node.has_ended() {
            assert!(self.node.terminate().success());
        }
        let _ = std::fs::remove_file(self.report());
        let data = self.node.data_dir();
        let roots: Vec<PathBuf> = folders.iter().map(|folder| data.join(folder)).collect();
        let roots: Vec<&Path> = roots.iter().map(PathBuf::as_path).collect();
        let (shim, report, arm) = (&self.shim, self.report(), self.arm_file());
        self.node.start_again_with(|command| {
            shim.watch(command, &roots, &report, fault);
            command.env("CANOPY_FAULT_ARM", arm);
        });
    }

    pub(crate) fn arm(&self) {
        std::fs::write(self.arm_file(), "").expect("armed");
    }

    pub(crate) fn disarm(&self) {
        let _ = std::fs::remove_file(self.arm_file());
    }

    /// The calls that were counted since the node was started.
    pub(crate) fn calls(&self) -> Vec<Call> {
        shim::calls(&self.report())
    }

    /// Waits until the node has ended by itself.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        let until = Instant::now() + Duration::from_secs(30);
        while !self.node.has_ended() {
            assert!(Instant::now() < until, "the node does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.node.wait()
    }

    /// When the fault is over: nothing is lost and nothing is there by half, everybody is served, in
    /// all slots at once, writing goes on, and the check of a stopped node finds nothing.
    pub(crate) async fn is_sound(&mut self, written: &[Written]) {
        self.clients.keeps(written).await;
        for reply in join_all((0..SLOTS).map(|_| self.clients.victim())).await {
            assert!(reply.status == 200 && reply.is_whole(), "{reply:?}");
        }
        let after = self.write_all().await;
        self.clients.keeps(&after).await;
        assert!(self.node.terminate().success());
        let data = self.node.data_dir();
        let checked = self
            .node
            .cli([Path::new("check"), Path::new("--data-dir"), &data]);
        assert_eq!(checked.code, 0, "{}{}", checked.stdout, checked.stderr);
        self.node.start_again();
    }
}
