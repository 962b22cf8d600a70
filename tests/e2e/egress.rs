//! What guests reach over the network: what they were granted, and nothing else.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Node, guest};

/// A server that counts who connects and answers each with `200 granted`.
fn listener() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            counter.fetch_add(1, Ordering::SeqCst);
            use std::io::{Read, Write};
            let mut stream = stream;
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 7\r\n\r\ngranted",
            );
        }
    });
    (port, connections)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_reached_without_a_grant() {
    let node = Node::start();
    node.serve(&guest("fetch"), "guests/fetch", &["acme"]);
    let (port, connections) = listener();
    for host in [
        "127.0.0.1",
        "localhost",
        "0x7f.1",
        "2130706433",
        "[::ffff:127.0.0.1]",
        "127.1",
    ] {
        let answer = node
            .get("fetch.acme", &format!("/?url=http://{host}:{port}/"))
            .await;
        assert_eq!(answer.status, 502, "{host}: {answer:?}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_opens_that_host_and_port_alone() {
    let node = Node::start();
    let ((granted, _), (other, untouched)) = (listener(), listener());
    node.publish(&guest("fetch"));
    node.run("tenant create acme");
    node.run(&format!(
        "install guests/fetch --tenant acme --egress 127.0.0.1:{granted}"
    ));
    let answer = node
        .get("fetch.acme", &format!("/?url=http://127.0.0.1:{granted}/"))
        .await;
    assert_eq!(answer.json()["body"], "granted", "{answer:?}");
    let answer = node
        .get("fetch.acme", &format!("/?url=http://127.0.0.1:{other}/"))
        .await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (502, &"denied".into())
    );
    assert_eq!(untouched.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_address_needs_the_operator_too() {
    let node = Node::start_closed();
    node.publish(&guest("fetch"));
    node.run("tenant create acme");
    let line = "install guests/fetch --tenant acme --egress 169.254.169.254:80";
    let refused = node.cli(line.split(' '));
    assert_eq!(refused.code, 3);
    assert!(
        refused.stderr.contains("not a public address")
            && refused.stderr.contains("egress.private_networks"),
        "{}",
        refused.stderr
    );

    // A name may be granted: what it stands for is judged when it is looked up.
    let (port, connections) = listener();
    node.run(&format!(
        "install guests/fetch --tenant acme --egress localhost:{port}"
    ));
    let answer = node
        .get("fetch.acme", &format!("/?url=http://localhost:{port}/"))
        .await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (502, &"denied".into()),
        "{answer:?}"
    );
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_stand_under_the_same_policy() {
    let node = Node::start();
    let ((granted, _), (other, untouched)) = (listener(), listener());
    node.publish(&guest("tcp"));
    node.run("tenant create acme");
    node.run(&format!(
        "install guests/tcp --tenant acme --egress localhost:{granted}"
    ));
    let open = node
        .get("tcp.acme", &format!("/?addr=localhost:{granted}"))
        .await;
    assert_eq!(open.status, 200, "{open:?}");
    for address in [format!("localhost:{other}"), format!("127.0.0.1:{other}")] {
        let closed = node.get("tcp.acme", &format!("/?addr={address}")).await;
        assert_eq!(closed.status, 502, "{closed:?}");
    }
    assert_eq!(untouched.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_socket_may_not_reach_is_in_the_log_also_where_nothing_was_granted() {
    let node = Node::start();
    let (port, untouched) = listener();
    node.publish(&guest("tcp"));
    node.run("tenant create acme");
    node.run("install guests/tcp --tenant acme");
    for (way, target) in [
        ("", format!("127.0.0.1:{port}")),
        ("udp", "10.1.2.3:53".into()),
    ] {
        let answer = node.get("tcp.acme", &format!("/{way}?addr={target}")).await;
        assert_eq!(answer.status, 502, "{target}: {answer:?}");
        let address = target.split_once(':').expect("a port").0;
        let log = node.run("logs tcp --tenant acme").to_string();
        let line = log.lines().find(|line| line.contains(address));
        assert!(line.is_some_and(|line| line.contains("refused")), "{log}");
    }
    assert_eq!(untouched.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_is_opened_to_one_application_and_to_no_other() {
    let node = Node::start_closed();
    let (port, connections) = listener();
    node.publish(&guest("fetch"));
    for tenant in ["acme", "globex"] {
        node.run(&format!("tenant create {tenant}"));
    }
    node.run(&format!(
        "install guests/fetch --tenant acme --egress 127.0.0.0/8 --egress 127.0.0.1:{port}"
    ));
    let rule = format!("localhost:{port}");
    node.run(&format!(
        "install guests/fetch --tenant globex --egress {rule}"
    ));
    let path = format!("/?url=http://127.0.0.1:{port}/");
    let answer = node.get("fetch.acme", &path).await;
    assert_eq!(answer.json()["body"], "granted", "{answer:?}");
    for host in ["127.0.0.1", "localhost"] {
        let path = format!("/?url=http://{host}:{port}/");
        let answer = node.get("fetch.globex", &path).await;
        assert_eq!(answer.status, 502, "{host}: {answer:?}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    let log = node.run("logs fetch --tenant globex").to_string();
    assert!(log.contains("is not a public address"), "{log}");
}
