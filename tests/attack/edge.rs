//! Hostile clients of HTTP/1.1.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::arena::{Arena, MIB};
use crate::client::{Reply, closes_within, connect_from, get, read_all, request_from};
use crate::components::{install, module};

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

async fn send(arena: &Arena, request: &str) -> Reply {
    request_from(ATTACKER, arena.address(), request.as_bytes()).await
}

/// A request to the attacker's `app` with these lines in its head.
fn with(app: &str, path: &str, lines: &str) -> String {
    get(&format!("{app}.attacker.localhost"), path).replace(
        "Connection: close",
        &format!("{lines}\r\nConnection: close"),
    )
}

pub(crate) async fn a34_long_target(arena: &Arena) {
    for length in [17 << 10, 40 << 10, 64 << 10, 1 << 20] {
        let reply = send(
            arena,
            &with("identity", &format!("/{}", "x".repeat(length)), "A: b"),
        )
        .await;
        assert!(matches!(reply.status, 414 | 431), "{length}: {reply:?}");
    }
}

pub(crate) async fn h01_slow_heads(arena: &Arena) {
    let count = if arena.full { 900 } else { 250 };
    let request = get("identity.attacker.localhost", "/");
    let begun = Instant::now();
    let clients = (0..count).map(|number| {
        let request = request.clone();
        async move {
            let mut stream = connect_from(ATTACKER, arena.address()).await.ok()?;
            let connected = Instant::now();
            let what = if number % 2 == 0 {
                let closed = closes_within(&mut stream, Duration::from_secs(20)).await;
                (!closed).then_some("silent and kept")
            } else {
                slow_head(&mut stream, &request).await
            }?;
            let came = connected.duration_since(begun).as_millis();
            let stayed = connected.elapsed().as_millis();
            Some(format!("{what}: came after {came} ms, for {stayed} ms"))
        }
    });
    let clients = futures::future::join_all(clients).await;
    let there: Vec<String> = clients.into_iter().flatten().collect();
    assert!(
        there.is_empty(),
        "{} slow clients were served or kept: {:?}",
        there.len(),
        &there[..there.len().min(10)]
    );
}

/// Sends a head a byte at a time. What came of it where the client was not closed.
async fn slow_head(stream: &mut TcpStream, request: &str) -> Option<&'static str> {
    let began = Instant::now();
    for byte in request.bytes() {
        stream.write_all(&[byte]).await.ok()?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        if began.elapsed() > Duration::from_secs(20) {
            return Some("slow and kept");
        }
    }
    let answer = tokio::time::timeout(Duration::from_secs(20), read_all(stream)).await;
    match answer {
        Ok(reply) => (reply.status == 200).then_some("slow and served"),
        Err(_) => Some("slow and kept at the end"),
    }
}

pub(crate) async fn h02_slow_bodies(arena: &Arena) {
    let head =
        "POST / HTTP/1.1\r\nHost: echo-stream.attacker.localhost\r\nContent-Length: 100000\r\n\r\n";
    let clients = (0..32).map(|number| async move {
        let mut stream = connect_from(ATTACKER, arena.address())
            .await
            .expect("connected");
        stream.write_all(head.as_bytes()).await.expect("sent");
        let began = Instant::now();
        // Half of them send nothing more, the others a byte now and then.
        while number % 2 == 1 && stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "kept beyond its time"
            );
        }
        closes_within(&mut stream, Duration::from_secs(30)).await
    });
    let closed = futures::future::join_all(clients).await;
    assert!(closed.into_iter().all(|closed| closed));
}

/// Who takes nothing of a long answer loses it, and its slot is free.
pub(crate) async fn h02_slow_readers(arena: &Arena) {
    let request = get("hostile.attacker.localhost", "/endless");
    let mut held = Vec::new();
    for _ in 0..40 {
        let mut stream = connect_from(ATTACKER, arena.address())
            .await
            .expect("connected");
        stream.write_all(request.as_bytes()).await.expect("sent");
        held.push(stream);
    }
    for stream in &mut held {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let _ = stream.readable().await;
    }
    for mut stream in held {
        assert!(closes_within(&mut stream, Duration::from_secs(30)).await);
    }
}

pub(crate) async fn h03_smuggling(arena: &Arena) {
    let hidden = get("spin.attacker.localhost", "/alive");
    let host = "Host: echo-stream.attacker.localhost";
    for lines in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4, 4",
        "Content-Length: +4",
        "Content-Length: 0x4",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked\r\nTransfer-Encoding: x",
        "Transfer-Encoding : chunked",
        " folded: x\r\nContent-Length: 4",
        "X: y\r\n Content-Length: 4",
        "Bad Name: x",
        "X: a\0b",
    ] {
        let request = format!("POST / HTTP/1.1\r\n{host}\r\n{lines}\r\n\r\n0\r\n\r\n{hidden}");
        let reply = send(arena, &request).await;
        assert_eq!(reply.status, 400, "{lines:?}: {reply:?}");
        assert_eq!(
            reply.text.matches("HTTP/1.1 ").count(),
            1,
            "{lines:?}: {reply:?}"
        );
    }
    let extension = "x".repeat(1 << 20);
    let request = format!(
        "POST / HTTP/1.1\r\n{host}\r\nTransfer-Encoding: chunked\r\n\r\n1;{extension}\r\nx\r\n0\r\n\r\n"
    );
    let reply = send(arena, &request).await;
    assert!(
        !reply.text.contains(" 200 ") || !reply.is_whole(),
        "{reply:?}"
    );
}

pub(crate) async fn h04_large_heads(arena: &Arena) {
    let many: Vec<String> = (0..10_000).map(|number| format!("x-{number}: y")).collect();
    let large = format!("x: {}", "y".repeat(1 << 20));
    let some: Vec<String> = (0..80).map(|number| format!("x-{number}: y")).collect();
    for lines in [many.join("\r\n"), large, some.join("\r\n")] {
        let reply = send(arena, &with("identity", "/", &lines)).await;
        assert_eq!(reply.status, 431, "{reply:?}");
    }
}

pub(crate) async fn h06_two_authorities(arena: &Arena) {
    let other = "Host: hello-p2-wstd.victim.localhost\r\nHost: identity.attacker.localhost";
    for request in [
        format!("GET / HTTP/1.1\r\n{other}\r\nConnection: close\r\n\r\n"),
        get(
            "identity.attacker.localhost",
            "http://hello-p2-wstd.victim.localhost/",
        ),
        get(
            "identity.attacker.localhost@hello-p2-wstd.victim.localhost",
            "/",
        ),
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
    ] {
        let reply = send(arena, &request).await;
        reply.must_be(400, "bad-request");
    }
}

pub(crate) async fn h07_posing_headers(arena: &Arena) {
    let lines = "X-Canopy-Tenant: victim\r\nX-Canopy-Caller: root\r\nX-Canopy-Depth: 3\r\n\
                 X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
                 X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\nX-Request-Id: mine";
    let reply = send(arena, &with("identity", "/", lines)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    for forged in [
        "6.6.6.6",
        "x-canopy",
        "evil.example",
        "\"mine\"",
        "\"victim\"",
    ] {
        assert!(!reply.text.contains(forged), "{forged}: {reply:?}");
    }
    assert!(reply.text.contains("127.0.0.3"), "{reply:?}");
}

/// A compressed body is the application's affair: the platform passes a bomb on as it is, byte for byte.
pub(crate) async fn h09_compressed_body(arena: &Arena) {
    let bomb = compressed(&vec![0; 10_000_000]);
    assert!(bomb.len() < 100_000, "{} bytes", bomb.len());
    let memory = arena.own_memory();
    let sent = (0..16).map(|_| {
        let request = arena
            .node
            .request(Method::POST, "echo-stream.attacker", "/");
        let request = request.header("content-encoding", "gzip");
        async { request.body(bomb.clone()).send().await }
    });
    for answer in futures::future::join_all(sent).await {
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 200, "{answer:?}");
        let body = answer.bytes().await.expect("a whole body");
        assert!(body == bomb, "{} bytes", body.len());
    }
    let grown = arena.own_memory().saturating_sub(memory);
    assert!(grown < 64 * MIB, "{} MiB", grown / MIB);
}

/// `bytes` as gzip makes them short.
fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip")
        .args(["-9", "--stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("gzip runs");
    let mut input = gzip.stdin.take().expect("its input");
    // It writes hardly anything before it has read all.
    input.write_all(bytes).expect("read");
    drop(input);
    gzip.wait_with_output().expect("it ends").stdout
}

pub(crate) async fn h10_path_spellings(arena: &Arena) {
    install(arena, "paths", module("(func)")).await;
    for path in [
        "/private",
        "/open/../private",
        "/open/./x",
        "/open//x",
        "//open/x",
        "/open/%2e%2e/private",
        "/open/%2E%2e%2Fprivate",
        "/open/%2fprivate",
        "/open/%252e%252e/private",
        "/open/..;/private",
        "/open/;x",
        "/open/%3bx",
        "/open/..%5cprivate",
        "/open/a%00",
        "/open/%",
        "/%6fpen/x",
        "/Open/x",
        "/open",
        "/open?x=/../",
    ] {
        let reply = send(arena, &with("paths", path, "A: b")).await;
        reply.must_be(401, "token-required");
    }
    for path in [
        "/",
        "/open/",
        "/open/x",
        "/open/a%20b",
        "/open/x?y=../%2e%2e//;",
    ] {
        let reply = send(arena, &with("paths", path, "A: b")).await;
        reply.must_be(502, "no-response");
    }
}

pub(crate) async fn h11_other_protocols(arena: &Arena) {
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==";
    send(arena, &with("identity", "/", websocket))
        .await
        .must_be(501, "upgrade-not-supported");
    let host = "Host: identity.attacker.localhost\r\nConnection: close\r\n\r\n";
    for (line, status, code) in [
        (
            "CONNECT identity.attacker.localhost:443 HTTP/1.1",
            501,
            "method-not-supported",
        ),
        ("TRACE / HTTP/1.1", 501, "method-not-supported"),
        ("OPTIONS * HTTP/1.1", 400, "bad-request"),
    ] {
        send(arena, &format!("{line}\r\n{host}"))
            .await
            .must_be(status, code);
    }
    let absolute = send(
        arena,
        &format!("GET http://identity.attacker.localhost/ HTTP/1.1\r\n{host}"),
    )
    .await;
    assert_eq!(absolute.status, 200, "{absolute:?}");
    for text in [
        "GET / HTTP/9.9\r\n\r\n",
        "\u{16}\u{3}\u{1}\0\u{1}",
        "SSH-2.0-x\r\n\r\n",
        "\r\n\r\n\r\n\r\nx\r\n\r\n",
    ] {
        let reply = send(arena, text).await;
        assert!(matches!(reply.status, 0 | 400 | 505), "{text:?}: {reply:?}");
    }
}

pub(crate) async fn h12_trailers_and_expectations(arena: &Arena) {
    let head = "POST / HTTP/1.1\r\nHost: echo-stream.attacker.localhost\r\nConnection: close\r\n";
    let trailers: String = (0..20_000)
        .map(|number| format!("x-{number}: y\r\n"))
        .collect();
    let request = format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n{trailers}\r\n");
    let reply = send(arena, &request).await;
    assert!(reply.status != 200 || !reply.is_whole(), "{reply:?}");
    let mut stream = connect_from(ATTACKER, arena.address())
        .await
        .expect("connected");
    let request = format!("{head}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    assert!(
        closes_within(&mut stream, Duration::from_secs(30)).await,
        "a body that never comes"
    );
}
