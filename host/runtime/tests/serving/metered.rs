//! What sockets carry counts for their tenant, by WASI 0.2 and 0.3, and too much of it ends them.

use std::sync::Arc;
use std::time::Duration;

use canopy_runtime::{EgressUsage, TenantEgress, TenantSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;

use crate::support::{App, Node};

/// A server that sends back what it is sent, once that has ended, and tells how many bytes that was.
async fn server() -> (u16, mpsc::UnboundedReceiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listener");
    let port = listener.local_addr().expect("address").port();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut said = Vec::new();
                let _ = stream.read_to_end(&mut said).await;
                let _ = stream.write_all(&said).await;
                drop(stream);
                let _ = tell.send(said.len());
            });
        }
    });
    (port, told)
}

/// One that sends datagrams back.
async fn datagrams() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let port = socket.local_addr().expect("address").port();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((bytes, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..bytes], from).await;
        }
    });
    port
}

/// An installation of `guest` whose tenant may use so much, and which may reach the port.
fn app(node: &Node, guest: &str, port: u16, egress: TenantEgress) -> App {
    let (tcp, udp) = (
        format!("tcp://127.0.0.1:{port}"),
        format!("udp://127.0.0.1:{port}"),
    );
    let mut app = node.app(guest).egress(&[&tcp, &udp], &["127.0.0.0/8"]);
    let mut tenant = TenantSpec::clone(&app.spec.tenant);
    tenant.limits.egress = egress;
    app.spec.tenant = Arc::new(tenant);
    app
}

fn bytes(bytes_per_day: u64) -> TenantEgress {
    TenantEgress {
        bytes_per_day,
        ..TenantEgress::default()
    }
}

async fn tell(node: &Node, app: &App, path: &str) -> String {
    node.get(app, path).await.expect("answer").1
}

const OVER: &str = "ErrorCode::Other(Some(\"the tenant has sent and received the";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_connection_of_0_3_carries_is_counted_both_ways() {
    let node = Node::new();
    let (port, mut said) = server().await;
    let app = app(&node, "tcp-p3", port, TenantEgress::default());
    let path = format!("/tcp?127.0.0.1:{port}&300000");
    let told = tell(&node, &app, &path).await;
    assert_eq!(
        told,
        "sent: Ok(()); received 300000: Ok(()); again: Err(ErrorCode::InvalidState)"
    );
    assert_eq!(said.recv().await, Some(300_000));
    let usage = node.runtime.egress_usage(app.spec.tenant.id);
    let all = EgressUsage {
        connections: 0,
        bytes_today: 600_000,
    };
    assert_eq!(usage, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_0_3_ends_with_the_byte_that_is_too_many() {
    let node = Node::new();
    let (port, mut said) = server().await;
    let path = format!("/tcp?127.0.0.1:{port}&300000");
    // While it sends.
    let app = app(&node, "tcp-p3", port, bytes(100_000));
    let told = tell(&node, &app, &path).await;
    let expected = format!("sent: Err({OVER} 100000 bytes a day of its plan\")))");
    assert!(told.starts_with(&expected), "{told}");
    let sent = said.recv().await.expect("it ended");
    assert!(sent <= 100_000 + (64 << 10), "{sent}");
    let again = tell(&node, &app, &path).await;
    assert!(again.starts_with("failed: ErrorCode::Other("), "{again}");
    let log = node.log(app.id()).await;
    assert!(
        log.iter()
            .any(|line| line.contains("refused: the tenant has sent and received the 100000")),
        "{log:?}"
    );

    // While it receives.
    let app = self::app(&node, "tcp-p3", port, bytes(400_000));
    let told = tell(&node, &app, &path).await;
    let expected = format!("Err({OVER} 400000 bytes a day of its plan\")))");
    assert!(
        told.starts_with("sent: Ok(()); received ") && told.contains(&expected),
        "{told}"
    );
    assert_eq!(said.recv().await, Some(300_000));
    assert_eq!(
        node.runtime.egress_usage(app.spec.tenant.id).connections,
        0,
        "the place is back"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_0_3_have_places_and_end_when_the_guest_lets_go() {
    let node = Node::new();
    let (port, mut said) = server().await;
    let one = TenantEgress {
        connections: 1,
        ..TenantEgress::default()
    };
    let app = app(&node, "tcp-p3", port, one);
    let told = tell(&node, &app, &format!("/hold?127.0.0.1:{port}")).await;
    assert!(told.contains("has 1 outgoing connections open"), "{told}");
    assert_eq!(said.recv().await, Some(0));
    let told = tell(&node, &app, &format!("/drop?127.0.0.1:{port}")).await;
    assert_eq!(told, "sent: Ok(())");
    assert_eq!(said.recv().await, Some(0), "the server saw the end");
    assert_eq!(node.runtime.egress_usage(app.spec.tenant.id).connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_of_0_3_has_what_the_interface_says() {
    let node = Node::new();
    let (port, _) = server().await;
    let app = app(&node, "tcp-p3", port, TenantEgress::default());
    let told = tell(&node, &app, &format!("/options?127.0.0.1:{port}")).await;
    assert_eq!(
        told,
        "unbound: Err(ErrorCode::InvalidState); listening: Err(ErrorCode::AccessDenied); bound: Err(ErrorCode::AccessDenied); \
         zero: Err(ErrorCode::InvalidArgument); early: Err(ErrorCode::InvalidState); twice: Err(ErrorCode::InvalidState); \
         true 2000000000 7000000000 3 42 16384 16384; remote: true; local: true"
    );
    for (to, expected) in [
        ("127.0.0.2:80", "failed: ErrorCode::AccessDenied"),
        ("0.0.0.0:80", "failed: ErrorCode::InvalidArgument"),
        ("127.0.0.1:0", "failed: ErrorCode::InvalidArgument"),
        ("224.0.0.1:80", "failed: ErrorCode::InvalidArgument"),
    ] {
        assert_eq!(tell(&node, &app, &format!("/tcp?{to}")).await, expected);
    }
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let closed = free.local_addr().expect("address").port();
    drop(free);
    let app = self::app(&node, "tcp-p3", closed, TenantEgress::default());
    let told = tell(&node, &app, &format!("/tcp?127.0.0.1:{closed}")).await;
    assert_eq!(told, "failed: ErrorCode::ConnectionRefused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_much_is_in_the_log() {
    let node = Node::new();
    let (port, _) = crate::capabilities::server(crate::capabilities::HELLO).await;
    let target = format!("127.0.0.1:{port}");
    let mut app = app(&node, "probe-p3", port, bytes(3));
    app = app.egress(&[&target], &["127.0.0.0/8"]);
    // The answer breaks off, before its head or behind it.
    let answer = node.get(&app, &format!("/fetch?{target}")).await;
    assert!(
        !matches!(&answer, Ok((_, text)) if text == "hello"),
        "{answer:?}"
    );
    let log = node.log(app.id()).await;
    assert!(
        log.iter()
            .any(|line| line.contains("refused: the tenant has sent and received the 3 bytes")),
        "{log:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_are_counted_by_either_version() {
    let node = Node::new();
    let port = datagrams().await;
    let app = app(&node, "tcp-p3", port, bytes(1_500));
    let path = format!("/udp?127.0.0.1:{port}&600");
    assert_eq!(tell(&node, &app, &path).await, "received 600");
    assert_eq!(
        node.runtime.egress_usage(app.spec.tenant.id).bytes_today,
        1_200
    );
    let told = tell(&node, &app, &path).await;
    assert!(told.starts_with(&format!("failed: {OVER}")), "{told}");

    let app = self::app(&node, "tcp", port, bytes(1_000)).limits(|limits| {
        limits.wall = Duration::from_secs(10);
    });
    let path = format!("/udp?addr=127.0.0.1:{port}");
    let long = "x".repeat(600);
    let sent = |text: String| {
        let (node, app, path) = (&node, &app, &path);
        async move { node.post(app, path, &text).await.expect("answer") }
    };
    assert_eq!(sent(long.clone()).await, (200, "600 bytes sent".into()));
    assert_eq!(
        node.runtime.egress_usage(app.spec.tenant.id).bytes_today,
        600
    );
    assert_eq!(sent(long.clone()).await.0, 200, "the last ones");
    let (status, told) = sent(long).await;
    assert_eq!(status, 502, "{told}");
}
