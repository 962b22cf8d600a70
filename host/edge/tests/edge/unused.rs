//! Connections of HTTP/2 that nobody uses, however lively they look.

use std::time::{Duration, Instant};

use canopy_edge::EdgeSettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Node, Setup};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const WHOLE_REQUEST: u8 = 5;

/// Time for which a connection may go unused, and liveness checks within it.
const IDLE: Duration = Duration::from_millis(600);

async fn node() -> Node {
    let edge = EdgeSettings {
        http2_idle_timeout: IDLE,
        http2_ping_interval: IDLE / 4,
        write_stall_timeout: IDLE / 2,
        ..EdgeSettings::default()
    };
    Node::start(Setup {
        edge,
        ..Setup::default()
    })
    .await
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("short");
    let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, stream];
    frame.extend_from_slice(payload);
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

/// What a client has seen of a connection.
#[derive(Debug, Default)]
struct Seen {
    pings: usize,
    answers: usize,
    told_to_go: Option<Duration>,
    ended: Duration,
}

/// Connects, sends `first`, and answers every ping until the connection ends.
async fn lively(node: &Node, settings: &[u8], first: &[u8]) -> Seen {
    let began = Instant::now();
    let mut stream = node.connect().await;
    let mut hello = PREFACE.to_vec();
    hello.extend(frame(SETTINGS, 0, 0, settings));
    hello.extend_from_slice(first);
    stream.write_all(&hello).await.expect("sent");
    let mut seen = Seen::default();
    let until_it_ends = async {
        while let Ok((kind, flags, payload)) = read(&mut stream).await {
            match kind {
                PING if flags & ACK == 0 => {
                    seen.pings += 1;
                    // The one by which it is told to go is left open: whoever wants to stay does so.
                    if seen.told_to_go.is_none() {
                        let answer = frame(PING, ACK, 0, &payload);
                        let _ = stream.write_all(&answer).await;
                    }
                }
                HEADERS => seen.answers += 1,
                GOAWAY => {
                    seen.told_to_go.get_or_insert(began.elapsed());
                }
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), until_it_ends)
        .await
        .expect("the node closes the connection");
    seen.ended = began.elapsed();
    seen
}

async fn read(stream: &mut TcpStream) -> std::io::Result<(u8, u8, Vec<u8>)> {
    let mut header = [0; 9];
    stream.read_exact(&mut header).await?;
    let [a, b, c, kind, flags, ..] = header;
    let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    Ok((kind, flags, payload))
}

#[tokio::test]
async fn a_client_that_only_answers_pings_is_told_to_go() {
    let node = node().await;
    let request = frame(HEADERS, WHOLE_REQUEST, 1, &head("app.acme.localhost", "/"));
    for (first, answers) in [(&b""[..], 0), (&request, 1)] {
        let seen = lively(&node, b"", first).await;
        assert!(seen.pings >= 2, "{seen:?}");
        assert_eq!(seen.answers, answers, "{seen:?}");
        let told = seen.told_to_go.expect("before it is closed");
        assert!(told >= IDLE && seen.ended > told, "{seen:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_never_taken_is_no_use() {
    let node = node().await;
    // Answers for which there is no window, of the platform and of an application, and one of which
    // a byte is taken.
    let unknown = frame(HEADERS, WHOLE_REQUEST, 1, &head("nobody.localhost", "/"));
    let known = frame(HEADERS, WHOLE_REQUEST, 1, &head("app.acme.localhost", "/"));
    let window = |bytes| [0, 4, 0, 0, 0, bytes];
    for (what, settings, first) in [
        ("unknown", window(0), unknown),
        ("known", window(0), known.clone()),
        ("one byte", window(1), known),
    ] {
        let seen = lively(&node, &settings, &first).await;
        assert!(seen.ended >= IDLE, "{what}: {seen:?}");
        assert!(seen.told_to_go.is_some(), "{what}: {seen:?}");
    }
}

#[tokio::test]
async fn a_request_that_is_being_answered_is_use() {
    let node = node().await;
    let request = frame(
        HEADERS,
        WHOLE_REQUEST,
        1,
        &head("app.acme.localhost", "/gate"),
    );
    let opened = async {
        node.entered(1).await;
        tokio::time::sleep(3 * IDLE).await;
        node.stage.open.notify_one();
    };
    let (seen, ()) = tokio::join!(lively(&node, b"", &request), opened);
    assert_eq!(seen.answers, 1, "{seen:?}");
    assert!(
        seen.told_to_go.is_some_and(|told| told >= 4 * IDLE),
        "{seen:?}"
    );
}
