//! What may not be published is refused, by name, and leaves nothing behind.

use std::path::PathBuf;

use reqwest::Method;
use reqwest::multipart::{Form, Part};

use crate::support::{Node, answer, guest};

const MANIFEST: &str = "name = \"guests/x\"\nversion = \"1.0.0\"\nkind = \"app\"\ntitle = \"x\"\nsummary = \"x\"\ncomponent = \"x.wasm\"\n";
const VERSION: &str = "/api/v1/packages/guests/x/versions/1.0.0";

fn component(name: &str) -> PathBuf {
    let file = format!(
        "target/wasm32-wasip2/release/{}.wasm",
        name.replace('-', "_")
    );
    guest(name).join("../..").join(file)
}

fn node() -> Node {
    let node = Node::start();
    node.run("publisher create guests");
    node
}

async fn upload(node: &Node, manifest: &str, bytes: Vec<u8>) -> crate::support::Answer {
    let form = Form::new()
        .text("manifest", manifest.to_owned())
        .part("component", Part::bytes(bytes));
    answer(node.api(Method::PUT, VERSION).multipart(form)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_component_is_named_for_what_it_is() {
    let node = node();
    let whole = std::fs::read(component("identity")).expect("a component");
    let core_module = b"\0asm\x01\0\0\0".to_vec();
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("text", b"(component)".to_vec()),
        ("core module", core_module),
        ("truncated", whole[..whole.len() / 2].to_vec()),
        ("garbage", vec![0xff; 4096]),
    ] {
        let refused = upload(&node, MANIFEST, bytes).await;
        assert_eq!(refused.status, 422, "{what}: {refused:?}");
        refused.problem();
    }
    assert_eq!(answer(node.api(Method::GET, VERSION)).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_artifact_of_this_very_engine_is_refused() {
    let node = node();
    node.publish(&guest("identity"));
    let artifacts = std::fs::read_dir(node.data_dir().join("artifacts")).expect("artifacts");
    let artifact = artifacts
        .flatten()
        .find(|file| {
            file.path()
                .extension()
                .is_some_and(|extension| extension == "cwasm")
        })
        .expect("an artifact");
    let bytes = std::fs::read(artifact.path()).expect("its bytes");
    assert_eq!(upload(&node, MANIFEST, bytes).await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn manifest_and_component_must_say_the_same() {
    let node = node();
    let undeclared = std::fs::read(component("kv-probe")).expect("a component");
    let refused = upload(&node, MANIFEST, undeclared).await;
    assert_eq!(refused.status, 422);
    assert!(refused.body.contains("wasi:keyvalue"), "{refused:?}");

    let manifest = format!("{MANIFEST}[[needs]]\ninterface = \"wasi:keyvalue\"\nreason = \"x\"\n");
    let unused = std::fs::read(component("hello-p2-wstd")).expect("a component");
    let refused = upload(&node, &manifest, unused).await;
    assert_eq!(refused.status, 422);
    assert!(refused.body.contains("wasi:keyvalue"), "{refused:?}");

    let misspelt = MANIFEST.replace("summary", "sumary");
    let component = std::fs::read(component("identity")).expect("a component");
    let refused = upload(&node, &misspelt, component).await;
    assert_eq!(refused.status, 422);
    assert!(
        refused.body.contains("summary"),
        "names the nearest known: {refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_serves_is_named_with_the_nearest_known() {
    let node = node();
    node.publish(&guest("acme-payments"));
    let known = node.cli(["publish", guest("shop").to_str().expect("UTF-8")]);
    assert_eq!(known.code, 0, "{}", known.stderr);

    let bare = self::node();
    let refused = bare.cli(["publish", guest("shop").to_str().expect("UTF-8")]);
    assert_eq!(refused.code, 3);
    assert!(
        refused.stderr.contains("acme:payments/charge@1.2.0"),
        "{}",
        refused.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_never_changes() {
    let node = node();
    let first = std::fs::read(component("identity")).expect("a component");
    let other = std::fs::read(component("trap")).expect("a component");
    assert_eq!(upload(&node, MANIFEST, first.clone()).await.status, 201);
    assert_eq!(
        upload(&node, MANIFEST, first).await.status,
        200,
        "the same again"
    );
    assert_eq!(upload(&node, MANIFEST, other).await.status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_digest_must_be_the_bytes() {
    let node = node();
    let bytes = std::fs::read(component("identity")).expect("a component");
    let form = Form::new()
        .text("digest", format!("sha256:{}", "0".repeat(64)))
        .text("manifest", MANIFEST)
        .part("component", Part::bytes(bytes));
    let refused = answer(node.api(Method::PUT, VERSION).multipart(form)).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert_eq!(answer(node.api(Method::GET, VERSION)).await.status, 404);
}
