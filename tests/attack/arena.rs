//! The node under attack, the victim on it, and what is measured of both.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::client::{Reply, get, request_from};
use crate::components::{module, publish};
use crate::support::{Node, guest};

/// Where the victim's clients come from; attackers come from others.
const VICTIM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Limits that make an attack end soon. None is looser than its default. Honest guests are compiled
/// under them as well, on a machine that may be loaded: an attack ends by the time of the processor.
fn settings() -> String {
    format!(
        "\
[edge]
header_timeout = \"2 s\"
body_idle_timeout = \"2 s\"
write_stall_timeout = \"2 s\"
http2_idle_timeout = \"2 s\"
http2_all_windows = \"64 MiB\"
[limits.default]
memory = \"64 MiB\"
cpu = \"300 ms\"
wall = \"4 s\"
[engine]
host_time = \"400 ms\"
[engine.pool]
resident_components = {RESIDENT}
[engine.compile]
memory_bytes = \"1 GiB\"
cpu_seconds = 6
wall_seconds = 30
"
    )
}

/// What one call may use of the processor by these, the guest and the host for it together, and what the
/// victim takes meanwhile.
const BUDGETS: Duration = Duration::from_millis(800);
/// What Linux counts processor time in for others to read.
const TICK: Duration = Duration::from_millis(10);
/// How often a machine that is too busy is asked for that.
const TRIES: u32 = 10;

/// Components that the node keeps loaded, each by an open file.
const RESIDENT: usize = 32;

/// A node with a victim and attackers.
pub(crate) struct Arena {
    pub(crate) node: Node,
    pub(crate) victim: Victim,
    /// Whether attacks are to be of full size.
    pub(crate) full: bool,
    pub(crate) seed: u64,
    pid: u32,
    first: Footprint,
    /// Gives every upload a version of its own.
    versions: AtomicU64,
}

/// What a node takes of the machine.
#[derive(Clone, Copy)]
pub(crate) struct Footprint {
    pub(crate) memory: u64,
    pub(crate) descriptors: usize,
}

pub(crate) const MIB: u64 = 1 << 20;

impl Arena {
    pub(crate) async fn start(full: bool, seed: u64) -> Self {
        let node = Node::start_with(&settings());
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
        let port = node.apps_port();
        node.run("install guests/fetch --tenant attacker --egress 127.0.0.1:*");
        node.run("install guests/circle --tenant attacker --egress 127.0.0.1:*");
        node.run("egress allow hostile-p3 --tenant attacker 127.0.0.1:*");
        node.run("publisher create attacks");
        let pid = process_of(&node);
        let victim = Victim::start(SocketAddr::from(([127, 0, 0, 1], port)));
        let first = Footprint::of(pid);
        let this = Self {
            node,
            victim,
            full,
            seed,
            pid,
            first,
            versions: AtomicU64::new(0),
        };
        // Everything is loaded once, and as much as the node keeps loaded, so that what follows is compared
        // with a node at work that has as many files open as it may.
        for number in 0..RESIDENT {
            let bytes = module(&format!("(func (result i32) (i32.const {number}))"));
            let published = publish(&this, "resident", bytes).await;
            assert_eq!(published.status, 201, "{published:?}");
        }
        for app in [
            "hostile",
            "hostile-p3",
            "spin",
            "sleep",
            "hog",
            "trap",
            "log-flood",
            "echo-stream",
        ] {
            this.get(app, "/alive").await;
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
        let request = get(&format!("{app}.attacker.localhost"), path);
        request_from(Ipv4Addr::LOCALHOST, self.address(), request.as_bytes()).await
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

    /// Waits until the node has given back what an attack took.
    pub(crate) async fn settled(&self, before: &Footprint) -> Result<String, String> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let now = self.footprint();
            // Allocators keep some of what they had; what grows with every attack is found by the
            // bound of the whole run.
            let memory = now.memory <= before.memory + before.memory / 10 + 96 * MIB;
            let run = now.memory <= self.first.memory + self.first.memory / 2 + 256 * MIB;
            let descriptors = now.descriptors <= before.descriptors + 24;
            if memory && run && descriptors {
                return Ok(format!("{now}"));
            }
            if Instant::now() > until {
                return Err(format!(
                    "taken and not given back: {before} before, {now} now"
                ));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Uses as many slots at once as an installation has.
    pub(crate) async fn slots_are_free(&self) -> Result<(), String> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let requests = (0..48).map(|_| self.get("sleep", "/?ms=20"));
            let replies = futures::future::join_all(requests).await;
            let failed: Vec<u16> = replies
                .iter()
                .map(|reply| reply.status)
                .filter(|status| *status != 200)
                .collect();
            if failed.is_empty() {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("slots are still taken: {failed:?}"));
            }
        }
    }

    pub(crate) fn whole_run(&self) -> String {
        format!(
            "the node: {} at first, {} at last",
            self.first,
            self.footprint()
        )
    }

    pub(crate) fn log_tail(&self) -> String {
        let log = self.node.log();
        let lines: Vec<&str> = log
            .lines()
            .filter(|line| !line.contains("canopy::request"))
            .collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// The process that serves a data folder: it writes its number into the lock.
pub(crate) fn process_of(node: &Node) -> u32 {
    let lock = std::fs::read_to_string(node.data_dir().join("lock")).expect("the lock");
    lock.trim().parse().expect("a process")
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
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .expect("it is alive")
            .count();
        Self {
            memory: memory << 10,
            descriptors,
        }
    }
}

impl std::fmt::Display for Footprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} MiB, {} files", self.memory / MIB, self.descriptors)
    }
}

/// Clients of a tenant that harms nobody, one after the other, each on a connection of its own.
pub(crate) struct Victim {
    probes: Arc<Mutex<Vec<Probe>>>,
    stop: Arc<AtomicBool>,
    quiet: Mutex<Duration>,
}

struct Probe {
    took: Duration,
    answer: Result<(), String>,
}

/// How much slower the victim may be than on a quiet node, and than what anybody calls an answer.
/// Far from the aim, which benchmarks watch: this must hold on a loaded machine with one core.
const SLOWER: u32 = 20;
const GRACE: Duration = Duration::from_millis(1500);

impl Victim {
    fn start(address: SocketAddr) -> Self {
        let probes: Arc<Mutex<Vec<Probe>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (kept, stopped) = (Arc::clone(&probes), Arc::clone(&stop));
        tokio::spawn(async move {
            let request = get("hello-p2-wstd.victim.localhost", "/");
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                let reply = request_from(VICTIM, address, request.as_bytes()).await;
                let answer = match reply.status {
                    200 if reply.is_whole() => Ok(()),
                    _ => Err(format!("{reply:?}")),
                };
                let took = began.elapsed();
                kept.lock().push(Probe { took, answer });
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self {
            probes,
            stop,
            quiet: Mutex::new(Duration::ZERO),
        }
    }

    /// Learns how soon the victim is answered when nobody attacks.
    async fn quiet(&self) {
        let mark = self.mark();
        while self.mark() < mark + 20 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        *self.quiet.lock() = median(&self.probes.lock()[mark..]);
    }

    pub(crate) fn mark(&self) -> usize {
        self.probes.lock().len()
    }

    /// Whether every probe since `mark` was answered, and soon. Waits for at least one.
    pub(crate) async fn since(&self, mark: usize) -> Result<String, String> {
        let until = Instant::now() + Duration::from_secs(60);
        while self.mark() <= mark {
            if Instant::now() > until {
                return Err("the victim has not been answered for a minute".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let probes = self.probes.lock();
        let probes = &probes[mark..];
        let failed: Vec<&String> = probes
            .iter()
            .filter_map(|probe| probe.answer.as_ref().err())
            .collect();
        if let Some(first) = failed.first() {
            return Err(format!(
                "the victim failed {} of {}: {first}",
                failed.len(),
                probes.len()
            ));
        }
        let (median, quiet) = (median(probes), *self.quiet.lock());
        let worst = probes
            .iter()
            .map(|probe| probe.took)
            .max()
            .unwrap_or_default();
        let summary = format!(
            "victim {} times, {:.1} ms (quiet {:.1}), worst {:.0}",
            probes.len(),
            median.as_secs_f64() * 1e3,
            quiet.as_secs_f64() * 1e3,
            worst.as_secs_f64() * 1e3
        );
        if median > quiet * SLOWER + GRACE {
            return Err(format!("the victim waits: {summary}"));
        }
        Ok(summary)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn median(probes: &[Probe]) -> Duration {
    let mut times: Vec<Duration> = probes.iter().map(|probe| probe.took).collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
