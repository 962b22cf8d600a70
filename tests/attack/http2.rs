//! Hostile clients of HTTP/2, frame by frame.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::arena::{Arena, MIB};
use crate::client::{closes_within, connect_from, get, request_from};
use crate::support::Node;

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);
/// Where those come from that are many.
const ATTACKERS: [Ipv4Addr; 5] = [
    Ipv4Addr::new(127, 0, 0, 3),
    Ipv4Addr::new(127, 0, 0, 4),
    Ipv4Addr::new(127, 0, 0, 5),
    Ipv4Addr::new(127, 0, 0, 6),
    Ipv4Addr::new(127, 0, 0, 7),
];
/// By how much the node may grow while it is flooded.
const FLOODED: u64 = 64 * MIB;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The header block of a `GET`, by the static table and without indexing.
fn head(host: &str, path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86];
    for (name, value) in [(4, path), (1, host)] {
        block.push(name);
        block.push(u8::try_from(value.len()).expect("short"));
        block.extend(value.as_bytes());
    }
    block
}

async fn connect(arena: &Arena, settings: &[u8]) -> TcpStream {
    hello(ATTACKER, arena.address(), settings)
        .await
        .expect("connected")
}

/// Connects from `source` and says what is said first.
async fn hello(source: Ipv4Addr, to: SocketAddr, settings: &[u8]) -> std::io::Result<TcpStream> {
    let mut stream = connect_from(source, to).await?;
    let mut first = PREFACE.to_vec();
    first.extend(frame(SETTINGS, 0, 0, settings));
    stream.write_all(&first).await?;
    Ok(stream)
}

/// Does `attack`; the most that the node grew by meanwhile.
async fn growth<T>(arena: &Arena, attack: impl Future<Output = T>) -> (T, u64) {
    let before = arena.own_memory();
    let mut most = before;
    let mut attack = std::pin::pin!(attack);
    let outcome = loop {
        tokio::select! {
            outcome = attack.as_mut() => break outcome,
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                most = most.max(arena.own_memory());
            }
        }
    };
    (outcome, most.max(arena.own_memory()) - before)
}

/// What the node's log says of HTTP/2, and that records were dropped from it.
fn complaints(arena: &Arena) -> usize {
    let log = arena.node.log();
    let complains = |line: &&str| line.contains("h2::") || line.contains("were dropped");
    log.lines().filter(complains).count()
}

/// Sends a flood on several connections; each must be closed by the node, which keeps little of it
/// and says nothing.
async fn flood(arena: &Arena, first: &[u8], piece: impl Fn(u32) -> Vec<u8>) {
    let count = if arena.full { 16 } else { 4 };
    let said = complaints(arena);
    let floods = (0..count).map(|_| async {
        let mut stream = connect(arena, b"").await;
        stream.write_all(first).await.expect("sent");
        let mut closed = false;
        for number in 0..60_000 {
            if stream.write_all(&piece(number)).await.is_err() {
                closed = true;
                break;
            }
        }
        closed || closes_within(&mut stream, Duration::from_secs(30)).await
    });
    let (closed, grown) = growth(arena, join_all(floods)).await;
    assert!(closed.into_iter().all(|closed| closed), "the flood went on");
    assert!(grown <= FLOODED, "the node grew by {} MiB", grown / MIB);
    assert_eq!(complaints(arena), said, "{}", arena.log_tail());
}

pub(crate) async fn h05_rapid_reset(arena: &Arena) {
    let head = head("identity.attacker.localhost", "/");
    flood(arena, b"", |number| {
        let stream = 2 * number + 1;
        let mut both = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head);
        both.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        both
    })
    .await;
}

pub(crate) async fn h05_continuation_flood(arena: &Arena) {
    let first = frame(
        HEADERS,
        END_STREAM,
        1,
        &head("identity.attacker.localhost", "/"),
    );
    flood(arena, &first, |_| frame(CONTINUATION, 0, 1, &[])).await;
    // Fields in them, none of which is ever the last.
    let mut field = vec![0, 1, b'x', 127, 0x81, 0x07];
    field.resize(6 + 1024, b'y');
    flood(arena, &first, |_| frame(CONTINUATION, 0, 1, &field)).await;
}

pub(crate) async fn h05_empty_data_flood(arena: &Arena) {
    let first = frame(
        HEADERS,
        END_HEADERS,
        1,
        &head("sleep.attacker.localhost", "/?ms=3000"),
    );
    flood(arena, &first, |_| frame(DATA, 0, 1, &[])).await;
}

pub(crate) async fn h05_settings_flood(arena: &Arena) {
    flood(arena, b"", |_| frame(SETTINGS, 0, 0, &[])).await;
}

pub(crate) async fn h05_ping_flood(arena: &Arena) {
    flood(arena, b"", |_| frame(PING, 0, 0, b"flooding")).await;
}

/// Answers to pings and settings that nobody sent.
pub(crate) async fn h05_answers_to_nothing(arena: &Arena) {
    flood(arena, b"", |_| frame(PING, ACK, 0, b"unasked!")).await;
    flood(arena, b"", |_| frame(SETTINGS, ACK, 0, b"")).await;
}

/// Windows of the connection and of a stream, opened again and again though nothing was sent.
pub(crate) async fn h05_window_flood(arena: &Arena) {
    let byte = 1_u32.to_be_bytes();
    flood(arena, b"", |_| frame(WINDOW_UPDATE, 0, 0, &byte)).await;
    let head = head("sleep.attacker.localhost", "/?ms=3000");
    let first = frame(HEADERS, END_HEADERS | END_STREAM, 1, &head);
    flood(arena, &first, |_| frame(WINDOW_UPDATE, 0, 1, &byte)).await;
}

/// A farewell that is said without end, while a request is under way.
pub(crate) async fn h05_goaway_flood(arena: &Arena) {
    let head = head("sleep.attacker.localhost", "/?ms=3000");
    let first = frame(HEADERS, END_HEADERS | END_STREAM, 1, &head);
    flood(arena, &first, |_| frame(GOAWAY, 0, 0, &[0; 8])).await;
}

/// Bodies that nobody takes: what is kept of them has a bound for all connections together.
pub(crate) async fn h05_bodies_that_nobody_takes(arena: &Arena) {
    let count = if arena.full { 60 } else { 30 };
    let first = frame(
        HEADERS,
        END_HEADERS,
        1,
        &head("sleep.attacker.localhost", "/?ms=3000"),
    );
    let piece = frame(DATA, 0, 1, &[b'x'; 16 << 10]);
    let clients = (0..count * ATTACKERS.len()).map(|number| {
        let (first, piece) = (&first, &piece);
        async move {
            let source = ATTACKERS[number % ATTACKERS.len()];
            let Ok(mut stream) = hello(source, arena.address(), b"").await else {
                return;
            };
            let _ = stream.write_all(first).await;
            // A megabyte, whatever the node allows.
            for _ in 0..64 {
                if stream.write_all(piece).await.is_err() {
                    break;
                }
            }
            closes_within(&mut stream, Duration::from_secs(2)).await;
        }
    });
    let (_, grown) = growth(arena, join_all(clients)).await;
    assert!(grown <= FLOODED, "the node grew by {} MiB", grown / MIB);
}

/// A connection that is kept without being used, in one of many ways.
struct Idler {
    stream: TcpStream,
    /// What is said again and again to look alive.
    again: Vec<u8>,
}

impl Idler {
    /// `None`: the node takes no more from where this one is.
    async fn connect(to: SocketAddr, number: usize) -> Option<Self> {
        let source = ATTACKERS[number % ATTACKERS.len()];
        let request = |host: &str| {
            let head = head(host, "/");
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &head)
        };
        let known = request("identity.attacker.localhost");
        let (nothing, no_window): (&[u8], &[u8]) = (b"", &[0, 4, 0, 0, 0, 0]);
        let ping = frame(PING, 0, 0, b"I'm here");
        let (settings, first, again) = match number / ATTACKERS.len() % 4 {
            0 => (nothing, Vec::new(), ping),
            1 => (nothing, known, ping),
            2 => (no_window, request("nobody.localhost"), ping),
            // A head that comes by bytes.
            _ => (nothing, known[..9].to_vec(), b"\0".to_vec()),
        };
        let mut stream = hello(source, to, settings).await.ok()?;
        stream.write_all(&first).await.ok()?;
        Some(Self { stream, again })
    }

    /// Whether the node ends it in time.
    async fn ends(mut self) -> bool {
        let (mut reading, mut writing) = self.stream.split();
        let mut bytes = Vec::new();
        let speaking = async {
            while writing.write_all(&self.again).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::select! {
            _ = reading.read_to_end(&mut bytes) => true,
            () = speaking => true,
            () = tokio::time::sleep(Duration::from_secs(20)) => false,
        }
    }
}

pub(crate) async fn h01_idle_http2(arena: &Arena) {
    let count = if arena.full { 900 } else { 200 };
    let clients = (0..count).map(|number| async move {
        match Idler::connect(arena.address(), number).await {
            Some(idler) => idler.ends().await,
            None => true,
        }
    });
    let ended = join_all(clients).await;
    let kept = ended.iter().filter(|ended| !**ended).count();
    assert_eq!(kept, 0, "connections that nobody uses are kept");
}

/// All places of a small door, taken from several addresses by who does not use them.
pub(crate) async fn h01_all_places(_arena: &Arena) {
    const PLACES: usize = 40;
    let each = PLACES / ATTACKERS.len();
    let node = Node::start_with(&format!(
        "[edge]\nmax_connections = {PLACES}\nmax_connections_per_address = {each}\n\
         header_timeout = \"2 s\"\nhttp2_idle_timeout = \"2 s\"\nwrite_stall_timeout = \"2 s\"\n"
    ));
    let address = SocketAddr::from(([127, 0, 0, 1], node.apps_port()));
    let mut idlers = Vec::new();
    for number in 0..PLACES {
        let idler = Idler::connect(address, number).await;
        idlers.push(idler.expect("no address has more than its part"));
    }
    let attack = join_all(idlers.into_iter().map(Idler::ends));
    let others = async {
        let began = Instant::now();
        let request = get("app.tenant.localhost", "/");
        let reply = request_from(Ipv4Addr::new(127, 0, 0, 2), address, request.as_bytes()).await;
        reply.must_be(404, "unknown-host");
        let waited = began.elapsed();
        assert!(
            waited >= Duration::from_secs(1),
            "there was a place: {waited:?}"
        );
        assert!(waited < Duration::from_secs(15), "{waited:?}");
    };
    let (ended, ()) = tokio::join!(attack, others);
    assert!(ended.into_iter().all(|ended| ended));
}

/// Of answers that a client takes byte by byte, little is kept for it.
pub(crate) async fn h05_window_of_a_byte(arena: &Arena) {
    let settings = [0, 4, 0, 0, 0, 1];
    let head = head("hostile.attacker.localhost", "/endless");
    let clients = (0..4).map(|_| async {
        let mut stream = connect(arena, &settings).await;
        for number in 0..16 {
            let request = frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &head);
            stream.write_all(&request).await.expect("sent");
        }
        closes_within(&mut stream, Duration::from_secs(30)).await
    });
    let (closed, grown) = growth(arena, join_all(clients)).await;
    assert!(closed.into_iter().all(|closed| closed));
    assert!(grown <= FLOODED, "the node grew by {} MiB", grown / MIB);
}

/// A client that opens no window gets nothing, and holds no slot beyond its time.
pub(crate) async fn h05_window_of_nothing(arena: &Arena) {
    let no_window = [0, 4, 0, 0, 0, 0];
    let head = head("hostile.attacker.localhost", "/endless");
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = connect(arena, &no_window).await;
        for number in 0..16 {
            let request = frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &head);
            stream.write_all(&request).await.expect("sent");
        }
        held.push(stream);
    }
    // As many as the installation may have at once: while they run, others are refused.
    let mut refused = false;
    for _ in 0..40 {
        refused |= arena.get("hostile", "/alive").await.status == 429;
        if refused {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(refused, "the attack took no slots");
    let mut alive = 0;
    for _ in 0..100 {
        alive = arena.get("hostile", "/alive").await.status;
        if alive == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(alive, 200, "the slots of who reads nothing are still taken");
}
