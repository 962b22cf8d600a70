//! Drivers: how they are bound, and what is refused.

use serde_json::json;

use crate::support::{CHARGE, DRIVER, Node, SHOP, app, driver, marked, serving};

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
