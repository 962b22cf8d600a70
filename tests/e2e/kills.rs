//! A whole node under load, killed at random moments, also while it starts: what an application or an
//! operator was told is stored is there afterwards and whole, and the node always starts.
//!
//! Everything that is written is a register: a name under which one number after the other is written,
//! each with a content that only it has. What is read must be whole, and no older than what was
//! acknowledged last.
//!
//! `CANOPY_KILLS` sets how many kills, `CANOPY_KILLS_MINUTES` after which time none is begun any more,
//! and `CANOPY_KILLS_JSON` names a file for the totals: `tests/faults/run` does it a thousand times.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use reqwest::header::HOST;
use reqwest::multipart::{Form, Part};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Node, guest, plugin};

/// What is written to, and by which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Keys and values, by an application.
    Key,
    /// Objects, by an application.
    Object,
    /// SQL and objects together, by an application.
    Document,
    /// The control plane.
    Tenant,
    /// Uploads to it: each version is written once.
    Version,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key-value",
            Self::Object => "objects",
            Self::Document => "sql and objects",
            Self::Tenant => "control plane",
            Self::Version => "uploads",
        }
    }
}

/// What is written by tasks of their own at once, and in how many registers each.
const WRITERS: &[(Kind, u64, u64)] = &[
    (Kind::Key, 3, 20),
    (Kind::Object, 2, 10),
    (Kind::Document, 2, 10),
    (Kind::Tenant, 1, 10),
    (Kind::Version, 1, u64::MAX),
];

/// Up to this long after load began the node is killed.
const LOAD: Duration = Duration::from_millis(400);
/// And up to this long after it was started, where it is killed while it starts.
const STARTING: Duration = Duration::from_millis(250);
/// What was written is read back by so many at once.
const READERS: usize = 16;

const MANIFEST: &str = "name = \"guests/upload\"\nkind = \"app\"\ntitle = \"Upload\"\n\
                        summary = \"Uploaded.\"\ncomponent = \"upload.wasm\"\n";

/// The numbers of registers: the last one that was acknowledged.
type Acknowledged = BTreeMap<(Kind, String), u64>;

/// Where the node is, for those who write while it is killed.
#[derive(Clone)]
struct Target {
    http: Client,
    apps_port: u16,
    api: String,
    token: String,
    component: Arc<Vec<u8>>,
}

impl Target {
    fn of(node: &Node) -> Self {
        let file = "../../target/wasm32-wasip2/release/hello_p3.wasm";
        let component = std::fs::read(guest("hello-p3").join(file)).expect("a component");
        Self {
            http: node.http.clone(),
            apps_port: node.apps_port(),
            api: node.api_url("/api/v1"),
            token: node.token(),
            component: Arc::new(component),
        }
    }

    fn app(&self, method: Method, app: &str, path: &str) -> RequestBuilder {
        let url = format!("http://127.0.0.1:{}{path}", self.apps_port);
        let host = format!("{app}.acme.localhost");
        self.http.request(method, url).header(HOST, host)
    }

    fn api(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.api);
        self.http.request(method, url).bearer_auth(&self.token)
    }

    /// The content that number `n` of `kind` has, in the bytes that are read back.
    fn content(&self, kind: Kind, n: u64) -> Vec<u8> {
        let length = match kind {
            Kind::Key => 20 + n * 37 % 9000,
            Kind::Object => 1000 + n * 7919 % 150_000,
            Kind::Document => 20 + n * 37 % 3000,
            Kind::Tenant => return format!("{n}:").into_bytes(),
            // Compiled once for many versions: what is tried is the storing.
            Kind::Version => return self.component_of(n / 1000),
        };
        let length = usize::try_from(length).expect("small");
        format!("{n}:").bytes().cycle().take(length).collect()
    }

    /// The component with a custom section that makes it another one.
    fn component_of(&self, n: u64) -> Vec<u8> {
        let note = format!("{n}:");
        let mut bytes = self.component.to_vec();
        // Section 0, its length, the length of its name, the name, and what it holds.
        bytes.push(0);
        bytes.push(u8::try_from(note.len() + 2).expect("short"));
        bytes.extend(b"\x01n");
        bytes.extend(note.bytes());
        bytes
    }

    /// Whether it was acknowledged; `None`: the node is gone.
    async fn write(&self, kind: Kind, name: &str, n: u64) -> Option<bool> {
        let content = self.content(kind, n);
        let request = match kind {
            Kind::Key => self
                .app(Method::POST, "kv-probe", &format!("/?op=set&key={name}"))
                .body(content),
            Kind::Object => self
                .app(Method::PUT, "objects", &format!("/o/{name}"))
                .body(content),
            Kind::Document => self
                .app(Method::PUT, "documents", &format!("/api/files/{name}.md"))
                .body(content),
            Kind::Tenant => self
                .api(Method::PUT, &format!("/tenants/{name}"))
                .json(&json!({ "display_name": format!("{n}:") })),
            Kind::Version => {
                let form = Form::new()
                    .text("manifest", format!("{MANIFEST}version = \"{name}\"\n"))
                    .part("component", Part::bytes(content));
                self.api(Method::PUT, &version_path(name)).multipart(form)
            }
        };
        let answer = request.send().await.ok()?;
        Some(answer.status().is_success())
    }

    /// What there is under a name.
    async fn read(&self, kind: Kind, name: &str) -> Option<Vec<u8>> {
        let request = match kind {
            Kind::Key => self.app(Method::GET, "kv-probe", &format!("/?op=get&key={name}")),
            Kind::Object => self.app(Method::GET, "objects", &format!("/o/{name}")),
            Kind::Document => self.app(Method::GET, "documents", &format!("/api/files/{name}.md")),
            Kind::Tenant => self.api(Method::GET, &format!("/tenants/{name}")),
            Kind::Version => self.api(Method::GET, &format!("{}/component", version_path(name))),
        };
        let answer = request.send().await.expect("the node answers");
        let status = answer.status().as_u16();
        let body = answer.bytes().await.expect("a whole answer").to_vec();
        match (status, kind) {
            (200, Kind::Key | Kind::Tenant) => {
                let value: Value = serde_json::from_slice(&body).expect("JSON");
                let text = match kind {
                    Kind::Key => &value,
                    _ => &value["display_name"],
                };
                text.as_str().map(|text| text.as_bytes().to_vec())
            }
            (200, _) => Some(body),
            (404, _) => None,
            _ => panic!(
                "{kind:?} {name}: {status} {}",
                String::from_utf8_lossy(&body)
            ),
        }
    }

    /// Which number it is, if it is the whole of one; of a version, that which it has to be.
    fn number(&self, kind: Kind, content: &[u8], expected: u64) -> Option<u64> {
        let n = match kind {
            Kind::Version => expected,
            _ => {
                let digits = content.split(|byte| *byte == b':').next()?;
                std::str::from_utf8(digits).ok()?.parse().ok()?
            }
        };
        (self.content(kind, n) == content).then_some(n)
    }

    /// Writes one number after the other until the node is gone.
    async fn write_on(self, kind: Kind, task: u64, registers: u64, first: u64) -> Written {
        let mut written = Written {
            acknowledged: Acknowledged::new(),
            writes: 0,
            next: first,
        };
        loop {
            let n = written.next;
            written.next += 1;
            let name = match kind {
                Kind::Version => format!("1.0.{n}"),
                _ => format!("r{task}-{}", n % registers),
            };
            match self.write(kind, &name, n).await {
                Some(true) => {
                    written.writes += 1;
                    written.acknowledged.insert((kind, name), n);
                }
                // What is refused for now, as a limit of requests, is not what is tried here.
                Some(false) => {}
                None => return written,
            }
        }
    }
}

fn version_path(version: &str) -> String {
    format!("/packages/guests/upload/versions/{version}")
}

/// What one task wrote.
struct Written {
    acknowledged: Acknowledged,
    writes: u64,
    next: u64,
}

/// What the kills come to.
#[derive(Default)]
struct Totals {
    kills: u64,
    while_starting: u64,
    writes: BTreeMap<Kind, u64>,
    read_back: u64,
    lost: Vec<String>,
    half: Vec<String>,
}

impl Totals {
    /// Reads what was acknowledged and compares.
    async fn compare(&mut self, target: &Target, acknowledged: &Acknowledged) {
        let all: Vec<_> = acknowledged.clone().into_iter().collect();
        let read = async |((kind, name), n): ((Kind, String), u64)| {
            let found = target.read(kind, &name).await;
            let number = found.map(|found| target.number(kind, &found, n));
            (kind, name, n, number)
        };
        let mut reading = stream::iter(all).map(read).buffer_unordered(READERS);
        while let Some((kind, name, n, number)) = reading.next().await {
            self.read_back += 1;
            match number {
                Some(Some(found)) if found >= n => {}
                Some(None) => self.half.push(format!("{kind:?} {name}, which was {n}")),
                other => {
                    let what = format!("{kind:?} {name}: {other:?}, and {n} was acknowledged");
                    self.lost.push(what);
                }
            }
        }
    }

    fn json(&self) -> Value {
        let writes: BTreeMap<&str, u64> = (self.writes.iter())
            .map(|(kind, writes)| (kind.as_str(), *writes))
            .collect();
        json!({
            "kills": self.kills,
            "while_starting": self.while_starting,
            "acknowledged": writes,
            "read_back": self.read_back,
            "lost": self.lost.len(),
            "half": self.half.len(),
        })
    }
}

/// A share of `whole` that nobody chose.
fn random(whole: Duration) -> Duration {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).expect("random bytes");
    let share = f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX);
    whole.mul_f64(share)
}

fn number(variable: &str, default: u64) -> u64 {
    let set = std::env::var(variable).ok();
    set.map_or(default, |text| text.parse().expect(variable))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_again_and_again_loses_nothing() {
    let mut node = Node::start();
    node.serve(&guest("kv-probe"), "guests/kv-probe", &["acme"]);
    node.serve(&guest("objects-canopy"), "guests/objects", &["acme"]);
    node.publish(&plugin("documents"));
    node.run("install canopy/documents --tenant acme --set anonymous_access=write");
    let target = Target::of(&node);
    // Compiled once, at leisure.
    let compiled = target.write(Kind::Version, "0.0.1", 0).await;
    assert_eq!(compiled, Some(true));
    let (kills, minutes) = (
        number("CANOPY_KILLS", 10),
        number("CANOPY_KILLS_MINUTES", 10),
    );
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let mut next: BTreeMap<(Kind, u64), u64> = BTreeMap::new();
    let mut all = Acknowledged::new();
    let mut totals = Totals::default();
    while totals.kills < kills && Instant::now() < end {
        let mut tasks = JoinSet::new();
        for (kind, count, registers) in WRITERS {
            for task in 0..*count {
                let first = *next.entry((*kind, task)).or_default();
                let written = target.clone().write_on(*kind, task, *registers, first);
                tasks.spawn(async move { ((*kind, task), written.await) });
            }
        }
        tokio::time::sleep(random(LOAD)).await;
        node.kill();
        totals.kills += 1;
        if totals.kills % 5 == 0 && totals.kills < kills {
            node.kill_while_starting(random(STARTING));
            totals.kills += 1;
            totals.while_starting += 1;
        }
        let mut now = Acknowledged::new();
        for ((kind, task), written) in tasks.join_all().await {
            next.insert((kind, task), written.next);
            *totals.writes.entry(kind).or_default() += written.writes;
            now.extend(written.acknowledged);
        }
        node.start_again();
        totals.compare(&target, &now).await;
        all.extend(now);
        let problems = totals.lost.len() + totals.half.len();
        assert_eq!(
            problems, 0,
            "lost {:?}, half {:?}",
            totals.lost, totals.half
        );
    }
    totals.compare(&target, &all).await;
    assert!(node.terminate().success());
    let data = node.data_dir();
    let checked = node.cli([Path::new("check"), Path::new("--data-dir"), &data]);
    println!("{}", totals.json());
    if let Ok(path) = std::env::var("CANOPY_KILLS_JSON") {
        std::fs::write(path, format!("{:#}\n", totals.json())).expect("the totals are written");
    }
    assert_eq!(checked.code, 0, "{}{}", checked.stdout, checked.stderr);
    assert_eq!((&totals.lost, &totals.half), (&Vec::new(), &Vec::new()));
    let writes: u64 = totals.writes.values().sum();
    assert!(
        writes >= totals.kills,
        "{writes} writes are too few to say anything"
    );
}
