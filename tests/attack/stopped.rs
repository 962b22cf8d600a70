//! A node that is told to stop under load. It has a node of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use canopy_api_types::Status;
use futures::future::join_all;
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWriteExt as _;

use crate::arena::Arena;
use crate::client::{connect_from, get, read_all, request_from};
use crate::support::{Node, answer, guest};

const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
/// Requests of one installation under way at once, by default.
const SLOTS: usize = 64;
/// Bodies that are half sent.
const BODIES: usize = 8;

/// How far it is.
#[derive(Default)]
struct Progress {
    /// What takes long is under way.
    loaded: AtomicBool,
    /// Answers to what takes no time.
    answered: AtomicUsize,
    /// The node was told to stop.
    stopping: AtomicBool,
}

impl Progress {
    /// Waits until a mark is set.
    async fn reached(&self, mark: impl Fn(&Self) -> bool) {
        let until = Instant::now() + Duration::from_secs(30);
        while !mark(self) {
            assert!(Instant::now() < until, "nothing goes on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// What was accepted before a node is told to stop is answered whole, be it waiting, sending or being sent;
/// no connection is reset that an answer has begun on, and the node ends within its grace.
pub(crate) async fn f08_stopped_under_load(_: &Arena) {
    let mut node = Node::start_with("[edge]\ndrain_grace = \"20 s\"\n");
    for name in ["sleep", "echo-stream"] {
        node.serve(&guest(name), &format!("guests/{name}"), &["acme"]);
    }
    node.serve(&guest("hello-p2-wstd"), "guests/hello-p2-wstd", &["acme"]);
    let address = SocketAddr::from(([127, 0, 0, 1], node.apps_port()));
    for round in 0..2 {
        let progress = Progress::default();
        let (took, slow, sent, _) = tokio::join!(
            stop(&mut node, &progress),
            waiting(address),
            sending(address, &progress),
            join_all((0..4).map(|_| asking(address, &progress))),
        );
        assert_eq!(slow, SLOTS, "{round}: so many of {SLOTS} were answered");
        assert_eq!(
            sent, BODIES,
            "{round}: so many of {BODIES} bodies came back"
        );
        assert!(took < Duration::from_secs(20), "{round}: it took {took:?}");
        node.start_again();
    }
    assert!(node.terminate().success());
}

/// Waits until everything is under way, tells the node to stop, and says how long it takes.
async fn stop(node: &mut Node, progress: &Progress) -> Duration {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let status = answer(node.api(Method::GET, "/api/v1/status")).await.json();
        let status: Status = serde_json::from_value(status).expect("its status");
        if status.load.requests == SLOTS + BODIES {
            break;
        }
        assert!(Instant::now() < until, "{:?}", status.load);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    progress.loaded.store(true, Ordering::SeqCst);
    let enough = |progress: &Progress| progress.answered.load(Ordering::SeqCst) >= 20;
    progress.reached(enough).await;
    let process = Pid::from_raw(node.pid().cast_signed()).expect("a process");
    let began = Instant::now();
    kill_process(process, Signal::TERM).expect("it runs");
    progress.stopping.store(true, Ordering::SeqCst);
    while !node.has_ended() {
        assert!(began.elapsed() < Duration::from_secs(60), "it does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(node.wait().success());
    began.elapsed()
}

/// Requests that wait in the host when the node is told to stop; how many are answered.
async fn waiting(address: SocketAddr) -> usize {
    let request = get("sleep.acme.localhost", "/?ms=6000");
    let requests = (0..SLOTS).map(|_| request_from(CLIENT, address, request.as_bytes()));
    let replies = join_all(requests).await;
    let whole = |reply: &&crate::client::Reply| reply.status == 200 && reply.is_whole();
    replies.iter().filter(whole).count()
}

/// Bodies that are half sent when the node is told to stop; how many come back.
async fn sending(address: SocketAddr, progress: &Progress) -> usize {
    let head = "POST / HTTP/1.1\r\nHost: echo-stream.acme.localhost\r\nContent-Length: 20\r\n\
                Connection: close\r\n\r\n";
    let clients = (0..BODIES).map(|_| async {
        let mut stream = connect_from(CLIENT, address).await.expect("connected");
        let first = format!("{head}0123456789");
        stream.write_all(first.as_bytes()).await.expect("sent");
        let stopping = |progress: &Progress| progress.stopping.load(Ordering::SeqCst);
        progress.reached(stopping).await;
        // The rest comes when nobody is let in any more.
        while connect_from(CLIENT, address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stream.write_all(b"9876543210").await.expect("sent");
        let reply = read_all(&mut stream).await;
        let body = reply.text.replace("\r\n", "");
        reply.status == 200
            && reply.is_whole()
            && body.contains("0123456789")
            && body.contains("9876543210")
    });
    let whole = join_all(clients).await;
    whole.into_iter().filter(|whole| *whole).count()
}

/// Asks again and again, each time on a connection of its own, until the node takes no more. An answer that
/// has begun is whole.
async fn asking(address: SocketAddr, progress: &Progress) {
    let request = get("hello-p2-wstd.acme.localhost", "/");
    progress
        .reached(|progress| progress.loaded.load(Ordering::SeqCst))
        .await;
    loop {
        let reply = request_from(CLIENT, address, request.as_bytes()).await;
        if reply.status != 200 || !reply.is_whole() {
            let stopping = progress.stopping.load(Ordering::SeqCst);
            assert!(stopping && reply.status == 0, "{reply:?}");
            return;
        }
        progress.answered.fetch_add(1, Ordering::SeqCst);
    }
}
