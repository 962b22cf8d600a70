//! One behaviour for both names by which components reach the same objects: the same script runs
//! through a component of each, one after the other in one installation, and each reads, changes and
//! removes what the other has written. Both are made from the interfaces alone, without the SDK; an
//! application that is made with it reads and writes along.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::{StreamExt, stream};
use reqwest::{Body, Method};
use serde_json::{Value, json};

use crate::support::{Face, Node, guest};

const APP: &str = "objects.acme";
/// The components, each a version of the same package.
const FACES: [(&str, &str); 2] = [("blob-draft", "0.2.0"), ("blob-canopy", "0.3.0")];
/// The one that is made with the SDK and has paths of its own.
const SDK: &str = "0.1.0";

fn node_with_all_faces(settings: &str) -> Node {
    let node = Node::start_with(settings);
    for name in ["objects-canopy", FACES[0].0, FACES[1].0] {
        node.publish(&guest(name));
    }
    node.run("tenant create acme");
    node.run(&format!("install guests/objects@{SDK} --tenant acme"));
    node
}

fn seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

async fn put(face: &Face<'_>, store: &str, key: &str, content: impl Into<Body>) -> Value {
    let fields = [("store", store), ("key", key)];
    let answer = face.send("put", &fields, content).await;
    assert_eq!(answer.status(), 200, "{key}: {:?}", answer.text().await);
    answer.json().await.expect("a size")
}

async fn whole(face: &Face<'_>, store: &str, key: &str) -> Value {
    face.ask("whole", &[("store", store), ("key", key)]).await
}

/// The names of a container, read in pages of `limit` after the first `skipped`.
async fn names(face: &Face<'_>, store: &str, skip: u64, limit: usize) -> Vec<String> {
    let (skip, length) = (skip.to_string(), limit.to_string());
    let fields = [("store", store), ("from", &*skip), ("delta", &*length)];
    let listed = face.ask("list", &fields).await;
    let pages: Vec<Vec<String>> = serde_json::from_value(listed["pages"].clone()).expect("pages");
    assert!(pages.iter().all(|page| page.len() <= limit), "{pages:?}");
    pages.concat()
}

async fn containers(face: &Face<'_>, name: &str) {
    let store = [("store", name)];
    assert_eq!(face.ask("contained", &store).await, false);
    for op in ["container", "whole", "put", "list", "clear", "drop"] {
        let fields = [("store", name), ("key", "k"), ("delta", "10")];
        let refused = face.refusal(op, &fields).await;
        assert!(refused.contains("nosuchcontainer"), "{op}: {refused}");
    }
    let before = seconds();
    assert_eq!(face.ask("create", &store).await, name);
    assert_eq!(face.ask("create", &store).await, name, "again is no error");
    assert_eq!(face.ask("contained", &store).await, true);
    let info = face.ask("container", &store).await;
    assert_eq!(info["name"], name);
    let created = info["created"].as_u64().expect("seconds");
    assert!((before..=seconds()).contains(&created), "{info}");
    assert_eq!(names(face, name, 0, 10).await, [""; 0]);
}

async fn contents(face: &Face<'_>, name: &str) {
    let key = [("store", name), ("key", "ä/ö 漢 ..%2f\u{1F600}")];
    assert_eq!(face.ask("has", &key).await, false);
    let refused = face.refusal("object", &key).await;
    assert!(refused.contains("nosuchobject"), "{refused}");
    let before = seconds();
    assert_eq!(put(face, name, key[1].1, "hello").await, 5);
    assert_eq!(face.ask("has", &key).await, true);
    let info = face.ask("object", &key).await;
    assert_eq!(info["name"], key[1].1);
    assert_eq!(info["container"], name);
    assert_eq!(info["size"], 5);
    let created = info["created"].as_u64().expect("seconds");
    assert!((before..=seconds()).contains(&created), "{info}");

    // Both ends of a range are in it.
    for (from, to, expected) in [
        ("0", "0", "h"),
        ("1", "3", "ell"),
        ("4", "4", "o"),
        ("3", "100", "lo"),
        ("0", "18446744073709551615", "hello"),
        ("5", "9", ""),
    ] {
        let fields = [key[0], key[1], ("from", from), ("to", to)];
        assert_eq!(face.ask("whole", &fields).await, expected, "{from} {to}");
        assert_eq!(face.ask("size", &fields).await, expected.len());
        let streamed = face.answer("get", &fields).await;
        assert_eq!((streamed.status, &*streamed.body), (200, expected));
    }
    let beyond = [key[0], key[1], ("from", "6"), ("to", "6")];
    for op in ["whole", "get", "size"] {
        let refused = face.refusal(op, &beyond).await;
        assert!(refused.contains("range"), "{op}: {refused}");
    }

    assert_eq!(put(face, name, key[1].1, "").await, 0, "in its place");
    assert_eq!(face.ask("whole", &key).await, "");
    assert_eq!(face.ask("object", &key).await["created"], info["created"]);
    assert_eq!(put(face, name, key[1].1, "hello again").await, 11);
    assert_eq!(face.ask("held", &key).await, "hello again");
    assert_eq!(face.ask("has", &key).await, false, "deleted meanwhile");

    put(face, name, "kept", "as it was").await;
    for left in ["kept", "never"] {
        let fields = [("store", name), ("key", left)];
        face.ask("unfinished", &fields).await;
    }
    assert_eq!(whole(face, name, "kept").await, "as it was");
    let fields = [("store", name), ("key", "never")];
    assert_eq!(face.ask("has", &fields).await, false);
}

async fn listings(face: &Face<'_>, name: &str) {
    face.ask("clear", &[("store", name)]).await;
    let all = ["a", "b/1", "b/2", "z z", "ü"];
    for key in all.iter().rev() {
        put(face, name, key, *key).await;
    }
    for limit in [1, 2, 5, 1000] {
        assert_eq!(names(face, name, 0, limit).await, all, "{limit} at once");
    }
    assert_eq!(names(face, name, 3, 1).await, all[3..]);
    for (skip, skipped) in [("5", 5), ("9", 5)] {
        let fields = [("store", name), ("from", skip), ("delta", "10")];
        let listed = face.ask("list", &fields).await;
        assert_eq!(listed["skipped"], skipped);
        assert_eq!(names(face, name, 5, 10).await, [""; 0]);
    }
}

async fn copies(face: &Face<'_>, name: &str) {
    let other = format!("{name}, other");
    face.ask("create", &[("store", &*other)]).await;
    put(face, name, "from", "content").await;
    put(face, &other, "there", "something else").await;
    let copy = |key: &'static str, store: &str, target: &'static str| {
        let (name, store) = (name.to_owned(), store.to_owned());
        async move |op: &str| {
            let fields = [
                ("store", &*name),
                ("key", key),
                ("other", &*store),
                ("value", target),
            ];
            face.answer(op, &fields).await
        }
    };
    for (store, target) in [(name, "copy"), (&*other, "there"), (name, "from")] {
        let answer = copy("from", store, target)("copy").await;
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        assert_eq!(whole(face, store, target).await, "content");
    }
    let moved = copy("copy", &other, "moved")("move").await;
    assert_eq!(moved.status, 200, "{moved:?}");
    let fields = [("store", name), ("key", "copy")];
    assert_eq!(face.ask("has", &fields).await, false);
    assert_eq!(whole(face, &other, "moved").await, "content");
    let onto_itself = copy("from", name, "from")("move").await;
    assert_eq!(onto_itself.status, 200, "{onto_itself:?}");
    assert_eq!(whole(face, name, "from").await, "content");
    for op in ["copy", "move"] {
        for (key, store, expected) in [
            ("absent", name, "nosuchobject"),
            ("from", "no container", "nosuchcontainer"),
        ] {
            let refused = copy(key, store, "x")(op).await;
            assert_eq!(refused.status, 500, "{refused:?}");
            let refused = crate::support::bare(&refused.body);
            assert!(refused.contains(expected), "{op} {key}: {refused}");
        }
    }
    assert_eq!(whole(face, name, "from").await, "content");
    face.ask("drop", &[("store", &*other)]).await;
    assert_eq!(face.ask("contained", &[("store", &*other)]).await, false);
}

async fn removals(face: &Face<'_>, name: &str) {
    for key in ["one", "two", "three", "four"] {
        put(face, name, key, key).await;
    }
    let one = [("store", name), ("key", "one")];
    face.ask("delete", &one).await;
    face.ask("delete", &one).await;
    assert_eq!(face.ask("has", &one).await, false);
    let many = json!(["two", "never", "three"]).to_string();
    let fields = [("store", name), ("value", &*many)];
    face.ask("delete-many", &fields).await;
    face.ask("delete-many", &fields).await;
    let none = [("store", name), ("value", "[]")];
    face.ask("delete-many", &none).await;
    let left = names(face, name, 0, 10).await;
    assert!(left.contains(&"four".to_owned()), "{left:?}");
    assert!(!left.contains(&"two".to_owned()), "{left:?}");
    face.ask("clear", &[("store", name)]).await;
    face.ask("clear", &[("store", name)]).await;
    assert_eq!(names(face, name, 0, 10).await, [""; 0]);
}

async fn refusals(face: &Face<'_>, name: &str) {
    let long = "n".repeat(1025);
    for (store, key, expected) in [
        (name, &*long, "overthelimitof1024bytes"),
        (name, "", "isempty"),
    ] {
        for op in ["put", "whole", "has", "delete"] {
            let refused = face.refusal(op, &[("store", store), ("key", key)]).await;
            assert!(refused.contains(expected), "{op}: {refused}");
        }
    }
    for (store, expected) in [(&*long, "overthelimitof1024bytes"), ("", "isempty")] {
        let refused = face.refusal("create", &[("store", store)]).await;
        assert!(refused.contains(expected), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_names_behave_alike() {
    let node = node_with_all_faces("");
    let face = Face::new(&node, APP);
    for (name, version) in FACES {
        face.run_as(version);
        containers(&face, name).await;
        contents(&face, name).await;
        listings(&face, name).await;
        copies(&face, name).await;
        removals(&face, name).await;
        refusals(&face, name).await;
        put(&face, name, "last", name).await;
    }
    // A container goes with what is in it, also by the other name.
    for ((_, version), (other, _)) in FACES.iter().zip(FACES.iter().rev()) {
        face.run_as(version);
        assert_eq!(whole(&face, other, "last").await, *other);
        face.ask("drop", &[("store", *other)]).await;
        assert_eq!(face.ask("contained", &[("store", *other)]).await, false);
    }
}

/// Puts by a version, in the container that the one made with the SDK knows.
async fn put_as(node: &Node, version: &str, name: &str, content: Vec<u8>) {
    let face = Face::new(node, APP);
    if version == SDK {
        let request = node.request(Method::PUT, APP, &format!("/o/{name}"));
        let answer = request.body(content).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
    } else {
        face.ask("create", &[("store", "box")]).await;
        put(&face, "box", name, content).await;
    }
}

async fn get_as(node: &Node, version: &str, name: &str) -> Vec<u8> {
    let answer = if version == SDK {
        let request = node.request(Method::GET, APP, &format!("/o/{name}"));
        request.send().await.expect("an answer")
    } else {
        let fields = [("store", "box"), ("key", name)];
        Face::new(node, APP).send("get", &fields, "").await
    };
    assert_eq!(answer.status(), 200, "{version} {name}");
    answer.bytes().await.expect("a body").to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_by_one_name_is_read_changed_and_removed_by_every_other() {
    let node = node_with_all_faces("");
    let face = Face::new(&node, APP);
    let versions = [SDK, FACES[0].1, FACES[1].1];
    let large: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n / 7).to_le_bytes()[0])
        .collect();
    let mut expected = BTreeMap::new();
    for writer in versions {
        face.run_as(writer);
        for (name, content) in [
            ("small", format!("by {writer}").into_bytes()),
            ("empty", Vec::new()),
            ("large", large.clone()),
        ] {
            let name = format!("{name}-{writer}");
            put_as(&node, writer, &name, content.clone()).await;
            expected.insert(name, content);
        }
        for other in versions {
            let name = format!("for-{other}-{writer}");
            put_as(&node, writer, &name, b"to be changed".to_vec()).await;
            expected.insert(name, b"to be changed".to_vec());
        }
    }
    for reader in versions {
        face.run_as(reader);
        for (name, content) in &expected {
            let found = get_as(&node, reader, name).await;
            assert!(found == *content, "{reader} reads {name} as it was written");
        }
        if reader != SDK {
            let listed = names(&face, "box", 0, 1000).await;
            assert!(listed.iter().eq(expected.keys()), "{reader}: {listed:?}");
        }
        for writer in versions {
            let name = format!("for-{reader}-{writer}");
            let content = format!("by {reader} over {writer}").into_bytes();
            put_as(&node, reader, &name, content.clone()).await;
            expected.insert(name, content);
        }
        let gone = format!("empty-{reader}");
        if reader == SDK {
            let request = node.request(Method::DELETE, APP, &format!("/o/{gone}"));
            assert_eq!(request.send().await.expect("an answer").status(), 200);
        } else {
            let fields = [("store", "box"), ("key", &*gone)];
            face.ask("delete", &fields).await;
        }
        expected.remove(&gone);
    }
    for reader in versions {
        face.run_as(reader);
        for (name, content) in &expected {
            let found = get_as(&node, reader, name).await;
            assert!(found == *content, "{reader} reads {name} as it was changed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_draft_keeps_its_own_rules_of_values() {
    let node = node_with_all_faces("[blobs]\nsync = \"64 KiB\"\nbatch = 3");
    let face = Face::new(&node, APP);
    face.run_as(FACES[0].1);
    face.ask("create", &[("store", "box")]).await;
    let key = |key| [("store", "box"), ("key", key)];

    assert_eq!(face.ask("twice", &key("twice")).await, json!([true, true]));
    assert_eq!(whole(&face, "box", "twice").await, "");
    let fields = [("store", "box"), ("key", "early"), ("value", "before")];
    assert_eq!(face.ask("early", &fields).await, true);
    assert_eq!(whole(&face, "box", "early").await, "before");
    let fields = [
        ("store", "box"),
        ("key", "early"),
        ("from", "3"),
        ("to", "1"),
    ];
    let refused = face.refusal("whole", &fields).await;
    assert!(refused.contains("beforeitsstart"), "{refused}");

    // In one piece up to the limit, and as a stream beyond it.
    put(&face, "box", "most", vec![b'm'; 64 << 10]).await;
    assert_eq!(face.answer("whole", &key("most")).await.status, 200);
    put(&face, "box", "more", vec![b'm'; (64 << 10) + 1]).await;
    let refused = face.refusal("whole", &key("more")).await;
    assert!(refused.contains("overthelimitof65536bytes"), "{refused}");
    let streamed = face.answer("get", &key("more")).await;
    assert_eq!(streamed.body.len(), (64 << 10) + 1);

    // More than are deleted at once.
    let many = json!(["twice", "early", "most", "more"]).to_string();
    let refused = face
        .refusal("delete-many", &[("store", "box"), ("value", &*many)])
        .await;
    assert!(refused.contains("limitof3"), "{refused}");
    face.ask("clear", &[("store", "box")]).await;
    assert_eq!(names(&face, "box", 0, 10).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_pass_both_names_as_streams() {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 48;
    let node = node_with_all_faces("");
    let face = Face::new(&node, APP);
    let piece = |number: usize| vec![number.to_le_bytes()[0]; PIECE];
    for (name, version) in FACES {
        face.run_as(version);
        face.ask("create", &[("store", "box")]).await;
        let pieces = stream::iter((0..PIECES).map(move |n| Ok::<_, std::io::Error>(piece(n))));
        let size = put(&face, "box", name, Body::wrap_stream(pieces)).await;
        assert_eq!(size, PIECES * PIECE);
    }
    for (_, version) in FACES {
        face.run_as(version);
        for (writer, _) in FACES {
            // From the middle of one piece to the middle of another.
            let (from, to) = (PIECE / 2, PIECES * PIECE - PIECE / 2);
            let (first, last) = (from.to_string(), (to - 1).to_string());
            let fields = [
                ("store", "box"),
                ("key", writer),
                ("from", &*first),
                ("to", &*last),
            ];
            let answer = face.send("get", &fields, "").await;
            assert_eq!(answer.status(), 200);
            let (mut body, mut at) = (answer.bytes_stream(), from);
            while let Some(bytes) = body.next().await {
                for byte in bytes.expect("all of it") {
                    assert_eq!(byte, (at / PIECE).to_le_bytes()[0], "byte {at}");
                    at += 1;
                }
            }
            assert_eq!(at, to, "{writer}");
        }
    }
}
