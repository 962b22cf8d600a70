//! Quotas of storage: exact to the byte and the key, by every name under which components reach it,
//! for an installation and for all of a tenant's together, and visible to whoever asks.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use futures::future::join_all;
use reqwest::{Body, Method};
use serde_json::json;

use crate::support::{Face, Node, bare, guest};

/// What `canopy usage` tells of an installation's storage of one kind: bytes, and entries.
fn usage(node: &Node, app: &str, kind: &str) -> (u64, u64) {
    let usage = node.run(&format!("usage {app} --tenant acme"));
    let kinds = usage["kinds"].as_array().expect("kinds");
    let kind = kinds.iter().find(|each| each["kind"] == kind);
    let kind = kind.expect("the kind");
    let number = |name: &str| kind[name].as_u64().expect("a number");
    assert!(number("bytes") <= number("bytes_limit"), "{kind}");
    assert!(number("items") <= number("items_limit"), "{kind}");
    (number("bytes"), number("items"))
}

fn install(node: &Node, package: &str, guests: &[&str], names: &[&str]) {
    for name in guests {
        node.publish(&guest(name));
    }
    node.run("tenant create acme");
    for name in names {
        node.run(&format!("install {package} --tenant acme --name {name}"));
    }
}

async fn set(face: &Face<'_>, key: &str, length: usize) -> u16 {
    let value = "x".repeat(length);
    let answer = face.answer("set", &[("key", key), ("value", &value)]).await;
    if answer.status != 200 {
        assert!(bare(&answer.body).contains("quota"), "{answer:?}");
    }
    answer.status
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_values_fill_the_quota_to_the_byte_and_the_key_by_every_name() {
    const BYTES: usize = 6 << 10;
    const KEYS: u64 = 6;
    let node = Node::start_with("[plan]\nkey_value_bytes = \"6 KiB\"\nkeys = 6");
    let guests = [
        "face-draft",
        "face-draft2",
        "face-spin2",
        "face-spin3",
        "face-canopy",
    ];
    install(&node, "guests/faces", &guests, &["faces"]);
    let face = Face::new(&node, "faces.acme");
    let stored = || usage(&node, "faces", "key-value");
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0"] {
        face.run_as(version);
        assert_eq!(set(&face, "a", 0).await, 200);
        let before = stored().0;
        assert_eq!(set(&face, "b", 0).await, 200);
        let both = stored().0;
        face.ask("delete", &[("key", "b")]).await;
        assert_eq!(stored().0, before, "{version}: deleting frees all of it");
        let rest = BYTES - usize::try_from(both).expect("small");
        assert_eq!(set(&face, "b", rest + 1).await, 500, "{version}: one more");
        assert_eq!(set(&face, "b", rest).await, 200, "{version}: to the byte");
        assert_eq!(stored(), (BYTES as u64, 2), "{version}");
        for (key, length) in [("c", 0), ("a", 1), ("b", rest + 1)] {
            assert_eq!(set(&face, key, length).await, 500, "{version}: {key}");
        }
        for (op, value) in [
            ("set-many", json!([["a", ""], ["c", ""]]).to_string()),
            ("increment", String::new()),
            ("swap", "x".to_owned()),
        ] {
            let fields = [("key", "new"), ("value", &*value), ("delta", "1")];
            let answer = face.answer(op, &fields).await;
            assert_ne!(answer.status, 200, "{version}: {op} {answer:?}");
        }
        assert_eq!(stored(), (BYTES as u64, 2), "{version}: as it was");
        assert_eq!(set(&face, "b", rest).await, 200, "{version}: in its place");
        assert_eq!(set(&face, "b", 0).await, 200, "{version}: less");

        for key in ["c", "d", "e", "f"] {
            assert_eq!(set(&face, key, 0).await, 200, "{version}: {key}");
        }
        assert_eq!(stored().1, KEYS);
        assert_eq!(set(&face, "g", 0).await, 500, "{version}: one key more");
        assert_eq!(set(&face, "f", 1).await, 200, "{version}: a key it has");
        for key in ["a", "b", "c", "d", "e", "f"] {
            face.ask("delete", &[("key", key)]).await;
        }
        assert_eq!(stored().1, 0, "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_race_for_the_last_bytes_never_pass_the_quota() {
    const WRITERS: usize = 32;
    const BYTES: u64 = 24 << 10;
    let node = Node::start_with("[plan]\nkey_value_bytes = \"24 KiB\"");
    install(&node, "guests/faces", &["face-canopy"], &["faces"]);
    let face = Face::new(&node, "faces.acme");
    for round in 0..2 {
        let racing = AtomicBool::new(true);
        let writers = join_all((0..WRITERS).map(async |writer| {
            let mut taken = 0;
            for n in 0..8 {
                let key = format!("{writer}/{n}");
                taken += usize::from(set(&face, &key, 300).await == 200);
                if n % 3 == 2 {
                    face.ask("delete", &[("key", &*key)]).await;
                }
            }
            taken
        }));
        let writing = async {
            let taken = writers.await;
            racing.store(false, Ordering::Relaxed);
            taken
        };
        let watching = async {
            let mut looks = 0;
            while racing.load(Ordering::Relaxed) {
                let path = "/api/v1/tenants/acme/installations/faces/usage";
                let answer = node.api(Method::GET, path).send().await.expect("usage");
                let usage: serde_json::Value = answer.json().await.expect("JSON");
                let kinds = usage["kinds"].as_array().expect("kinds");
                for kind in kinds.iter().filter(|kind| kind["kind"] == "key-value") {
                    assert!(kind["bytes"].as_u64().expect("bytes") <= BYTES, "{kind}");
                }
                looks += 1;
            }
            looks
        };
        let (taken, looks) = tokio::join!(writing, watching);
        assert!(looks > 0);
        assert!(
            taken.iter().sum::<usize>() >= 64,
            "{round}: most of it is used"
        );
        // All of it comes back.
        for key in face.ask("list", &[]).await.as_array().expect("keys") {
            let key = key.as_str().expect("a key");
            face.ask("delete", &[("key", key)]).await;
        }
        assert_eq!(usage(&node, "faces", "key-value").1, 0);
    }
}

async fn put(face: &Face<'_>, key: &str, body: impl Into<Body>) -> u16 {
    let fields = [("store", "box"), ("key", key)];
    let answer = face.send("put", &fields, body).await;
    let status = answer.status().as_u16();
    if status != 200 {
        let text = answer.text().await.expect("a text");
        assert!(bare(&text).contains("quota"), "{text}");
    }
    status
}

/// A body that has no known length.
fn streamed(length: usize) -> Body {
    let pieces = vec![vec![b'x'; 1 << 10]; length >> 10];
    let rest = vec![b'x'; length & 1023];
    let pieces = pieces.into_iter().chain([rest]);
    Body::wrap_stream(futures::stream::iter(
        pieces.map(Ok::<_, std::io::Error>).collect::<Vec<_>>(),
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_fill_the_quota_to_the_byte_and_the_object_by_every_name() {
    const BYTES: usize = 100_000;
    let node = Node::start_with("[plan]\nblob_bytes = 100000\nobjects = 3");
    let guests = ["blob-draft", "blob-canopy"];
    install(&node, "guests/objects", &guests, &["objects"]);
    let face = Face::new(&node, "objects.acme");
    let stored = || usage(&node, "objects", "blobs");
    for version in ["0.2.0", "0.3.0"] {
        face.run_as(version);
        face.ask("create", &[("store", "box")]).await;
        assert_eq!(put(&face, "a", vec![b'x'; BYTES + 1]).await, 500);
        assert_eq!(put(&face, "a", streamed(BYTES + 1)).await, 500);
        assert_eq!(stored(), (0, 0), "{version}: nothing is left");
        assert_eq!(put(&face, "a", streamed(BYTES - 1)).await, 200);
        assert_eq!(put(&face, "b", "xy").await, 500, "{version}: one more");
        assert_eq!(put(&face, "b", "x").await, 200, "{version}: to the byte");
        assert_eq!(stored(), (BYTES as u64, 2), "{version}");
        assert_eq!(put(&face, "c", "").await, 200, "{version}: no bytes");
        assert_eq!(put(&face, "d", "").await, 500, "{version}: an object more");
        assert_eq!(put(&face, "a", streamed(BYTES - 1)).await, 200, "in place");
        let copy = [
            ("store", "box"),
            ("key", "b"),
            ("other", "box"),
            ("value", "c"),
        ];
        let refused = face.refusal("copy", &copy).await;
        assert!(refused.contains("quota"), "{version}: {refused}");
        face.ask("move", &copy).await;
        assert_eq!(stored(), (BYTES as u64, 2), "{version}");
        face.ask("clear", &[("store", "box")]).await;
        assert_eq!(stored(), (0, 0), "{version}");
    }
    // The same by an address, which no application is asked about.
    let presign = [
        ("store", "box"),
        ("key", "a"),
        ("value", "put"),
        ("from", "60"),
        ("to", "1000000"),
    ];
    let address = face.ask("presign", &presign).await;
    let address = address.as_str().expect("a path");
    for (length, expected) in [(BYTES + 1, 507), (BYTES, 201)] {
        let request = node.request(Method::PUT, "objects.acme", address);
        let answer = request.body(streamed(length)).send().await;
        assert_eq!(answer.expect("an answer").status(), expected, "{length}");
    }
    assert_eq!(stored(), (BYTES as u64, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn installations_of_a_tenant_share_its_quota_to_the_byte() {
    const BYTES: usize = 100_000;
    // A body that does not come is waited for longer than a client does here.
    let settings = "[plan]\nstorage_bytes = 100000\n[edge]\nbody_idle_timeout = \"5 min\"";
    let node = Node::start_with(settings);
    install(&node, "guests/objects", &["blob-canopy"], &["one", "two"]);
    let (one, two) = (Face::new(&node, "one.acme"), Face::new(&node, "two.acme"));
    for face in [&one, &two] {
        face.ask("create", &[("store", "box")]).await;
    }
    assert_eq!(put(&one, "a", streamed(BYTES - 7)).await, 200);
    assert_eq!(put(&two, "b", "12345678").await, 500, "one more");
    assert_eq!(put(&two, "b", "1234567").await, 200, "to the byte");
    let all = node.run("usage --tenant acme");
    assert_eq!(
        (&all["bytes"], &all["bytes_limit"]),
        (&json!(BYTES), &json!(BYTES))
    );
    assert_eq!(put(&one, "c", "x").await, 500);
    // A body that would never end is refused as soon as it is too long. No more is sent than that: what
    // comes after the answer is taken for a while only, and its client might then not see it.
    let endless = futures::stream::iter([Ok(vec![0_u8; 10_000])])
        .chain(futures::stream::pending::<Result<_, std::io::Error>>());
    assert_eq!(put(&two, "b", Body::wrap_stream(endless)).await, 500);
    one.ask("delete", &[("store", "box"), ("key", "a")]).await;
    assert_eq!(put(&two, "c", streamed(BYTES - 7)).await, 200);
    let all = node.run("usage --tenant acme");
    assert_eq!(all["bytes"], BYTES, "{all}");
}
