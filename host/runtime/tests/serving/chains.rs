//! Drivers that build on drivers and on the platform, and imports under labels.

use std::collections::BTreeMap;
use std::sync::Arc;

use canopy_runtime::{DriverSpec, PrepareError, Provider, ServeError};

use crate::support::{App, Node, driver};

/// A relay that marks what it stores, bound to `below`.
fn relay(node: &Node, name: &str, below: Option<Provider>) -> Arc<DriverSpec> {
    let mut component = node.guest("relay");
    component.config = Arc::new(BTreeMap::from([("mark".to_owned(), name.to_owned())]));
    let mut spec = Arc::unwrap_or_clone(driver(component, name));
    let key = "wasi:keyvalue".parse().expect("a key");
    spec.bindings.extend(below.map(|below| (key, below)));
    Arc::new(spec)
}

async fn ask(node: &Node, app: &App, query: &str) -> (u16, String) {
    node.get(app, &format!("/?{query}")).await.expect("answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_ends_in_the_storage_of_the_application_that_calls() {
    let node = Node::new();
    let inner = relay(&node, "inner", Some(Provider::Platform));
    let outer = relay(&node, "outer", Some(Provider::Driver(inner)));
    let app = || node.app("kv-probe").bind("wasi:keyvalue", &outer);
    let (one, other) = (app(), app());
    assert_eq!(ask(&node, &one, "op=set&key=a&value=1").await.0, 200);
    assert_eq!(ask(&node, &one, "op=get&key=a").await.1, "\"1\"");
    assert_eq!(ask(&node, &other, "op=get&key=a").await.1, "null");
    assert_eq!(ask(&node, &other, "op=set&key=a&value=2").await.0, 200);
    assert_eq!(ask(&node, &one, "op=get&key=a").await.1, "\"1\"");
    assert_eq!(ask(&node, &one, "op=list&key=").await.1, "[\"a\"]");
    assert_eq!(
        ask(&node, &other, "op=increment&key=n&delta=3").await.1,
        "3"
    );
    assert_eq!(ask(&node, &one, "op=increment&key=n&delta=1").await.1, "1");
    let none = ask(&node, &one, "op=get&key=a&bucket=undeclared").await;
    assert_eq!(none.0, 500, "its stores are the application's: {none:?}");

    let mut bare = node.app("kv-probe");
    bare.spec.id = one.spec.id;
    bare.spec.tenant = one.spec.tenant.clone();
    let stored = ask(&node, &bare, "op=get&key=a").await;
    assert_eq!(stored.1, "\"inner:outer:1\"", "it went through both");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_is_not_bound_to_the_platform_has_no_storage() {
    let node = Node::new();
    let relay = relay(&node, "relay", None);
    let app = node.app("kv-probe").bind("wasi:keyvalue", &relay);
    let (status, text) = ask(&node, &app, "op=get&key=a").await;
    assert_eq!(status, 500, "{text}");
    assert!(text.to_lowercase().contains("denied"), "{text}");
}

/// A driver whose `get` is `number`.
fn source(node: &Node, number: u32) -> Arc<DriverSpec> {
    let name = format!("n{number}");
    let text = format!(
        r#"(component
            (core module $m (func (export "get") (result i32) (i32.const {number})))
            (core instance $i (instantiate $m))
            (func $get (result u32) (canon lift (core func $i "get")))
            (instance $e (export "get" (func $get)))
            (export "acme:number/source@1.0.0" (instance $e)))"#
    );
    driver(node.text(&name, &text), &name)
}

/// An application that breaks down unless `first` is 1 and `second` is 2. It answers nothing.
const TWICE: &str = r#"(component
    (import "first" (implements "acme:number/source@1.0.0")
        (instance $a (export "get" (func (result u32)))))
    (import "second" (implements "acme:number/source@1.0.0")
        (instance $b (export "get" (func (result u32)))))
    (import "third" (implements "wasi:keyvalue/store@0.2.0-draft") (instance
        (export "bucket" (type (sub resource)))))
    (import "wasi:http/types@0.2.6" (instance $types
        (export "incoming-request" (type (sub resource)))
        (export "response-outparam" (type (sub resource)))))
    (alias export $types "incoming-request" (type $request))
    (alias export $types "response-outparam" (type $answer))
    (core func $a (canon lower (func $a "get")))
    (core func $b (canon lower (func $b "get")))
    (core module $m
        (import "n" "a" (func $a (result i32)))
        (import "n" "b" (func $b (result i32)))
        (func (export "f") (param i32 i32)
            (if (i32.ne (call $a) (i32.const 1)) (then unreachable))
            (if (i32.ne (call $b) (i32.const 2)) (then unreachable))))
    (core instance $n (export "a" (func $a)) (export "b" (func $b)))
    (core instance $i (instantiate $m (with "n" (instance $n))))
    (func $f (param "request" (own $request)) (param "response-out" (own $answer))
        (canon lift (core func $i "f")))
    (instance $e (export "handle" (func $f)))
    (export "wasi:http/incoming-handler@0.2.6" (instance $e)))"#;

#[tokio::test(flavor = "multi_thread")]
async fn each_label_is_served_by_whom_it_is_bound_to() {
    let node = Node::new();
    let (one, two) = (source(&node, 1), source(&node, 2));
    let app = || App::of(node.text("twice", TWICE));
    let right = app()
        .bind("acme:number", &one)
        .bind("acme:number/source=second", &two);
    let answered = node.get(&right, "/").await;
    assert!(
        matches!(answered, Err(ServeError::NoResponse)),
        "{answered:?}"
    );
    let wrong = app().bind("acme:number", &one);
    let answered = node.get(&wrong, "/").await;
    assert!(
        matches!(answered, Err(ServeError::Trap { .. })),
        "{answered:?}"
    );
    let half = app().bind("acme:number=first", &one);
    let Err(ServeError::Prepare(error)) = node.get(&half, "/").await else {
        panic!("`second` is served by nobody");
    };
    let PrepareError::Unserved { imports, .. } = &*error else {
        panic!("{error}")
    };
    assert_eq!(imports, &["acme:number/source@1.0.0=second"]);
}
