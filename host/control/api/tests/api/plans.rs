//! Plans, what follows from them, and what is stored against them.

use axum::http::Method;
use canopy_backend::{KeyValueProvider as _, QuotaOf, Scope, StorageError};
use canopy_ids::InstallationId;
use canopy_tenant::HostName;
use serde_json::{Value, json};

use crate::support::{Answer, Node, app};

/// A node whose tenant `one` has the installation `plain`, whose package asks for 2 s of processor
/// time and 64 MiB of memory.
async fn installed() -> (Node, Scope) {
    let node = Node::furnished().await;
    let limits = "kind = \"app\"\n[limits]\ncpu_ms = 2000\nmemory_bytes = 67108864";
    let published = node.publish("plain", "1.0.0", limits, &app("")).await;
    assert_eq!(published.status, 201, "{published:?}");
    let body = json!({ "package": "acme/plain" });
    let answer = node.put("tenants/one/installations/plain", body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let id: InstallationId = answer.json()["id"]
        .as_str()
        .and_then(|id| id.parse().ok())
        .expect("an id");
    let tenant = node.get("tenants/one").await.json();
    let tenant = tenant["id"].as_str().expect("an id").parse();
    let scope = Scope {
        tenant: tenant.expect("an id"),
        installation: id,
    };
    (node, scope)
}

async fn put_plan(node: &Node, name: &str, limits: Value) -> Answer {
    let body = json!({ "display_name": name, "limits": limits });
    node.put(&format!("plans/{name}"), body).await
}

async fn move_to(node: &Node, plan: &str) -> Answer {
    let body = json!({ "display_name": "One", "plan": plan });
    node.put("tenants/one", body).await
}

/// One limit of a list of them.
fn limit<'a>(limits: &'a Value, name: &str) -> &'a Value {
    let limits = limits["limits"].as_array().expect("limits");
    let found = limits.iter().find(|limit| limit["name"] == name);
    found.unwrap_or_else(|| panic!("{name} in {limits:?}"))
}

#[tokio::test]
async fn a_plan_lives_from_its_creation_to_its_deletion() {
    let node = Node::furnished().await;
    let standard = node.get("plans/standard").await;
    assert_eq!(standard.json()["limits"], json!({}), "all is the node's");
    let created = put_plan(&node, "small", json!({ "keys": 10 })).await;
    assert_eq!(created.status, 201);
    let tag = created.etag().to_owned();
    let again = put_plan(&node, "small", json!({ "keys": 10 })).await;
    assert_eq!((again.status.as_u16(), again.etag()), (200, tag.as_str()));
    let names = node.get("plans").await.json();
    let names: Vec<_> = names["items"].as_array().expect("items").iter().collect();
    assert_eq!(names.len(), 2);

    let body = json!({ "display_name": "S" });
    let stale = &[("if-match", "\"999\"")];
    let refused = node.send(Method::PUT, "plans/small", stale, body).await;
    assert_eq!(refused.problem(412), "precondition-failed");

    assert_eq!(move_to(&node, "small").await.status, 200);
    let used = node.delete("plans/small").await;
    assert_eq!(used.problem(409), "plan-in-use");
    assert_eq!(used.json()["tenants"], json!(["one"]));
    assert_eq!(move_to(&node, "standard").await.status, 200);
    assert_eq!(node.delete("plans/small").await.status, 204);
    assert_eq!(node.get("plans/small").await.problem(404), "not-found");
    assert_eq!(
        node.delete("plans/standard").await.problem(409),
        "plan-stays"
    );
}

#[tokio::test]
async fn what_a_plan_cannot_be_is_refused() {
    let node = Node::furnished().await;
    let unknown = put_plan(&node, "small", json!({ "key": 10 })).await;
    assert_eq!(unknown.problem(422), "invalid-body");
    assert!(unknown.text.contains("keys"), "{unknown:?}");
    for (limits, field) in [
        (json!({ "concurrency": 0 }), "limits.concurrency"),
        (json!({ "cpu_ms": 0 }), "limits.cpu_ms"),
        (
            json!({ "memory_bytes": 1_u64 << 40 }),
            "limits.memory_bytes",
        ),
        (json!({ "weight": 1_u64 << 40 }), "limits.weight"),
        (
            json!({ "egress_connections": 0 }),
            "limits.egress_connections",
        ),
    ] {
        let refused = put_plan(&node, "small", limits).await;
        assert_eq!(refused.problem(422), "invalid-field");
        assert_eq!(refused.json()["field"], field);
    }
    let refused = move_to(&node, "standart").await;
    assert_eq!(refused.problem(422), "unknown-plan");
    assert_eq!(refused.json()["nearest"], "standard");
    assert_eq!(node.get("tenants/one").await.json()["plan"], "standard");
}

#[tokio::test]
async fn the_effective_limits_say_what_decides_them() {
    let (node, _) = installed().await;
    let limits = node.get("tenants/one/limits").await.json();
    let concurrency = limit(&limits, "concurrency");
    assert_eq!(concurrency["source"], "setting");
    assert_eq!(concurrency["setting"], "plan.concurrency");
    let limits = node.get("tenants/one/installations/plain/limits").await;
    assert_eq!(limit(&limits.json(), "cpu_ms")["source"], "package");
    let wall = limit(&limits.json(), "wall_ms").clone();
    assert_eq!(wall["setting"], "limits.default.wall");

    let plan = json!({ "concurrency": 3, "cpu_ms": 500, "memory_bytes": 134217728, "keys": 2 });
    assert_eq!(put_plan(&node, "small", plan).await.status, 201);
    assert_eq!(move_to(&node, "small").await.status, 200);
    let limits = node.get("tenants/one/limits").await.json();
    assert_eq!(limits["plan"], "small");
    assert_eq!(limit(&limits, "concurrency")["value"], 3);
    assert_eq!(limit(&limits, "concurrency")["source"], "plan");
    let limits = node.get("tenants/one/installations/plain/limits").await;
    let limits = limits.json();
    let cpu = limit(&limits, "cpu_ms");
    assert_eq!(
        (&cpu["value"], &cpu["source"]),
        (&json!(500), &json!("plan"))
    );
    let memory = limit(&limits, "memory_bytes");
    assert_eq!(
        memory["value"],
        64 << 20,
        "the plan allows more than is asked"
    );
    assert_eq!(memory["source"], "package");
}

#[tokio::test]
async fn the_snapshot_carries_the_limits_and_follows_every_change() {
    let (node, _) = installed().await;
    let route = || {
        let host = HostName::from_name("plain.one.localhost").expect("a name");
        let current = node.routes.current();
        let route = current.route(&host).expect("a route");
        std::sync::Arc::clone(&route.spec)
    };
    let before = route();
    assert_eq!(before.component.limits.cpu.as_millis(), 2_000);
    let plan = json!({ "weight": 7, "requests_per_second": 9, "cpu_ms": 100 });
    assert_eq!(put_plan(&node, "small", plan).await.status, 201);
    assert_eq!(move_to(&node, "small").await.status, 200);
    let with = route();
    assert!(with.generation > before.generation);
    let limits = &with.tenant.limits;
    assert_eq!((limits.weight, limits.requests_per_second), (7, 9));
    assert_eq!(with.component.limits.cpu.as_millis(), 100);

    let plan = json!({ "weight": 8, "installation_burst": 5 });
    assert_eq!(put_plan(&node, "small", plan).await.status, 200);
    let changed = route();
    assert!(changed.generation > with.generation);
    assert_eq!(changed.tenant.limits.weight, 8);
    assert_eq!(changed.component.limits.burst, 5);
    assert_eq!(changed.component.limits.cpu.as_millis(), 2_000);
}

#[tokio::test]
async fn a_quota_applies_from_the_next_write_and_usage_shows_it() {
    let (node, scope) = installed().await;
    let bucket = node.storage.open(scope, "default").await.expect("a bucket");
    bucket.set("a", vec![7; 100]).await.expect("within");
    let usage = node.get("tenants/one/installations/plain/usage").await;
    let kinds = usage.json()["kinds"].clone();
    assert_eq!(kinds[0]["kind"], "key-value");
    assert_eq!(kinds[0]["items"], 1);
    let bytes = kinds[0]["bytes"].as_u64().expect("a number");
    assert!(bytes >= 101, "{kinds:?}");

    assert_eq!(
        put_plan(&node, "one-key", json!({ "keys": 1 }))
            .await
            .status,
        201
    );
    assert_eq!(move_to(&node, "one-key").await.status, 200);
    let error = bucket.set("b", vec![7]).await.expect_err("one key");
    let items = QuotaOf::InstallationItems;
    assert!(
        matches!(error, StorageError::QuotaExceeded { quota, limit: 1 } if quota == items),
        "{error}"
    );
    let through = "tenants/one/installations/plain/key-value/value?store=default&key=b";
    let refused = node.put(through, json!({})).await;
    assert_eq!(refused.problem(507), "quota-exceeded");
    bucket
        .set("a", vec![8; 10])
        .await
        .expect("the key is there");

    let nothing = json!({ "storage_bytes": 0 });
    assert_eq!(put_plan(&node, "one-key", nothing).await.status, 200);
    let error = bucket.set("b", vec![7]).await.expect_err("no bytes");
    let tenant = QuotaOf::TenantBytes;
    assert!(
        matches!(error, StorageError::QuotaExceeded { quota, limit: 0 } if quota == tenant),
        "{error}"
    );
    bucket
        .delete("a")
        .await
        .expect("deleting is always possible");
    let usage = node.get("tenants/one/usage").await.json();
    assert_eq!(usage["bytes_limit"], 0);
    let left = usage["bytes"].as_u64().expect("a number");
    assert!(left < bytes, "{usage}");
    assert_eq!(usage["installations"][0]["installation"], "plain");
}
