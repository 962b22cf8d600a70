//! Hostile applications on the network: what they must not reach, and circles.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::arena::Arena;
use crate::client::request_from;

/// Counts who connects, at a port of every address of this machine.
fn listener() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0"));
    let listener = listener.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    std::thread::spawn(move || {
        for _ in listener.incoming().flatten() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    (port, connections)
}

async fn none_is_reached(arena: &Arena, hosts: &[&str]) {
    let (port, connections) = listener();
    // A tenant may grant a name; what it stands for is judged all the same.
    for host in hosts {
        let reply = arena
            .get("fetch", &format!("/?url=http://{host}:{port}/"))
            .await;
        assert_eq!(reply.status, 502, "{host}: {reply:?}");
        assert!(!reply.text.contains("\"status\""), "{host}: {reply:?}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

pub(crate) async fn a20_forbidden_destinations(arena: &Arena) {
    let hosts = [
        "127.0.0.1",
        "[::1]",
        "0.0.0.0",
        "[::]",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "localhost",
    ];
    none_is_reached(arena, &hosts).await;
    let api = arena.node.api_url("/api/v1/tenants");
    let reply = arena.get("fetch", &format!("/?url={api}")).await;
    assert_eq!(reply.status, 502, "the node's own API: {reply:?}");
}

pub(crate) async fn a21_spellings_of_addresses(arena: &Arena) {
    let hosts = [
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "127.1",
        "0177.0.0.1",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "localhost.",
        "LOCALHOST",
        "127.0.0.1.",
        "127%2e0.0.1",
        "%3127.0.0.1",
        "user@127.0.0.1",
        "127.0.0.1%23.example.com",
    ];
    none_is_reached(arena, &hosts).await;
}

/// A load balancer, by whose address an application reaches itself.
async fn balancer(to: SocketAddr, host: &'static str) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await?);
                }
                let head = String::from_utf8_lossy(&head);
                let lines = head.trim_end().lines();
                let kept: Vec<&str> = lines
                    .filter(|line| !line.to_ascii_lowercase().starts_with("host:"))
                    .collect();
                let request = format!(
                    "{}\r\nHost: {host}\r\nConnection: close\r\n\r\n",
                    kept.join("\r\n")
                );
                let reply = request_from(Ipv4Addr::LOCALHOST, to, request.as_bytes()).await;
                client.write_all(reply.text.as_bytes()).await
            });
        }
    });
    address
}

/// An application that calls its own public address ends at the depth that the node allows.
pub(crate) async fn a26_circle(arena: &Arena) {
    let balancer = balancer(arena.address(), "circle.attacker.localhost").await;
    let reply = arena.get("circle", &format!("/?at={balancer}")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let calls = reply.text.matches("called").count();
    assert!(
        reply.text.contains("loop-detected"),
        "{calls} calls: {reply:?}"
    );
    assert_eq!(calls, 17, "the first, and 16 deeper: {reply:?}");
}
