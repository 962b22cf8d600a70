//! Installations and drivers: what can be set, and that it takes effect.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use canopy_backend::{KeyValueProvider, Scope};
use canopy_backend_logs::{Entry, Level, LogContext, Source};
use canopy_ids::InstallationId;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{Answer, CHARGE, DRIVER, NOTES, Node, SHOP, app, driver, marked, serving};

const INSTALLATION: &str = "tenants/one/installations/notes";

async fn installed() -> Node {
    let node = Node::furnished().await;
    let body = json!({
        "package": "acme/notes",
        "secrets": { "key": "canary-4711" },
        "egress": ["API.example.com:443"],
    });
    let answer = node.put(INSTALLATION, body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    node
}

fn names(answer: &Answer) -> Vec<String> {
    let items = answer.json()["items"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    items
        .iter()
        .map(|item| item["name"].as_str().expect("a name").to_owned())
        .collect()
}

#[tokio::test]
async fn an_installation_takes_effect_with_the_answer() {
    let node = installed().await;
    let shown = node.get(INSTALLATION).await.json();
    assert_eq!(shown["url"], "http://notes.one.localhost:8080");
    assert_eq!(shown["egress"], json!(["api.example.com:443"]));
    assert_eq!(shown["secrets"], json!(["key"]));
    let snapshot = node.routes.current();
    let host = canopy_tenant::HostName::from_name("notes.one.localhost").expect("a name");
    let route = snapshot.route(&host).expect("routed");
    assert_eq!(route.spec.component.config["key"], "canary-4711");
    assert_eq!(
        route.spec.component.config["language"], "en",
        "defaults are filled in"
    );
    assert!(!node.answers("notes.two.localhost"));
    let generation = route.spec.generation;
    drop(snapshot);

    let set = node
        .send(
            Method::PATCH,
            &format!("{INSTALLATION}/config"),
            &[],
            json!({ "language": "de" }),
        )
        .await;
    assert_eq!(set.json(), json!({ "language": "de" }));
    let snapshot = node.routes.current();
    let route = snapshot.route(&host).expect("routed");
    assert_eq!(route.spec.component.config["language"], "de");
    assert!(route.spec.generation > generation);
}

#[tokio::test]
async fn secrets_are_written_and_never_read() {
    let node = installed().await;
    let path = format!("{INSTALLATION}/secrets");
    assert_eq!(node.get(&path).await.json(), json!({ "names": ["key"] }));
    let put = node
        .put(&format!("{path}/key"), json!({ "value": "canary-4712" }))
        .await;
    assert_eq!((put.status.as_u16(), put.text.as_str()), (204, ""));
    let unknown = node
        .put(&format!("{path}/kye"), json!({ "value": "canary-4713" }))
        .await;
    assert_eq!(unknown.problem(422), "invalid-config");
    assert!(unknown.text.contains("did you mean `key`?"));
    let missing = node.delete(&format!("{path}/key")).await;
    assert_eq!(missing.problem(422), "invalid-config", "it is required");
    let as_config = node
        .put(
            &format!("{INSTALLATION}/config"),
            json!({ "key": "canary-4714" }),
        )
        .await;
    assert_eq!(as_config.problem(422), "invalid-config");
    let replaced = node
        .put(INSTALLATION, json!({ "package": "acme/notes" }))
        .await;
    assert_eq!(
        replaced.json()["secrets"],
        json!(["key"]),
        "what is not named stays"
    );
    for answer in [
        unknown,
        missing,
        as_config,
        replaced,
        node.get(INSTALLATION).await,
        node.get("tenants/one/installations").await,
        node.get(&path).await,
    ] {
        assert!(!answer.text.contains("canary"), "{answer:?}");
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_changes_nothing() {
    let node = installed().await;
    let before = node.get(INSTALLATION).await;
    let put =
        async |path: &str, body: Value| node.put(&format!("{INSTALLATION}{path}"), body).await;
    let notes = |more: Value| {
        let mut body = json!({ "package": "acme/notes" });
        body.as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        body
    };
    for (answer, status, code) in [
        (
            put("", notes(json!({ "version": "9.0.0" }))).await,
            404,
            "not-found",
        ),
        (
            put("", notes(json!({ "config": { "langauge": "de" } }))).await,
            422,
            "invalid-config",
        ),
        (
            put("", notes(json!({ "config": { "language": 1 } }))).await,
            422,
            "invalid-config",
        ),
        (
            put("", notes(json!({ "egress": ["*:*"] }))).await,
            422,
            "invalid-field",
        ),
        (
            put("", notes(json!({ "egress": ["127.0.0.1:22"] }))).await,
            422,
            "invalid-field",
        ),
        (
            put(
                "",
                notes(json!({ "bindings": { "acme:payments": "nobody" } })),
            )
            .await,
            404,
            "not-found",
        ),
        (
            put("", notes(json!({ "bindings": { "payments": "nobody" } }))).await,
            422,
            "invalid-body",
        ),
        (
            put("", json!({ "package": "acme/shop" })).await,
            409,
            "other-package",
        ),
        (
            put("", json!({ "package": "acme/pay" })).await,
            409,
            "other-package",
        ),
        (
            put("/version", json!({ "version": "1" })).await,
            422,
            "invalid-body",
        ),
        (put("/config", json!([])).await, 422, "invalid-body"),
        (
            put("/domains/localhost", Value::Null).await,
            422,
            "invalid-field",
        ),
        (
            put("/domains/a.b.localhost", Value::Null).await,
            422,
            "invalid-field",
        ),
        (
            put("/domains/10.0.0.1", Value::Null).await,
            422,
            "invalid-field",
        ),
        (
            node.put(
                "tenants/one/installations/pay",
                json!({ "package": "acme/pay" }),
            )
            .await,
            422,
            "wrong-kind",
        ),
        (
            node.put(
                "tenants/one/drivers/notes",
                json!({ "package": "acme/notes" }),
            )
            .await,
            422,
            "wrong-kind",
        ),
        (
            node.put("tenants/nobody/installations/x", notes(json!({})))
                .await,
            404,
            "not-found",
        ),
        (
            node.get("tenants/two/installations/notes").await,
            404,
            "not-found",
        ),
        (
            node.send(
                Method::POST,
                &format!("{INSTALLATION}/rollback"),
                &[],
                Value::Null,
            )
            .await,
            409,
            "no-previous-version",
        ),
    ] {
        assert_eq!(answer.problem(status), code, "{answer:?}");
    }
    assert_eq!(node.get(INSTALLATION).await.json(), before.json());
}

#[tokio::test]
async fn versions_move_forward_and_back() {
    let node = installed().await;
    for (version, mark) in [("1.1.0", "b"), ("1.2.0", "c")] {
        assert_eq!(
            node.publish("notes", version, NOTES, &app(&marked(mark)))
                .await
                .status,
            201
        );
    }
    let path = format!("{INSTALLATION}/version");
    let upgraded = node.put(&path, json!({ "version": "1.1.0" })).await.json();
    assert_eq!(
        (&upgraded["version"], &upgraded["previous_version"]),
        (&json!("1.1.0"), &json!("1.0.0"))
    );
    let roll_back = async |key: &str| {
        let headers = [("idempotency-key", key)];
        node.send(
            Method::POST,
            &format!("{INSTALLATION}/rollback"),
            &headers,
            Value::Null,
        )
        .await
        .json()
    };
    assert_eq!(roll_back("k1").await["version"], "1.0.0");
    assert_eq!(
        roll_back("k1").await["version"],
        "1.0.0",
        "repeated, it happens once"
    );
    assert_eq!(
        roll_back("k2").await["version"],
        "1.1.0",
        "a second one undoes the first"
    );
    let again = node
        .put(INSTALLATION, json!({ "package": "acme/notes" }))
        .await
        .json();
    assert_eq!(
        again["version"], "1.1.0",
        "a version that is not named stays"
    );
    let fresh = json!({ "package": "acme/notes", "secrets": { "key": "v" } });
    let fresh = node
        .put("tenants/two/installations/notes", fresh)
        .await
        .json();
    assert_eq!(
        fresh["version"], "1.2.0",
        "a new installation runs the newest"
    );
}

#[tokio::test]
async fn an_interface_is_served_by_the_driver_that_is_bound() {
    let node = Node::furnished().await;
    let shop = "tenants/one/installations/shop";
    let unbound = node.put(shop, json!({ "package": "acme/shop" })).await;
    assert_eq!(unbound.problem(422), "unserved-interface");
    assert!(
        unbound.text.contains("`acme/pay` would serve it"),
        "{unbound:?}"
    );
    assert_eq!(
        node.put("tenants/two/drivers/till", json!({ "package": "acme/pay" }))
            .await
            .status,
        201
    );
    let foreign = json!({ "package": "acme/shop", "bindings": { "acme:payments": "till" } });
    assert_eq!(
        node.put(shop, foreign.clone()).await.problem(404),
        "not-found",
        "another tenant's"
    );
    assert_eq!(
        node.put("tenants/one/drivers/till", json!({ "package": "acme/pay" }))
            .await
            .status,
        201
    );
    let hint = node.put(shop, json!({ "package": "acme/shop" })).await;
    assert!(
        hint.text.contains("`till`"),
        "names the driver that would help: {hint:?}"
    );

    let bound = node.put(shop, foreign).await;
    assert_eq!(bound.status, 201, "{bound:?}");
    assert_eq!(bound.json()["interfaces"][0]["driver"], "till");
    let snapshot = node.routes.current();
    let host = canopy_tenant::HostName::from_name("shop.one.localhost").expect("a name");
    let spec = &snapshot.route(&host).expect("routed").spec;
    assert_eq!(spec.bindings.len(), 1);
    let generation = spec.generation;
    drop(snapshot);

    let used = node.delete("tenants/one/drivers/till").await;
    assert_eq!(used.problem(409), "driver-in-use");
    assert_eq!(used.json()["installations"], json!(["shop"]));
    let unbind = node.delete(&format!("{shop}/bindings/acme:payments")).await;
    assert_eq!(unbind.problem(422), "unserved-interface");
    for (package, code) in [
        ("wasi:http", "reserved-package"),
        ("canopy:tenant", "reserved-package"),
        ("wasi:keyvalue", "not-imported"),
    ] {
        let answer = node
            .put(
                &format!("{shop}/bindings/{package}"),
                json!({ "driver": "till" }),
            )
            .await;
        assert_eq!(answer.problem(422), code, "{package}");
    }

    let newer = "kind = \"driver\"\n[serves]\ninterfaces = [\"acme:payments/charge@1.2.0\"]";
    assert_eq!(
        node.publish("pay", "1.1.0", newer, &driver(&marked("n")))
            .await
            .status,
        201
    );
    let moved = node
        .put(
            "tenants/one/drivers/till/version",
            json!({ "version": "1.1.0" }),
        )
        .await;
    assert_eq!(moved.json()["used_by"], json!(["shop"]));
    let snapshot = node.routes.current();
    let spec = &snapshot.route(&host).expect("routed").spec;
    assert!(
        spec.generation > generation,
        "a change of the driver is a change of who is bound"
    );
    drop(snapshot);

    let other = "kind = \"driver\"\n[serves]\ninterfaces = [\"acme:other/charge@1.2.0\"]";
    let component = serving("acme:other/charge@1.2.0", "");
    assert_eq!(
        node.publish("pay", "2.0.0", other, &component).await.status,
        201
    );
    let moved = node
        .put(
            "tenants/one/drivers/till/version",
            json!({ "version": "2.0.0" }),
        )
        .await;
    assert_eq!(
        moved.problem(422),
        "unserved-interface",
        "the shop would lose its interface"
    );

    assert_eq!(node.delete(shop).await.status, 204);
    assert_eq!(node.delete("tenants/one/drivers/till").await.status, 204);
    assert_eq!(
        node.publish("shop", "1.1.0", SHOP, &app(CHARGE))
            .await
            .status,
        201
    );
}

#[tokio::test]
async fn a_driver_whose_functions_have_another_shape_is_refused_when_it_is_bound() {
    let node = Node::furnished().await;
    let other = r#"(import "acme:payments/charge@1.2.0" (instance
        (export "pay" (func (param "cents" u64)))))"#;
    assert_eq!(
        node.publish("shop", "2.0.0", SHOP, &app(other))
            .await
            .status,
        201
    );
    assert_eq!(
        node.put("tenants/one/drivers/till", json!({ "package": "acme/pay" }))
            .await
            .status,
        201
    );
    let shop = "tenants/one/installations/shop";
    let put = async |version: &str| {
        let bindings = json!({ "acme:payments": "till" });
        let body = json!({ "package": "acme/shop", "version": version, "bindings": bindings });
        node.put(shop, body).await
    };
    let refused = put("2.0.0").await;
    assert_eq!(refused.problem(422), "cannot-link");
    assert!(
        refused.text.contains("pay"),
        "names the function: {refused:?}"
    );
    assert_eq!(put("1.0.0").await.status, 201);
    assert_eq!(put("2.0.0").await.problem(422), "cannot-link");

    let newer = driver(&marked("n"));
    assert_eq!(
        node.publish("pay", "1.1.0", DRIVER, &newer).await.status,
        201
    );
    let moved = node
        .put(
            "tenants/one/drivers/till/version",
            json!({ "version": "1.1.0" }),
        )
        .await;
    assert_eq!(moved.status, 200, "{moved:?}");
    assert_eq!(node.get(shop).await.json()["version"], "1.0.0");
}

#[tokio::test]
async fn custom_domains_lead_to_one_installation() {
    let node = installed().await;
    let put = async |installation: &str, domain: &str| {
        node.put(&format!("{installation}/domains/{domain}"), Value::Null)
            .await
    };
    let added = put(INSTALLATION, "Notes.Example.com.").await;
    assert_eq!(
        added.json(),
        json!({ "domain": "notes.example.com", "installation": "notes" })
    );
    assert!(node.answers("notes.example.com"));
    let fresh = json!({ "package": "acme/notes", "secrets": { "key": "v" } });
    let other = "tenants/two/installations/notes";
    assert_eq!(node.put(other, fresh).await.status, 201);
    assert_eq!(
        put(other, "notes.example.com").await.problem(409),
        "domain-taken"
    );
    let foreign = node
        .delete(&format!("{other}/domains/notes.example.com"))
        .await;
    assert_eq!(foreign.problem(404), "not-found");
    assert_eq!(
        node.delete(&format!("{INSTALLATION}/domains/notes.example.com"))
            .await
            .status,
        204
    );
    assert!(!node.answers("notes.example.com"));
    assert_eq!(put(other, "notes.example.com").await.status, 200);
}

#[tokio::test]
async fn deleting_a_tenant_takes_everything_of_it_along() {
    let node = installed().await;
    assert_eq!(
        node.put("tenants/one/drivers/till", json!({ "package": "acme/pay" }))
            .await
            .status,
        201
    );
    let shown = node.get(INSTALLATION).await.json();
    let id: InstallationId = shown["id"].as_str().expect("an id").parse().expect("an id");
    let tenant = node.get("tenants/one").await.json();
    let scope = Scope {
        tenant: tenant["id"]
            .as_str()
            .expect("an id")
            .parse()
            .expect("an id"),
        installation: id,
    };
    let bucket = node.storage.open(scope, "default").await;
    let bucket = bucket.expect("a bucket");
    bucket.set("k", b"v".to_vec()).await.expect("set");
    drop(bucket);
    let stored = node.folder.path().join("storage");
    let stored = stored.join(scope.tenant.to_string()).join(id.to_string());
    assert!(stored.exists());
    write_log(&node, id, "hello").await;

    assert_eq!(node.delete("tenants/one").await.status, 204);
    assert!(!node.answers("notes.one.localhost"));
    assert!(!stored.exists(), "its storage is erased");
    assert!(
        !node
            .folder
            .path()
            .join("logs")
            .join(id.to_string())
            .exists(),
        "its log is erased"
    );
    assert_eq!(node.get(INSTALLATION).await.problem(404), "not-found");
    assert_eq!(names(&node.get("tenants").await), ["two"]);
    let again = node
        .put("tenants/one", json!({ "display_name": "One" }))
        .await;
    assert_eq!(again.status, 201);
    assert!(names(&node.get("tenants/one/installations").await).is_empty());
    assert!(names(&node.get("tenants/one/drivers").await).is_empty());
}

async fn write_log(node: &Node, id: InstallationId, text: &str) {
    let context = LogContext {
        tenant: "one".parse().expect("a name"),
        app: Some("notes".parse().expect("a name")),
        driver: None,
        package: "acme/notes".parse().expect("a name"),
        version: semver::Version::new(1, 0, 0),
    };
    node.logs
        .log(id, context)
        .append(Entry::new(Level::Info, Source::Stdout, text));
    node.logs.flush(id).await;
}

#[tokio::test]
async fn a_log_is_read_in_pages_or_followed() {
    let node = installed().await;
    let shown = node.get(INSTALLATION).await.json();
    let id: InstallationId = shown["id"].as_str().expect("an id").parse().expect("an id");
    for text in ["one", "two", "three"] {
        write_log(&node, id, text).await;
    }
    let path = format!("{INSTALLATION}/logs");
    let messages = |answer: &Answer| -> Vec<String> {
        let items = answer.json()["items"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        items
            .iter()
            .map(|item| item["message"].as_str().expect("text").to_owned())
            .collect()
    };
    let first = node.get(&format!("{path}?limit=2")).await;
    assert_eq!(messages(&first), ["one", "two"]);
    let after = &first.json()["next_after"];
    assert_eq!(
        messages(&node.get(&format!("{path}?after={after}")).await),
        ["three"]
    );
    assert_eq!(
        messages(&node.get(&format!("{path}?tail=1")).await),
        ["three"]
    );
    assert_eq!(
        node.get(&format!("{path}?tail=1&after=1"))
            .await
            .problem(400),
        "invalid-query"
    );
    assert_eq!(
        node.get("tenants/two/installations/notes/logs")
            .await
            .problem(404),
        "not-found"
    );

    let request = node
        .request(Method::GET, &format!("{path}?tail=1&follow=true"))
        .body(Body::empty());
    let response = node
        .router
        .clone()
        .oneshot(request.expect("a request"))
        .await
        .expect("infallible");
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let mut body = response.into_body();
    let mut next = async || {
        let frame = tokio::time::timeout(Duration::from_secs(10), body.frame())
            .await
            .expect("in time");
        frame.map(|frame| frame.expect("a frame").into_data().expect("data"))
    };
    let line: Value = serde_json::from_slice(&next().await.expect("a line")).expect("JSON");
    assert_eq!(line["message"], "three");
    write_log(&node, id, "four").await;
    let line: Value = serde_json::from_slice(&next().await.expect("a line")).expect("JSON");
    assert_eq!(line["message"], "four");
    node.stopping.cancel();
    assert_eq!(next().await, None, "it ends when the node stops");
}
