//! WebSocket: connections that real guests take, how they end, and what is no handshake.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use http::header::{AUTHORIZATION, HeaderName, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, CloseCode, Message, WebSocketStream};

use crate::support::{Node, guest};

type Socket = WebSocketStream<TcpStream>;

/// By when something must have happened that nothing says.
const SOON: Duration = Duration::from_secs(20);
const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn node(settings: &str) -> Node {
    let node = Node::start_with(settings);
    node.serve(&guest("socket"), "guests/socket", &["acme"]);
    node
}

async fn connect(node: &Node, path: &str, headers: &[(HeaderName, &str)]) -> Socket {
    let port = node.apps_port();
    let uri = format!("ws://socket.acme.localhost:{port}{path}");
    let mut builder = ClientBuilder::new().uri(&uri).expect("an address");
    for (name, value) in headers {
        let value = value.parse().expect("a value");
        builder = builder.add_header(name.clone(), value).expect("a field");
    }
    let stream = TcpStream::connect(("127.0.0.1", port)).await;
    let taken = builder.connect_on(stream.expect("a connection")).await;
    taken.expect("it is taken").0
}

async fn say(socket: &mut Socket, text: &'static str) -> String {
    socket.send(Message::text(text)).await.expect("sent");
    heard(socket).await
}

/// The next text.
async fn heard(socket: &mut Socket) -> String {
    loop {
        let message = socket.next().await.expect("a message").expect("whole");
        if message.is_text() {
            return message.as_text().expect("a text").to_owned();
        }
    }
}

/// How the other side closes, whatever it says before.
async fn end(socket: &mut Socket) -> (u16, String) {
    loop {
        let message = socket.next().await.expect("a close").expect("whole");
        if let Some((code, reason)) = message.as_close() {
            return (code.into(), reason.to_owned());
        }
    }
}

/// What is answered to a request that is sent as it is: the whole answer.
fn raw(node: &Node, app: &str, head: &str, fields: &str) -> String {
    let mut stream =
        std::net::TcpStream::connect(("127.0.0.1", node.apps_port())).expect("a connection");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    let head = format!("{head} HTTP/1.1\r\nHost: {app}.acme.localhost\r\n{fields}\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while !String::from_utf8_lossy(&answer).contains("request_id") {
        match stream.read(&mut piece) {
            Ok(count @ 1..) => answer.extend_from_slice(&piece[..count]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_both_ways_and_the_guest_knows_who_calls() {
    let node = node("");
    let mut socket = connect(&node, "/", &[(SEC_WEBSOCKET_PROTOCOL, "chat, echo")]).await;
    assert_eq!(say(&mut socket, "hello").await, "hello");
    let bytes: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let message = Message::binary(bytes.clone());
    socket.send(message).await.expect("sent");
    let back = socket.next().await.expect("a message").expect("whole");
    assert!(back.is_binary() && **back.as_payload() == *bytes);
    assert_eq!(say(&mut socket, "who").await, "CallerKind::Anonymous  1");
    drop(socket);

    let token = node.cli(["token", "create", "ada", "--tenant", "acme"]);
    let bearer = format!("Bearer {}", token.stdout.trim());
    let fields = [(AUTHORIZATION, &*bearer), (ORIGIN, "https://page.example")];
    let mut socket = connect(&node, "/", &fields).await;
    let said = say(&mut socket, "who").await;
    assert!(
        said.starts_with("CallerKind::Service https://page.example"),
        "{said}"
    );
    // Requests are answered beside it.
    assert_eq!(node.get("socket.acme", "/").await.body, "a page");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_has_a_code_of_its_own() {
    let node = node("[edge]\nwebsocket_message = \"64 KiB\"");
    for (asked, code, reason) in [
        ("close", 4001, "as asked"),
        ("leave", 1000, ""),
        ("trap", 1011, "the application failed"),
    ] {
        let mut socket = connect(&node, "/", &[]).await;
        socket.send(Message::text(asked)).await.expect("sent");
        assert_eq!(end(&mut socket).await, (code, reason.to_owned()), "{asked}");
    }
    let mut socket = connect(&node, "/", &[]).await;
    let long = Message::binary(vec![0; 100_000]);
    socket.send(long).await.expect("sent");
    assert_eq!(end(&mut socket).await.0, 1009);

    // The client closes, and the guest is told how.
    let mut socket = connect(&node, "/", &[]).await;
    assert_eq!(say(&mut socket, "hello").await, "hello");
    let bye = Message::close(CloseCode::try_from(4002).ok(), "bye");
    socket.send(bye).await.expect("sent");
    assert_eq!(end(&mut socket).await.0, 4002);
    let begun = Instant::now();
    loop {
        let log = node.cli(["logs", "socket", "--tenant", "acme"]).stdout;
        if log.contains("closed with 4002 bye") {
            return;
        }
        assert!(begun.elapsed() < SOON, "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_handshake_and_what_nobody_takes_is_refused() {
    let node = node("[edge]\nwebsockets = 1");
    node.serve(&guest("identity"), "guests/identity", &["acme"]);
    let status = |answer: &str| answer.split(' ').nth(1).unwrap_or_default().to_owned();
    let refused = |app, head, fields: &str, expected: &str, code: &str| {
        let answer = raw(&node, app, head, fields);
        assert_eq!(status(&answer), expected, "{answer}");
        assert!(
            answer.contains(&format!("urn:canopy:problem:{code}\"")),
            "{answer}"
        );
        answer
    };
    refused("socket", "POST /", HANDSHAKE, "400", "bad-request");
    let other = HANDSHAKE.replace("13", "8");
    let answer = refused("socket", "GET /", &other, "426", "websocket-version");
    assert!(
        answer.to_lowercase().contains("sec-websocket-version: 13"),
        "{answer}"
    );
    let keyless = HANDSHAKE.replace("Key", "Lock");
    refused("socket", "GET /", &keyless, "400", "bad-request");
    let answer = refused(
        "socket",
        "GET /refuse",
        HANDSHAKE,
        "403",
        "websocket-refused",
    );
    assert!(answer.contains("Not today."), "{answer}");
    refused(
        "identity",
        "GET /",
        HANDSHAKE,
        "501",
        "upgrade-not-supported",
    );
    let other = HANDSHAKE.replace("websocket\r\n", "h3\r\n");
    refused("socket", "GET /", &other, "501", "upgrade-not-supported");

    let mut socket = connect(&node, "/", &[]).await;
    assert_eq!(say(&mut socket, "hello").await, "hello");
    refused("socket", "GET /", HANDSHAKE, "429", "tenant-websockets");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_takes_one_connection_after_the_other_while_they_end_as_they_should() {
    // With one slot, the next connection is taken when all of the one before is over.
    let node = node("[admission]\nmax_wait = \"20s\"\n[guest]\nreuse_idle = \"60s\"");
    node.run("plan create narrow --limit concurrency=1");
    node.run("tenant set acme --plan narrow");
    let opened = async |count: u32| {
        let mut socket = connect(&node, "/", &[]).await;
        let who = format!("CallerKind::Anonymous  {count}");
        assert_eq!(say(&mut socket, "who").await, who);
        socket
    };

    let mut socket = opened(1).await;
    let bye = Message::close(CloseCode::try_from(1000).ok(), "");
    socket.send(bye).await.expect("sent");
    assert_eq!(end(&mut socket).await.0, 1000);
    for (count, asked) in [(2, "leave"), (3, "close")] {
        let mut socket = opened(count).await;
        socket.send(Message::text(asked)).await.expect("sent");
        end(&mut socket).await;
    }
    let refused = raw(&node, "socket", "GET /refuse", HANDSHAKE);
    assert!(refused.contains("websocket-refused"), "{refused}");
    // Cut: its instance ends with it.
    drop(opened(4).await);
    let mut socket = opened(1).await;
    socket.send(Message::text("trap")).await.expect("sent");
    assert_eq!(end(&mut socket).await.0, 1011);
    drop(socket);
    opened(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_the_guest() {
    let node = node("[admission]\nmax_wait = \"10ms\"");
    node.run("plan create narrow --limit concurrency=1");
    node.run("tenant set acme --plan narrow");
    for path in ["/", "/deaf"] {
        let socket = connect(&node, path, &[]).await;
        let busy = node.get("socket.acme", "/").await;
        assert_eq!(busy.problem(), "tenant-busy", "the connection has the slot");
        drop(socket);
        let begun = Instant::now();
        while node.get("socket.acme", "/").await.status != 200 {
            assert!(begun.elapsed() < SOON, "{path}: the guest goes on");
        }
    }
    assert!(!node.log().contains("which is as long as it may"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_no_sign_is_closed_and_one_that_answers_is_not() {
    let node = node("[edge]\nwebsocket_idle = \"1s\"");
    let mut stream =
        std::net::TcpStream::connect(("127.0.0.1", node.apps_port())).expect("a connection");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    let head = format!("GET / HTTP/1.1\r\nHost: socket.acme.localhost\r\n{HANDSHAKE}\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut seen = Vec::new();
    stream.read_to_end(&mut seen).expect("the end");
    let head = seen.windows(4).position(|four| four == b"\r\n\r\n");
    let frames = &seen[head.expect("a head") + 4..];
    assert!(frames.starts_with(&[0x89, 0, 0x89, 0]), "pings: {frames:?}");
    // A close with the code 1008.
    let close = frames
        .iter()
        .position(|byte| *byte == 0x88)
        .expect("a close");
    assert_eq!(frames[close + 2..close + 4], 1008_u16.to_be_bytes());

    let mut socket = connect(&node, "/", &[]).await;
    for _ in 0..9 {
        // Its answers go out with what is read next.
        let message = socket.next().await.expect("a ping").expect("whole");
        assert!(message.is_ping(), "{message:?}");
    }
    assert_eq!(say(&mut socket, "hello").await, "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ends_says_so() {
    let mut node = node("");
    let mut socket = connect(&node, "/", &[]).await;
    assert_eq!(say(&mut socket, "hello").await, "hello");
    let ending = tokio::task::spawn_blocking(move || node.terminate());
    let (code, reason) = end(&mut socket).await;
    assert_eq!((code, &*reason), (1001, "the node is stopping"));
    drop(socket);
    assert!(ending.await.expect("no panic").success());
}
