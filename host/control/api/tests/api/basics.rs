//! Tokens, problem documents, conditions, pages: what all routes have in common.

use axum::body::Body;
use axum::http::header::AUTHORIZATION;
use axum::http::{Method, Request};
use serde_json::json;

use crate::support::{Node, app};

/// Every operation of the API as method and path, with names filled in.
fn operations() -> Vec<(Method, String)> {
    let document = serde_json::to_value(canopy_api::document()).expect("JSON");
    let mut operations = vec![(Method::GET, "/api/v1/openapi.json".to_owned())];
    for (path, item) in document["paths"].as_object().expect("paths") {
        let path: Vec<_> = path
            .split('/')
            .map(|part| match part {
                "{version}" => "1.0.0",
                "{binding}" => "wasi:keyvalue",
                "{token}" => "tok_018f3c2e-0000-7000-8000-000000000000",
                part if part.starts_with('{') => "x",
                part => part,
            })
            .collect();
        for method in item.as_object().expect("an item").keys() {
            let method: Method = method.to_uppercase().parse().expect("a method");
            operations.push((method, path.join("/")));
        }
    }
    operations
}

#[tokio::test]
async fn nothing_is_open_without_a_token() {
    let node = Node::furnished().await;
    let created = node
        .send(
            Method::POST,
            "tenants/one/tokens",
            &[],
            json!({ "subject": "s" }),
        )
        .await;
    let service = created.json()["secret"]
        .as_str()
        .expect("a secret")
        .to_owned();
    let wrong = format!("{}0", &node.token[..node.token.len() - 1]);
    let wrong = if wrong == node.token {
        wrong.replace("0", "1")
    } else {
        wrong
    };
    let operations = operations();
    assert!(operations.len() > 40, "the document lists the routes");
    for (method, path) in operations.iter().cloned().chain([
        (Method::GET, "/api/v1/no/such/route".to_owned()),
        (Method::GET, "/".to_owned()),
        (Method::PUT, "/api/v1/status".to_owned()),
    ]) {
        for token in [
            None,
            Some("Bearer x"),
            Some(&*format!("Bearer {service}")),
            Some(&*format!("Bearer {wrong}")),
            Some(&*format!("Basic {}", node.token)),
        ] {
            let mut request = Request::builder().method(&method).uri(&path);
            if let Some(token) = token {
                request = request.header(AUTHORIZATION, token);
            }
            let answer = node
                .raw(request.body(Body::empty()).expect("a request"))
                .await;
            assert_eq!(
                answer.problem(401),
                "unauthenticated",
                "{method} {path} {token:?}"
            );
            assert!(answer.headers.contains_key("www-authenticate"));
        }
    }
    assert_eq!(
        node.get("tenants").await.json()["items"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
}

#[tokio::test]
async fn health_needs_no_token_and_tells_nothing() {
    let node = Node::start().await;
    for path in ["/healthz", "/readyz"] {
        let request = Request::builder()
            .uri(path)
            .body(Body::empty())
            .expect("a request");
        let answer = node.raw(request).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""));
    }
    node.stopping.cancel();
    let request = Request::builder()
        .uri("/readyz")
        .body(Body::empty())
        .expect("a request");
    assert_eq!(node.raw(request).await.problem(503), "stopping");
}

#[tokio::test]
async fn the_document_is_served_and_describes_names_and_problems() {
    let node = Node::start().await;
    let document = node.get("openapi.json").await.json();
    let put = &document["paths"]["/api/v1/tenants/{tenant}"]["put"];
    assert_eq!(put["parameters"][0]["name"], "tenant");
    assert!(put["responses"]["default"]["content"]["application/problem+json"].is_object());
    assert!(document["components"]["schemas"]["InstallationPut"].is_object());
    let text = document.to_string();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().expect("a name");
        assert!(
            document["components"]["schemas"][name].is_object(),
            "{name} is not described"
        );
    }
    let publish =
        &document["paths"]["/api/v1/packages/{publisher}/{name}/versions/{version}"]["put"];
    assert!(publish["requestBody"]["content"]["multipart/form-data"].is_object());
}

#[tokio::test]
async fn whatever_is_wrong_is_told_as_a_problem() {
    let node = Node::furnished().await;
    let name = || json!({ "display_name": "x" });
    assert_eq!(
        node.get("no/such/route").await.problem(404),
        "no-such-route"
    );
    assert_eq!(node.delete("status").await.problem(405), "no-such-method");
    let missing = node.get("tenants/nobody").await;
    assert_eq!(missing.problem(404), "not-found");
    assert_eq!(
        (
            missing.json()["noun"].as_str(),
            missing.json()["name"].as_str()
        ),
        (Some("tenant"), Some("nobody"))
    );
    for bad in ["Acme", "a_b", "..%2Fx", "a%00", &"a".repeat(64)] {
        assert_eq!(
            node.put(&format!("tenants/{bad}"), name())
                .await
                .problem(400),
            "invalid-name",
            "{bad}"
        );
    }
    assert_eq!(
        node.put("tenants/x", json!({})).await.problem(422),
        "invalid-body"
    );
    let unknown = node
        .put("tenants/x", json!({ "display_name": "x", "plna": "p" }))
        .await;
    assert_eq!(unknown.problem(422), "invalid-body");
    assert!(
        unknown.text.contains("plna") && unknown.text.contains("plan"),
        "{unknown:?}"
    );
    let field = node
        .put("tenants/x", json!({ "display_name": "a\u{202e}b" }))
        .await;
    assert_eq!(field.problem(422), "invalid-field");
    assert_eq!(field.json()["field"], "display_name");

    let with = |kind: &str, body: String| {
        let request = node
            .request(Method::PUT, "tenants/x")
            .header("content-type", kind);
        node.raw(request.body(Body::from(body)).expect("a request"))
    };
    assert_eq!(
        with("application/json", "{".into()).await.problem(400),
        "broken-json"
    );
    assert_eq!(
        with("text/plain", name().to_string()).await.problem(415),
        "not-json"
    );
    let long = "x".repeat(canopy_api::MAX_BODY_BYTES + 1);
    assert_eq!(
        with("application/json", long).await.problem(413),
        "body-too-large"
    );
    assert_eq!(
        node.get("tenants?limit=0").await.problem(400),
        "invalid-query"
    );
    assert_eq!(
        node.get("tenants?limti=1").await.problem(400),
        "invalid-query"
    );
    assert_eq!(
        node.get("packages?kind=apps").await.problem(400),
        "invalid-query"
    );
    assert_eq!(
        node.get("packages?cursor=x").await.problem(400),
        "invalid-cursor"
    );
    assert_eq!(
        node.get("tenants/x").await.status,
        404,
        "nothing was created on the way"
    );
}

#[tokio::test]
async fn writes_keep_to_their_conditions() {
    let node = Node::start().await;
    let put = async |condition: &[(&str, &str)], text: &str| {
        node.send(
            Method::PUT,
            "tenants/one",
            condition,
            json!({ "display_name": text }),
        )
        .await
    };
    let missing = put(&[("if-match", "*")], "x").await;
    assert_eq!(missing.problem(412), "precondition-failed");
    let created = put(&[("if-none-match", "*")], "One").await;
    assert_eq!(created.status, 201);
    let first = created.etag().to_owned();
    assert_eq!(
        put(&[("if-none-match", "*")], "x").await.problem(412),
        "precondition-failed"
    );

    let same = put(&[], "One").await;
    assert_eq!(
        (same.status.as_u16(), same.etag()),
        (200, first.as_str()),
        "idempotent"
    );
    let changed = put(&[("if-match", &first)], "Two").await;
    assert_eq!(changed.status, 200);
    assert_ne!(changed.etag(), first);
    let late = put(&[("if-match", &first)], "Three").await;
    assert_eq!(late.problem(412), "precondition-failed");
    assert_eq!(late.json()["revision"], changed.json()["revision"]);
    assert_eq!(
        put(&[("if-match", "W/\"1\"")], "x").await.problem(400),
        "invalid-condition"
    );

    let read = node.get("tenants/one").await;
    assert_eq!(
        (read.etag(), read.json()["display_name"].as_str()),
        (changed.etag(), Some("Two"))
    );
    let known = node
        .request(Method::GET, "tenants/one")
        .header("if-none-match", read.etag())
        .body(Body::empty());
    let known = node.raw(known.expect("a request")).await;
    assert_eq!((known.status.as_u16(), known.text.as_str()), (304, ""));

    let delete = node
        .request(Method::DELETE, "tenants/one")
        .header("if-match", &first);
    let refused = node
        .raw(delete.body(Body::empty()).expect("a request"))
        .await;
    assert_eq!(refused.problem(412), "precondition-failed");
    assert_eq!(node.delete("tenants/one").await.status, 204);
    assert_eq!(node.get("tenants/one").await.problem(404), "not-found");
}

#[tokio::test]
async fn pages_hold_every_item_once() {
    let node = Node::furnished().await;
    for index in 0..7 {
        let body = json!({ "display_name": "T" });
        assert_eq!(
            node.put(&format!("tenants/t{index}"), body).await.status,
            201
        );
    }
    let mut names = Vec::new();
    let mut path = "tenants?limit=4".to_owned();
    loop {
        let page = node.get(&path).await.json();
        let items = page["items"].as_array().expect("items");
        assert!(items.len() <= 4);
        names.extend(
            items
                .iter()
                .map(|item| item["name"].as_str().expect("a name").to_owned()),
        );
        match page.get("next_cursor") {
            Some(cursor) => {
                path = format!("tenants?limit=4&cursor={}", cursor.as_str().expect("text"))
            }
            None => break,
        }
    }
    assert_eq!(
        names,
        ["one", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "two"]
    );
    let apps = node.get("packages?kind=app&publisher=acme").await.json();
    assert_eq!(apps["items"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_token_is_shown_once_and_repeating_its_creation_creates_no_other() {
    let node = Node::furnished().await;
    let create = async |key: &str, subject: &str| {
        let body = json!({ "subject": subject, "roles": ["admin"] });
        node.send(
            Method::POST,
            "tenants/one/tokens",
            &[("idempotency-key", key)],
            body,
        )
        .await
    };
    let first = create("k1", "batch").await;
    assert_eq!(first.status, 201);
    assert_eq!(
        create("k1", "batch").await.json(),
        first.json(),
        "the same answer again"
    );
    assert_eq!(
        create("k1", "other").await.problem(422),
        "idempotency-key-reused"
    );
    assert_eq!(create("bad key", "x").await.problem(422), "invalid-field");
    let list = node.get("tenants/one/tokens").await;
    assert_eq!(list.json()["items"].as_array().map(Vec::len), Some(1));
    assert!(
        !list.text.contains("canopy_svc_") && !list.text.contains("secret"),
        "{list:?}"
    );

    let id = first.json()["id"].as_str().expect("an id").to_owned();
    let foreign = node.delete(&format!("tenants/two/tokens/{id}")).await;
    assert_eq!(foreign.problem(404), "not-found");
    assert_eq!(
        node.delete(&format!("tenants/one/tokens/{id}"))
            .await
            .status,
        204
    );

    let secret = first.json()["secret"]
        .as_str()
        .expect("a secret")
        .to_owned();
    let secret = secret.rsplit('_').next().expect("a secret");
    for entry in std::fs::read_dir(node.folder.path())
        .expect("a folder")
        .flatten()
    {
        if entry.path().is_file() {
            let bytes = std::fs::read(entry.path()).expect("a file");
            let found = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "a secret is readable in {:?}", entry.path());
        }
    }
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let node = Node::furnished().await;
    let secrets = json!({ "package": "acme/notes", "secrets": { "key": "v" } });
    assert_eq!(
        node.put("tenants/one/installations/notes", secrets)
            .await
            .status,
        201
    );
    let orphan = node
        .folder
        .path()
        .join("components")
        .join(format!("{}.wasm", "0".repeat(64)));
    std::fs::write(&orphan, app("")).expect("written");
    let before = node.get("tenants/one/installations/notes").await.json();
    let node = node.restart().await;
    assert_eq!(
        node.get("tenants/one/installations/notes").await.json(),
        before
    );
    assert!(
        node.answers("notes.one.localhost"),
        "the first snapshot is there at once"
    );
    assert!(!orphan.exists(), "what was never published is removed");
    let status = node.get("status").await.json();
    assert_eq!(
        (
            status["counts"]["tenants"].as_u64(),
            status["counts"]["versions"].as_u64()
        ),
        (Some(2), Some(3))
    );
    assert_eq!(status["apps_base_url"], "http://localhost:8080");
    let load = &status["load"];
    assert_eq!(
        (&load["requests"], &load["instances"]),
        (&json!(7), &json!(0))
    );
}
