//! What the host keeps for a store, beside the store's own memory. An application and a driver have
//! limits of their own: what ends the one is within what the other may have.

use canopy_runtime::{RuntimeSettings, ServeError};

use crate::support::{App, Node, driver};

/// Imports by which a component has the host keep something, and functions that do so `n` times.
const PINS: &str = r#"
    (import "wasi:io/poll@0.2.6" (instance $poll (export "pollable" (type (sub resource)))))
    (alias export $poll "pollable" (type $pollable))
    (import "wasi:clocks/monotonic-clock@0.2.6" (instance $clock
        (export "pollable" (type $p (eq $pollable)))
        (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
    (import "wasi:http/types@0.2.6" (instance $types
        (type $error' (variant (case "invalid-syntax") (case "forbidden") (case "immutable")))
        (export "header-error" (type $error (eq $error')))
        (export "fields" (type $fields (sub resource)))
        (export "incoming-request" (type (sub resource)))
        (export "response-outparam" (type (sub resource)))
        (export "[constructor]fields" (func (result (own $fields))))
        (export "[method]fields.append" (func (param "self" (borrow $fields)) (param "name" string)
            (param "value" (list u8)) (result (result (error $error)))))))
    (core module $libc (memory (export "memory") 2))
    (core instance $libc (instantiate $libc))
    (alias core export $libc "memory" (core memory $memory))
    (core func $wait (canon lower (func $clock "subscribe-duration")))
    (core func $new (canon lower (func $types "[constructor]fields")))
    (core func $append (canon lower (func $types "[method]fields.append") (memory $memory)))
    (core module $pins
        (import "libc" "memory" (memory 2))
        (import "host" "wait" (func $wait (param i64) (result i32)))
        (import "host" "new" (func $new (result i32)))
        (import "host" "append" (func $append (param i32 i32 i32 i32 i32 i32)))
        (data (i32.const 0) "x")
        (func (export "pollables") (param $n i32)
            (loop $next
                (drop (call $wait (i64.const 1000000000000)))
                (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                (br_if $next (local.get $n))))
        (func (export "fields") (param $n i32)
            (memory.fill (i32.const 1024) (i32.const 120) (i32.const 20000))
            (loop $next
                (call $append (call $new) (i32.const 0) (i32.const 1) (i32.const 1024)
                    (i32.const 20000) (i32.const 16))
                (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                (br_if $next (local.get $n)))))
    (core instance $pins (instantiate $pins
        (with "libc" (instance $libc))
        (with "host" (instance
            (export "wait" (func $wait)) (export "new" (func $new)) (export "append" (func $append))))))
"#;

/// An application that answers nothing, and pins so much or has `inside` do so.
fn handler(inside: &str, imports: &str, call: &str) -> String {
    format!(
        r#"(component {PINS} {imports}
        (alias export $types "incoming-request" (type $request))
        (alias export $types "response-outparam" (type $answer))
        (core module $m {inside} (func (export "f") (param i32 i32) {call}))
        (core instance $i (instantiate $m (with "pins" (instance $pins)) (with "driver" (instance $driver))))
        (func $f (param "request" (own $request)) (param "response-out" (own $answer))
            (canon lift (core func $i "f")))
        (instance $e (export "handle" (func $f)))
        (export "wasi:http/incoming-handler@0.2.6" (instance $e)))"#
    )
}

fn app(node: &Node, what: &str, count: u32) -> App {
    let text = handler(
        &format!(r#"(import "pins" "{what}" (func $pin (param i32)))"#),
        "(core instance $driver)",
        &format!("(call $pin (i32.const {count}))"),
    );
    App::of(node.text(&format!("app-{what}-{count}"), &text))
}

/// An application whose driver pins so much.
fn app_of_driver(node: &Node, what: &str, count: u32) -> App {
    let name = format!("driver-{what}-{count}");
    let pins = format!(
        r#"(component {PINS}
        (core module $m
            (import "pins" "{what}" (func $pin (param i32)))
            (func (export "pin") (call $pin (i32.const {count}))))
        (core instance $i (instantiate $m (with "pins" (instance $pins))))
        (func $pin (canon lift (core func $i "pin")))
        (instance $e (export "pin" (func $pin)))
        (export "acme:pins/pins@1.0.0" (instance $e)))"#
    );
    let driver = driver(node.text(&name, &pins), &name);
    let text = handler(
        r#"(import "driver" "pin" (func $pin))"#,
        r#"(import "acme:pins/pins@1.0.0" (instance $bound (export "pin" (func))))
        (core func $pin (canon lower (func $bound "pin")))
        (core instance $driver (export "pin" (func $pin)))"#,
        "(call $pin)",
    );
    App::of(node.text(&format!("app-of-{name}"), &text)).bind("acme:pins", &driver)
}

async fn ends(node: &Node, app: &App) -> ServeError {
    let ended = node.get(app, "/").await;
    ended.expect_err("it answers nothing")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_a_driver_may_hold_more_resources() {
    let settings = RuntimeSettings {
        resources: 20,
        driver_store_resources: 60,
        ..RuntimeSettings::default()
    };
    let node = Node::with(settings, |_| {});
    // Each takes two: what it waits for, and that it can be waited for.
    let few = ends(&node, &app(&node, "pollables", 5)).await;
    assert!(matches!(few, ServeError::NoResponse), "{few:?}");
    let many = ends(&node, &app(&node, "pollables", 25)).await;
    assert!(matches!(many, ServeError::Handles), "{many:?}");
    let driver = ends(&node, &app_of_driver(&node, "pollables", 25)).await;
    assert!(matches!(driver, ServeError::NoResponse), "{driver:?}");
    let too_many = ends(&node, &app_of_driver(&node, "pollables", 40)).await;
    assert!(
        matches!(&too_many, ServeError::DriverFailed { message, .. }
            if message.contains("no free keys")),
        "{too_many:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn more_is_kept_for_a_store_of_a_driver() {
    let settings = RuntimeSettings {
        kept_bytes: 64 << 10,
        driver_kept_bytes: 192 << 10,
        ..RuntimeSettings::default()
    };
    let limit = settings.kept_bytes;
    let node = Node::with(settings, |_| {});
    let little = ends(&node, &app(&node, "fields", 3)).await;
    assert!(matches!(little, ServeError::NoResponse), "{little:?}");
    let much = ends(&node, &app(&node, "fields", 6)).await;
    assert!(
        matches!(much, ServeError::Kept { limit: told } if told == limit),
        "{much:?}"
    );
    let driver = ends(&node, &app_of_driver(&node, "fields", 6)).await;
    assert!(matches!(driver, ServeError::NoResponse), "{driver:?}");
    let too_much = ends(&node, &app_of_driver(&node, "fields", 12)).await;
    assert!(
        matches!(&too_much, ServeError::DriverFailed { message, .. }
            if message.contains("196608 bytes")),
        "{too_much:?}"
    );
}
