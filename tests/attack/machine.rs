//! A machine that fails: each case has a node of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;

use crate::arena::{Arena, Footprint};
use crate::client::{connect_from, get, request_from};
use crate::support::{Node, guest};
use crate::victim::Victim;

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

/// Connections that take what descriptors there are leave the node enough to answer others by.
pub(crate) async fn f04_no_descriptors(_: &Arena) {
    let node = Node::start_with("[edge]\nheader_timeout = \"3 s\"\nmax_connections = 120\n");
    node.serve(&guest("hello-p2-wstd"), "guests/hello-p2-wstd", &["victim"]);
    let address = SocketAddr::from(([127, 0, 0, 1], node.apps_port()));
    let victim = Victim::start(address).await;
    // From now on hardly any descriptor is left beside those for connections.
    let pid = rustix::process::Pid::from_raw(node.pid().cast_signed()).expect("a process");
    let before = Footprint::of(node.pid());
    let limit = before.descriptors as u64 + 100;
    let limit = rustix::process::Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    };
    rustix::process::prlimit(Some(pid), rustix::process::Resource::Nofile, limit).expect("limited");
    let mark = victim.mark();
    let mut held = Vec::new();
    for _ in 0..200 {
        if let Ok(mut stream) = connect_from(ATTACKER, address).await {
            let _ = stream.write_all(b"GET ").await;
            held.push(stream);
        }
    }
    // One address holds half of the connections at most.
    victim.was_served(mark).await;
    drop(held);
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let now = Footprint::of(node.pid());
        if now.has_come_back(&before, 24) {
            break;
        }
        assert!(Instant::now() < until, "{before} before, {now} now");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    victim.was_served(mark).await;
}

/// Native code with a bit flipped is found out, thrown away, and made anew; never run. Who has other code
/// is served meanwhile.
pub(crate) async fn f06_damaged_artifact(_: &Arena) {
    let mut node = Node::start();
    node.serve(&guest("hello-p2-wstd"), "guests/hello-p2-wstd", &["victim"]);
    let of_victim = artifacts(&node);
    node.serve(&guest("hello-p3"), "guests/hello-p3", &["acme"]);
    let address = SocketAddr::from(([127, 0, 0, 1], node.apps_port()));
    let request = get("hello-p3.acme.localhost", "/");
    let whole = request_from(ATTACKER, address, request.as_bytes()).await;
    assert_eq!(whole.status, 200);
    for damage in [0, 1, 2] {
        let status = node.terminate();
        assert!(status.success(), "{status}");
        let damaged: Vec<PathBuf> = artifacts(&node)
            .into_iter()
            .filter(|file| !of_victim.contains(file))
            .collect();
        assert_eq!(damaged.len(), 1, "{damaged:?}");
        for file in damaged {
            let mut bytes = std::fs::read(&file).expect("an artifact");
            let place = [bytes.len() / 2, bytes.len() - 1, 0][damage];
            match damage {
                2 => bytes.truncate(bytes.len() / 2),
                _ => bytes[place] ^= 1,
            }
            let mut permissions = file.metadata().expect("its mode").permissions();
            #[expect(
                clippy::permissions_set_readonly_false,
                reason = "the folder is private"
            )]
            permissions.set_readonly(false);
            std::fs::set_permissions(&file, permissions).expect("writable");
            std::fs::write(&file, bytes).expect("damaged");
        }
        node.start_again();
        let victim = Victim::start(address).await;
        let mark = victim.mark();
        let reply = request_from(ATTACKER, address, request.as_bytes()).await;
        assert_eq!(reply.status, 200, "damage {damage}: {reply:?}");
        assert_eq!(reply.body(), whole.body());
        victim.was_served(mark).await;
        let log = node.log();
        let found = log.matches("artifact is damaged").count();
        assert_eq!(found, damage + 1, "{log}");
    }
}

/// The files of native code.
fn artifacts(node: &Node) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(node.data_dir().join("artifacts")).expect("artifacts");
    let files = folder.flatten().map(|file| file.path());
    files
        .filter(|file| file.extension().is_some_and(|kind| kind == "cwasm"))
        .collect()
}
