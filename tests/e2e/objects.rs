//! Objects: by an application that is made with the SDK, and by pre-signed addresses, which a plain
//! client follows without the application.

use std::time::Duration;

use futures::{StreamExt, stream};
use reqwest::{Body, Method, Response, StatusCode};

use crate::support::{Face, Node, bare, guest};

const APP: &str = "objects.acme";
/// The application.
const CANOPY: &str = "0.1.0";
/// Another version, which knows none of its paths.
const OTHER: &str = "0.3.0";

/// Time for a transfer on a machine that does much else.
const TRANSFER: Duration = Duration::from_secs(900);

fn node() -> Node {
    node_with("")
}

fn node_with(settings: &str) -> Node {
    let node = Node::start_with(settings);
    node.publish(&guest("objects-canopy"));
    node.publish(&guest("blob-canopy"));
    node.run("tenant create acme");
    node.run(&format!("install guests/objects@{CANOPY} --tenant acme"));
    node
}

fn run_as(node: &Node, version: &str) {
    node.run(&format!("upgrade objects {version} --tenant acme"));
}

async fn put(node: &Node, path: &str, body: impl Into<Body>) -> Response {
    let request = node.request(Method::PUT, APP, path).body(body);
    let request = request.timeout(TRANSFER);
    request.send().await.expect("an answer")
}

async fn get(node: &Node, path: &str, fields: &[(&str, &str)]) -> Response {
    let mut request = node.request(Method::GET, APP, path).timeout(TRANSFER);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.send().await.expect("an answer")
}

/// A path that the application gives.
async fn address(node: &Node, path: &str) -> String {
    let answer = node.get(APP, path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.starts_with("/.canopy/blobs/"), "{answer:?}");
    answer.body
}

fn field<'a>(response: &'a Response, name: &str) -> &'a str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().expect("text"))
}

async fn problem(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let document: serde_json::Value = response.json().await.expect("a problem document");
    let kind = document["type"].as_str().expect("a type");
    let code = kind.strip_prefix("urn:canopy:problem:").expect("a problem");
    (status, code.to_owned())
}

#[tokio::test]
async fn an_application_puts_reads_lists_and_removes() {
    let node = node();
    let large: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n / 7).to_le_bytes()[0])
        .collect();
    for (name, content) in [
        ("small", b"hello".to_vec()),
        ("empty", Vec::new()),
        ("large", large.clone()),
    ] {
        let answer = put(&node, &format!("/o/{name}"), content.clone()).await;
        assert_eq!(answer.status(), 200, "{name}: {:?}", answer.text().await);
        let answer = get(&node, &format!("/o/{name}"), &[]).await;
        assert_eq!(answer.status(), 200, "{name}");
        assert!(answer.bytes().await.expect("a body") == content, "{name}");
    }
    let listed = node.get(APP, "/list").await;
    assert_eq!(listed.body, "empty 0\nlarge 3000000\nsmall 5\n");
    let tail = get(&node, "/from/large/2999990", &[]).await;
    assert_eq!(tail.bytes().await.expect("a body"), large[2_999_990..]);
    assert_eq!(put(&node, "/new/small", "x").await.status(), 412);
    assert_eq!(put(&node, "/parts/joined", "").await.status(), 200);
    assert_eq!(node.get(APP, "/o/joined").await.body, "one, two");
    let removed = node.request(Method::DELETE, APP, "/o/joined").send().await;
    assert_eq!(removed.expect("an answer").status(), 200);
    assert_eq!(node.get(APP, "/o/joined").await.status, 404);
}

#[tokio::test]
async fn an_address_is_followed_without_the_application() {
    let node = node();
    let upload = address(&node, "/put/note").await;
    let text = ("content-type", "text/plain");
    let send = async |path: &str, body: &'static str, fields: &[(&str, &str)]| {
        let mut request = node.request(Method::PUT, APP, path).body(body);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.send().await.expect("an answer")
    };
    // Nothing is there yet, not even the container.
    let absent = problem(send(&upload, "hello", &[text]).await).await;
    assert_eq!(absent, (404, "no-such-object".into()));
    put(&node, "/o/page", "<script>alert(1)</script>").await;
    // The application does not run for what follows.
    run_as(&node, OTHER);

    let made = send(&upload, "hello", &[text]).await;
    assert_eq!(made.status(), StatusCode::CREATED);
    let etag = field(&made, "etag").to_owned();
    for (fields, expected) in [
        (vec![], (415, "content-type")),
        (vec![("content-type", "text/html")], (415, "content-type")),
        (
            vec![text, ("if-none-match", "*")],
            (412, "precondition-failed"),
        ),
        (
            vec![text, ("if-match", "\"no\"")],
            (412, "precondition-failed"),
        ),
        (
            vec![text, ("content-range", "bytes 0-4/9")],
            (400, "upload-not-possible"),
        ),
    ] {
        let refused = problem(send(&upload, "other", &fields).await).await;
        assert_eq!(refused, (expected.0, expected.1.into()), "{fields:?}");
    }
    let refused = problem(send(&upload, "more than 16 bytes", &[text]).await).await;
    assert_eq!(refused, (413, "body-too-large".into()));
    let pieces = stream::iter(["more than ", "16 bytes"].map(Ok::<_, std::io::Error>));
    let unknown = node
        .request(Method::PUT, APP, &upload)
        .header(text.0, text.1)
        .body(Body::wrap_stream(pieces));
    let refused = problem(unknown.send().await.expect("an answer")).await;
    assert_eq!(refused, (413, "body-too-large".into()));
    let replaced = send(&upload, "hello", &[text, ("if-match", &etag)]).await;
    assert_eq!(replaced.status(), StatusCode::NO_CONTENT);

    run_as(&node, CANOPY);
    let (note, page) = (
        address(&node, "/get/note").await,
        address(&node, "/get/page").await,
    );
    let none = address(&node, "/get/none").await;
    run_as(&node, OTHER);
    let found = get(&node, &note, &[]).await;
    assert_eq!(found.status(), 200);
    assert_eq!(field(&found, "etag"), etag);
    assert_eq!(field(&found, "content-type"), "text/plain");
    assert_eq!(field(&found, "content-length"), "5");
    assert_eq!(field(&found, "accept-ranges"), "bytes");
    assert!(field(&found, "last-modified").ends_with(" GMT"));
    let modified = field(&found, "last-modified").to_owned();
    assert_eq!(found.text().await.expect("a body"), "hello");

    let part = get(&node, &note, &[("range", "bytes=1-3")]).await;
    assert_eq!(part.status(), 206);
    assert_eq!(field(&part, "content-range"), "bytes 1-3/5");
    assert_eq!(part.text().await.expect("a body"), "ell");
    let other = [("range", "bytes=1-3"), ("if-range", "\"other\"")];
    assert_eq!(get(&node, &note, &other).await.status(), 200);
    let beyond = get(&node, &note, &[("range", "bytes=5-")]).await;
    assert_eq!(field(&beyond, "content-range"), "bytes */5");
    assert_eq!(problem(beyond).await, (416, "range-not-satisfiable".into()));
    let known = get(&node, &note, &[("if-none-match", &etag)]).await;
    assert_eq!(known.status(), 304);
    let known = get(&node, &note, &[("if-modified-since", &modified)]).await;
    assert_eq!(known.status(), 304);
    let head = node
        .request(Method::HEAD, APP, &note)
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        (head.status(), field(&head, "content-length")),
        (StatusCode::OK, "5")
    );
    assert_eq!(
        problem(get(&node, &none, &[]).await).await,
        (404, "no-such-object".into())
    );

    // What was uploaded as a page does not run as the application.
    let page = get(&node, &page, &[]).await;
    assert_eq!(page.status(), 200);
    assert_eq!(field(&page, "content-type"), "text/html");
    assert_eq!(field(&page, "content-disposition"), "attachment");
    assert_eq!(field(&page, "x-content-type-options"), "nosniff");
    assert_eq!(
        field(&page, "content-security-policy"),
        "sandbox; default-src 'none'"
    );
}

#[tokio::test]
async fn an_address_is_for_nothing_else() {
    let node = node();
    put(&node, "/o/secret", "secret").await;
    put(&node, "/o/public", "public").await;
    let public = address(&node, "/get/public").await;
    let upload = address(&node, "/put/public").await;
    for forged in [
        public.replace("n=public", "n=secret"),
        public.replace("m=get", "m=put"),
        public.replace("e=", "e=9"),
        format!("{public}&n=secret"),
        format!("{public}0"),
        "/.canopy/blobs/object".to_owned(),
        upload.replace("s=16", "s=1600"),
        upload.replace("&t=text%2Fplain", ""),
    ] {
        let refused = problem(get(&node, &forged, &[]).await).await;
        assert_eq!(refused, (403, "address-not-valid".into()), "{forged}");
    }
    for (method, path) in [
        (Method::PUT, &public),
        (Method::DELETE, &public),
        (Method::GET, &upload),
        (Method::POST, &upload),
    ] {
        let answer = node.request(method.clone(), APP, path).send().await;
        let refused = problem(answer.expect("an answer")).await;
        assert_eq!(refused, (403, "address-method".into()), "{method}");
    }
    // Another installation, another tenant: not theirs.
    node.run(&format!(
        "install guests/objects@{CANOPY} --tenant acme --name other"
    ));
    node.run("tenant create globex");
    node.run(&format!("install guests/objects@{CANOPY} --tenant globex"));
    for app in ["other.acme", "objects.globex"] {
        let answer = node.request(Method::GET, app, &public).send().await;
        let refused = problem(answer.expect("an answer")).await;
        assert_eq!(refused, (403, "address-not-valid".into()), "{app}");
    }
    for nothing in ["/.canopy/", "/.canopy/blobs", "/.canopy/blobs/object/x?n=1"] {
        let refused = problem(get(&node, nothing, &[]).await).await;
        assert_eq!(refused, (404, "unknown-address".into()), "{nothing}");
    }
    let short = address(&node, "/short/public").await;
    let expired = async {
        loop {
            let answer = get(&node, &short, &[]).await;
            if answer.status() != 200 {
                break problem(answer).await;
            }
        }
    };
    assert_eq!(expired.await, (403, "address-expired".into()));
    assert_eq!(
        get(&node, &public, &[]).await.text().await.expect("a body"),
        "public"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_address_is_made_that_allows_more_than_it_says() {
    let node = node();
    run_as(&node, OTHER);
    let face = Face::new(&node, APP);
    let presign = |fields: &[(&'static str, &'static str)]| {
        let (face, mut all) = (&face, vec![("store", "box"), ("key", "it")]);
        all.extend(fields);
        async move { face.answer("presign", &all).await }
    };
    let week = ("from", "604800");
    for fits in [
        &[("value", "get"), week][..],
        &[("value", "get"), ("from", "1"), ("expected", "a name.txt")],
        &[("value", "put"), week, ("to", "0"), ("other", "text/plain")],
    ] {
        let answer = presign(fits).await;
        assert_eq!(answer.status, 200, "{fits:?}: {answer:?}");
    }
    for (fields, expected) in [
        (&[("value", "get"), ("from", "0")][..], "expiresin"),
        (&[("value", "get"), ("from", "604801")], "expiresin"),
        (&[("value", "put"), ("from", "4294967295")], "expiresin"),
        (&[("value", "get"), week, ("to", "5")], "maxsize"),
        (&[("value", "put"), week, ("expected", "x")], "filename"),
        (&[("value", "get"), week, ("expected", "")], "filename"),
        (&[("value", "get"), week, ("expected", "a\nb")], "filename"),
        (
            &[("value", "put"), week, ("other", "a\r\nb")],
            "contenttype",
        ),
        (
            &[("value", "put"), week, ("other", "\u{e4}")],
            "contenttype",
        ),
        (&[("value", "put"), week, ("key", "")], "nameisempty"),
        (&[("value", "put"), week, ("store", "")], "nameisempty"),
    ] {
        let answer = presign(fields).await;
        assert_eq!(answer.status, 500, "{fields:?}: {answer:?}");
        let refused = bare(&answer.body);
        assert!(refused.contains("invalid"), "{fields:?}: {refused}");
        assert!(refused.contains(expected), "{fields:?}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_does_not_end_is_refused_and_leaves_what_was_there() {
    let node = node_with("[edge]\ntransfer_timeout = \"1 s\"");
    put(&node, "/o/note", "as it was").await;
    let upload = address(&node, "/large/note").await;
    let begun = stream::once(async { Ok::<_, std::io::Error>("half") });
    let never = Body::wrap_stream(begun.chain(stream::pending()));
    let refused = problem(put(&node, &upload, never).await).await;
    assert_eq!(refused, (408, "transfer-timeout".into()));
    assert_eq!(node.get(APP, "/o/note").await.body, "as it was");
}

/// Resident memory of the node in bytes, at its highest.
fn peak_memory(node: &Node) -> u64 {
    let path = format!("/proc/{}/status", node.pid());
    let status = std::fs::read_to_string(path).expect("the node's status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    kilobytes
        .expect("a number")
        .parse::<u64>()
        .expect("a number")
        << 10
}

#[tokio::test]
async fn two_hundred_megabytes_pass_in_constant_memory() {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 200;
    let node = node();
    put(&node, "/o/first", vec![0; PIECE]).await;
    assert_eq!(get(&node, "/o/first", &[]).await.status(), 200);
    let before = peak_memory(&node);
    let piece = |number: usize| vec![number.to_le_bytes()[0]; PIECE];
    let large = move || {
        let pieces = stream::iter((0..PIECES).map(move |n| Ok::<_, std::io::Error>(piece(n))));
        Body::wrap_stream(pieces)
    };
    let upload = address(&node, "/large/by-address").await;
    for path in ["/o/by-guest", &upload] {
        let answer = put(&node, path, large()).await;
        assert!(
            answer.status().is_success(),
            "{path}: {:?}",
            answer.text().await
        );
    }
    let download = address(&node, "/get/by-guest").await;
    for path in ["/o/by-address", &download] {
        let answer = get(&node, path, &[]).await;
        assert_eq!(answer.status(), 200, "{path}");
        let (mut body, mut length) = (answer.bytes_stream(), 0);
        while let Some(bytes) = body.next().await {
            let bytes = bytes.expect("all of it");
            assert_eq!(bytes[0], (length / PIECE).to_le_bytes()[0]);
            length += bytes.len();
        }
        assert_eq!(length, PIECES * PIECE, "{path}");
    }
    let grown = peak_memory(&node).saturating_sub(before);
    assert!(grown < 96 << 20, "{} MiB more", grown >> 20);
}
