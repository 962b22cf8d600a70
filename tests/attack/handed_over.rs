//! What hostile applications hand to the host: too much in one call, bodies without end, lines of logs;
//! and what its clocks tell them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::arena::{Arena, GRAIN, MIB, REQUEST_BODY};
use crate::client::{connect_from, get};
use crate::components::{http_with, install};

/// Header fields that are made of a list of names and values, which are texts and lists.
const FIELDS: &str = r#"
    (export "fields" (type $fields (sub resource)))
    (type $why (variant (case "invalid-syntax") (case "forbidden") (case "immutable")))
    (export "header-error" (type $error (eq $why)))
    (export "[static]fields.from-list" (func
      (param "entries" (list (tuple string (list u8))))
      (result (result (own $fields) (error $error)))))
"#;

/// Hands over `count` names and values, all of which are the same `bytes` of its memory.
fn overlapping(count: u32, bytes: u32) -> Vec<u8> {
    let inside = format!(
        r#"
        (alias export $types "[static]fields.from-list" (func $from-list))
        (core module $libc (memory (export "memory") 384))
        (core instance $libc (instantiate $libc))
        (core func $from-list (canon lower (func $from-list) (memory (core memory $libc "memory"))))
        (core module $m
          (import "host" "from-list" (func $from-list (param i32 i32 i32)))
          (import "libc" "memory" (memory 384))
          (func (export "handle") (param i32 i32) (local $at i32) (local $n i32)
            (memory.fill (i32.const 1024) (i32.const 120) (i32.const 4096))
            (local.set $at (i32.const 65536))
            (loop $fill
              (i32.store (local.get $at) (i32.const 1024))
              (i32.store offset=4 (local.get $at) (i32.const {bytes}))
              (i32.store offset=8 (local.get $at) (i32.const 1024))
              (i32.store offset=12 (local.get $at) (i32.const {bytes}))
              (local.set $at (i32.add (local.get $at) (i32.const 16)))
              (local.set $n (i32.add (local.get $n) (i32.const 1)))
              (br_if $fill (i32.lt_u (local.get $n) (i32.const {count}))))
            (call $from-list (i32.const 65536) (i32.const {count}) (i32.const 16))))
        (core instance $i (instantiate $m
          (with "libc" (instance $libc))
          (with "host" (instance (export "from-list" (func $from-list))))))"#
    );
    http_with(FIELDS, &inside)
}

/// A long text; a million texts, and fewer, that are the same bytes; as many that have none; and a text of a GiB
/// that is not all in memory.
pub(crate) async fn a15_too_much_in_one_call(arena: &Arena) {
    arena
        .get("hostile", "/huge-string")
        .await
        .must_be(507, "hostcall-limit");
    let before = arena.own_memory();
    for (name, count, bytes, end) in [
        ("text", 1, 16 << 20, (507, "hostcall-limit")),
        ("same-bytes", 1_000_000, 1_000, (507, "hostcall-limit")),
        ("some-same-bytes", 40_000, 1_000, (507, "hostcall-limit")),
        ("no-bytes", 1_000_000, 0, (507, "hostcall-limit")),
        ("text-beyond", 1, 1 << 30, (500, "trap")),
    ] {
        install(arena, name, overlapping(count, bytes)).await;
        for reply in join_all((0..4).map(|_| arena.get(name, "/"))).await {
            assert_eq!((reply.status, reply.code()), end, "{name}: {reply:?}");
        }
    }
    let grown = arena.own_memory().saturating_sub(before);
    assert!(grown < 96 * MIB, "{} MiB", grown / MIB);
}

pub(crate) async fn a16_random(arena: &Arena) {
    arena
        .get("hostile", "/random-huge")
        .await
        .must_be(507, "hostcall-limit");
    // By WASI 0.3 a guest gets as much as there is at once.
    let some = arena.get("hostile-p3", "/random-huge").await;
    assert_eq!((some.status, &*some.body()), (200, "65536"), "{some:?}");
    for app in ["hostile", "hostile-p3"] {
        let reply = arena.get(app, "/random-for-ever").await;
        let ends = ["cpu-limit", "host-time-limit", "deadline-exceeded"];
        assert!(ends.contains(&reply.code()), "{app}: {reply:?}");
    }
}

pub(crate) async fn a17_headers(arena: &Arena) {
    for app in ["hostile", "hostile-p3"] {
        for path in ["/many-headers", "/huge-header"] {
            let reply = arena.get(app, path).await;
            let told = reply.status == 200 && reply.text.contains("Size");
            assert!(
                told || reply.code() == "fields-limit",
                "{app}{path}: {reply:?}"
            );
        }
    }
}

/// Reads the bodies of requests, and answers those that come to their end.
struct Peer {
    address: SocketAddr,
    bodies: Arc<Mutex<Vec<Body>>>,
    /// Connections whose body is still being read.
    open: Arc<AtomicUsize>,
}

/// What came of one.
#[derive(Debug, Clone, Copy)]
struct Body {
    bytes: u64,
    is_whole: bool,
}

impl Peer {
    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let bodies: Arc<Mutex<Vec<Body>>> = Arc::default();
        let open: Arc<AtomicUsize> = Arc::default();
        let (kept, count) = (Arc::clone(&bodies), Arc::clone(&open));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (kept, count) = (Arc::clone(&kept), Arc::clone(&count));
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let body = Body::read(client).await;
                    kept.lock().push(body);
                    count.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            bodies,
            open,
        }
    }

    /// Waits until there are so many bodies and no connection is open, and takes them.
    async fn take(&self, count: usize) -> Vec<Body> {
        let until = Instant::now() + Duration::from_secs(30);
        while self.bodies.lock().len() < count || self.open.load(Ordering::SeqCst) > 0 {
            assert!(Instant::now() < until, "the connections stay open");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::mem::take(&mut *self.bodies.lock())
    }
}

impl Body {
    async fn read(mut client: TcpStream) -> Self {
        let mut all = Vec::new();
        while !all.ends_with(b"\r\n0\r\n\r\n") && matches!(client.read_buf(&mut all).await, Ok(1..))
        {
        }
        let start = all.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let body = Self::decoded(start.map_or(&[], |start| &all[start + 4..]));
        if body.is_whole {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
            let _ = client.write_all(answer).await;
        }
        body
    }

    /// What the chunks hold, and whether the last one is there.
    fn decoded(mut chunks: &[u8]) -> Self {
        let mut bytes = 0;
        loop {
            let line = chunks.windows(2).position(|pair| pair == b"\r\n");
            let size = line.and_then(|end| std::str::from_utf8(&chunks[..end]).ok());
            let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
            let (Some(end), Some(size)) = (line, size) else {
                let is_whole = false;
                return Self { bytes, is_whole };
            };
            if size == 0 {
                let is_whole = true;
                return Self { bytes, is_whole };
            }
            let rest = &chunks[end + 2..];
            bytes += size.min(rest.len()) as u64;
            chunks = rest.get(size + 2..).unwrap_or_default();
        }
    }
}

/// Outgoing bodies, of requests and of answers: byte by byte, without end, all at once, more than there is, and
/// never to the end. None passes for a whole one, and none is longer than it may be.
pub(crate) async fn a18_outgoing_bodies(arena: &Arena) {
    let peer = Peer::listen().await;
    let address = peer.address;
    let honest = arena.get("gusher", &format!("/?{address}")).await;
    assert!(honest.text.contains("6 bytes; 200"), "{honest:?}");
    let bodies = peer.take(1).await;
    assert!(bodies[0].is_whole && bodies[0].bytes == 6, "{bodies:?}");
    let failed = "; Some(Ok(Err(";
    for (way, ends, told) in [
        (
            "tiny",
            &["cpu-limit", "host-time-limit", "deadline-exceeded"][..],
            failed,
        ),
        ("endless", &[], "HttpRequestBodySize"),
        ("large", &["hostcall-limit"], ""),
        ("beyond", &["trap"], ""),
        ("unfinished", &["deadline-exceeded"], ""),
        ("abandoned", &[], failed),
    ] {
        let path = format!("/{way}?{address}");
        for reply in join_all((0..4).map(|_| arena.get("gusher", &path))).await {
            let is_told = reply.status == 200 && !told.is_empty() && reply.text.contains(told);
            assert!(ends.contains(&reply.code()) || is_told, "{way}: {reply:?}");
        }
        // A guest that ends by its first write may do so before the request is on its way.
        let at_least = match way {
            "large" | "beyond" => 0,
            _ => 4,
        };
        for body in peer.take(at_least).await {
            assert!(!body.is_whole, "{way}: {body:?}");
            assert!(body.bytes <= REQUEST_BODY, "{way}: {body:?}");
        }
        let path = format!("/{way}");
        for reply in join_all((0..4).map(|_| arena.get("gusher", &path))).await {
            let broken = reply.status == 200 && !reply.is_whole();
            assert!(broken || reply.status >= 500, "{way}: {reply:?}");
        }
    }
}

/// The same by WASI 0.3, where a body comes to its end by its trailers: a part of one is followed by an error
/// there, or by a trap. Nobody takes more of a body than its client does.
pub(crate) async fn a18_outgoing_bodies_by_0_3(arena: &Arena) {
    let peer = Peer::listen().await;
    let address = peer.address;
    let path = format!("/pour-part?{address}");
    let honest = arena.get("hostile-p3", &path).await;
    assert!(honest.text.contains("1000 bytes; 200"), "{honest:?}");
    let bodies = peer.take(1).await;
    assert!(bodies[0].is_whole && bodies[0].bytes == 1000, "{bodies:?}");
    let of_time = ["cpu-limit", "host-time-limit", "deadline-exceeded"];
    for (way, ends, told, is_answer) in [
        ("tiny", &of_time[..], "; ErrorCode::", true),
        ("endless", &[], "HttpRequestBodySize", true),
        ("large", &[], "HttpRequestBodySize", false),
        ("beyond", &["trap"], "", true),
        (
            "unfinished",
            &["deadline-exceeded"],
            "HttpResponseTimeout",
            true,
        ),
        ("abandoned", &[], "InternalError", true),
        ("trapped", &["trap"], "", true),
    ] {
        let path = format!("/pour-{way}?{address}");
        for reply in join_all((0..4).map(|_| arena.get("hostile-p3", &path))).await {
            let is_told = reply.status == 200 && !told.is_empty() && reply.text.contains(told);
            assert!(ends.contains(&reply.code()) || is_told, "{way}: {reply:?}");
        }
        let at_least = match way {
            "beyond" | "trapped" => 0,
            _ => 4,
        };
        for body in peer.take(at_least).await {
            assert!(!body.is_whole, "{way}: {body:?}");
            assert!(body.bytes <= REQUEST_BODY, "{way}: {body:?}");
        }
        let path = format!("/pour-{way}");
        let count = if is_answer { 4 } else { 0 };
        for reply in join_all((0..count).map(|_| arena.get("hostile-p3", &path))).await {
            let broken = reply.status == 200 && !reply.is_whole();
            assert!(broken || reply.status >= 500, "{way}: {reply:?}");
        }
    }
    back_pressure(arena).await;
}

/// Clients that take nothing of an answer without end: its guest is not let go on.
async fn back_pressure(arena: &Arena) {
    let way = format!("untaken-{}", arena.next_version());
    let request = get("hostile-p3.attacker.localhost", &format!("/pour-{way}"));
    let mut clients = Vec::new();
    for _ in 0..4 {
        let client = connect_from(Ipv4Addr::LOCALHOST, arena.address()).await;
        let mut client = client.expect("connected");
        client.write_all(request.as_bytes()).await.expect("sent");
        clients.push(client);
    }
    let until = Instant::now() + Duration::from_secs(30);
    let stopped = loop {
        let stopped = stopped_after(arena, &way);
        if stopped.len() == clients.len() {
            break stopped;
        }
        assert!(Instant::now() < until, "they are let go on: {stopped:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(stopped.iter().all(|bytes| *bytes < 16 * MIB), "{stopped:?}");
}

/// After how many bytes the answers of `way` went on no more, as their guests wrote in the log.
fn stopped_after(arena: &Arena, way: &str) -> Vec<u64> {
    let log = log_of(arena, "hostile-p3");
    let said = format!("{way}: no more after ");
    let said = log.lines().filter_map(|line| line.split_once(&said));
    let bytes = said.filter_map(|(_, rest)| rest.split(' ').next()?.parse().ok());
    bytes.collect()
}

/// Lines come faster than a log takes them: what is dropped is counted, and the log says so.
pub(crate) async fn a19_log_flood(arena: &Arena) {
    let lines = if arena.full { 2_000_000 } else { 200_000 };
    let before = dropped(arena);
    let replies = join_all((0..4).map(|_| {
        let path = format!("/?lines={lines}&bytes=1000");
        async move { arena.get("log-flood", &path).await }
    }));
    for reply in replies.await {
        assert!(matches!(reply.status, 200 | 503 | 504), "{reply:?}");
    }
    let until = Instant::now() + Duration::from_secs(30);
    while dropped(arena) == before {
        assert!(Instant::now() < until, "nothing says what was dropped");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The last record of the flooded log that says how much was dropped.
fn dropped(arena: &Arena) -> Option<String> {
    let log = log_of(arena, "log-flood");
    let mut lines = log.lines().rev();
    let line = lines.find(|line| line.contains(" bytes were dropped"))?;
    Some(line.to_owned())
}

/// The last records of one of the attacker's applications.
fn log_of(arena: &Arena, app: &str) -> String {
    let line = format!("logs {app} --tenant attacker --tail 1000");
    arena.node.cli(line.split(' ')).stdout
}

/// No clock tells a guest of anything shorter than the grain that is set.
pub(crate) async fn a31_clock_grain(arena: &Arena) {
    let grain = GRAIN.as_nanos();
    for app in ["hostile", "hostile-p3"] {
        for reply in join_all((0..4).map(|_| arena.get(app, "/grain"))).await {
            assert_eq!(reply.status, 200, "{app}: {reply:?}");
            let clocks: Vec<Vec<u128>> = reply
                .body()
                .lines()
                .map(|line| {
                    line.split(' ')
                        .filter_map(|number| number.parse().ok())
                        .collect()
                })
                .filter(|clock: &Vec<u128>| clock.len() == 2)
                .collect();
            assert_eq!(clocks.len(), 2, "{app}: {reply:?}");
            for clock in clocks {
                let (resolution, step) = (clock[0], clock[1]);
                assert_eq!(resolution, grain, "{app}: {reply:?}");
                assert!(step >= grain && step % grain == 0, "{app}: {reply:?}");
            }
        }
    }
}
