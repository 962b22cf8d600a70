//! Components made without the SDK, by other people's tools.

use crate::support::{Node, guest};

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
