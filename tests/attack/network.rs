//! Hostile applications on the network: what they must not reach, names that nobody answers for, what
//! they say of their requests, and circles.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::arena::Arena;
use crate::client::request_from;
use crate::support::{Node, guest};

/// Counts who connects, at a port of every address of this machine.
pub(crate) fn listener() -> (u16, Arc<AtomicUsize>) {
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

/// Compiles the resolver that nodes of these cases have in place of the system's.
fn names() -> (TempDir, std::path::PathBuf) {
    let place = tempfile::tempdir().expect("a folder");
    let library = place.path().join("names.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/attack/names.c");
    let status = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
        .args(["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC"])
        .args(["-shared", "-o"])
        .args([&library, &source])
        .status()
        .expect("a C compiler runs");
    assert!(status.success(), "the resolver does not compile");
    (place, library)
}

/// A name that resolves to `address`, of which the operator knows nothing.
fn name_of(address: &str) -> String {
    let bytes = match address.trim_matches(['[', ']']).parse().expect(address) {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits}.inward.test")
}

/// Two applications, of WASI 0.2 and 0.3, were granted `granted` while the operator had opened all
/// networks, which they are not any more. None of these, and none of `addresses` under a name that was
/// granted, is reached: each is refused for its address, and nobody knocks.
async fn none_is_reached(granted: &[&str], addresses: &[&str]) -> Node {
    let (_place, library) = names();
    let (port, connections) = listener();
    let mut node = Node::start_closed();
    let opened = "0.0.0.0/0,::/0";
    assert!(node.terminate().success());
    node.start_again_with(|command| {
        command.env("CANOPY_EGRESS_PRIVATE_NETWORKS", opened);
    });
    node.run("tenant create attacker");
    let rules: String = granted
        .iter()
        .map(|host| format!(" --egress {host}:*"))
        .collect();
    for app in ["fetch", "probe-p3"] {
        node.publish(&guest(app));
        node.run(&format!(
            "install guests/{app} --tenant attacker --egress *.inward.test:*{rules}"
        ));
    }
    assert!(node.terminate().success());
    node.start_again_with(|command| {
        command.env("LD_PRELOAD", &library);
    });
    let named: Vec<String> = addresses.iter().map(|address| name_of(address)).collect();
    let hosts = granted
        .iter()
        .copied()
        .chain(named.iter().map(String::as_str));
    for host in hosts {
        let path = format!("/fetch?{host}:{port}");
        let told = node.get("probe-p3.attacker", &path).await;
        assert!(
            told.body.contains("DestinationIpProhibited"),
            "{host}: {told:?}"
        );
        let path = format!("/?url=http://{host}:{port}/");
        let told = node.get("fetch.attacker", &path).await;
        let kind = (told.status, &told.json()["error"]);
        assert_eq!(kind, (502, &"denied".into()), "{host}: {told:?}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
    // It does count.
    drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens"));
    while connections.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    node
}

pub(crate) async fn a20_forbidden_destinations(_: &Arena) {
    let granted = [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
    ];
    let addresses = [
        "127.0.0.1",
        "::1",
        "0.0.0.0",
        "::",
        "169.254.169.254",
        "fd00:ec2::254",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
    ];
    let node = none_is_reached(&granted, &addresses).await;
    let api = node.api_url("/api/v1/tenants");
    let authority = api.trim_start_matches("http://");
    let (authority, _) = authority.split_once('/').expect("a path");
    let path = format!("/fetch?{authority}");
    let told = node.get("probe-p3.attacker", &path).await;
    assert!(
        told.body.contains("DestinationIpProhibited"),
        "the node's own API: {told:?}"
    );
}

pub(crate) async fn a21_spellings_of_addresses(_: &Arena) {
    let granted = [
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "localhost.",
        "LOCALHOST",
    ];
    let addresses = [
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ];
    let node = none_is_reached(&granted, &addresses).await;
    // What some read as an address and others as a name is neither, and can be granted to nobody.
    let (port, connections) = listener();
    for host in [
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "127.1",
        "0177.0.0.1",
        "127.0.0.1.",
        "127%2e0.0.1",
        "%3127.0.0.1",
        "user@127.0.0.1",
        "127.0.0.1%23.example.com",
    ] {
        let line = format!("egress allow fetch --tenant attacker {host}:{port}");
        let refused = node.cli(line.split(' '));
        assert_ne!(refused.code, 0, "{host}: {}", refused.stdout);
        let path = format!("/?url=http://{host}:{port}/");
        let told = node.get("fetch.attacker", &path).await;
        assert_eq!(told.status, 502, "{host}: {told:?}");
        assert!(!told.body.contains("\"status\""), "{host}: {told:?}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

/// Names whose servers never answer, asked for by more requests than the runtime has threads for such
/// work: they keep their tenant's own look-ups, and nothing of anybody else.
pub(crate) async fn a22_silent_servers_of_names(_: &Arena) {
    const ROUNDS: usize = 12;
    const AT_ONCE: usize = 60;
    let (_place, library) = names();
    let mut node = Node::start_closed();
    node.serve(&guest("hello-p2-wstd"), "guests/hello-p2-wstd", &["victim"]);
    node.serve(&guest("sql-canopy"), "guests/sql", &["victim"]);
    node.serve(&guest("face-canopy"), "guests/faces", &["victim"]);
    node.publish(&guest("fetch"));
    node.run("tenant create attacker");
    for tenant in ["attacker", "victim"] {
        node.run(&format!(
            "install guests/fetch --tenant {tenant} --egress *.silent.test:* --egress *.inward.test:*"
        ));
    }
    assert!(node.terminate().success());
    node.start_again_with(|command| {
        command
            .env("LD_PRELOAD", &library)
            .env("CANOPY_EGRESS_CONNECT_TIMEOUT", "200 ms");
    });
    for round in 0..ROUNDS {
        let asked = (0..AT_ONCE).map(|number| {
            let path = format!("/?url=http://n{round}-{number}.silent.test/");
            let node = &node;
            async move { node.get("fetch.attacker", &path).await }
        });
        for told in join_all(asked).await {
            assert_eq!(told.status, 502, "{told:?}");
        }
    }
    let looking = threads(node.pid(), "canopy-lookup");
    assert_eq!(looking, 8, "as many as `egress.tenant_lookups` allows");
    let victim = async {
        let inward = name_of("10.0.0.1");
        for (app, path, status) in [
            ("hello-p2-wstd.victim", "/".to_owned(), 200),
            ("sql.victim", "/?op=told&key=SELECT%201".to_owned(), 200),
            ("faces.victim", "/?op=set&key=a&value=b".to_owned(), 200),
            // Looked up, and then refused for its address.
            ("fetch.victim", format!("/?url=http://{inward}/"), 502),
        ] {
            let told = join_all((0..16).map(|_| node.get(app, &path))).await;
            for told in told {
                assert_eq!(told.status, status, "{app}: {told:?}");
                assert!(status == 200 || told.body.contains("denied"), "{told:?}");
            }
        }
    };
    let served = tokio::time::timeout(Duration::from_secs(60), victim).await;
    assert!(served.is_ok(), "others wait for the attacker's names");
}

/// How many threads of a process have this name.
fn threads(pid: u32, name: &str) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it is alive");
    let named = |task: &std::fs::DirEntry| {
        let found = std::fs::read_to_string(task.path().join("comm"));
        found.is_ok_and(|found| found.trim() == name)
    };
    tasks.flatten().filter(named).count()
}

/// A server that reads requests as they say that they are to be read, answers each that is whole, and
/// writes down its first line and what followed the head.
async fn reader() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let all = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(read(stream, Arc::clone(&all)));
        }
    });
    (port, seen)
}

async fn read(mut stream: tokio::net::TcpStream, seen: Arc<Mutex<Vec<String>>>) -> Option<()> {
    let blank_line = |read: &[u8]| read.ends_with(b"\r\n\r\n");
    loop {
        let head = until(&mut stream, blank_line).await?;
        let field = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            let own = lines.find(|(found, _)| found.eq_ignore_ascii_case(name));
            own.map(|(_, value)| value.trim().to_owned())
        };
        let length = field("content-length").and_then(|text| text.parse().ok());
        let length: usize = length.unwrap_or(0);
        let rest = match field("transfer-encoding") {
            Some(_) => until(&mut stream, blank_line).await?,
            None => until(&mut stream, |read| read.len() == length).await?,
        };
        let line = head.lines().next().unwrap_or_default();
        seen.lock().push(format!("{line} {rest}"));
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.ok()?;
    }
}

/// Reads until what was read is all.
async fn until(
    stream: &mut tokio::net::TcpStream,
    is_all: impl Fn(&[u8]) -> bool,
) -> Option<String> {
    let mut read = Vec::new();
    while !is_all(&read) {
        read.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&read).into_owned())
}

/// What a guest says of a body that is not so makes no request of what is left over, and what it may not
/// say in a head it may not say in trailers.
pub(crate) async fn a28_a29_framing_outward(arena: &Arena) {
    let (port, seen) = reader().await;
    for (said, given) in [("5", 43), ("64", 5), ("64", 0), ("0", 43), ("5", 5)] {
        let path = format!("/outward?{port}&{said}&{given}");
        let told = arena.get("hostile-p3", &path).await;
        assert_eq!(told.status, 200, "{told:?}");
        let is_whole = said == "5" && given == 5;
        assert!(!is_whole || told.text.contains("; 200"), "{told:?}");
        let fetch = format!(
            "POST /?url=http://127.0.0.1:{port}/{said}/{given} HTTP/1.1\r\n\
             Host: fetch.attacker.localhost\r\nConnection: close\r\n\
             Send-Content-Length: {said}\r\nContent-Length: {given}\r\n\r\n{}",
            &"helloGET /smuggled HTTP/1.1\r\nhost: inner\r\n\r\n"[..given]
        );
        request_from(Ipv4Addr::LOCALHOST, arena.address(), fetch.as_bytes()).await;
        for line in std::mem::take(&mut *seen.lock()) {
            let own = format!("POST /{said}/{given} HTTP/1.1 ");
            let body = line.strip_prefix(&own);
            assert!(
                body == Some("") || body == Some("hello") && said == "5",
                "{line}"
            );
        }
    }
    let told = arena
        .get("hostile-p3", &format!("/outward?{port}&-&5"))
        .await;
    let body = told.body();
    let took = body
        .split_once("took ")
        .and_then(|(_, rest)| rest.split_once(';'));
    let (took, came) = took.unwrap_or_else(|| panic!("{told:?}"));
    assert_eq!(
        (took, came.trim()),
        ("x-own content-length", "200"),
        "{told:?}"
    );
    let seen = seen.lock();
    assert_eq!(
        *seen,
        ["POST /-/5 HTTP/1.1 5\r\nhello\r\n0\r\nx-own: 1\r\n\r\n"]
    );
}

/// A load balancer, by whose address an application reaches itself.
pub(crate) async fn balancer(to: SocketAddr, host: &'static str) -> SocketAddr {
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
