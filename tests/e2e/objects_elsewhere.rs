//! `canopy:storage/blobs` as drivers serve it: what an application sees of objects on S3, and of those that
//! are encrypted and cached on the way there.

use reqwest::Method;

use crate::engines::{add_driver, s3_setup};
use crate::support::{Answer, Node, S3, answer, guest, plugin};

const APP: &str = "objects.acme";

fn on_s3(s3: &S3) -> Node {
    let node = Node::start();
    node.publish(&plugin("s3"));
    node.publish(&guest("objects-canopy"));
    node.run("tenant create acme");
    node.run("install guests/objects --tenant acme");
    add_driver(&node, "s3", "acme", &s3_setup(s3));
    node.run("bind objects canopy:storage/blobs s3 --tenant acme");
    node
}

async fn put(node: &Node, path: &str, body: &'static str) -> Answer {
    answer(node.request(Method::PUT, APP, path).body(body)).await
}

/// What holds wherever the objects are kept.
async fn behaves(node: &Node) {
    assert_eq!(node.get(APP, "/o/none").await.status, 404);
    for (name, body) in [
        ("a", "first"),
        ("a%2Fb", "inner"),
        ("a-b", ""),
        ("Z", "last"),
    ] {
        let stored = put(node, &format!("/o/{name}"), body).await;
        assert_eq!(stored.status, 200, "{name}: {stored:?}");
        // Twice: what is remembered is what was read.
        for _ in 0..2 {
            let read = node.get(APP, &format!("/o/{name}")).await;
            assert_eq!((read.status, read.body.as_str()), (200, body), "{name}");
            assert_eq!(read.headers["content-type"], "text/html");
        }
    }
    let listed = node.get(APP, "/list").await;
    assert_eq!(
        listed.body, "Z 4\na 5\na-b 0\na/b 5\n",
        "in the order of bytes"
    );
    let grouped = node.get(APP, "/groups").await;
    assert_eq!(grouped.body, "a/\nZ\na\na-b\n");

    let part = node.get(APP, "/from/a/2").await;
    assert_eq!((part.status, part.body.as_str()), (206, "rst"));
    assert_eq!(part.headers["content-range"], "bytes 2-4/5");
    let end = node.get(APP, "/from/a/5").await;
    assert_eq!(
        (end.status, end.body.as_str()),
        (206, ""),
        "nothing at the end"
    );
    assert_eq!(
        node.get(APP, "/from/a/6").await.status,
        416,
        "after the end"
    );

    assert_eq!(put(node, "/new/a", "other").await.status, 412);
    assert_eq!(put(node, "/new/n", "new").await.status, 200);
    assert_eq!(put(node, "/copy/a/copied", "").await.status, 200);
    assert_eq!(put(node, "/move/Z/moved", "").await.status, 200);
    assert_eq!(put(node, "/move/none/moved", "").await.status, 404);
    for (name, expected) in [
        ("a", "first"),
        ("copied", "first"),
        ("moved", "last"),
        ("n", "new"),
    ] {
        let read = node.get(APP, &format!("/o/{name}")).await;
        assert_eq!((read.status, read.body.as_str()), (200, expected), "{name}");
    }
    assert_eq!(node.get(APP, "/o/Z").await.status, 404);
    let copied = node.get(APP, "/o/copied").await;
    assert_eq!(
        copied.headers["content-type"], "text/html",
        "its type comes along"
    );
    let delete = |name: &str| answer(node.request(Method::DELETE, APP, &format!("/o/{name}")));
    assert_eq!(delete("a").await.body, "true");
    assert_eq!(delete("a").await.body, "false");
    assert_eq!(node.get(APP, "/o/a").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_on_s3_are_as_any_others() {
    let s3 = S3::start();
    let node = on_s3(&s3);
    behaves(&node).await;
    let small = put(&node, "/parts/small", "").await;
    assert_eq!(small.status, 400, "parts are too small for S3: {small:?}");
    assert!(small.body.contains("EntityTooSmall"), "{small:?}");
    let made = put(&node, "/parts/long?first=5242880", "").await;
    assert_eq!(made.status, 200, "{made:?}");
    let end = node.get(APP, "/from/long/5242878").await;
    assert_eq!(end.body, "xxtwo");
    let over = put(&node, "/parts/over?first=16777217", "").await;
    assert_eq!(over.status, 413, "{over:?}");
    // Objects that others put into the bucket are none of the application's.
    let names = s3.objects();
    assert!(
        names.iter().all(|name| name.starts_with("canopy/")),
        "{names:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_are_encrypted_and_remembered_are_as_any_others() {
    let s3 = S3::start();
    let node = on_s3(&s3);
    for driver in ["encrypt-blobs", "cache-blobs"] {
        node.publish(&plugin(driver));
    }
    // Thirty-two equal bytes as base64, which is enough for a test.
    let key = format!("one:{}QUE=", "QUFB".repeat(10));
    let add = "driver add canopy/encrypt-blobs --tenant acme --secret-env key=key --bind canopy:storage/blobs=s3";
    let added = node.cli_with(add.split_whitespace(), &[("key", &key)]);
    assert_eq!(added.code, 0, "{}", added.stderr);
    put(&node, "/o/before", "in the clear").await;
    node.run(
        "driver add canopy/cache-blobs --tenant acme --bind canopy:storage/blobs=encrypt-blobs",
    );
    node.run("bind objects canopy:storage/blobs cache-blobs --tenant acme");
    let before = node.get(APP, "/o/before").await;
    assert_eq!(before.status, 503, "it was not encrypted: {before:?}");
    answer(node.request(Method::DELETE, APP, "/o/before")).await;
    behaves(&node).await;
    assert!(!s3.content().contains("inner"), "S3 sees contents");
    let refused = put(&node, "/parts/p", "").await;
    assert_eq!(refused.status, 503, "no uploads in parts: {refused:?}");
    // Another key does not read what this one wrote.
    let other = format!("two:{}QUI=", "QUFB".repeat(10));
    let replace = format!("{add} --replace");
    let added = node.cli_with(replace.split_whitespace(), &[("key", &other)]);
    assert_eq!(added.code, 0, "{}", added.stderr);
    assert_eq!(node.get(APP, "/o/n").await.status, 503);
}
