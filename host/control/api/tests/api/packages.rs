//! Publishing: what gets in and what does not.

use canopy_ids::Digest;

use crate::support::{
    CHARGE, COMPONENT_BYTES, DRIVER, NOTES, Node, SHOP, app, driver, manifest, marked,
};

const VERSION: &str = "packages/acme/notes/versions/2.0.0";
const APP: &str = "kind = \"app\"";

async fn refused(node: &Node, more: &str, component: &[u8], status: u16, code: &str, text: &str) {
    let answer = node.publish("notes", "2.0.0", more, component).await;
    assert_eq!(answer.problem(status), code, "{answer:?}");
    assert!(answer.text.contains(text), "{text:?} is not in {answer:?}");
}

#[tokio::test]
async fn a_version_is_published_once_and_can_be_read_back() {
    let node = Node::furnished().await;
    let bytes = app(&marked("a"));
    let created = node.publish("notes", "2.0.0", NOTES, &bytes).await;
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(created.json()["digest"], Digest::of(&bytes).to_string());
    assert_eq!(
        node.publish("notes", "2.0.0", NOTES, &bytes).await.status,
        200,
        "the same again"
    );
    let other = node
        .publish("notes", "2.0.0", NOTES, &app(&marked("b")))
        .await;
    assert_eq!(other.problem(409), "version-exists");
    assert_eq!(other.json()["digest"], created.json()["digest"]);

    assert_eq!(node.get(VERSION).await.json(), created.json());
    let component = node.get(&format!("{VERSION}/component")).await;
    assert_eq!(component.headers["content-type"], "application/wasm");
    let package = node.get("packages/acme/notes").await.json();
    assert_eq!(package["latest_version"], "2.0.0");
    let versions = node.get("packages/acme/notes/versions").await.json();
    let versions = versions["items"].as_array().expect("items");
    assert_eq!(
        (versions[0]["version"].as_str(), versions.len()),
        (Some("2.0.0"), 2)
    );
    assert_eq!(
        node.publish("notes", "3.0.0", DRIVER, &driver(""))
            .await
            .problem(409),
        "kind-differs"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_contents_of_one_version_published_at_once_one_wins() {
    let node = std::sync::Arc::new(Node::furnished().await);
    let attempts: Vec<_> = (0..50)
        .map(|index| {
            let node = std::sync::Arc::clone(&node);
            // Two components compile; what tells the fifty apart is their manifests.
            tokio::spawn(async move {
                let more = format!("{NOTES}\n[config.properties.p{index}]\ntype = \"string\"");
                node.publish(
                    "notes",
                    "2.0.0",
                    &more,
                    &app(&marked(&format!("m{}", index % 2))),
                )
                .await
            })
        })
        .collect();
    let mut created = 0;
    for attempt in attempts {
        let answer = attempt.await.expect("no panic");
        match answer.status.as_u16() {
            201 => created += 1,
            _ => assert_eq!(answer.problem(409), "version-exists"),
        }
    }
    assert_eq!(created, 1);
}

#[tokio::test]
async fn what_is_not_a_component_is_named_for_what_it_is() {
    let node = Node::furnished().await;
    let whole = app("");
    refused(&node, APP, b"", 422, "not-a-component", "empty").await;
    refused(&node, APP, b"(component)", 422, "not-a-component", "text").await;
    refused(
        &node,
        APP,
        b"\0asm\x01\0\0\0",
        422,
        "not-a-component",
        "core module",
    )
    .await;
    refused(
        &node,
        APP,
        &whole[..whole.len() - 5],
        422,
        "not-a-component",
        "truncated",
    )
    .await;
    refused(
        &node,
        APP,
        b"garbage!",
        422,
        "not-a-component",
        "not WebAssembly",
    )
    .await;
    let large = vec![0; usize::try_from(COMPONENT_BYTES).expect("small") + 1];
    refused(&node, APP, &large, 413, "component-too-large", "65536").await;
    assert_eq!(node.get(VERSION).await.problem(404), "not-found");
    let left = std::fs::read_dir(node.folder.path().join("components")).expect("a folder");
    assert_eq!(left.count(), 3, "nothing of what was refused is left");
}

#[tokio::test]
async fn manifest_and_component_must_agree() {
    let node = Node::furnished().await;
    let keyvalue = r#"(import "wasi:keyvalue/store@0.2.0-draft2" (instance (export "f" (func))))"#;
    let need = "kind = \"app\"\n[[needs]]\ninterface = \"wasi:keyvalue\"\nreason = \"r\"";
    refused(
        &node,
        APP,
        &app(keyvalue),
        422,
        "manifest-mismatch",
        "wasi:keyvalue/store@0.2.0-draft2",
    )
    .await;
    refused(
        &node,
        need,
        &app(""),
        422,
        "manifest-mismatch",
        "needs `wasi:keyvalue`",
    )
    .await;
    refused(
        &node,
        APP,
        &driver(""),
        422,
        "manifest-mismatch",
        "wasi:http/incoming-handler",
    )
    .await;
    // Found before anything is compiled: these would not be.
    let broken = "(core module (func (result i32)))";
    let calling = r#"(import "wasi:keyvalue/store@0.2.0-draft2" (instance $store (export "f" (func))))
        (alias export $store "f" (func))"#;
    for (manifest, component, word) in [
        (need, app(broken), "needs `wasi:keyvalue`"),
        (APP, app(&format!("{calling}{broken}")), "draft2"),
    ] {
        refused(&node, manifest, &component, 422, "manifest-mismatch", word).await;
    }
    let misspelt = "kind = \"app\"\nlicence = \"MIT\"";
    refused(
        &node,
        misspelt,
        &app(""),
        422,
        "invalid-manifest",
        "did you mean `license`?",
    )
    .await;
    let greedy = "kind = \"app\"\n[limits]\ncpu_ms = 3600000";
    refused(&node, greedy, &app(""), 422, "limit-too-high", "30000").await;
    let bare = app("(import \"log\" (func))");
    refused(&node, APP, &bare, 422, "bare-imports", "log (function)").await;
    let declared = node.publish("notes", "2.0.0", need, &app(keyvalue)).await;
    assert_eq!(declared.status, 201, "{declared:?}");
    assert_eq!(declared.json()["imports"][0]["platform"], true);
}

#[tokio::test]
async fn an_interface_of_types_alone_needs_nobody() {
    let node = Node::furnished().await;
    let types = r#"(import "acme:payments/types@1.2.0" (instance (type $t (record (field "cents" u64))) (export "money" (type (eq $t)))))"#;
    let answer = node.publish("notes", "2.0.0", APP, &app(types)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert!(!answer.text.contains("acme:payments/types"), "{answer:?}");
}

#[tokio::test]
async fn what_nobody_serves_is_named_with_the_nearest_known() {
    let node = Node::furnished().await;
    let need = |interface: &str| {
        format!("kind = \"app\"\n[[needs]]\ninterface = \"{interface}\"\nreason = \"r\"")
    };
    let import = |interface: &str| {
        app(&format!(
            "(import \"{interface}\" (instance (export \"f\" (func))))"
        ))
    };
    for (interface, nearest) in [
        (
            "wasi:keyvalue/store@0.2.0-draft3",
            "wasi:keyvalue/store@0.2.0-draft",
        ),
        ("acme:payments/charge@2.0.0", "acme:payments/charge@1.2.0"),
        ("acme:payments/charge@1.3.0", "acme:payments/charge@1.2.0"),
    ] {
        let answer = node
            .publish("notes", "2.0.0", &need(interface), &import(interface))
            .await;
        assert_eq!(answer.problem(422), "unserved-interface");
        assert_eq!(answer.json()["interfaces"][0]["interface"], interface);
        let found = answer.json()["interfaces"][0]["nearest"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(found.starts_with(nearest), "{interface}: {found}");
    }
    let strange = "[[needs]]\ninterface = \"acme:vault\"\nreason = \"r\"";
    let more = format!(
        "kind = \"driver\"\n[serves]\ninterfaces = [\"acme:payments/charge@1.2.0\"]\n{strange}"
    );
    let import = r#"(import "acme:vault/keys@1.0.0" (instance (export "f" (func))))"#;
    let answer = node.publish("pay", "2.0.0", &more, &driver(import)).await;
    assert_eq!(
        answer.problem(422),
        "unserved-interface",
        "of what a driver imports the same holds"
    );
    assert_eq!(
        node.publish("shop", "1.1.0", SHOP, &app(CHARGE))
            .await
            .status,
        201
    );
}

#[tokio::test]
async fn a_form_that_is_not_as_described_is_refused() {
    let node = Node::furnished().await;
    let text = manifest("notes", "2.0.0", APP);
    let (text, bytes) = (text.as_bytes(), app(""));
    let zeros = format!("sha256:{}", "0".repeat(64));
    let bytes = bytes.as_slice();
    for (parts, status, code) in [
        (
            &[("component", bytes), ("manifest", text)][..],
            400,
            "invalid-form",
        ),
        (&[("manifest", text)], 400, "invalid-form"),
        (&[("component", bytes)], 400, "invalid-form"),
        (&[], 400, "invalid-form"),
        (
            &[("manifest", text), ("manifest", text), ("component", bytes)],
            400,
            "invalid-form",
        ),
        (
            &[("manifest", text), ("component", bytes), ("x", b"")],
            400,
            "invalid-form",
        ),
        (
            &[
                ("digest", b"md5:0"),
                ("manifest", text),
                ("component", bytes),
            ],
            400,
            "invalid-form",
        ),
        (
            &[
                ("digest", zeros.as_bytes()),
                ("manifest", text),
                ("component", bytes),
            ],
            400,
            "digest-mismatch",
        ),
        (
            &[("manifest", b"\xff"), ("component", bytes)],
            400,
            "invalid-form",
        ),
        (
            &[("manifest", &[b' '; 200_000]), ("component", bytes)],
            422,
            "invalid-manifest",
        ),
    ] {
        let names: Vec<_> = parts.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            node.form(VERSION, parts).await.problem(status),
            code,
            "{names:?}"
        );
    }
    let digest = Digest::of(bytes).to_string();
    let other = [
        ("digest", digest.as_bytes()),
        ("manifest", text),
        ("component", bytes),
    ];
    let elsewhere = node
        .form("packages/acme/notes/versions/9.0.0", &other)
        .await;
    assert_eq!(elsewhere.problem(422), "other-address");
    let nobody = node
        .form("packages/nobody/notes/versions/2.0.0", &other)
        .await;
    assert_eq!(
        (nobody.problem(404), nobody.json()["noun"].as_str()),
        ("not-found".into(), Some("publisher"))
    );
    assert_eq!(node.form(VERSION, &other).await.status, 201);
}
