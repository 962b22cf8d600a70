//! Drivers that build on drivers, and bindings finer than a package.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{CHARGE, DRIVER, Node, SHOP, app, driver, marked, serving};

/// A driver that serves what it imports itself.
const RELAY: &str = "kind = \"driver\"\n[serves]\ninterfaces = [\"acme:payments/charge@1.2.0\"]\n\
                     [[needs]]\ninterface = \"acme:payments\"\nreason = \"Passes it on.\"";

impl Node {
    /// A driver instance of tenant `one`, bound as said.
    async fn driver(&self, name: &str, package: &str, bindings: Value) -> crate::support::Answer {
        let body = json!({ "package": format!("acme/{package}"), "bindings": bindings });
        self.put(&format!("tenants/one/drivers/{name}"), body).await
    }
}

async fn with_relay() -> Node {
    let node = Node::furnished().await;
    let published = node.publish("relay", "1.0.0", RELAY, &driver(CHARGE)).await;
    assert_eq!(published.status, 201, "{published:?}");
    assert_eq!(node.driver("till", "pay", json!({})).await.status, 201);
    node
}

#[tokio::test]
async fn a_driver_builds_on_another_and_both_are_kept() {
    let node = with_relay().await;
    let alone = node.driver("front", "relay", json!({})).await;
    assert_eq!(alone.problem(422), "unserved-interface");
    assert!(
        alone.text.contains("`till`"),
        "names who would help: {alone:?}"
    );

    let front = node
        .driver("front", "relay", json!({ "acme:payments": "till" }))
        .await;
    assert_eq!(front.status, 201, "{front:?}");
    assert_eq!(front.json()["bindings"], json!({ "acme:payments": "till" }));
    let till = node.get("tenants/one/drivers/till").await.json();
    assert_eq!(till["used_by_drivers"], json!(["front"]));
    let shop = json!({ "package": "acme/shop", "bindings": { "acme:payments/charge": "front" } });
    let shop = node.put("tenants/one/installations/shop", shop).await;
    assert_eq!(shop.status, 201, "{shop:?}");

    let host = canopy_tenant::HostName::from_name("shop.one.localhost").expect("a name");
    let generation = || {
        let snapshot = node.routes.current();
        let spec = &snapshot.route(&host).expect("routed").spec;
        let front = spec.bindings.values().find_map(|by| by.driver()).cloned();
        let front = front.expect("bound");
        assert!(front.bindings.values().any(|by| by.driver().is_some()));
        (spec.generation, front.generation)
    };
    let before = generation();
    let used = node.delete("tenants/one/drivers/till").await;
    assert_eq!(used.problem(409), "driver-in-use");
    assert_eq!(used.json()["drivers"], json!(["front"]));
    let unbind = node
        .delete("tenants/one/drivers/front/bindings/acme:payments")
        .await;
    assert_eq!(unbind.problem(422), "unserved-interface");

    let newer = driver(&marked("n"));
    assert_eq!(
        node.publish("pay", "1.1.0", DRIVER, &newer).await.status,
        201
    );
    let version = json!({ "version": "1.1.0" });
    let moved = node.put("tenants/one/drivers/till/version", version).await;
    assert_eq!(moved.json()["previous_version"], "1.0.0", "{moved:?}");
    let after = generation();
    assert!(
        after.0 > before.0 && after.1 > before.1,
        "a change at the end of a chain is one of everything before it: {before:?} {after:?}"
    );
    let back = node
        .send(
            Method::POST,
            "tenants/one/drivers/till/rollback",
            &[],
            json!({}),
        )
        .await;
    assert_eq!(back.json()["version"], "1.0.0", "{back:?}");
    assert_eq!(back.json()["previous_version"], "1.1.0");
    let nothing = node
        .send(
            Method::POST,
            "tenants/one/drivers/front/rollback",
            &[],
            json!({}),
        )
        .await;
    assert_eq!(nothing.problem(409), "no-previous-version");
}

#[tokio::test]
async fn a_link_is_not_moved_away_from_under_its_users() {
    let node = with_relay().await;
    let bound = json!({ "acme:payments": "till" });
    assert_eq!(node.driver("front", "relay", bound).await.status, 201);
    let other = "kind = \"driver\"\n[serves]\ninterfaces = [\"acme:other/charge@1.2.0\"]";
    let component = serving("acme:other/charge@1.2.0", "");
    assert_eq!(
        node.publish("pay", "2.0.0", other, &component).await.status,
        201
    );
    let version = json!({ "version": "2.0.0" });
    let moved = node.put("tenants/one/drivers/till/version", version).await;
    assert_eq!(moved.problem(422), "unserved-interface");
    assert_eq!(moved.json()["path"], json!(["front"]), "{moved:?}");

    let shaped = r#"(core module $m (func (export "f") (param i32)))
        (core instance $i (instantiate $m))
        (func $f (param "cents" u32) (canon lift (core func $i "f")))
        (instance $e (export "pay" (func $f)))
        (export "acme:payments/charge@1.2.0" (instance $e))"#;
    let shaped = wat::parse_str(format!("(component {shaped})")).expect("valid text");
    assert_eq!(
        node.publish("pay", "3.0.0", DRIVER, &shaped).await.status,
        201
    );
    let version = json!({ "version": "3.0.0" });
    let moved = node.put("tenants/one/drivers/till/version", version).await;
    assert_eq!(moved.problem(422), "cannot-link");
    assert!(moved.text.contains("front"), "names who breaks: {moved:?}");
}

#[tokio::test]
async fn circles_and_long_chains_are_refused_with_their_path() {
    let node = with_relay().await;
    let on = |name: &str| json!({ "acme:payments": name });
    assert_eq!(node.driver("a", "relay", on("till")).await.status, 201);
    assert_eq!(node.driver("b", "relay", on("a")).await.status, 201);
    let circle = node
        .put(
            "tenants/one/drivers/a/bindings/acme:payments",
            json!({ "driver": "b" }),
        )
        .await;
    assert_eq!(circle.problem(422), "driver-circle");
    assert_eq!(circle.json()["path"], json!(["b", "a", "b"]), "{circle:?}");
    let itself = node
        .put(
            "tenants/one/drivers/a/bindings/acme:payments",
            json!({ "driver": "a" }),
        )
        .await;
    assert_eq!(itself.problem(422), "driver-circle");

    let mut last = "b".to_owned();
    let mut refused = None;
    for number in 0..20 {
        let name = format!("c{number}");
        let answer = node.driver(&name, "relay", on(&last)).await;
        if answer.status != 201 {
            refused = Some((number, answer));
            break;
        }
        last = name;
    }
    let (number, answer) = refused.expect("a limit");
    assert_eq!(number, 13, "16 drivers: till, a, b and 13 more");
    assert_eq!(answer.problem(422), "chain-too-deep");
    assert_eq!(answer.json()["path"].as_array().map(Vec::len), Some(17));
}

/// An import of a resource alone.
const BUCKETS: &str = r#"(import "wasi:keyvalue/store@0.2.0-draft" (instance
    (export "bucket" (type (sub resource)))))"#;

#[tokio::test]
async fn a_driver_has_storage_only_where_a_binding_says_whose() {
    let node = Node::furnished().await;
    let keeping = format!(
        "{DRIVER}\n[[needs]]\ninterface = \"wasi:keyvalue\"\nreason = \"Keeps what it is told.\""
    );
    let published = node
        .publish("keeper", "1.0.0", &keeping, &driver(BUCKETS))
        .await;
    assert_eq!(published.status, 201, "{published:?}");
    let unbound = node.driver("keeper", "keeper", json!({})).await;
    assert_eq!(unbound.problem(422), "unbound-storage");
    assert!(unbound.text.contains("`platform`"), "{unbound:?}");
    let bound = node
        .driver("keeper", "keeper", json!({ "wasi:keyvalue": "platform" }))
        .await;
    assert_eq!(bound.status, 201, "{bound:?}");
    assert_eq!(bound.json()["bindings"]["wasi:keyvalue"], "platform");
    let named = node.driver("platform", "pay", json!({})).await;
    assert_eq!(named.problem(422), "invalid-field");
}

/// Imports of one interface under two labels.
const LABELLED: &str = r#"
    (import "cache" (implements "acme:payments/charge@1.2.0") (instance (export "pay" (func))))
    (import "main" (implements "acme:payments/charge@1.2.0") (instance (export "pay" (func))))"#;

fn needs(interface: &str, labels: &[&str]) -> String {
    let need = |label: &&str| {
        format!(
            "[[needs]]\ninterface = \"{interface}\"\nlabel = \"{label}\"\nreason = \"Stores.\"\n"
        )
    };
    let needs: String = labels.iter().map(need).collect();
    format!("kind = \"app\"\n{needs}")
}

#[tokio::test]
async fn imports_under_labels_are_bound_one_by_one() {
    let node = with_relay().await;
    let twice = app(LABELLED);
    let plain = node.publish("two", "0.9.0", SHOP, &twice).await;
    assert_eq!(plain.problem(422), "manifest-mismatch");
    assert!(plain.text.contains("charge@1.2.0=cache"), "{plain:?}");
    let manifest = needs("acme:payments/charge", &["cache", "main"]);
    let published = node.publish("two", "1.0.0", &manifest, &twice).await;
    assert_eq!(published.status, 201, "{published:?}");
    assert_eq!(published.json()["imports"][0]["label"], "cache");

    assert_eq!(node.driver("other", "pay", json!({})).await.status, 201);
    let two = "tenants/one/installations/two";
    let put = async |bindings: Value| {
        let body = json!({ "package": "acme/two", "bindings": bindings });
        node.put(two, body).await
    };
    let half = put(json!({ "acme:payments=cache": "till" })).await;
    assert_eq!(half.problem(422), "unserved-interface");
    assert!(
        half.text.contains("charge@1.2.0=main") && !half.text.contains("charge@1.2.0=cache"),
        "{half:?}"
    );
    let strange = put(json!({ "acme:payments": "till", "acme:payments=nope": "till" })).await;
    assert_eq!(strange.problem(422), "not-imported");
    let whole = put(json!({ "acme:payments": "till", "acme:payments/charge=main": "other" })).await;
    assert_eq!(whole.status, 201, "{whole:?}");
    let by: Vec<_> = whole.json()["interfaces"]
        .as_array()
        .expect("interfaces")
        .iter()
        .filter(|source| source["label"].is_string())
        .map(|source| (source["label"].clone(), source["driver"].clone()))
        .collect();
    assert_eq!(
        by,
        [
            (json!("cache"), json!("till")),
            (json!("main"), json!("other"))
        ]
    );
    let unbound = node
        .delete(&format!("{two}/bindings/acme:payments%2Fcharge=main"))
        .await;
    assert_eq!(unbound.status, 204, "{unbound:?}");
    let now = node.get(two).await.json();
    assert_eq!(now["bindings"], json!({ "acme:payments": "till" }));
}

#[tokio::test]
async fn the_platform_serves_storage_under_a_label_and_nothing_else() {
    let node = Node::furnished().await;
    let stores = r#"
        (import "cache" (implements "wasi:keyvalue/store@0.2.0-draft") (instance
            (export "bucket" (type (sub resource)))))
        (import "main" (implements "wasi:keyvalue/store@0.2.0-draft") (instance
            (export "bucket" (type (sub resource)))))"#;
    let manifest = needs("wasi:keyvalue", &["cache", "main"]);
    let published = node.publish("two", "1.0.0", &manifest, &app(stores)).await;
    assert_eq!(published.status, 201, "{published:?}");
    let body = json!({ "package": "acme/two" });
    let installed = node.put("tenants/one/installations/two", body).await;
    assert_eq!(installed.status, 201, "{installed:?}");

    let log = r#"(import "audit" (implements "wasi:logging/logging@0.1.0-draft") (instance
        (export "resource" (type (sub resource)))))"#;
    let manifest = needs("wasi:logging", &["audit"]);
    let refused = node.publish("audited", "1.0.0", &manifest, &app(log)).await;
    assert_eq!(refused.problem(422), "unserved-interface");
    assert!(refused.text.contains("=audit"), "{refused:?}");
}

#[tokio::test]
async fn one_resource_cannot_be_of_two_sides() {
    let node = Node::furnished().await;
    let serves = "kind = \"driver\"\n[serves]\ninterfaces = [\"wasi:keyvalue/store@0.2.0-draft\"]";
    let store = wat::parse_str(
        r#"(component
            (type $t (resource (rep i32)))
            (instance $e (export "bucket" (type $t)))
            (export "wasi:keyvalue/store@0.2.0-draft" (instance $e)))"#,
    )
    .expect("valid text");
    let published = node.publish("buckets", "1.0.0", serves, &store).await;
    assert_eq!(published.status, 201, "{published:?}");
    assert_eq!(
        node.driver("buckets", "buckets", json!({})).await.status,
        201
    );
    let imports = r#"
        (import "wasi:keyvalue/store@0.2.0-draft" (instance $store
            (export "bucket" (type (sub resource)))))
        (alias export $store "bucket" (type $bucket))
        (import "wasi:keyvalue/batch@0.2.0-draft" (instance
            (alias outer 1 $bucket (type $outer))
            (export "bucket" (type $b (eq $outer)))
            (export "x" (func (param "bucket" (borrow $b))))))"#;
    let manifest = "kind = \"app\"\n[[needs]]\ninterface = \"wasi:keyvalue\"\nreason = \"Stores.\"";
    let published = node
        .publish("split", "1.0.0", manifest, &app(imports))
        .await;
    assert_eq!(published.status, 201, "{published:?}");
    let bindings = json!({ "wasi:keyvalue/store": "buckets" });
    let body = json!({ "package": "acme/split", "bindings": bindings });
    let refused = node.put("tenants/one/installations/split", body).await;
    assert_eq!(refused.problem(422), "cannot-link");
    for side in ["buckets", "the platform", "bucket"] {
        assert!(refused.text.contains(side), "{side}: {refused:?}");
    }
}

/// A driver that says of its configuration what `said` stands for in memory.
fn checking(said: &str) -> Vec<u8> {
    driver(&format!(
        r#"(core module $l
            (memory (export "memory") 1)
            (data (i32.const 0) "{said}\00\00\00\20\00\00\00\0e\00\00\00")
            (data (i32.const 32) "wrong password")
            (func (export "check") (result i32) (i32.const 0)))
        (core instance $l (instantiate $l))
        (func $check (result (result (error string)))
            (canon lift (core func $l "check") (memory (core memory $l "memory"))))
        (instance $lifecycle (export "check" (func $check)))
        (export "canopy:driver/lifecycle@0.1.0" (instance $lifecycle))"#
    ))
}

#[tokio::test]
async fn a_driver_is_asked_whether_it_works_before_it_is_added_or_bound() {
    let node = Node::furnished().await;
    for (version, said) in [("1.1.0", "\\00"), ("1.2.0", "\\01")] {
        let published = node.publish("pay", version, DRIVER, &checking(said)).await;
        assert_eq!(published.status, 201, "{published:?}");
    }
    let till = "tenants/one/drivers/till";
    let body = |version: &str| json!({ "package": "acme/pay", "version": version });
    let ask = async || {
        let path = format!("{till}/check");
        node.send(Method::POST, &path, &[], json!({})).await
    };
    assert_eq!(node.put(till, body("1.0.0")).await.status, 201);
    assert_eq!(ask().await.json()["checked"], false, "it cannot be asked");
    let version = |version: &str| json!({ "version": version });
    let moved = node.put(&format!("{till}/version"), version("1.1.0")).await;
    assert_eq!(moved.status, 200, "{moved:?}");
    assert_eq!(ask().await.json()["checked"], true);

    let refused = node.put(&format!("{till}/version"), version("1.2.0")).await;
    assert_eq!(refused.problem(422), "check-failed");
    assert_eq!(refused.json()["message"], "wrong password");
    assert_eq!(node.get(till).await.json()["version"], "1.1.0");
    let new = node.put("tenants/one/drivers/new", body("1.2.0")).await;
    assert_eq!(new.problem(422), "check-failed");

    let forced = format!("{till}/version?check=false");
    assert_eq!(node.put(&forced, version("1.2.0")).await.status, 200);
    assert_eq!(ask().await.problem(422), "check-failed");
    let shop = "tenants/one/installations/shop";
    let bound = json!({ "package": "acme/shop", "bindings": { "acme:payments": "till" } });
    let refused = node.put(shop, bound.clone()).await;
    assert_eq!(refused.problem(422), "check-failed");
    assert_eq!(refused.json()["driver"], "till");
    let forced = node.put(&format!("{shop}?check=false"), bound).await;
    assert_eq!(forced.status, 201, "{forced:?}");
    let id = node.get(till).await.json()["id"].clone();
    let id: canopy_ids::DriverInstanceId = serde_json::from_value(id).expect("an identifier");
    node.logs.flush(id).await;
    let log = node.get(&format!("{till}/logs")).await;
    assert!(
        log.text.contains("without a check by the operator"),
        "{log:?}"
    );
    let path = format!("{till}/version?check=no");
    let strange = node.put(&path, version("1.1.0")).await;
    assert_eq!(strange.problem(400), "invalid-query");
}

/// A driver that says of bindings what `said` stands for in memory.
fn told(said: &str) -> Vec<u8> {
    let fields = r#"(record (field "installation" string) (field "name" string)
        (field "app" string) (field "bound" string) (field "label" (option string)))"#;
    driver(&format!(
        r#"(core module $t
            (memory (export "memory") 1)
            (global $next (mut i32) (i32.const 1024))
            (func (export "realloc") (param i32 i32 i32) (param $size i32) (result i32)
                global.get $next
                (global.set $next (i32.add (global.get $next) (local.get $size))))
            (data (i32.const 0) "{said}\00\00\00\20\00\00\00\06\00\00\00")
            (data (i32.const 16) "\01\00\00\00\20\00\00\00\06\00\00\00")
            (data (i32.const 32) "no one")
            (func (export "bind")
                (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 0))
            (func (export "unbind")
                (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 16)))
        (core instance $t (instantiate $t))
        (type $binding {fields})
        (func $bind (param "binding" $binding) (result (result (error string)))
            (canon lift (core func $t "bind") (memory (core memory $t "memory"))
                (realloc (core func $t "realloc"))))
        (func $unbind (param "binding" $binding) (result (result (error string)))
            (canon lift (core func $t "unbind") (memory (core memory $t "memory"))
                (realloc (core func $t "realloc"))))
        (component $told
            (type $def {fields})
            (import "type" (type $in (eq $def)))
            (import "bind" (func $bind (param "binding" $in) (result (result (error string)))))
            (import "unbind" (func $unbind (param "binding" $in) (result (result (error string)))))
            (type $out-def {fields})
            (export $out "binding" (type $out-def))
            (export "on-bind" (func $bind)
                (func (param "binding" $out) (result (result (error string)))))
            (export "on-unbind" (func $unbind)
                (func (param "binding" $out) (result (result (error string))))))
        (instance $bindings (instantiate $told (with "type" (type $binding))
            (with "bind" (func $bind)) (with "unbind" (func $unbind))))
        (export "canopy:driver/bindings@0.2.0" (instance $bindings))"#
    ))
}

#[tokio::test]
async fn a_driver_is_told_of_its_bindings_and_can_refuse_one() {
    let node = Node::furnished().await;
    for (version, said) in [("1.1.0", "\\00"), ("1.2.0", "\\01")] {
        let published = node.publish("pay", version, DRIVER, &told(said)).await;
        assert_eq!(published.status, 201, "{published:?}");
    }
    let till = "tenants/one/drivers/till";
    let body = json!({ "package": "acme/pay", "version": "1.2.0" });
    assert_eq!(node.put(till, body).await.status, 201);
    let shop = "tenants/one/installations/shop";
    let bound = json!({ "package": "acme/shop", "bindings": { "acme:payments": "till" } });
    let refused = node.put(shop, bound.clone()).await;
    assert_eq!(refused.problem(422), "check-failed");
    assert_eq!(refused.json()["message"], "no one");
    assert_eq!(node.get(shop).await.status, 404, "nothing came about");
    let forced = node
        .put(&format!("{shop}?check=false"), bound.clone())
        .await;
    assert_eq!(forced.status, 201, "{forced:?}");
    assert_eq!(node.delete(shop).await.status, 204);
    let version = json!({ "version": "1.1.0" });
    assert_eq!(
        node.put(&format!("{till}/version"), version).await.status,
        200
    );
    assert_eq!(
        node.put(shop, bound).await.status,
        201,
        "it has nothing against it"
    );
    assert_eq!(
        node.delete(shop).await.status,
        204,
        "a driver cannot prevent it"
    );
    let id = node.get(till).await.json()["id"].clone();
    let id: canopy_ids::DriverInstanceId = serde_json::from_value(id).expect("an identifier");
    let mut log = String::new();
    for _ in 0..500 {
        node.logs.flush(id).await;
        log = node.get(&format!("{till}/logs")).await.text;
        if log.matches("which it does not take: no one").count() >= 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(
        log.contains("acme:payments of installation `shop`: bound all the same"),
        "{log}"
    );
    let told = log.matches("which it does not take: no one").count();
    assert!(told >= 2, "of either end, and again later: {log}");
    assert_eq!(
        node.delete(till).await.status,
        204,
        "nor keeps it itself from going"
    );
}
