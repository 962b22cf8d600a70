//! A machine that fails: each case has a node of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::arena::{Arena, process_of};
use crate::client::{connect_from, get, request_from};
use crate::support::{Node, guest};

const VICTIM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

/// Connections that take what descriptors there are leave the node enough to answer others by.
pub(crate) async fn f04_no_descriptors(_: &Arena) {
    let node = Node::start_with("[edge]\nheader_timeout = \"3 s\"\nmax_connections = 120\n");
    node.serve(&guest("hello-p2-wstd"), "guests/hello-p2-wstd", &["victim"]);
    let address = SocketAddr::from(([127, 0, 0, 1], node.apps_port()));
    let request = get("hello-p2-wstd.victim.localhost", "/");
    let victim = async || request_from(VICTIM, address, request.as_bytes()).await;
    assert_eq!(victim().await.status, 200);
    // From now on hardly any descriptor is left beside those for connections.
    let pid = rustix::process::Pid::from_raw(process_of(&node).cast_signed()).expect("a process");
    let open = std::fs::read_dir(format!("/proc/{}/fd", process_of(&node))).expect("it is alive");
    let limit = open.count() as u64 + 100;
    let limit = rustix::process::Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    };
    rustix::process::prlimit(Some(pid), rustix::process::Resource::Nofile, limit).expect("limited");
    let mut held = Vec::new();
    for _ in 0..200 {
        if let Ok(mut stream) = connect_from(ATTACKER, address).await {
            let _ = stream.write_all(b"GET ").await;
            held.push(stream);
        }
    }
    let reply = victim().await;
    assert_eq!(
        reply.status, 200,
        "one address holds half of the connections at most: {reply:?}"
    );
    drop(held);
    for _ in 0..100 {
        if victim().await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the node does not recover");
}

/// Native code with a bit flipped is found out, thrown away, and made anew; never run.
pub(crate) async fn f06_damaged_artifact(_: &Arena) {
    let mut node = Node::start();
    node.serve(&guest("hello-p2-wstd"), "guests/hello-p2-wstd", &["victim"]);
    let address = SocketAddr::from(([127, 0, 0, 1], node.apps_port()));
    let request = get("hello-p2-wstd.victim.localhost", "/");
    let whole = request_from(VICTIM, address, request.as_bytes()).await;
    assert_eq!(whole.status, 200);
    for damage in [0, 1, 2] {
        let status = node.terminate();
        assert!(status.success(), "{status}");
        let folder = std::fs::read_dir(node.data_dir().join("artifacts")).expect("artifacts");
        let files = folder.flatten().map(|file| file.path());
        for file in files.filter(|file| file.extension().is_some_and(|kind| kind == "cwasm")) {
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
        let reply = request_from(VICTIM, address, request.as_bytes()).await;
        assert_eq!(reply.status, 200, "damage {damage}: {reply:?}");
        assert_eq!(reply.body(), whole.body());
    }
}
