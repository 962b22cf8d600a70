//! The node under attack, the victim on it, and what is measured of both.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use canopy_api_types::{Load, Status};
use parking_lot::Mutex;
use reqwest::Method;

use crate::client::{Reply, get, request_from};
use crate::components::{module, publish};
use crate::support::{Node, answer, guest};
use crate::victim::Victim;

/// Limits that make an attack end soon, and what is kept for a while be gone soon. None is looser than
/// its default. Honest guests are compiled under them as well, on a machine that may be loaded: an
/// attack ends by the time of the processor.
const SETTINGS: &str = "\
[edge]
header_timeout = \"2 s\"
body_idle_timeout = \"2 s\"
write_stall_timeout = \"2 s\"
linger_timeout = \"2 s\"
http2_idle_timeout = \"2 s\"
http2_all_windows = \"64 MiB\"
[limits.default]
memory = \"64 MiB\"
cpu = \"300 ms\"
wall = \"4 s\"
[guest]
clock_grain = \"250 us\"
reuse_idle = \"1 s\"
[driver]
idle_timeout = \"1 s\"
[storage]
idle_close = \"1 s\"
[engine]
host_time = \"400 ms\"
[engine.pool]
resident_components = 32
resident_memory_bytes = \"16 KiB\"
[engine.compile]
memory_bytes = \"1 GiB\"
cpu_seconds = 6
wall_seconds = 30
[egress]
private_networks = [\"127.0.0.0/8\", \"::1/128\"]
request_body = \"1 MiB\"
";

/// What one call may use of the processor by these, the guest and the host for it together, and what the
/// victim takes meanwhile.
const BUDGETS: Duration = Duration::from_millis(800);
/// What Linux counts processor time in for others to read.
const TICK: Duration = Duration::from_millis(10);
/// How often a machine that is too busy is asked for that.
const TRIES: u32 = 10;
/// What the clocks of guests are told in, by these settings.
pub(crate) const GRAIN: Duration = Duration::from_micros(250);
/// What a guest may send in one body, by these settings.
pub(crate) const REQUEST_BODY: u64 = MIB;
/// Components kept loaded though nothing uses them, by these settings.
const RESIDENT: u64 = 32;
/// Requests of one installation under way at once, by default.
pub(crate) const SLOTS: usize = 64;

/// A node with a victim and attackers.
pub(crate) struct Arena {
    pub(crate) node: Node,
    pub(crate) victim: Victim,
    /// Whether attacks are to be of full size.
    pub(crate) full: bool,
    pub(crate) seed: u64,
    pid: u32,
    first: Footprint,
    /// At the end of each of the first rounds, after which nothing is new to the node.
    rounds: Mutex<Vec<Footprint>>,
    /// Gives every upload a version of its own.
    versions: AtomicU64,
}

/// What a node takes of the machine.
#[derive(Clone, Copy)]
pub(crate) struct Footprint {
    pub(crate) memory: u64,
    /// Of files and sockets, but for those that are `kept`.
    pub(crate) descriptors: usize,
    /// Of files of native code and of logs, as many as there are components and installations.
    kept: usize,
}

/// A node as it is before an attack.
pub(crate) struct Before {
    footprint: Footprint,
    panics: usize,
}

pub(crate) const MIB: u64 = 1 << 20;

/// After so many rounds, each in an order of its own, little is new to the node of what it keeps: slots of its
/// pool that have been used, native code, what its allocator has for all the threads there are.
const NEW_ROUNDS: usize = 2;
/// How long it may take until what was taken is given back.
pub(crate) const GIVEN_BACK: Duration = Duration::from_secs(30);

impl Arena {
    pub(crate) async fn start(full: bool, seed: u64) -> Self {
        let node = Node::with_settings(SETTINGS);
        node.serve(&guest("hello-p2-wstd"), "guests/hello-p2-wstd", &["victim"]);
        for name in [
            "hostile",
            "hostile-p3",
            "spin",
            "sleep",
            "hog",
            "trap",
            "log-flood",
            "echo-stream",
            "identity",
            "prowler",
        ] {
            node.serve(&guest(name), &format!("guests/{name}"), &["attacker"]);
        }
        node.run("tenant create bystander");
        node.run("install guests/hostile --tenant bystander");
        node.publish(&guest("fetch"));
        node.publish(&guest("circle"));
        node.publish(&guest("gusher"));
        node.publish(&guest("acme-payments"));
        node.publish(&guest("shop"));
        node.publish(&guest("errands"));
        node.publish(&guest("dispatcher"));
        for tenant in ["attacker", "bystander"] {
            node.run(&format!(
                "driver add guests/acme-payments --name payments --tenant {tenant}"
            ));
            node.run(&format!(
                "install guests/shop --tenant {tenant} --bind acme:payments=payments"
            ));
        }
        for (tenant, app, driver) in [
            ("attacker", "dispatcher", "errands"),
            ("attacker", "second", "second-errands"),
            ("bystander", "dispatcher", "errands"),
        ] {
            node.run(&format!(
                "driver add guests/errands --name {driver} --tenant {tenant}"
            ));
            node.run(&format!(
                "install guests/dispatcher --name {app} --tenant {tenant} --bind acme:errands={driver}"
            ));
        }
        let port = node.apps_port();
        for package in ["fetch", "circle", "gusher"] {
            node.run(&format!(
                "install guests/{package} --tenant attacker --egress 127.0.0.1:*"
            ));
        }
        node.run("egress allow hostile-p3 --tenant attacker 127.0.0.1:*");
        node.run("publisher create attacks");
        let pid = node.pid();
        let victim = Victim::start(SocketAddr::from(([127, 0, 0, 1], port))).await;
        let first = Footprint::of(pid);
        let this = Self {
            node,
            victim,
            full,
            seed,
            pid,
            first,
            rounds: Mutex::default(),
            versions: AtomicU64::new(0),
        };
        // Everything is loaded once, so that what follows is compared with a node at work.
        for (app, path) in [
            ("hostile", "/alive"),
            ("hostile-p3", "/alive"),
            ("spin", "/alive"),
            ("sleep", "/?ms=1"),
            ("hog", "/alive"),
            ("trap", "/alive"),
            ("log-flood", "/?lines=1"),
            ("echo-stream", "/"),
            ("identity", "/"),
            ("prowler", "/"),
            ("gusher", "/"),
            ("shop", "/buy/4242"),
            ("dispatcher", "/?url="),
            ("second", "/?url="),
        ] {
            this.get(app, path).await;
        }
        // As many components as the node keeps, without an attack.
        for number in 0..RESIDENT {
            let bytes = module(&format!("(func (result i64) (i64.const {number}))"));
            let kept = publish(&this, "kept", bytes).await;
            assert_eq!(kept.status, 201, "{kept:?}");
        }
        this.victim.quiet().await;
        Self {
            first: Footprint::of(pid),
            ..this
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.node.apps_port()))
    }

    /// The node's process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn next_version(&self) -> String {
        format!("1.0.{}", self.versions.fetch_add(1, Ordering::Relaxed))
    }

    /// Asks one of the attacker's applications and reads the answer to its end.
    pub(crate) async fn get(&self, app: &str, path: &str) -> Reply {
        self.get_from(Ipv4Addr::LOCALHOST, app, path).await
    }

    /// The same from another address of the loopback network.
    pub(crate) async fn get_from(&self, source: Ipv4Addr, app: &str, path: &str) -> Reply {
        let request = get(&format!("{app}.attacker.localhost"), path);
        request_from(source, self.address(), request.as_bytes()).await
    }

    /// Asks one of the attacker's applications so many times at once for what has no end but by its budgets
    /// of the processor. Its time may end it before only where the machine has not given the node as much of
    /// the processor as these are; then it is asked anew.
    pub(crate) async fn exhausted(&self, app: &str, requests: u32) -> Vec<Reply> {
        for _ in 0..TRIES {
            let (before, began) = (self.processor_time(), Instant::now());
            let asked = (0..requests).map(|_| self.get(app, "/"));
            let replies = futures::future::join_all(asked).await;
            let had = self.processor_time() - before;
            assert!(began.elapsed() < Duration::from_secs(20), "{replies:?}");
            let late = |reply: &Reply| reply.code() == "deadline-exceeded";
            if had >= BUDGETS * requests || !replies.iter().any(late) {
                return replies;
            }
        }
        panic!("{TRIES} times the machine had not {BUDGETS:?} for each request in its time");
    }

    /// What the node has used of the processor.
    fn processor_time(&self) -> Duration {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).expect("it is alive");
        // The name of the program before it may hold anything.
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u32 = ticks
            .map(|field| field.parse::<u32>().expect("ticks"))
            .sum();
        ticks * TICK
    }

    /// Memory of the node in bytes, without files that are mapped.
    pub(crate) fn own_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid));
        let status = status.expect("the node runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        1024 * kib
            .and_then(|kib| kib.parse::<u64>().ok())
            .expect("its memory")
    }

    pub(crate) fn footprint(&self) -> Footprint {
        Footprint::of(self.pid)
    }

    /// What the node says of itself.
    async fn status(&self) -> Status {
        let status = answer(self.node.api(Method::GET, "/api/v1/status")).await;
        serde_json::from_value(status.json()).expect("its status")
    }

    /// Panics of the node until now. What guests print is in logs of their own.
    fn panics(&self) -> usize {
        let log = self.node.log();
        log.lines().filter(|line| is_panic(line)).count()
    }

    pub(crate) fn before(&self) -> Before {
        Before {
            footprint: self.footprint(),
            panics: self.panics(),
        }
    }

    /// Waits until the node has given back what an attack took: of its own pool and slots all of it.
    pub(crate) async fn settled(&self, before: &Before) -> Result<String, String> {
        let until = Instant::now() + GIVEN_BACK;
        let Before { footprint, panics } = before;
        loop {
            let (now, load) = (self.footprint(), self.status().await.load);
            let back = now.has_come_back(footprint, 8) && load == Load::default();
            let panics = self.panics() - panics;
            if panics > 0 {
                return Err(format!("the node panicked {panics} times"));
            }
            if back {
                return Ok(format!("{footprint} before, {now}"));
            }
            if Instant::now() > until {
                return Err(format!(
                    "taken and not given back: {footprint} before, {now} now; {load:?}"
                ));
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Uses all the slots that an installation has, at once.
    pub(crate) async fn slots_are_free(&self) -> Result<(), String> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let failed = self.in_all_slots(20).await;
            if failed.is_empty() {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("slots are still taken: {failed:?}"));
            }
        }
    }

    /// The statuses other than 200 of a request in each slot that lasts so many milliseconds.
    async fn in_all_slots(&self, ms: u32) -> Vec<u16> {
        let path = format!("/?ms={ms}");
        let requests = (0..SLOTS).map(|_| self.get("sleep", &path));
        let replies = futures::future::join_all(requests).await;
        let statuses = replies.iter().map(|reply| reply.status);
        statuses.filter(|status| *status != 200).collect()
    }

    /// What must hold at the end of a round, which every case was a part of.
    pub(crate) async fn round(&self) -> Result<String, String> {
        // Longer than one may wait for a slot: each needs one of its own.
        let failed = self.in_all_slots(1500).await;
        if !failed.is_empty() {
            return Err(format!("not all slots are there: {failed:?}"));
        }
        let rounds = self.rounds.lock().clone();
        let (before, most) = match rounds.get(NEW_ROUNDS - 1) {
            None => (self.first, self.first.new_rounds()),
            Some(before) => (*before, before.further_rounds()),
        };
        let until = Instant::now() + GIVEN_BACK;
        let mut now = self.footprint();
        while now.memory > most.memory || now.descriptors > most.descriptors {
            if Instant::now() > until {
                return Err(format!("what is taken adds up: {before} before, {now} now"));
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
            now = self.footprint();
        }
        self.rounds.lock().push(now);
        let told = format!("{before} before, {now} now");
        // A component and a log for each.
        let counts = self.status().await.counts;
        let most_kept = RESIDENT + 2 * (counts.installations + counts.drivers);
        if now.kept as u64 > most_kept {
            return Err(format!("more than {most_kept} are kept: {told}"));
        }
        Ok(told)
    }

    pub(crate) fn log_tail(&self) -> String {
        let log = self.node.log();
        let lines: Vec<&str> = log
            .lines()
            .filter(|line| !line.contains("canopy::request") && !line.contains("control request"))
            .collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// Whether a line of a node's log begins what Rust prints of a panic.
fn is_panic(line: &str) -> bool {
    line.starts_with("thread '") && line.contains("panicked at ")
}

impl Footprint {
    pub(crate) fn of(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it is alive");
        let memory = status
            .lines()
            .find_map(|line| {
                line.strip_prefix("VmRSS:")?
                    .trim()
                    .strip_suffix(" kB")?
                    .trim()
                    .parse::<u64>()
                    .ok()
            })
            .expect("resident memory");
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it is alive");
        let (mut kept, mut descriptors) = (0, 0);
        for file in files.flatten() {
            let file = std::fs::read_link(file.path()).unwrap_or_default();
            match file.extension().and_then(|kind| kind.to_str()) {
                Some("cwasm" | "ndjson") => kept += 1,
                _ => descriptors += 1,
            }
        }
        Self {
            memory: memory << 10,
            descriptors,
            kept,
        }
    }

    /// Whether this is as it was before, but for so many descriptors. Allocators keep some of what they had;
    /// what grows with every attack is found by the bounds of the rounds.
    pub(crate) fn has_come_back(&self, before: &Self, descriptors: usize) -> bool {
        self.memory <= before.memory + before.memory / 10 + 32 * MIB
            && self.descriptors <= before.descriptors + descriptors
    }

    /// What may be taken when all cases are run for the first times on a node that was at work before.
    fn new_rounds(&self) -> Self {
        Self {
            memory: self.memory + self.memory / 2 + 64 * MIB,
            descriptors: self.descriptors + 8,
            ..*self
        }
    }

    /// What may be taken when nothing is new to the node.
    fn further_rounds(&self) -> Self {
        Self {
            memory: self.memory + self.memory / 20,
            descriptors: self.descriptors + 8,
            ..*self
        }
    }
}

impl std::fmt::Display for Footprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            memory,
            descriptors,
            kept,
        } = self;
        let memory = memory / MIB;
        write!(f, "{memory} MiB, {descriptors} files and {kept} kept")
    }
}
