//! Hostile clients of HTTP/2, frame by frame.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::arena::Arena;
use crate::client::{closes_within, connect_from};

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
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
    let mut stream = connect_from(ATTACKER, arena.address())
        .await
        .expect("connected");
    let mut first = PREFACE.to_vec();
    first.extend(frame(SETTINGS, 0, 0, settings));
    stream.write_all(&first).await.expect("sent");
    stream
}

/// Sends a flood on several connections; each must be closed by the node.
async fn flood(arena: &Arena, first: &[u8], piece: impl Fn(u32) -> Vec<u8>) {
    let count = if arena.full { 16 } else { 4 };
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
    let closed = futures::future::join_all(floods).await;
    assert!(closed.into_iter().all(|closed| closed), "the flood went on");
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
