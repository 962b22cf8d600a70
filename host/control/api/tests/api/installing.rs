//! Installations: what can be set, and that it takes effect.

use axum::http::Method;
use canopy_backend::{KeyValueProvider, Scope};
use canopy_ids::InstallationId;
use serde_json::{Value, json};

use crate::logs::write_log;
use crate::support::{Answer, NOTES, Node, app, marked};

pub(crate) const INSTALLATION: &str = "tenants/one/installations/notes";

pub(crate) async fn installed() -> Node {
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
            put("", notes(json!({ "config": { "ca": "no PEM" } }))).await,
            422,
            "invalid-field",
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
            put("", notes(json!({ "egress": ["api.example.org:443"] }))).await,
            422,
            "invalid-field",
        ),
        (
            put("", notes(json!({ "egress": ["93.184.216.0/24"] }))).await,
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
