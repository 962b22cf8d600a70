//! A tenant who harms nobody: probed all the while, one request after the other, each on a connection
//! of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::client::{get, request_from};

/// Where the victim's clients come from; attackers come from others.
const VICTIM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// How much slower the victim may be than on a quiet node, and by how much beyond that.
/// Far from the aim, which benchmarks watch: this must hold on a loaded machine with one core.
const SLOWER: u32 = 20;
const GRACE: Duration = Duration::from_millis(1500);
/// The same for all but one of a hundred requests.
const SLOWER_AT_MOST: u32 = 20;
const GRACE_AT_MOST: Duration = Duration::from_secs(2);

pub(crate) struct Victim {
    probes: Arc<Mutex<Vec<Probe>>>,
    stop: Arc<AtomicBool>,
    quiet: Mutex<Times>,
}

struct Probe {
    took: Duration,
    answer: Result<(), String>,
}

/// How long answers took.
#[derive(Clone, Copy, Default)]
struct Times {
    median: Duration,
    p99: Duration,
    worst: Duration,
}

impl Times {
    fn of(probes: &[Probe]) -> Self {
        let mut times: Vec<Duration> = probes.iter().map(|probe| probe.took).collect();
        times.sort_unstable();
        let at = |percent: usize| {
            let place = (times.len() * percent).div_ceil(100).saturating_sub(1);
            times.get(place).copied().unwrap_or_default()
        };
        Self {
            median: at(50),
            p99: at(99),
            worst: at(100),
        }
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [median, p99, worst] =
            [self.median, self.p99, self.worst].map(|time| time.as_secs_f64() * 1e3);
        write!(f, "median {median:.1} ms, p99 {p99:.1}, worst {worst:.1}")
    }
}

impl Victim {
    /// Begins to ask the application `hello-p2-wstd` of the tenant `victim`, and learns how soon it
    /// answers when nobody attacks.
    pub(crate) async fn start(address: SocketAddr) -> Self {
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
        let this = Self {
            probes,
            stop,
            quiet: Mutex::default(),
        };
        // The first makes the application ready.
        this.answered(1).await;
        this.quiet().await;
        this
    }

    /// Learns anew how soon the victim is answered when nobody attacks.
    pub(crate) async fn quiet(&self) {
        let mark = self.mark();
        self.answered(mark + 40).await;
        *self.quiet.lock() = Times::of(&self.probes.lock()[mark..]);
    }

    async fn answered(&self, count: usize) {
        while self.mark() < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn mark(&self) -> usize {
        self.probes.lock().len()
    }

    /// Whether every probe since `mark` was answered, and soon. Waits for one that begins after this is
    /// asked for.
    pub(crate) async fn since(&self, mark: usize) -> Result<String, String> {
        let enough = self.mark() + 2;
        let wait = tokio::time::timeout(Duration::from_secs(60), self.answered(enough));
        if wait.await.is_err() {
            return Err("the victim has not been answered for a minute".to_owned());
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
        let (times, quiet) = (Times::of(probes), *self.quiet.lock());
        let summary = format!("victim {} times, {times} (quiet {quiet})", probes.len());
        if times.median > quiet.median * SLOWER + GRACE
            || times.p99 > quiet.p99 * SLOWER_AT_MOST + GRACE_AT_MOST
        {
            return Err(format!("the victim waits: {summary}"));
        }
        Ok(summary)
    }

    /// The same, in a case.
    #[track_caller]
    pub(crate) fn was_served(&self, mark: usize) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            if let Err(why) = self.since(mark).await {
                panic!("{place}: {why}");
            }
        }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
