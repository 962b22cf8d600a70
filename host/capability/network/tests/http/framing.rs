//! Guests that say of a body what is not so, and a peer whose body is more than it seems: who is behind
//! a connection reads what was sent, and nothing in its place.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use hyper::body::Incoming;
use hyper::service::service_fn;

use super::*;

/// A body in frames, of which nobody knows the length before.
struct Frames(VecDeque<Frame<Bytes>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

fn pieces(pieces: &[&'static str]) -> WasiBody {
    let frames = pieces.iter().map(|text| Frame::data(Bytes::from(*text)));
    Frames(frames.collect()).boxed_unsync()
}

/// A server that reads requests as they say that they are to be read, answers each that is whole, and
/// writes down its first line and its body.
async fn reader() -> (u16, Seen) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("listener");
    let port = listener.local_addr().expect("address").port();
    let seen = Seen::default();
    let all = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(read(stream, all.clone()));
        }
    });
    (port, seen)
}

async fn read(mut stream: TcpStream, seen: Seen) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let head = next(&mut stream, &mut bytes, blank_line).await?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse().expect("a length"))
        });
        let length: usize = length.unwrap_or(0);
        let whole = |bytes: &[u8]| (bytes.len() >= length).then_some(length);
        let body = next(&mut stream, &mut bytes, whole).await?;
        let line = head.lines().next().expect("a line");
        let told = format!("{line} {body}");
        seen.lock().expect("lock").push(told);
        stream.write_all(HELLO.as_bytes()).await.ok()?;
    }
}

/// Where the first blank line ends.
fn blank_line(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    end.map(|end| end + 4)
}

/// What comes first up to where `end` says. `None`: the connection ends before.
async fn next(
    stream: &mut TcpStream,
    bytes: &mut Vec<u8>,
    end: impl Fn(&[u8]) -> Option<usize>,
) -> Option<String> {
    loop {
        if let Some(end) = end(bytes) {
            let rest = bytes.split_off(end);
            let first = std::mem::replace(bytes, rest);
            return Some(String::from_utf8(first).expect("text"));
        }
        let mut piece = [0; 8192];
        match stream.read(&mut piece).await {
            Ok(count @ 1..) => bytes.extend_from_slice(&piece[..count]),
            _ => return None,
        }
    }
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: inner\r\n\r\n";

#[tokio::test]
async fn a_length_that_is_not_the_bodys_makes_no_request_of_what_is_left_over() {
    let (port, seen) = reader().await;
    let mut guest = guest(quick());
    let uri = |path: &str| format!("http://api.example.com:{port}{path}");
    for (lengths, body, kept) in [
        // More than was said: the rest must not go out.
        (&["5"][..], pieces(&["hello", SMUGGLED]), Some("hello")),
        (&["0"], pieces(&[SMUGGLED]), Some("")),
        (&["5"], body(&format!("hello{SMUGGLED}")), None),
        // Less: what comes next on the connection must not be taken for it.
        (&["64"], body(""), None),
        (&["64"], body("hello"), None),
        (&["64"], pieces(&["hello"]), None),
        (&["64"], pieces(&[]), None),
        // What one reads so and another so.
        (&["5", "44"], body("hello"), None),
        (&["5", "5"], body("hello"), None),
        (&["5, 44"], body("hello"), None),
        (&["+5"], body("hello"), None),
        (&["0x5"], body("hello"), None),
        (&[""], body("hello"), None),
        (&["18446744073709551621"], body("hello"), None),
    ] {
        let is_cut = kept.is_some();
        let mut lie = Request::post(uri("/lie")).body(body).expect("request");
        for length in lengths {
            let length = HeaderValue::from_static(length);
            lie.headers_mut().append("content-length", length);
        }
        let outcome = whole(&mut guest, lie).await;
        match outcome {
            // As much as was said is a request, and what is more is dropped.
            Ok(answer) => assert!(is_cut && answer == "hello", "{lengths:?}"),
            Err(Error::HttpRequestBodySize(_) | Error::HttpProtocolError) => {}
            Err(error) => panic!("{lengths:?}: {error:?}"),
        }
        let honest = whole(&mut guest, get(&uri("/honest"))).await;
        assert_eq!(honest.expect("answer"), "hello", "{lengths:?}");
        let seen = std::mem::take(&mut *seen.lock().expect("lock"));
        let (honest, lies) = seen.split_last().expect("one at least");
        assert_eq!(honest, "GET /honest HTTP/1.1 ", "{lengths:?}");
        let whole = kept.map(|body| format!("POST /lie HTTP/1.1 {body}"));
        assert!(
            lies.iter().all(|lie| Some(lie) == whole.as_ref()),
            "{lies:?}"
        );
    }
    let mut true_one = Request::post(uri("/true")).body(pieces(&["he", "llo"]));
    let request = true_one.as_mut().expect("request");
    let length = HeaderValue::from_static("5");
    request.headers_mut().insert("content-length", length);
    let outcome = whole(&mut guest, true_one.expect("request")).await;
    assert_eq!(outcome.expect("answer"), "hello");
    let seen = seen.lock().expect("lock");
    assert_eq!(*seen, ["POST /true HTTP/1.1 hello"]);
}

/// Fields that a guest may not have in its head, among one that it may.
const IN_TRAILERS: [&str; 9] = [
    "x-own",
    "x-canopy-tenant",
    "x-canopy-depth",
    "host",
    "connection",
    "transfer-encoding",
    "content-length",
    "te",
    "authorization",
];

/// A request with all of them in its trailers, and a head that announces them.
fn trailing(uri: &str) -> Request<WasiBody> {
    let mut trailers = HeaderMap::new();
    for name in IN_TRAILERS {
        let name = HeaderName::from_static(name);
        trailers.insert(name, HeaderValue::from_static("1"));
    }
    let frames = [Frame::data(Bytes::from("hello")), Frame::trailers(trailers)];
    Request::post(uri)
        .header("trailer", IN_TRAILERS.join(", "))
        .body(Frames(frames.into()).boxed_unsync())
        .expect("request")
}

#[tokio::test]
async fn nobody_poses_as_the_platform_in_trailers() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("listener");
    let port = listener.local_addr().expect("address").port();
    let reading = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut bytes = Vec::new();
        next(&mut stream, &mut bytes, blank_line)
            .await
            .expect("a head");
        let rest = next(&mut stream, &mut bytes, blank_line).await;
        let answered = stream.write_all(HELLO.as_bytes()).await;
        answered.expect("answered");
        rest.expect("a body and trailers")
    });
    let uri = format!("http://api.example.com:{port}/");
    let told = whole(&mut guest(quick()), trailing(&uri)).await;
    assert_eq!(told.expect("answer"), "hello");
    let rest = reading.await.expect("no panic");
    assert_eq!(rest, "5\r\nhello\r\n0\r\nx-own: 1\r\n\r\n");
}

#[tokio::test]
async fn neither_over_http2() {
    let acceptor = acceptor(&[b"h2"]);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("listener");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let stream = acceptor.accept(stream).await.expect("TLS");
        let told = service_fn(|request: Request<Incoming>| async move {
            let whole = request.into_body().collect().await?;
            let trailers = whole.trailers().cloned().unwrap_or_default();
            let names: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
            let text = names.join(" ");
            Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from(text))))
        });
        let executor = hyper_util::rt::TokioExecutor::new();
        let _ = hyper::server::conn::http2::Builder::new(executor)
            .serve_connection(hyper_util::rt::TokioIo::new(stream), told)
            .await;
    });
    let settings = NetworkSettings {
        trusted_certificates: vec![AUTHORITY.to_vec()],
        ..quick()
    };
    let request = trailing(&format!("https://api.example.com:{port}/"));
    let told = whole(&mut guest(settings), request).await;
    assert_eq!(told.expect("answer"), "x-own");
}

/// 64 KiB of zeros by gzip. As many of these as one likes make one body.
fn zeros() -> Vec<u8> {
    let begin = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xed\xc1\x01\x01\0\0\0\x80\x90\xfe\xaf\xee\x08\x0a";
    let end = b"\x6a\xeb\x8e\x97\xd7\0\0\x01\0";
    [&begin[..], &[0; 63], end].concat()
}

#[tokio::test]
async fn a_compressed_bomb_is_handed_through_as_it_is() {
    let bomb = zeros().repeat(4096);
    let sent = bomb.clone();
    let (port, _) = server(move |mut stream| {
        let sent = sent.clone();
        async move {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
                sent.len()
            );
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&sent).await;
        }
    })
    .await;
    // Inflated it would be 256 MiB.
    let settings = NetworkSettings {
        response_body_bytes: 1 << 20,
        ..quick()
    };
    let mut guest = guest(settings);
    let request = get(&format!("http://127.0.0.1:{port}/"));
    let response = send(&mut guest, request, None).await.expect("response");
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let body = response.into_body().collect().await.expect("whole");
    assert_eq!(body.to_bytes(), bomb);
}
