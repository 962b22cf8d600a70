//! Components made without the SDK, by other people's tools.

use serde_json::json;

use crate::faces::{Model, behaves, holds};
use crate::support::{Face, Node, guest, python_guest};

#[tokio::test(flavor = "multi_thread")]
async fn a_wasi_0_2_component_by_wstd_is_served_unchanged() {
    let node = Node::start();
    node.serve(&guest("hello-p2-wstd"), "guests/hello-p2-wstd", &["acme"]);
    let answer = node.get("hello-p2-wstd.acme", "/").await;
    assert_eq!(
        (answer.status, answer.body.trim_end()),
        (200, "hello from WASI 0.2, /")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wasi_0_3_component_by_wasip3_is_served_unchanged() {
    let node = Node::start();
    node.serve(&guest("hello-p3"), "guests/hello-p3", &["acme", "globex"]);
    for app in ["hello-p3.acme", "hello-p3.globex", "hello-p3.acme"] {
        let answer = node.get(app, "/").await;
        assert_eq!(
            (answer.status, answer.body.trim_end()),
            (200, "hello from WASI 0.3, /")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_can_switch_wasi_0_3_off() {
    let node = Node::start_with("[engine]\nwasi_p3 = false");
    node.serve(&guest("hello-p2-wstd"), "guests/hello-p2-wstd", &["acme"]);
    assert_eq!(node.get("hello-p2-wstd.acme", "/").await.status, 200);
    let project = guest("hello-p3");
    let refused = node.cli([
        "publish",
        project.to_str().expect("UTF-8"),
        "--create-publisher",
    ]);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(refused.stderr.contains("0.3"), "{}", refused.stderr);
}

/// Made from the published interfaces, of which it has two versions of `wasi:io` at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_python_component_by_componentize_py_reads_and_writes_what_others_do() {
    const EXTRAS: [&str; 3] = ["increment", "batch", "cursor"];
    // It carries an interpreter, whose compilation takes a while on a busy machine.
    let node = Node::start_with("[engine.compile]\nwall_seconds = 900\ncpu_seconds = 600");
    let python = python_guest();
    node.publish(&guest("face-canopy"));
    node.publish(python.path());
    node.run("tenant create acme");
    node.run("install guests/faces@0.5.0 --tenant acme");
    let face = Face::new(&node, "faces.acme");
    let mut model = Model::new();
    let canopy = ["increment", "batch", "cursor", "swap", "ttl"];
    behaves(&face, &mut model, "face-canopy", &canopy).await;
    face.run_as("0.6.0");
    holds(&face, &model, &EXTRAS).await;
    behaves(&face, &mut model, "face-python", &EXTRAS).await;
    let fields = [("store", "box"), ("key", "o"), ("value", "hello")];
    assert_eq!(
        face.ask("objects", &fields).await,
        json!({ "part": "ell", "names": ["o", "o, copy"], "ended": true, "size": 5 })
    );
    face.run_as("0.5.0");
    holds(&face, &model, &EXTRAS).await;
}
